//! What follows from what: which jobs may start once others ended, and how a pipeline stands as a whole.
//! Pure; the rules are GitLab's.

use crate::{
    config::When,
    status::{JobStatus, PipelineStatus},
};
use bascule_core::JobId;
use std::collections::HashMap;

/// Whose a job is. Jobs of one track follow the stages of that track alone, so that a project can neither hold up
/// nor skip what its group requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Track {
    /// The project's own.
    #[default]
    Own,
    /// Required by the group; it runs beside the project's jobs.
    Required,
    /// Required by the group; the project's jobs wait for it and do not run without its success.
    Gate,
}

impl Track {
    /// Whether the group requires it.
    #[must_use]
    pub const fn is_required(self) -> bool {
        !matches!(self, Self::Own)
    }
}

/// A job as far as the order of jobs needs it. Jobs that were tried again are left out.
#[derive(Clone, Debug)]
pub struct JobState {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Index of its stage.
    pub stage: i64,
    /// How it stands.
    pub status: JobStatus,
    /// When it runs.
    pub when: When,
    /// Whether its failure leaves the others alone (for a job that failed: with its exit code).
    pub allow_failure: bool,
    /// Names of the jobs that it waits for; `None` is all of the earlier stages.
    pub needs: Option<Vec<String>>,
    /// Whose it is.
    pub track: Track,
    /// The name of the required pipeline that it belongs to: one that fails holds up no other.
    pub required: Option<String>,
    /// Whether it makes another pipeline rather than run on a runner.
    pub bridge: bool,
    /// Whether it belongs to a resource group.
    pub resource: bool,
    /// Whether it makes a release: what is signed has passed all that the group requires, gate or not.
    pub releases: bool,
}

/// Jobs that stand alike, as far as the whole stands by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How they stand.
    pub status: JobStatus,
    /// Whether their failure leaves the others alone (for jobs that failed: with their exit code).
    pub allow_failure: bool,
}

impl Standing {
    /// Whether a job failed that may not.
    #[must_use]
    pub fn failed(self) -> bool {
        self.status == JobStatus::Failed && !self.allow_failure
    }
}

impl JobState {
    /// Whether the stages of one are the other's too.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        self.track == other.track && self.required == other.required
    }

    /// As the whole sees it.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing {
            status: self.status,
            allow_failure: self.allow_failure,
        }
    }

    /// How the job stands once nothing before it holds it up: it waits for its resource group, or for a runner; a
    /// bridge needs none, the platform itself does its work.
    #[must_use]
    pub const fn ready(&self) -> JobStatus {
        ready(self.bridge, self.resource)
    }
}

/// As [`JobState::ready`].
#[must_use]
pub const fn ready(bridge: bool, resource: bool) -> JobStatus {
    match (resource, bridge) {
        (true, _) => JobStatus::WaitingForResource,
        (false, true) => JobStatus::Running,
        (false, false) => JobStatus::Pending,
    }
}

/// The jobs that change, with their new status. Applied again to its own result it finds nothing.
#[must_use]
pub fn advance(jobs: &[JobState]) -> Vec<(JobId, JobStatus)> {
    let mut jobs: Vec<JobState> = jobs.to_vec();
    let by_name = by_name(&jobs);
    let mut changes = Vec::new();
    loop {
        let mut changed = false;
        for index in 0..jobs.len() {
            if jobs[index].status != JobStatus::Created {
                continue;
            }
            if let Some(next) = next_status(&jobs, index, &by_name) {
                jobs[index].status = next;
                changes.push((jobs[index].id, next));
                changed = true;
            }
        }
        if !changed {
            return changes;
        }
    }
}

