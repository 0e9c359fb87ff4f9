//! Previews: what a merge request would deliver, running at an address of its own for as long as it is looked at.
//!
//! A preview is desired state. Facts about requests, branches and pipelines only say *look at this one*; what should
//! be is decided anew at each look, from how request, policy, pipeline and people's words stand then, and one
//! transaction brings it a step nearer. So a server that is killed anywhere leaves nothing behind that the next look
//! does not put right.
//!
//! It runs in an [`Environment`](crate::environment::Environment) of the tier [`TIER`] that stands in no list of
//! environments: its row is born pruned, and whatever asks for environments asks for those that are not. Plans,
//! channels, promotion, fleet views, telemetry and measures do not know of it. Its build is no release.

mod api;
pub(crate) mod card;
mod look;
mod merge;
pub(crate) mod pass;
mod people;
mod raise;
mod secrets;
pub(crate) mod store;
mod subscriptions;

pub(crate) use api::routes;
pub(crate) use subscriptions::OnRequests;

use crate::{RequestNow, product::PreviewPolicy};
use bascule_core::{DeploymentId, EnvironmentId, ProjectId, ReleaseId, Timestamp};
use bascule_store::row;
use std::time::Duration;

/// The tier of previews.
pub(crate) const TIER: &str = "preview";

/// The name of a request's environment.
pub(crate) fn environment_name(iid: i64) -> String {
    format!("review-{iid}")
}

/// Whether a name is kept for previews.
pub(crate) fn is_environment_name(name: &str) -> bool {
    name.strip_prefix("review-")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// The version of a commit of a request; it comes before every release.
pub(crate) fn version_of(iid: i64, sha: &str) -> String {
    let short: String = sha.chars().take(12).collect();
    format!("0.0.0-review.{iid}.g{short}")
}

/// The place of the secrets of a project's previews.
pub(crate) fn secrets_of(project: ProjectId) -> String {
    format!("{}{project}", crate::secret::PREVIEWS)
}

/// Where a preview stands.
pub(crate) mod state {
    /// Its project has none.
    pub const OFF: &str = "off";
    /// Nothing runs yet: something has to happen first.
    pub const WAITING: &str = "waiting";
    /// Nothing runs: someone has to do something first.
    pub const HELD: &str = "held";
    /// Its first version is coming up.
    pub const STARTING: &str = "starting";
    /// It answers.
    pub const RUNNING: &str = "running";
    /// The version that was last tried does not run.
    pub const FAILED: &str = "failed";
    /// It is out of traffic; its instances end.
    pub const STOPPING: &str = "stopping";
    /// Nothing of it runs.
    pub const STOPPED: &str = "stopped";
}

row! {
    /// A request's preview.
    #[derive(Clone, Debug)]
    pub(crate) struct Preview {
        pub project_id: ProjectId,
        pub iid: i64,
        /// Where its commits come from.
        pub source_project_id: ProjectId,
        pub source_branch: String,
        pub target_branch: String,
        /// The request's newest commit, as last looked at.
        pub head: String,
        /// Whether the request is open, as last looked at.
        pub open: bool,
        pub state: String,
        pub rule: String,
        pub why: String,
        pub next: String,
        /// Its environment, once it had one.
        pub environment_id: Option<EnvironmentId>,
        /// Whether edges serve it.
        pub routed: bool,
        /// What was put there last.
        pub deployment_id: Option<DeploymentId>,
        pub build_id: Option<ReleaseId>,
        pub version: Option<String>,
        pub sha: Option<String>,
        /// The commit at which someone, or a rule, stopped it.
        pub stopped_head: Option<String>,
        pub stopped_rule: Option<String>,
        pub stopped_by: Option<String>,
        /// The commit that a maintainer let run, where it comes from a fork.
        pub allowed_head: Option<String>,
        pub allowed_by: Option<String>,
        /// When the request changed last, or someone started the preview.
        pub changed_at: Timestamp,
        /// When someone last used it.
        pub used_at: Option<Timestamp>,
        pub ends_at: Option<Timestamp>,
        /// How often it was asked for a look.
        pub asked: i64,
    }
}

/// What a rule says: why, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub rule: String,
    pub why: String,
    pub next: String,
}

impl Reason {
    pub fn of(rule: &str, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            why: why.into(),
            next: next.into(),
        }
    }

    fn none() -> Self {
        Self::of("", "", "")
    }
}

/// What the target branch's file says of previews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// There is no file, or it does not speak of them.
    Missing,
    /// It turns them off.
    Off,
    /// It cannot be read.
    Wrong(String),
    /// They are on.
    On(Box<PreviewPolicy>),
}

