//! Facts about projects and code.

use super::{fact, short};
use bascule_core::{GroupId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// A project was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectCreated {
    /// The project.
    pub project: ProjectId,
    /// Its group.
    pub group: GroupId,
    /// `group/project`.
    pub path: String,
}
fact!(
    ProjectCreated,
    "project.created",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("created the project {}", f.path)
);

/// A project was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectDeleted {
    /// The project.
    pub project: ProjectId,
    /// `group/project`.
    pub path: String,
}
fact!(
    ProjectDeleted,
    "project.deleted",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("deleted the project {}", f.path)
);

/// One commit, as far as measures need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStamp {
    /// The commit.
    pub sha: String,
    /// The committer's time.
    pub at: Timestamp,
    /// Who wrote it: the first 16 hexadecimal digits of the SHA-256 of the author's e-mail address in
    /// lower case. Enough to count contributors, without keeping addresses for ever.
    pub author: String,
}

/// A branch came into being, moved, or went away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BranchUpdated {
    /// The project.
    pub project: ProjectId,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// Where it stood; `None` if it is new.
    pub before: Option<String>,
    /// Where it stands; `None` if it was deleted.
    pub after: Option<String>,
    /// Whether it is the default branch.
    pub default: bool,
    /// Whether history was rewritten.
    pub forced: bool,
    /// Commits that became reachable, newest first, at most 500.
    pub commits: Vec<CommitStamp>,
    /// How many became reachable in all.
    pub commit_count: i64,
    /// When the platform answered the push as accepted.
    pub at: Timestamp,
    /// Whether the pusher asked for no pipeline (`git push -o ci.skip`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ci_skip: bool,
    /// Under which name the forge keeps what the pusher gave the pipeline (`git push -o ci.variable=…`): values may be
    /// secret, and are in no fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_options: Option<String>,
}
fact!(
    BranchUpdated,
    "branch.updated",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| {
        match (&f.before, &f.after) {
            (_, None) => format!("deleted the branch {}", f.branch),
            (None, Some(after)) => format!("pushed the new branch {} at {}", f.branch, short(after)),
            (Some(_), Some(after)) => format!(
                "{} {} {} to {}, now at {}",
                if f.forced { "force-pushed" } else { "pushed" },
                f.commit_count,
                if f.commit_count == 1 { "commit" } else { "commits" },
                f.branch,
                short(after)
            ),
        }
    }
);

/// A tag came into being, moved, or went away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagUpdated {
    /// The project.
    pub project: ProjectId,
    /// The tag, without `refs/tags/`.
    pub tag: String,
    /// The object it pointed to; `None` if it is new.
    pub before: Option<String>,
    /// The commit it points to (annotated tags peeled); `None` if it was deleted.
    pub after: Option<String>,
    /// When the platform answered the push as accepted.
    pub at: Timestamp,
    /// Whether the pusher asked for no pipeline (`git push -o ci.skip`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ci_skip: bool,
    /// Under which name the forge keeps what the pusher gave the pipeline (`git push -o ci.variable=…`): values may be
    /// secret, and are in no fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_options: Option<String>,
}
fact!(
    TagUpdated,
    "tag.updated",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| match &f.after {
        Some(after) => format!("pushed the tag {} at {}", f.tag, short(after)),
        None => format!("deleted the tag {}", f.tag),
    }
);

/// A push was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushRefused {
    /// The project.
    pub project: ProjectId,
    /// The reference that was pushed to.
    pub reference: String,
    /// The rule that refused, such as `protected_branch`.
    pub rule: String,
}
fact!(
    PushRefused,
    "push.refused",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("was refused a push to {} ({})", f.reference, f.rule)
);

/// A project setting changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectChanged {
    /// The project.
    pub project: ProjectId,
    /// Which setting, such as `default_branch`, `protected_branch`, `visibility`.
    pub setting: String,
    /// Its new value.
    pub value: String,
}
fact!(
    ProjectChanged,
    "project.changed",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("set {} to {}", f.setting, f.value)
);

/// A group's limits on storage changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupLimitsChanged {
    /// The group.
    pub group: GroupId,
    /// What holds now, for people.
    pub value: String,
}
fact!(
    GroupLimitsChanged,
    "group.limits_changed",
    |_| None,
    |f| format!("group:{}", f.group),
    |f| format!("set the group's storage limits to {}", f.value)
);

/// A repository's objects were all checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RepositoryChecked {
    /// The project.
    pub project: ProjectId,
    /// Whether all are whole.
    pub good: bool,
}
fact!(
    RepositoryChecked,
    "repository.checked",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| if f.good {
        "checked all objects of the repository: they are whole".to_owned()
    } else {
        "checked all objects of the repository and found damage".to_owned()
    }
);
