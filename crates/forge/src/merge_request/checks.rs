//! What must be so before a request is merged. Each room adds its part to [`Forge::merge_checks`]; whoever merges
//! (a person, the queue, the platform by itself) asks all of them, at the commit that is merged.

use super::{MergeRequest, Settings, State};
use crate::{Forge, ProjectInfo, ports::Outcome, review::Weighed};
use bascule_core::Result;
use bascule_wire::merge_request::MergeCheck;

/// How a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// Met.
    Passed,
    /// It may be met without anybody changing the request.
    Pending,
    /// Someone has to do something.
    Failed,
    /// Not met, and holds nothing.
    Warned,
}

/// One condition of merging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A stable word, for programs.
    pub name: &'static str,
    /// How it stands.
    pub state: CheckState,
    /// The same, one sentence for people.
    pub what: String,
    /// Why the condition exists.
    pub why: String,
    /// The next step; empty where it is met.
    pub next: String,
}

impl Check {
    /// A condition that is met.
    #[must_use]
    pub fn passed(name: &'static str, what: impl Into<String>) -> Self {
        Self {
            name,
            state: CheckState::Passed,
            what: what.into(),
            why: String::new(),
            next: String::new(),
        }
    }

    /// A condition that is not met.
    #[must_use]
    pub fn holds(
        name: &'static str,
        state: CheckState,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            name,
            state,
            what: what.into(),
            why: why.into(),
            next: next.into(),
        }
    }
}

impl CheckState {
    /// Whether it holds the merge.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, Self::Pending | Self::Failed)
    }

    /// As in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Warned => "warned",
        }
    }
}

impl From<Check> for MergeCheck {
    fn from(check: Check) -> Self {
        Self {
            name: check.name.to_owned(),
            state: check.state.as_str().to_owned(),
            what: check.what,
            why: check.why,
            next: check.next,
        }
    }
}

/// What a part may look at.
pub(crate) struct Looked<'a> {
    pub(crate) project: &'a ProjectInfo,
    pub(crate) request: &'a MergeRequest,
    pub(crate) settings: &'a Settings,
}

impl Forge {
    /// Every condition of merging an open request, as it stands at the request's present head; none once it has
    /// ended.
    ///
    /// # Errors
    /// The database or the repository refused.
    pub async fn merge_checks(&self, project: &ProjectInfo, request: &MergeRequest) -> Result<Vec<Check>> {
        if request.state != State::Open {
            return Ok(Vec::new());
        }
        let weighed = self.weigh_approvals(project, request).await?;
        self.checks_with(project, request, &weighed).await
    }

    /// The same, where the approvals of the request are weighed already.
    pub(crate) async fn checks_with(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
        weighed: &Weighed,
    ) -> Result<Vec<Check>> {
        if request.state != State::Open {
            return Ok(Vec::new());
        }
        let settings = self.merge_settings(project.id).await?;
        let looked = Looked {
            project,
            request,
            settings: &settings,
        };
        let mut checks = vec![draft(&looked)];
        checks.extend(self.branches(&looked).await?);
        checks.extend(self.pipeline(&looked).await?);
        checks.extend(self.results(&looked).await?);
        checks.extend(self.review_checks(&looked, weighed).await?);
        checks.extend(self.workflow_checks(&looked).await?);
        checks.extend(self.queue_check(request).await?);
        // Each further room adds a line of its own here.
        Ok(checks)
    }

    async fn branches(&self, looked: &Looked<'_>) -> Result<Vec<Check>> {
        let request = looked.request;
        if self.source_head(request).await?.is_none() {
            return Ok(vec![Check::holds(
                "source",
                CheckState::Failed,
                format!("The branch `{}` is gone.", request.source_branch),
                "There is nothing to merge from.",
                "Restore the branch, or close the request. Its commits are kept.",
            )]);
        }
        let target = self
            .resolve_branch(looked.project.id, &request.target_branch)
            .await?;
        let Some(target) = target else {
            return Ok(vec![Check::holds(
                "target",
                CheckState::Failed,
                format!("The branch `{}` is gone.", request.target_branch),
                "There is nothing to merge into.",
                "Choose another target branch.",
            )]);
        };
        Ok(vec![self.conflict_check(request, &target).await?])
    }

    async fn pipeline(&self, looked: &Looked<'_>) -> Result<Option<Check>> {
        let pipeline = match self.pipelines() {
            Some(pipelines) => pipelines.of_request(looked.request).await?,
            None => None,
        };
        let needed = looked.settings.require_pipeline;
        let why = "The project asks for a green pipeline of the commit that is merged.";
        Ok(match pipeline {
            Some(found) if found.outcome == Outcome::Passed => Some(Check::passed(
                "pipeline",
                format!("Pipeline #{} passed.", found.id),
            )),
            Some(found) if needed && found.outcome == Outcome::Strange => Some(Check::holds(
                "pipeline",
                CheckState::Failed,
                format!("Pipeline #{} ran in the fork alone.", found.id),
                "The group requires pipelines of this project, and they do not run in a fork.",
                "Ask a developer of this project to push these commits to a branch of it, and open the request from there.",
            )),
            Some(found) if needed && found.outcome == Outcome::Running => Some(Check::holds(
                "pipeline",
                CheckState::Pending,
                format!("Pipeline #{} has not ended.", found.id),
                why,
                "Wait for it, or ask for the merge once all checks pass.",
            )),
            Some(found) if needed => Some(Check::holds(
                "pipeline",
                CheckState::Failed,
                format!("Pipeline #{} did not pass.", found.id),
                why,
                "Look at its log, mend what it found and push, or run it again.",
            )),
            None if needed => Some(Check::holds(
                "pipeline",
                CheckState::Pending,
                "No pipeline has run for this commit.",
                why,
                "Wait a moment after a push; if none comes, look whether `.gitlab-ci.yml` makes one for this branch.",
            )),
            _ => None,
        })
    }
}

impl Forge {
    /// What the results of the pipeline say against the merge.
    async fn results(&self, looked: &Looked<'_>) -> Result<Option<Check>> {
        let Some(pipelines) = self.pipelines() else {
            return Ok(None);
        };
        let concern = pipelines.concern(looked.project, looked.request).await?;
        Ok(concern.map(|concern| {
            let state = if concern.holds {
                CheckState::Failed
            } else {
                CheckState::Warned
            };
            Check::holds("coverage", state, concern.what, concern.why, concern.next)
        }))
    }
}

fn draft(looked: &Looked<'_>) -> Check {
    if looked.request.draft {
        Check::holds(
            "draft",
            CheckState::Failed,
            "It is a draft.",
            "Whoever opened it says that it is not ready.",
            "Mark it as ready when it is.",
        )
    } else {
        Check::passed("draft", "It is marked as ready.")
    }
}