/// How a job stands at first that takes the place of one that ended. Like any other it comes to its turn by [`advance`], so
/// that nobody gets past stages, needs or gates by stopping it and trying it again; but who tries again what once
/// `begun` need not say a second time that it shall run, nor wait for its time once more.
#[must_use]
pub fn again(jobs: &[JobState], id: JobId, begun: bool) -> JobStatus {
    let Some(index) = jobs.iter().position(|job| job.id == id) else {
        return JobStatus::Created;
    };
    match next_status(jobs, index, &by_name(jobs)) {
        Some(JobStatus::Manual | JobStatus::Scheduled) if begun => jobs[index].ready(),
        _ => JobStatus::Created,
    }
}

fn by_name(jobs: &[JobState]) -> HashMap<String, usize> {
    jobs.iter()
        .enumerate()
        .map(|(index, job)| (job.name.clone(), index))
        .collect()
}

/// Where a created job goes now; `None` while it must wait.
fn next_status(jobs: &[JobState], index: usize, by_name: &HashMap<String, usize>) -> Option<JobStatus> {
    let job = &jobs[index];
    // Most jobs that are not due wait for one that comes soon in the list.
    if job.needs.is_none()
        && jobs
            .iter()
            .any(|other| other.stage < job.stage && other.goes_with(job) && waits(other))
    {
        return None;
    }
    let before: Vec<&JobState> = match &job.needs {
        // A need that is not there was optional.
        Some(needs) => needs
            .iter()
            .filter_map(|name| by_name.get(name))
            .map(|i| &jobs[*i])
            .collect(),
        None => jobs
            .iter()
            .filter(|other| other.stage < job.stage && other.goes_with(job))
            .collect(),
    };
    let gates = jobs.iter().filter(|other| stands_before(other, job));
    if before.iter().copied().chain(gates.clone()).any(waits) {
        return None;
    }
    // Also `when: always` does not get past what the group requires first.
    let lost = |other: &JobState| matches!(other.status, JobStatus::Failed | JobStatus::Canceled);
    if gates.into_iter().any(|gate| lost(gate) && !gate.allow_failure) {
        return Some(JobStatus::Skipped);
    }
    let failed = before
        .iter()
        .any(|other| other.status == JobStatus::Failed && !other.allow_failure);
    let canceled = before
        .iter()
        .any(|other| other.status == JobStatus::Canceled && !other.allow_failure);
    // Who names a job needs its result; a stage only follows.
    let absent = job.needs.is_some()
        && before
            .iter()
            .any(|other| matches!(other.status, JobStatus::Skipped | JobStatus::Manual));
    let good = !failed && !canceled && !absent;
    Some(match job.when {
        When::OnSuccess if good => job.ready(),
        When::Manual if good => JobStatus::Manual,
        When::Delayed if good => JobStatus::Scheduled,
        When::OnFailure if failed => job.ready(),
        When::Always => job.ready(),
        When::OnSuccess | When::Manual | When::Delayed | When::OnFailure | When::Never => JobStatus::Skipped,
    })
}

/// Whether `job` goes on only after `other`, which the group requires.
fn stands_before(other: &JobState, job: &JobState) -> bool {
    let gate = other.track == Track::Gate || (job.releases && other.track.is_required());
    gate && job.track == Track::Own
}

/// Whether those behind must wait for this job.
fn waits(job: &JobState) -> bool {
    match job.status {
        JobStatus::Created
        | JobStatus::Pending
        | JobStatus::Running
        | JobStatus::Canceling
        | JobStatus::Scheduled
        | JobStatus::WaitingForResource => true,
        JobStatus::Manual => !job.allow_failure,
        JobStatus::Success | JobStatus::Failed | JobStatus::Canceled | JobStatus::Skipped => false,
    }
}