/// How the newest pipeline of a commit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    /// There is none.
    None,
    /// It has not ended.
    Running(bascule_core::PipelineId),
    /// It is green.
    Passed(bascule_core::PipelineId),
    /// It failed, or was cancelled.
    Failed(bascule_core::PipelineId),
}

/// What should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing runs.
    Nothing(Reason),
    /// What runs stays, and nothing new comes. Where nothing runs: whether it takes a person.
    Stay(Reason, bool),
    /// The request's newest commit runs, from this pipeline.
    Newest(Box<PreviewPolicy>, bascule_core::PipelineId),
}

/// When a preview of this policy ends unless its request changes.
pub(crate) fn ends_at(row: &Preview, policy: &PreviewPolicy) -> Timestamp {
    row.changed_at.plus(Duration::from_millis(policy.lifetime_ms))
}

/// What should be of a preview, from how all stands.
pub(crate) fn decide(
    row: &Preview,
    request: Option<&RequestNow>,
    policy: &Policy,
    pipeline: Pipeline,
    now: Timestamp,
) -> Want {
    let Some(request) = request else {
        return Want::Nothing(Reason::of("gone", "the merge request is gone", ""));
    };
    let nothing = |rule: &str, why: &str, next: &str| Want::Nothing(Reason::of(rule, why, next));
    if request.merged {
        return nothing("merged", "the merge request was merged", "");
    }
    if !request.open {
        let next = "Open the merge request again, and its preview starts again.";
        return nothing("closed", "the merge request was closed", next);
    }
    if !request.has_source {
        let next = "Restore the branch, and the preview starts again.";
        return nothing("branch_gone", "the source branch was deleted", next);
    }
    let policy = match policy {
        Policy::Missing | Policy::Off => {
            let next = "Add `preview: true` to bascule.yaml on the target branch.";
            return nothing(
                "off",
                "bascule.yaml of the target branch asks for no previews",
                next,
            );
        }
        Policy::Wrong(fault) => {
            let next = "Correct the file on the target branch.";
            let why = format!("bascule.yaml of the target branch cannot be read: {fault}");
            return Want::Stay(Reason::of("bad_policy", why, next), true);
        }
        Policy::On(policy) => policy,
    };
    if row.stopped_head.as_deref() == Some(request.head.as_str()) {
        let next = "Start it, or push another commit.";
        return match row.stopped_rule.as_deref() {
            Some("crowded") => {
                let why = format!(
                    "{} previews of this project may run at once, and this one was unused for the longest time",
                    policy.most
                );
                Want::Nothing(Reason::of("crowded", why, next))
            }
            _ => {
                let by = row.stopped_by.as_deref().unwrap_or("someone");
                Want::Nothing(Reason::of("stopped", format!("{by} stopped it"), next))
            }
        };
    }
    if now >= ends_at(row, policy) {
        let next = "Start it, or push another commit.";
        return nothing("expired", "the merge request did not change for a while", next);
    }
    if !request.trusted && row.allowed_head.as_deref() != Some(request.head.as_str()) {
        let why = "the commit comes from a fork, from someone who may not push to this project: its code would run on \
                   the project's machines";
        let next = "A maintainer looks at the changes and starts the preview; each further commit is asked for anew.";
        return Want::Stay(Reason::of("fork", why, next), true);
    }
    match pipeline {
        Pipeline::None => {
            let next = "Wait a moment after a push; if none comes, look whether `.gitlab-ci.yml` makes one for branches.";
            let why = "no pipeline has run for the newest commit";
            Want::Stay(Reason::of("no_pipeline", why, next), false)
        }
        Pipeline::Running(id) => {
            let why = format!("pipeline #{id} of the newest commit has not ended");
            Want::Stay(Reason::of("pipeline_running", why, "Wait for it."), false)
        }
        Pipeline::Failed(id) => {
            let why = format!("pipeline #{id} of the newest commit failed");
            let next = "Look at its log, mend what it found and push, or run it again.";
            Want::Stay(Reason::of("pipeline_failed", why, next), true)
        }
        Pipeline::Passed(id) => Want::Newest(policy.clone(), id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::PipelineId;

    fn row() -> Preview {
        Preview {
            project_id: ProjectId::new(),
            iid: 7,
            source_project_id: ProjectId::new(),
            source_branch: "a".into(),
            target_branch: "main".into(),
            head: "h1".into(),
            open: true,
            state: state::WAITING.into(),
            rule: String::new(),
            why: String::new(),
            next: String::new(),
            environment_id: None,
            routed: false,
            deployment_id: None,
            build_id: None,
            version: None,
            sha: None,
            stopped_head: None,
            stopped_rule: None,
            stopped_by: None,
            allowed_head: None,
            allowed_by: None,
            changed_at: Timestamp::from_seconds(1_000),
            used_at: None,
            ends_at: None,
            asked: 1,
        }
    }

    fn request() -> RequestNow {
        RequestNow {
            open: true,
            merged: false,
            head: "h1".into(),
            source: ProjectId::new(),
            source_branch: "a".into(),
            has_source: true,
            target_branch: "main".into(),
            target: Some("t".into()),
            trusted: true,
        }
    }

    fn on() -> Policy {
        Policy::On(Box::default())
    }

    fn rule(want: &Want) -> &str {
        match want {
            Want::Nothing(reason) | Want::Stay(reason, _) => &reason.rule,
            Want::Newest(..) => "newest",
        }
    }

    #[test]
    fn each_rule_says_why_and_what_can_be_done() {
        let green = Pipeline::Passed(PipelineId(1));
        let now = Timestamp::from_seconds(1_001);
        let told = |row: &Preview, request: &RequestNow, policy: &Policy, pipeline| {
            let want = decide(row, Some(request), policy, pipeline, now);
            if let Want::Nothing(reason) | Want::Stay(reason, _) = &want {
                assert!(!reason.why.is_empty(), "{reason:?}");
                assert!(!reason.next.is_empty() || reason.rule == "merged", "{reason:?}");
            }
            rule(&want).to_owned()
        };
        assert_eq!(told(&row(), &request(), &on(), green), "newest");
        assert_eq!(told(&row(), &request(), &Policy::Missing, green), "off");
        assert_eq!(told(&row(), &request(), &Policy::Off, green), "off");
        let wrong = Policy::Wrong("bascule.yaml:1:1: no".into());
        assert_eq!(told(&row(), &request(), &wrong, green), "bad_policy");
        assert_eq!(told(&row(), &request(), &on(), Pipeline::None), "no_pipeline");
        let running = Pipeline::Running(PipelineId(1));
        assert_eq!(told(&row(), &request(), &on(), running), "pipeline_running");
        let failed = Pipeline::Failed(PipelineId(1));
        assert_eq!(told(&row(), &request(), &on(), failed), "pipeline_failed");
        let gone = RequestNow {
            has_source: false,
            ..request()
        };
        assert_eq!(told(&row(), &gone, &on(), green), "branch_gone");
        let closed = RequestNow {
            open: false,
            ..request()
        };
        assert_eq!(told(&row(), &closed, &on(), green), "closed");
        let merged = RequestNow {
            open: false,
            merged: true,
            ..request()
        };
        assert_eq!(told(&row(), &merged, &on(), green), "merged");
    }

    #[test]
    fn a_stop_holds_for_its_commit_and_a_maintainers_word_too() {
        let green = Pipeline::Passed(PipelineId(1));
        let now = Timestamp::from_seconds(1_001);
        let stopped = Preview {
            stopped_head: Some("h1".into()),
            stopped_by: Some("developer".into()),
            ..row()
        };
        let want = decide(&stopped, Some(&request()), &on(), green, now);
        assert_eq!(rule(&want), "stopped");
        let pushed = RequestNow {
            head: "h2".into(),
            ..request()
        };
        assert_eq!(
            rule(&decide(&stopped, Some(&pushed), &on(), green, now)),
            "newest"
        );

        let stranger = RequestNow {
            trusted: false,
            ..request()
        };
        assert_eq!(rule(&decide(&row(), Some(&stranger), &on(), green, now)), "fork");
        let allowed = Preview {
            allowed_head: Some("h1".into()),
            ..row()
        };
        assert_eq!(
            rule(&decide(&allowed, Some(&stranger), &on(), green, now)),
            "newest"
        );
        let pushed = RequestNow {
            head: "h2".into(),
            ..stranger
        };
        assert_eq!(rule(&decide(&allowed, Some(&pushed), &on(), green, now)), "fork");
    }

    #[test]
    fn without_a_change_it_ends_after_its_time() {
        let green = Pipeline::Passed(PipelineId(1));
        let at = |seconds: i64| {
            let now = Timestamp::from_seconds(1_000 + seconds);
            rule(&decide(&row(), Some(&request()), &on(), green, now)).to_owned()
        };
        assert_eq!(at(3 * 86_400 - 1), "newest");
        assert_eq!(at(3 * 86_400), "expired");
    }

    #[test]
    fn names_are_told_apart_and_versions_are_before_every_release() {
        assert!(is_environment_name("review-7") && is_environment_name(&environment_name(12)));
        assert!(
            !is_environment_name("review-")
                && !is_environment_name("review-a")
                && !is_environment_name("staging")
        );
        let version = semver::Version::parse(&version_of(7, "0123456789abcdef0123")).unwrap();
        assert_eq!(version.to_string(), "0.0.0-review.7.g0123456789ab");
        assert!(version < semver::Version::new(0, 0, 1));
    }
}
