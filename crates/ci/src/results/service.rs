//! Questions about what pipelines found out.

use super::{
    coverage::Share,
    store::{self, Covered},
    timing::{Timed, critical_path},
};
use crate::{
    Ci,
    job::Job,
    pipeline::{Pipeline, milliseconds},
};
use bascule_core::{Caller, JobId, PipelineId, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::facts::forge::ProjectChanged;
use bascule_wire::{
    ci_results::{
        CiSettings, Coverage, FlakyTest, JobReport, PipelineResults, PipelineTiming, TestCounts, TestFailure,
        TestReport, TestRun, TimedJob,
    },
    runner::Variable,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// Failures of a pipeline that are told one by one.
const FAILURES: i64 = 5_000;
/// Slowest jobs told.
const SLOWEST: usize = 50;
/// How long a test is called flaky after it was seen to be.
pub(crate) const FLAKY_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Floor of projects that set none: 80 %.
const FLOOR: Share = Share(8_000);

/// What being below the floor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Off,
    /// It is said on the merge request.
    Warn,
    /// It holds the merge.
    Fail,
}

impl Gate {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Off, Self::Warn, Self::Fail]
            .into_iter()
            .find(|gate| gate.as_str() == word)
    }
}

/// What a pipeline's coverage is compared with and held against.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// The pipeline's.
    pub share: Share,
    /// That of the newest pipeline of the default branch before it.
    pub trunk: Option<(PipelineId, Share)>,
    /// What the project asks for.
    pub floor: Share,
    /// What being below it does.
    pub gate: Gate,
}

impl Weighed {
    /// As the API tells it.
    #[must_use]
    pub fn to_wire(&self) -> Coverage {
        Coverage {
            percent: self.share.to_string(),
            change: self.trunk.map(|(_, share)| self.share.change_from(share)),
            compared_with: self.trunk.map(|(id, _)| id),
            floor: self.floor.to_string(),
            gate: self.gate.as_str().to_owned(),
            below: self.gate != Gate::Off && self.share < self.floor,
        }
    }
}

/// A pipeline's coverage of its jobs': where they tell of lines, all lines together; else the mean.
fn of_jobs(rows: &[&Covered]) -> Option<Share> {
    let reports: Vec<(i64, i64)> = rows
        .iter()
        .filter_map(|row| Some((row.covered?, row.lines?)))
        .collect();
    if !reports.is_empty() {
        let sum = |pick: fn(&(i64, i64)) -> i64| reports.iter().map(pick).fold(0_i64, i64::saturating_add);
        return Share::of(sum(|r| r.0), sum(|r| r.1));
    }
    let count = i64::try_from(rows.len()).ok().filter(|count| *count > 0)?;
    Some(Share(rows.iter().map(|row| row.share).sum::<i64>() / count))
}

impl Ci {
    /// Which branch a project's pipelines are compared with.
    async fn trunk(&self, project: ProjectId) -> Result<Option<String>> {
        let info = self.code.project(project).await?;
        Ok(info.map(|info| info.default_branch))
    }

    /// Coverage of pipelines that have one.
    pub(crate) async fn coverage_of(&self, pipelines: &[PipelineId]) -> Result<HashMap<PipelineId, Share>> {
        let mut found = HashMap::new();
        for some in pipelines.chunks(200) {
            let reporting = self.reporting(some).await?;
            let members: Vec<PipelineId> = reporting.iter().map(|(_, member)| *member).collect();
            let mut rows: HashMap<PipelineId, Vec<Covered>> = HashMap::new();
            for members in members.chunks(500) {
                for row in store::coverage(&self.db, members).await? {
                    rows.entry(row.pipeline_id).or_default().push(row);
                }
            }
            let mut by_pipeline: HashMap<PipelineId, Vec<&Covered>> = HashMap::new();
            for (asked, member) in &reporting {
                if let Some(own) = rows.get(member) {
                    by_pipeline.entry(*asked).or_default().extend(own);
                }
            }
            found.extend(
                by_pipeline
                    .into_iter()
                    .filter_map(|(id, rows)| Some((id, of_jobs(&rows)?))),
            );
        }
        Ok(found)
    }