/// How a pipeline with these jobs stands.
#[must_use]
pub fn summarize(jobs: &[Standing]) -> PipelineStatus {
    let any = |status: JobStatus| jobs.iter().any(|job| job.status == status);
    let begun = jobs.iter().any(|job| {
        matches!(
            job.status,
            JobStatus::Success
                | JobStatus::Failed
                | JobStatus::Canceled
                | JobStatus::Running
                | JobStatus::Canceling
        )
    });
    if any(JobStatus::Running) || any(JobStatus::Canceling) {
        return PipelineStatus::Running;
    }
    if any(JobStatus::Pending) || any(JobStatus::WaitingForResource) {
        return if begun {
            PipelineStatus::Running
        } else {
            PipelineStatus::Pending
        };
    }
    if jobs
        .iter()
        .any(|job| job.status == JobStatus::Manual && !job.allow_failure)
    {
        return PipelineStatus::Manual;
    }
    if any(JobStatus::Scheduled) {
        return PipelineStatus::Scheduled;
    }
    if any(JobStatus::Created) {
        return if begun {
            PipelineStatus::Running
        } else {
            PipelineStatus::Created
        };
    }
    let counts = |status: JobStatus| jobs.iter().any(|job| job.status == status && !job.allow_failure);
    let allowed = |status: JobStatus| jobs.iter().any(|job| job.status == status && job.allow_failure);
    if counts(JobStatus::Failed) {
        PipelineStatus::Failed
    } else if counts(JobStatus::Canceled) {
        PipelineStatus::Canceled
    } else if allowed(JobStatus::Failed) || allowed(JobStatus::Canceled) {
        PipelineStatus::Warning
    } else if any(JobStatus::Success) {
        PipelineStatus::Success
    } else {
        PipelineStatus::Skipped
    }
}

