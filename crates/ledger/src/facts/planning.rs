//! Facts about issues, labels, boards and milestones. Titles and texts stay in their own tables; of a confidential
//! issue, names of labels and people stay there too, since who may read a project's facts may not see it.

use super::{fact, short};
use bascule_core::{GroupId, IssueId, LabelId, MilestoneId, ProjectId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// `a, b and c`, or `2 people` where the names are kept back.
fn told(names: &[String], count: usize, noun: (&str, &str)) -> String {
    match names {
        [] => format!("{count} {}", if count == 1 { noun.0 } else { noun.1 }),
        names => names.join(", "),
    }
}

/// An issue was opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueOpened {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number within the project.
    pub number: i64,
    /// Whether few see it.
    pub confidential: bool,
    /// Who has it from the beginning.
    pub assignees: Vec<UserId>,
    /// Its labels' names; none of a confidential one.
    pub labels: Vec<String>,
    /// Whom its description names.
    pub mentions: Vec<UserId>,
    /// When.
    pub at: Timestamp,
}
fact!(
    IssueOpened,
    "issue.opened",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| format!("opened issue #{}", f.number)
);

/// An issue's own text or dates were changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueEdited {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// What: `title`, `description`, `due_on`, `milestone`, `confidential`.
    pub changed: Vec<String>,
    /// Whom its description names that it did not name before.
    #[serde(default)]
    pub mentions: Vec<UserId>,
}
fact!(
    IssueEdited,
    "issue.edited",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| format!(
        "changed the {} of issue #{}",
        f.changed.join(", ").replace("due_on", "due date"),
        f.number
    )
);

/// Someone was given an issue, or it was taken from them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueAssigned {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// Who has it now.
    pub assignees: Vec<UserId>,
    /// Who was given it.
    pub added: Vec<UserId>,
    /// From whom it was taken.
    pub removed: Vec<UserId>,
    /// The user names of those who have it now; none of a confidential one.
    pub names: Vec<String>,
}
fact!(
    IssueAssigned,
    "issue.assigned",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| {
        if f.assignees.is_empty() {
            return format!("took issue #{} from everyone", f.number);
        }
        format!(
            "gave issue #{} to {}",
            f.number,
            told(&f.names, f.assignees.len(), ("person", "people"))
        )
    }
);

/// An issue got labels, or lost some.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueLabeled {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// Labels it got.
    pub added: Vec<LabelId>,
    /// Labels it lost.
    pub removed: Vec<LabelId>,
    /// Names of those it got; none of a confidential one.
    pub added_names: Vec<String>,
    /// Names of those it lost; none of a confidential one.
    pub removed_names: Vec<String>,
}
fact!(
    IssueLabeled,
    "issue.labeled",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| {
        let mut parts = Vec::new();
        if !f.added.is_empty() {
            parts.push(format!(
                "put {} on",
                told(&f.added_names, f.added.len(), ("label", "labels"))
            ));
        }
        if !f.removed.is_empty() {
            parts.push(format!(
                "took {} off",
                told(&f.removed_names, f.removed.len(), ("label", "labels"))
            ));
        }
        format!("{} issue #{}", parts.join(" and "), f.number)
    }
);

/// An issue went to another column of the board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueMoved {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// From `open`, `todo`, `doing` or `done`.
    pub from: String,
    /// To one of these.
    pub to: String,
    /// Issues in `doing` beyond the limit after it; zero where the limit was kept.
    #[serde(default)]
    pub beyond_limit: i64,
    /// When.
    pub at: Timestamp,
}
fact!(
    IssueMoved,
    "issue.moved",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| {
        let name = |column: &str| match column {
            "todo" => "To do",
            "doing" => "Doing",
            "done" => "Done",
            _ => "Open",
        };
        let beyond = match f.beyond_limit {
            0 => String::new(),
            n => format!(", {n} beyond the limit"),
        };
        format!(
            "moved issue #{} from {} to {}{beyond}",
            f.number,
            name(&f.from),
            name(&f.to)
        )
    }
);

