//! What must be so before a request is merged. Each room adds its part to [`Forge::merge_checks`]; whoever merges
//! (a person, the queue, the platform by itself) asks all of them, at the commit that is merged.

use super::{MergeRequest, Settings, State};
use crate::{
    Forge, ProjectInfo,
    ports::{Demand, Outcome, Stands},
    review::Weighed,
};
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
        checks.extend(self.required(&looked).await?);
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
        Ok(match pipeline {
            Some(found) if found.outcome == Outcome::Passed => Some(Check::passed(
                "pipeline",
                format!("Pipeline #{} passed.", found.id),
            )),
            _ if !looked.settings.require_pipeline => None,
            Some(found) => Some(Check::holds(
                "pipeline",
                state_of(found.outcome),
                format!("Pipeline #{} {}.", found.id, stands(found.outcome)),
                GREEN,
                step(found.outcome),
            )),
            None => Some(Check::holds(
                "pipeline",
                CheckState::Pending,
                "No pipeline has run for this commit.",
                GREEN,
                "Wait a moment after a push; if none comes, look whether `.gitlab-ci.yml` makes one for this branch.",
            )),
        })
    }

    /// What the project's group requires, whatever the project's settings say.
    async fn required(&self, looked: &Looked<'_>) -> Result<Option<Check>> {
        let Some(pipelines) = self.pipelines() else {
            return Ok(None);
        };
        let demand = pipelines.required(looked.request).await?;
        Ok(demand.map(|demand| required(demand, looked.request)))
    }
}

const GREEN: &str = "The project asks for a green pipeline of the commit that is merged.";

/// Why a pipeline that stands so holds a merge: time passes, or someone has to do something.
const fn state_of(outcome: Outcome) -> CheckState {
    match outcome {
        Outcome::Passed => CheckState::Passed,
        Outcome::Running => CheckState::Pending,
        Outcome::Waiting | Outcome::Failed | Outcome::Canceled | Outcome::Skipped => CheckState::Failed,
    }
}

/// How it stands, behind its name.
const fn stands(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Running => "has not ended",
        Outcome::Waiting => "waits for someone to start a job of it",
        Outcome::Failed => "failed",
        Outcome::Canceled => "was canceled",
        Outcome::Skipped => "skipped all its jobs",
    }
}

/// What to do about it.
const fn step(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "",
        Outcome::Running => "Wait for it, or ask for the merge once all checks pass.",
        Outcome::Waiting => "Start the job on the pipeline's page, or ask someone who may.",
        Outcome::Failed => {
            "Look at its log, mend what it found and push; run it again if it failed for another reason."
        }
        Outcome::Canceled => "Run it again: what was stopped has found nothing, neither good nor bad.",
        Outcome::Skipped => {
            "Look at the pipeline's page why no job ran, mend the rules in `.gitlab-ci.yml` and push, or run it again."
        }
    }
}

/// Jobs named in a sentence.
const JOBS: usize = 3;

/// What a group requires, as a condition.
fn required(demand: Demand, request: &MergeRequest) -> Check {
    const NAME: &str = "required_pipeline";
    let Demand {
        group,
        names,
        stands: how,
    } = demand;
    let quoted = |names: &[String]| {
        let shown: Vec<String> = names.iter().take(JOBS).map(|name| format!("`{name}`")).collect();
        match names.len().saturating_sub(JOBS) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    };
    let plural = if names.len() == 1 { "" } else { "s" };
    let why = format!(
        "{group} requires the pipeline{plural} {} in all its projects; no setting of a project puts that off.",
        quoted(&names)
    );
    let hold = |state, what: String, next: String| Check::holds(NAME, state, what, why.clone(), next);
    match how {
        Stands::Passed => Check::passed(
            NAME,
            format!("The required pipeline{plural} {} passed.", quoted(&names)),
        ),
        Stands::Faulty(fault) => hold(
            CheckState::Failed,
            format!("What {group} requires cannot be planned for this commit: {}.", fault.trim_end_matches('.')),
            format!("Mend what it names if it is yours and push; else tell the owners of {group}."),
        ),
        Stands::Missing(jobs) if request.is_fork() => hold(
            CheckState::Failed,
            format!("{} did not run for this commit: it came from a fork, where nothing of {group} runs.", quoted(&jobs)),
            "Ask a developer of this project to look at these commits and to push them to a branch of it; what runs there \
             counts here."
                .to_owned(),
        ),
        Stands::Missing(jobs) => hold(
            CheckState::Pending,
            format!("{} did not run for this commit yet.", quoted(&jobs)),
            format!(
                "After a push it comes by itself. If the commit is older than what is required, run a pipeline of \
                 `{}`, or push again.",
                request.source_branch
            ),
        ),
        Stands::Open { pipeline, outcome, jobs } => {
            let how = match (outcome, jobs.len()) {
                (Outcome::Running, 2..) => "have not ended",
                (Outcome::Canceled, 2..) => "were canceled",
                (Outcome::Waiting, 1) => "waits for someone to start it",
                (Outcome::Waiting, _) => "wait for someone to start them",
                (outcome, _) => stands(outcome),
            };
            hold(
                state_of(outcome),
                format!("{} of pipeline #{pipeline} {how}.", quoted(&jobs)),
                match outcome {
                    Outcome::Canceled => "Run what was canceled again: it has found nothing, neither good nor bad.",
                    outcome => step(outcome),
                }
                .to_owned(),
            )
        }
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