/// Skipped jobs that get another chance because `from` is tried again or started: those behind it.
#[must_use]
pub fn revived(jobs: &[JobState], from: &str) -> Vec<JobId> {
    let Some(origin) = jobs.iter().find(|job| job.name == from) else {
        return Vec::new();
    };
    let mut behind: Vec<&str> = vec![from];
    loop {
        let more: Vec<&str> = jobs
            .iter()
            .filter(|job| !behind.contains(&job.name.as_str()))
            .filter(|job| {
                (match &job.needs {
                    Some(needs) => needs.iter().any(|need| behind.contains(&need.as_str())),
                    None => job.stage > origin.stage && job.goes_with(origin),
                }) || stands_before(origin, job)
            })
            .map(|job| job.name.as_str())
            .collect();
        if more.is_empty() {
            break;
        }
        behind.extend(more);
    }
    jobs.iter()
        .filter(|job| {
            job.status == JobStatus::Skipped && job.name != from && behind.contains(&job.name.as_str())
        })
        .map(|job| job.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(id: i64, stage: i64, status: JobStatus) -> JobState {
        JobState {
            id: JobId(id),
            name: format!("j{id}"),
            stage,
            status,
            when: When::OnSuccess,
            allow_failure: false,
            needs: None,
            track: Track::Own,
            required: None,
            bridge: false,
            resource: false,
            releases: false,
        }
    }

    fn whole(jobs: &[JobState]) -> PipelineStatus {
        let standings: Vec<Standing> = jobs.iter().map(JobState::standing).collect();
        summarize(&standings)
    }

    fn after(jobs: &mut [JobState]) -> Vec<JobStatus> {
        for (id, status) in advance(jobs) {
            if let Some(job) = jobs.iter_mut().find(|job| job.id == id) {
                job.status = status;
            }
        }
        jobs.iter().map(|job| job.status).collect()
    }

    use JobStatus::{
        Canceled, Created, Failed, Manual, Pending, Running, Scheduled, Skipped, Success, WaitingForResource,
    };

    #[test]
    fn stages_follow_each_other() {
        let mut jobs = vec![job(1, 0, Created), job(2, 0, Created), job(3, 1, Created)];
        assert_eq!(after(&mut jobs), [Pending, Pending, Created]);
        jobs[0].status = Success;
        jobs[1].status = Running;
        assert_eq!(after(&mut jobs), [Success, Running, Created]);
        jobs[1].status = Success;
        assert_eq!(after(&mut jobs), [Success, Success, Pending]);
    }

    #[test]
    fn after_a_failure_only_on_failure_and_always_run() {
        let mut jobs = vec![
            job(1, 0, Failed),
            job(2, 1, Created),
            job(3, 1, Created),
            job(4, 1, Created),
        ];
        jobs[2].when = When::OnFailure;
        jobs[3].when = When::Always;
        assert_eq!(after(&mut jobs), [Failed, Skipped, Pending, Pending]);
        jobs[0].allow_failure = true;
        for job in &mut jobs[1..] {
            job.status = Created;
        }
        assert_eq!(after(&mut jobs), [Failed, Pending, Skipped, Pending]);
    }

    #[test]
    fn needs_start_before_their_stage_and_do_not_do_without() {
        let mut jobs = vec![
            job(1, 0, Success),
            job(2, 0, Running),
            job(3, 1, Created),
            job(4, 1, Created),
        ];
        jobs[2].needs = Some(vec!["j1".into()]);
        jobs[3].needs = Some(vec![]);
        assert_eq!(after(&mut jobs)[2..], [Pending, Pending]);
        let mut skipped = vec![job(1, 0, Skipped), job(2, 1, Created), job(3, 1, Created)];
        skipped[1].needs = Some(vec!["j1".into()]);
        assert_eq!(after(&mut skipped), [Skipped, Skipped, Pending]);
    }

    #[test]
    fn manual_jobs_hold_up_unless_allowed_to_fail() {
        let mut jobs = vec![job(1, 0, Created), job(2, 1, Created)];
        jobs[0].when = When::Manual;
        assert_eq!(after(&mut jobs), [Manual, Created]);
        assert_eq!(whole(&jobs), PipelineStatus::Manual);
        jobs[0].allow_failure = true;
        assert_eq!(after(&mut jobs), [Manual, Pending]);
        jobs[1].status = Success;
        assert_eq!(whole(&jobs), PipelineStatus::Success);
    }

    #[test]
    fn the_whole_stands_as_its_parts_do() {
        let mut allowed = job(2, 0, Failed);
        allowed.allow_failure = true;
        for (statuses, expected) in [
            (vec![Success, Success], PipelineStatus::Success),
            (vec![Success, Failed], PipelineStatus::Failed),
            (vec![Success, Canceled], PipelineStatus::Canceled),
            (vec![Failed, Canceled], PipelineStatus::Failed),
            (vec![Skipped, Skipped], PipelineStatus::Skipped),
            (vec![Success, Skipped], PipelineStatus::Success),
            (vec![Success, Pending], PipelineStatus::Running),
            (vec![Pending, Created], PipelineStatus::Pending),
            (vec![Running, Failed], PipelineStatus::Running),
            (vec![Success, Scheduled, Created], PipelineStatus::Scheduled),
            (vec![Scheduled, Pending], PipelineStatus::Pending),
            (vec![WaitingForResource, Created], PipelineStatus::Pending),
            (vec![Success, WaitingForResource], PipelineStatus::Running),
        ] {
            let jobs: Vec<JobState> = statuses.iter().zip(1..).map(|(s, id)| job(id, 0, *s)).collect();
            assert_eq!(whole(&jobs), expected, "{statuses:?}");
        }
        assert_eq!(whole(&[job(1, 0, Success), allowed]), PipelineStatus::Warning);
    }

    #[test]
    fn a_retry_revives_what_was_skipped_behind_it() {
        let mut jobs = vec![
            job(1, 0, Failed),
            job(2, 0, Skipped),
            job(3, 1, Skipped),
            job(4, 1, Skipped),
            job(5, 2, Success),
        ];
        jobs[3].needs = Some(vec!["j2".into()]);
        assert_eq!(revived(&jobs, "j1"), [JobId(3)]);
        assert_eq!(revived(&jobs, "j2"), [JobId(3), JobId(4)]);
    }

    #[test]
    fn a_job_that_is_tried_again_waits_for_its_turn() {
        let mut jobs = vec![job(1, 0, Running), job(2, 1, Created)];
        assert_eq!(again(&jobs, JobId(2), true), Created);
        assert_eq!(after(&mut jobs), [Running, Created]);
        jobs[0].status = Success;
        for when in [When::Manual, When::Delayed] {
            jobs[1].when = when;
            assert_eq!(
                again(&jobs, JobId(2), true),
                Pending,
                "it shall run, as was said before"
            );
            assert_eq!(
                again(&jobs, JobId(2), false),
                Created,
                "nobody has said that it shall run"
            );
        }
        // Also what began once does not get past a gate, nor past what failed since.
        jobs[1].when = When::Manual;
        jobs[0].status = Failed;
        assert_eq!(again(&jobs, JobId(2), true), Created);
        jobs[0].track = Track::Gate;
        assert_eq!(again(&jobs, JobId(2), true), Created);
        assert_eq!(after(&mut jobs), [Failed, Skipped]);
    }

    #[test]
    fn a_delayed_job_holds_up_those_behind_it_until_its_time() {
        let mut jobs = vec![job(1, 0, Created), job(2, 1, Created)];
        jobs[0].when = When::Delayed;
        assert_eq!(after(&mut jobs), [Scheduled, Created]);
        jobs[0].status = Pending;
        assert_eq!(after(&mut jobs), [Pending, Created]);
        let mut behind = vec![job(1, 0, Failed), job(2, 1, Created)];
        behind[1].when = When::Delayed;
        assert_eq!(after(&mut behind), [Failed, Skipped]);
    }

    #[test]
    fn bridges_need_no_runner_and_groups_are_waited_for() {
        let mut jobs = vec![job(1, 0, Created), job(2, 0, Created), job(3, 0, Created)];
        jobs[0].bridge = true;
        jobs[1].resource = true;
        jobs[2].bridge = true;
        jobs[2].resource = true;
        assert_eq!(
            after(&mut jobs),
            [Running, WaitingForResource, WaitingForResource]
        );
    }

    #[test]
    fn what_the_group_requires_runs_whatever_the_project_does() {
        let mut jobs = vec![
            job(1, 0, Failed),
            job(2, 1, Created),
            job(3, 2, Created),
            job(4, 3, Created),
        ];
        for required in &mut jobs[2..] {
            required.track = Track::Required;
        }
        assert_eq!(after(&mut jobs), [Failed, Skipped, Pending, Created]);
        jobs[2].status = Success;
        assert_eq!(after(&mut jobs), [Failed, Skipped, Success, Pending]);
        jobs[3].status = Failed;
        jobs[0].status = Success;
        assert_eq!(whole(&jobs), PipelineStatus::Failed);
    }

    #[test]
    fn one_required_pipeline_does_not_switch_the_others_off() {
        for track in [Track::Required, Track::Gate] {
            let mut jobs = vec![job(1, 0, Failed), job(2, 1, Created), job(3, 2, Created)];
            for (job, name) in jobs.iter_mut().zip(["licence", "secrets", "secrets"]) {
                (job.track, job.required) = (track, Some(name.to_owned()));
            }
            assert_eq!(after(&mut jobs), [Failed, Pending, Created]);
            assert!(revived(&jobs, "j1").is_empty());
        }
    }

    #[test]
    fn nothing_of_the_project_gets_past_a_gate_that_failed() {
        let mut jobs = vec![job(1, 0, Created), job(2, 1, Created), job(3, 1, Created)];
        jobs[0].track = Track::Gate;
        jobs[1].needs = Some(Vec::new());
        jobs[2].when = When::Always;
        assert_eq!(after(&mut jobs), [Pending, Created, Created]);
        jobs[0].status = Failed;
        assert_eq!(after(&mut jobs), [Failed, Skipped, Skipped]);
        assert_eq!(revived(&jobs, "j1"), [JobId(2), JobId(3)]);
        for job in &mut jobs[1..] {
            job.status = Created;
        }
        jobs[0].status = Success;
        assert_eq!(after(&mut jobs), [Success, Pending, Pending]);
    }

    #[test]
    fn a_release_waits_for_all_that_the_group_requires() {
        let mut jobs = vec![job(1, 0, Created), job(2, 1, Created), job(3, 1, Created)];
        jobs[0].track = Track::Required;
        for job in &mut jobs[1..] {
            job.needs = Some(Vec::new());
        }
        jobs[1].releases = true;
        assert_eq!(after(&mut jobs), [Pending, Created, Pending]);
        jobs[0].status = Failed;
        assert_eq!(after(&mut jobs), [Failed, Skipped, Pending]);
        assert_eq!(revived(&jobs, "j1"), [JobId(2)]);
        jobs[1].status = Created;
        jobs[0].status = Success;
        assert_eq!(after(&mut jobs), [Success, Pending, Pending]);
    }

    /// What a job of the property test is made of: stage, `when`, `allow_failure`, needs, how it ends, whose it is,
    /// and whether it is a bridge or of a resource group.
    type Shape = (i64, usize, bool, Option<Vec<usize>>, usize, usize, bool, bool);

    fn shape() -> impl Strategy<Value = Shape> {
        let needs = prop::option::of(prop::collection::vec(0_usize..8, 0..3));
        (
            0_i64..4,
            0_usize..5,
            any::<bool>(),
            needs,
            0_usize..3,
            0_usize..5,
            any::<bool>(),
            any::<bool>(),
        )
    }

    proptest! {
        /// Whatever the jobs and however they end, every pipeline comes to an end; nothing begins before what it
        /// waits for; no job of the project runs past a gate that did not open.
        #[test]
        fn every_pipeline_ends(shape in prop::collection::vec(shape(), 1..12)) {
            let track = |number: usize| [Track::Own, Track::Own, Track::Own, Track::Required, Track::Gate][number];
            let mut jobs: Vec<JobState> = shape.iter().enumerate().map(|(i, (stage, when, allow, needs, _, whose, bridge, resource))| JobState {
                id: JobId(i as i64),
                name: format!("j{i}"),
                stage: *stage,
                status: Created,
                when: [When::OnSuccess, When::OnFailure, When::Always, When::Manual, When::Delayed][*when],
                allow_failure: *allow,
                // Needs point at earlier jobs of no later stage and the same track only, as the planner guarantees.
                needs: needs.as_ref().map(|list| list.iter()
                    .filter(|n| **n < i && shape[**n].0 <= *stage && track(shape[**n].5) == track(*whose))
                    .map(|n| format!("j{n}")).collect()),
                track: track(*whose),
                required: None,
                bridge: *bridge,
                resource: *resource,
                releases: i % 3 == 1,
            }).collect();
            for _ in 0..200 {
                after(&mut jobs);
                prop_assert!(advance(&jobs).is_empty());
                let mut moved = false;
                for (i, job) in jobs.iter_mut().enumerate() {
                    match job.status {
                        // Its time comes, or its group is free.
                        Scheduled => job.status = job.ready(),
                        WaitingForResource => job.status = ready(job.bridge, false),
                        Pending | Running | Manual => job.status = [Success, Failed, Canceled][shape[i].4],
                        _ => continue,
                    }
                    moved = true;
                    break;
                }
                if !moved { break; }
            }
            prop_assert!(jobs.iter().all(|job| job.status.is_final()), "{jobs:?}");
            prop_assert!(whole(&jobs).is_final());
            let shut = jobs.iter().any(|job| {
                job.track == Track::Gate && matches!(job.status, Failed | Canceled) && !job.allow_failure
            });
            if shut {
                prop_assert!(jobs.iter().all(|job| job.track != Track::Own || job.status == Skipped), "{jobs:?}");
            }
        }
    }
}