/// An issue was given another place in the order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueRanked {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
}
fact!(
    IssueRanked,
    "issue.ranked",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| format!("changed the priority of issue #{}", f.number)
);

/// An issue was closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueClosed {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// By what: `person`, `commit`, `merge_request`.
    pub by: String,
    /// The commit, or the merge request's number.
    pub reference: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub at: Timestamp,
}
fact!(
    IssueClosed,
    "issue.closed",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| match f.by.as_str() {
        "commit" => format!("closed issue #{} by commit {}", f.number, short(&f.reference)),
        "merge_request" => format!("closed issue #{} by merge request !{}", f.number, f.reference),
        _ => format!("closed issue #{}", f.number),
    }
);

/// A closed issue was opened again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueReopened {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// When.
    pub at: Timestamp,
}
fact!(
    IssueReopened,
    "issue.reopened",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| format!("opened issue #{} again", f.number)
);

/// Someone commented on an issue. The text stays in the comment's own table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueCommented {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// The comment's number within the issue.
    pub comment: i64,
    /// Whom it names.
    pub mentions: Vec<UserId>,
}
fact!(
    IssueCommented,
    "issue.commented",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| format!("commented on issue #{}", f.number)
);

/// Two issues were linked, or parted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueLinked {
    /// The project.
    pub project: ProjectId,
    /// The issue.
    pub issue: IssueId,
    /// Its number.
    pub number: i64,
    /// The other issue.
    pub other: IssueId,
    /// `relates`, `blocks` or `blocked_by`.
    pub relation: String,
    /// Whether they were parted.
    pub parted: bool,
}
fact!(
    IssueLinked,
    "issue.linked",
    |f| Some(f.project),
    |f| format!("issue:{}", f.issue),
    |f| if f.parted {
        format!("took a link off issue #{}", f.number)
    } else {
        format!(
            "noted that issue #{} {} another",
            f.number,
            match f.relation.as_str() {
                "blocks" => "blocks",
                "blocked_by" => "is blocked by",
                _ => "relates to",
            }
        )
    }
);

/// A label was made, changed or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabelChanged {
    /// The project, for a project's own.
    pub project: Option<ProjectId>,
    /// The group, for a group's.
    pub group: Option<GroupId>,
    /// The label.
    pub label: LabelId,
    /// Its name.
    pub name: String,
    /// `created`, `changed` or `deleted`.
    pub what: String,
}
fact!(
    LabelChanged,
    "label.changed",
    |f| f.project,
    |f| format!("label:{}", f.label),
    |f| format!("{} the label {}", f.what, f.name)
);

/// A milestone was made or changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MilestoneChanged {
    /// The project, for a project's own.
    pub project: Option<ProjectId>,
    /// The group, for a group's.
    pub group: Option<GroupId>,
    /// The milestone.
    pub milestone: MilestoneId,
    /// Its number.
    pub number: i64,
    /// `created`, `changed`, `closed` or `reopened`.
    pub what: String,
    /// The day it is due.
    pub due_on: Option<String>,
}
fact!(
    MilestoneChanged,
    "milestone.changed",
    |f| f.project,
    |f| format!("milestone:{}", f.milestone),
    |f| format!("{} milestone {}", f.what, f.number)
);

/// A board's rule was set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoardChanged {
    /// The project.
    pub project: ProjectId,
    /// Beyond the limit of work in progress: `refuse`, `warn`, `off`.
    pub wip: String,
}
fact!(
    BoardChanged,
    "board.changed",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("set the limit of work in progress to {}", f.wip)
);

/// Someone is away, or back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AvailabilityChanged {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// Whether they are away.
    pub away: bool,
    /// The last day away, if it is known.
    pub until: Option<String>,
}
fact!(
    AvailabilityChanged,
    "availability.changed",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| match (f.away, &f.until) {
        (false, _) => format!("noted that {} is back", f.username),
        (true, None) => format!("noted that {} is away", f.username),
        (true, Some(day)) => format!("noted that {} is away until {day}", f.username),
    }
);