    /// A pipeline's coverage, compared with a branch of a project.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn weigh_coverage(
        &self,
        pipeline: PipelineId,
        project: ProjectId,
        branch: &str,
    ) -> Result<Option<Weighed>> {
        let before = self.counts_for(pipeline).await?;
        let candidates = store::newest_with_coverage(&self.db, project, branch, before).await?;
        let earlier = self.first_counted(candidates).await?;
        let mut wanted = vec![pipeline];
        wanted.extend(earlier);
        let shares = self.coverage_of(&wanted).await?;
        let Some(share) = shares.get(&pipeline).copied() else {
            return Ok(None);
        };
        let (floor, gate) = self.coverage_setting(project).await?;
        Ok(Some(Weighed {
            share,
            trunk: earlier.and_then(|id| Some((id, *shares.get(&id)?))),
            floor,
            gate,
        }))
    }

    async fn coverage_setting(&self, project: ProjectId) -> Result<(Share, Gate)> {
        let set = store::setting(&self.db, project).await?;
        Ok(set.map_or((FLOOR, Gate::Warn), |set| {
            (
                Share(set.coverage_floor),
                Gate::parse(&set.coverage_gate).unwrap_or(Gate::Warn),
            )
        }))
    }

    /// What a project asks of its pipelines' results.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn ci_settings(&self, project: ProjectId) -> Result<CiSettings> {
        let (floor, gate) = self.coverage_setting(project).await?;
        Ok(CiSettings {
            coverage_floor: floor.to_string(),
            coverage_gate: gate.as_str().to_owned(),
        })
    }

    /// Sets what a project asks of its pipelines' results.
    ///
    /// # Errors
    /// The caller is a program, the floor is no percentage, or the gate none of its words.
    pub async fn set_ci_settings(
        &self,
        project: ProjectId,
        set: &CiSettings,
        caller: &Caller,
    ) -> Result<CiSettings> {
        caller.must_be_person("says what coverage does to merges")?;
        let floor = Share::parse(&set.coverage_floor).ok_or_else(|| {
            Problem::invalid("bad_floor", "The floor of coverage is no percentage.")
                .next("Write a number from 0 to 100, such as `80` or `82.5`.")
        })?;
        let gate = Gate::parse(&set.coverage_gate).ok_or_else(|| {
            Problem::invalid("bad_gate", "What coverage below the floor does is not known.")
                .next("Write `off`, `warn` or `fail`.")
        })?;
        let tx = self.db.begin().await?;
        store::put_setting(&tx, project, floor.0, gate.as_str()).await?;
        let fact = ProjectChanged {
            project,
            setting: "coverage_floor".to_owned(),
            value: format!("{floor} {}", gate.as_str()),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.ci_settings(project).await
    }

    /// What the tests of a pipeline came to; `None` if no job reported any.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn test_counts(&self, pipeline: PipelineId) -> Result<Option<TestCounts>> {
        let members = self.reporting_for(pipeline).await?;
        let runs = store::runs(&self.db, &members).await?;
        Ok((!runs.is_empty()).then(|| sum(&runs)))
    }

    /// The tests of a pipeline, compared with a branch of a project.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn test_report(
        &self,
        pipeline: PipelineId,
        project: ProjectId,
        branch: &str,
    ) -> Result<TestReport> {
        let members = self.reporting_for(pipeline).await?;
        let runs = store::runs(&self.db, &members).await?;
        let faults: BTreeMap<JobId, (String, String)> = store::reports(&self.db, &members)
            .await?
            .into_iter()
            .filter(|report| report.kind == "junit")
            .filter_map(|report| Some((report.job_id, (report.job_name, report.fault?))))
            .collect();
        let rows = store::failures(&self.db, &members, FAILURES).await?;
        let trunk = match runs.is_empty() {
            true => None,
            false => {
                let before = self.counts_for(pipeline).await?;
                let candidates = store::newest_with_tests(&self.db, project, branch, before).await?;
                self.first_counted(candidates).await?
            }
        };
        let known: HashSet<String> = match trunk {
            Some(id) if !rows.is_empty() => {
                let members = self.reporting_for(id).await?;
                let jobs: Vec<JobId> = store::runs(&self.db, &members)
                    .await?
                    .iter()
                    .map(|run| run.job_id)
                    .collect();
                store::failed_keys(&self.db, &jobs).await?.into_iter().collect()
            }
            _ => HashSet::new(),
        };
        let flaky: HashSet<String> = match rows.is_empty() {
            true => HashSet::new(),
            false => self
                .flaky_tests(project, 1_000)
                .await?
                .into_iter()
                .map(|one| one.key)
                .collect(),
        };
        let mut failures: Vec<TestFailure> = rows
            .into_iter()
            .map(|row| TestFailure {
                new: trunk.map(|_| !known.contains(&row.test_key)),
                flaky: flaky.contains(&row.test_key),
                job: row.job_id,
                key: row.test_key,
                suite: row.suite,
                class: row.class,
                name: row.name,
                file: row.file,
                status: row.status,
                duration_ms: row.took / 1_000,
                message: row.message,
                output: row.output,
            })
            .collect();
        failures.sort_by_key(|one| one.new != Some(true));
        let new = failures.iter().filter(|one| one.new == Some(true)).count();
        let mut wire: Vec<TestRun> = runs
            .iter()
            .map(|run| TestRun {
                job: run.job_id,
                name: run.job_name.clone(),
                counts: sum(std::slice::from_ref(run)),
                fault: None,
            })
            .collect();
        wire.extend(faults.into_iter().map(|(job, (name, fault))| TestRun {
            job,
            name,
            counts: TestCounts::default(),
            fault: Some(fault),
        }));
        Ok(TestReport {
            pipeline,
            counts: sum(&runs),
            new_failures: trunk.map(|_| i64::try_from(new).unwrap_or(i64::MAX)),
            compared_with: trunk,
            runs: wire,
            failures,
        })
    }

    /// The same, compared with the project's own default branch.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn own_test_report(&self, pipeline: &Pipeline) -> Result<TestReport> {
        let trunk = self.trunk(pipeline.project_id).await?.unwrap_or_default();
        self.test_report(pipeline.id, pipeline.project_id, &trunk).await
    }

    /// What a pipeline found out, in short, compared with the project's default branch.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn pipeline_results(&self, project: ProjectId, id: PipelineId) -> Result<PipelineResults> {
        let pipeline = self.pipeline(project, id).await?;
        let trunk = self.trunk(project).await?.unwrap_or_default();
        let tests = self.test_report(pipeline.id, project, &trunk).await?;
        self.results_against(&pipeline, project, &trunk, &tests).await
    }

    /// What a pipeline found out, in short, compared with a branch of a project.
    pub(crate) async fn results_against(
        &self,
        pipeline: &Pipeline,
        project: ProjectId,
        branch: &str,
        tests: &TestReport,
    ) -> Result<PipelineResults> {
        let reports = store::reports(&self.db, &self.reporting_for(pipeline.id).await?).await?;
        let coverage = self.weigh_coverage(pipeline.id, project, branch).await?;
        Ok(PipelineResults {
            pipeline: pipeline.id,
            status: pipeline.status.to_string(),
            new_failures: tests.new_failures,
            tests: tests
                .runs
                .iter()
                .any(|run| run.fault.is_none())
                .then(|| tests.counts.clone()),
            coverage: coverage.map(|coverage| coverage.to_wire()),
            reports: reports
                .into_iter()
                .map(|report| JobReport {
                    job: report.job_id,
                    name: report.job_name,
                    kind: report.kind,
                    count: report.found,
                    fault: report.fault,
                })
                .collect(),
        })
    }

    /// Where a pipeline's time went.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn pipeline_timing(&self, project: ProjectId, id: PipelineId) -> Result<PipelineTiming> {
        self.pipeline(project, id).await?;
        let cells: Vec<store::Cell> = store::cells(&self.db, id)
            .await?
            .into_iter()
            .filter(|cell| !cell.retried)
            .collect();
        let timed: Vec<Timed> = cells
            .iter()
            .map(|cell| Timed {
                id: cell.id,
                name: cell.name.clone(),
                stage: cell.stage_index,
                needs: cell.need_names(),
                queued: cell.queued_at,
                started: cell.started_at,
                finished: cell.finished_at,
            })
            .collect();
        let to_wire = |cell: &store::Cell, held: Duration, waited: Duration, ran: Duration| TimedJob {
            job: cell.id,
            name: cell.name.clone(),
            stage: cell.stage.clone(),
            held_ms: milliseconds(held),
            waited_ms: milliseconds(waited),
            ran_ms: milliseconds(ran),
        };
        let path = critical_path(&timed);
        let mut ran: Vec<TimedJob> = cells
            .iter()
            .filter_map(|cell| {
                let (started, finished) = (cell.started_at?, cell.finished_at?);
                let waited = cell
                    .queued_at
                    .map(|queued| started.since(queued))
                    .unwrap_or_default();
                Some(to_wire(cell, Duration::ZERO, waited, finished.since(started)))
            })
            .collect();
        ran.sort_by_key(|job| (std::cmp::Reverse(job.ran_ms), job.job));
        ran.truncate(SLOWEST);
        Ok(PipelineTiming {
            pipeline: id,
            critical_path: path
                .iter()
                .filter_map(|step| Some(to_wire(cells.get(step.job)?, step.held, step.waited, step.ran)))
                .collect(),
            slowest: ran,
        })
    }

    /// Tests that both failed and passed on one commit within the last 30 days, the flakiest first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn flaky_tests(&self, project: ProjectId, limit: i64) -> Result<Vec<FlakyTest>> {
        let since = ago(self.clock.now(), FLAKY_FOR);
        Ok(store::flaky(&self.db, project, since, limit)
            .await?
            .into_iter()
            .map(|row| FlakyTest {
                key: row.test_key,
                suite: row.suite,
                class: row.class,
                name: row.name,
                job_name: row.job_name,
                commits: row.commits,
                last_job: row.last_job,
                last_at: row.last_at,
            })
            .collect())
    }

    /// Variables that a job takes over from the jobs before it: from those whose artifacts it takes.
    pub(crate) async fn inherited(&self, job: &Job) -> Result<Vec<Variable>> {
        let makers = store::makers(&self.db, job.pipeline_id).await?;
        if makers.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Option<HashSet<&str>> = match (&job.dependencies, &job.needs) {
            (Some(list), _) => Some(list.0.iter().map(String::as_str).collect()),
            (None, Some(needs)) => Some(
                needs
                    .0
                    .iter()
                    .filter(|need| need.artifacts)
                    .map(|need| need.job.as_str())
                    .collect(),
            ),
            (None, None) => None,
        };
        let from: Vec<JobId> = makers
            .iter()
            .filter(|maker| match &wanted {
                Some(names) => names.contains(maker.name.as_str()),
                None => maker.stage_index < job.stage_index,
            })
            // What a group requires is not to be turned to other ends by a project's jobs.
            .filter(|maker| maker.required == job.required)
            .map(|maker| maker.id)
            .collect();
        let mut made = store::dotenv(&self.db, &from).await?;
        // Of two that make the same, the later in the pipeline's order counts.
        made.sort_by_key(|one| from.iter().position(|id| *id == one.job_id));
        Ok(made
            .into_iter()
            .map(|one| Variable {
                public: false,
                raw: true,
                ..Variable::public(one.name, one.value)
            })
            .collect())
    }
}

/// So long before.
pub(crate) fn ago(now: Timestamp, span: Duration) -> Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(micros))
}

fn sum(runs: &[store::Run]) -> TestCounts {
    let mut counts = TestCounts::default();
    let mut took = 0_i64;
    for run in runs {
        counts.total += run.total;
        counts.failed += run.failed;
        counts.errors += run.errors;
        counts.skipped += run.skipped;
        took = took.saturating_add(run.took);
    }
    counts.duration_ms = took / 1_000;
    counts
}
