//! One job from first to last: sources, cache, dependencies, scripts, artifacts, result.

use crate::{
    Shared,
    api::JobRef,
    archive,
    context::{masker, project_dir, variables},
    executor::{self, Executor},
    files, git,
    quota::{self, Quota},
    report::Reporter,
    stop::{Reason, Stop},
    trace::Trace,
    way_out::Allowed,
    workspace::{self, Workspace},
};
use bascule_core::{Problem, Result};
use bascule_sandbox::Exit;
use bascule_wire::runner::{
    CachePolicy, FailureReason, HOOK_POST_GET_SOURCES, HOOK_PRE_GET_SOURCES, Job, JobState, JobUpdate,
    STEP_AFTER_SCRIPT, Step, Variable, When,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt, time::Instant};
use tokio_util::sync::CancellationToken;

/// Time that an `after_script` may take.
const AFTER_SCRIPT: Duration = Duration::from_secs(5 * 60);
/// Time between SIGTERM and SIGKILL for a job that has to end.
const GRACE: Duration = Duration::from_secs(2);
/// Time for the result of a job that nobody waits for.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(feature = "kubernetes")]
use crate::kubernetes;

pub(crate) use crate::ground::{Ground, Reach};

/// Why a job did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The script ended so.
    Script(i32),
    /// It had to end.
    Stopped(Reason),
    /// The runner could not do its part.
    System(Problem),
    /// The job asks for what cannot be, or is not to be had here.
    Refused(FailureReason, String),
    /// It used more than it may, or made what cannot be taken.
    Limit(String),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        // What is too large, or was packed so by a job, is no fault of the platform: to try it again would change nothing.
        if problem.status == 413 || archive::is_of_job(&problem) {
            return Self::Limit(problem.to_string());
        }
        Self::System(problem)
    }
}

/// Runs a job and reports on it. `halt` ends it because the runner ends.
pub(crate) async fn run(shared: Arc<Shared>, job: Job, halt: CancellationToken) {
    let config = &shared.config;
    let asked = u64::try_from(job.runner_info.timeout)
        .ok()
        .filter(|s| *s > 0)
        .map(Duration::from_secs);
    let timeout = asked
        .unwrap_or(bascule_core::limits::JOB_TIMEOUT)
        .min(config.limits.timeout);
    let stop = Stop::new(Instant::now() + timeout);
    let project_dir = project_dir(&job);
    let vars = variables(&shared, &job, &project_dir);
    let job_ref = JobRef {
        id: job.id,
        token: job.token.clone(),
        debug: vars.is_on("CI_DEBUG_TRACE"),
    };
    let trace = Trace::new(masker(&job, &vars), config.limits.log_bytes);
    tracing::info!(job = %job.id, name = job.job_info.name, project = job.job_info.project_full_path, "job starts");

    let done = CancellationToken::new();
    let mut reporter = Reporter::new(
        Arc::clone(&shared.api),
        job_ref.clone(),
        trace.clone(),
        stop.clone(),
    );
    let follower = tokio::spawn({
        let done = done.clone();
        async move {
            reporter.follow(&done).await;
            reporter
        }
    });
    let halting = tokio::spawn({
        let stop = stop.clone();
        async move {
            halt.cancelled().await;
            stop.set(Reason::Shutdown);
        }
    });

    #[cfg(feature = "kubernetes")]
    let space = match config.executor {
        executor::ExecutorKind::Kubernetes => {
            Workspace::of_pod(config.builds_dir.join(kubernetes::JOB), &job_ref)
        }
        _ => Workspace::create(&config.builds_dir, &job_ref),
    };
    #[cfg(not(feature = "kubernetes"))]
    let space = Workspace::create(&config.builds_dir, &job_ref);
    let result = match space {
        Ok(space) => {
            let mut on = Ground {
                shared: &shared,
                job: &job,
                job_ref: &job_ref,
                vars,
                trace: &trace,
                stop: &stop,
                space: space.clone(),
                project_dir,
                tracked: HashSet::new(),
            };
            on.tell_of_proxy();
            let result = match executor::choose(&shared, &job, &space.name()) {
                Ok(executor) => Box::pin(work(on, executor)).await,
                Err(failure) => Err(failure),
            };
            space.wipe().await;
            result
        }
        Err(problem) => Err(Failure::System(problem)),
    };

    let update = conclude(&trace, &job, timeout, &result);
    done.cancel();
    let patience = match &result {
        Err(Failure::Stopped(Reason::Canceled | Reason::Shutdown | Reason::Gone)) => {
            SHORT_PATIENCE.min(config.report_patience)
        }
        _ => config.report_patience,
    };
    tracing::info!(job = %job.id, state = %update.state, "job ends");
    match follower.await {
        Ok(mut reporter) => {
            reporter.finish(update, patience).await;
        }
        Err(error) => tracing::error!(job = %job.id, %error, "the reporter of a job broke down"),
    }
    halting.abort();
}

/// Writes the log's last line and says the same to the server.
fn conclude(trace: &Trace, job: &Job, timeout: Duration, result: &Result<(), Failure>) -> JobUpdate {
    let failed = |reason, exit_code| JobUpdate {
        state: JobState::Failed,
        failure_reason: Some(reason),
        exit_code,
        ..JobUpdate::default()
    };
    let mut update = match result {
        Ok(()) => {
            trace.line("\x1b[32;1mJob succeeded\x1b[0;m");
            JobUpdate {
                state: JobState::Success,
                exit_code: Some(0),
                ..JobUpdate::default()
            }
        }
        Err(Failure::Script(code)) => {
            trace.error(&format!("Job failed: exit code {code}"));
            failed(FailureReason::ScriptFailure, Some(*code))
        }
        Err(Failure::Refused(reason, what)) => {
            trace.error(&format!("Job failed: {what}"));
            failed(*reason, None)
        }
        Err(Failure::Limit(what)) => {
            trace.error(&format!("Job failed: {what}"));
            failed(FailureReason::ScriptFailure, None)
        }
        Err(Failure::System(problem)) => {
            trace.error(&format!("Job failed (system failure): {problem}"));
            failed(FailureReason::RunnerSystemFailure, None)
        }
        Err(Failure::Stopped(Reason::Timeout)) => {
            trace.error(&format!(
                "Job failed: it took longer than {} s. Make it shorter, or set `timeout:` higher.",
                timeout.as_secs()
            ));
            failed(FailureReason::JobExecutionTimeout, None)
        }
        Err(Failure::Stopped(Reason::Shutdown)) => {
            trace.error("Job failed (system failure): the runner was stopped before the job ended");
            failed(FailureReason::RunnerSystemFailure, None)
        }
        Err(Failure::Stopped(Reason::Canceling | Reason::Canceled | Reason::Gone)) => {
            trace.error("Job canceled");
            failed(FailureReason::JobCanceled, None)
        }
    };
    trace.end();
    let known = &job.features.failure_reasons;
    if let Some(reason) = &mut update.failure_reason
        && !known.is_empty()
        && !known.iter().any(|k| k == reason.as_str())
    {
        *reason = FailureReason::UnknownFailure;
    }
    update
}

async fn work(on: Ground<'_>, executor: Box<dyn Executor>) -> Result<(), Failure> {
    let mut execution = Execution { on, executor };
    let result = Box::pin(execution.run()).await;
    execution.executor.clean().await;
    result
}

struct Execution<'a> {
    on: Ground<'a>,
    executor: Box<dyn Executor>,
}

impl Ground<'_> {
    /// Waits until the job's files are more than it may have, and tells why.
    fn watched(&self, executor: &dyn Executor) -> impl Future<Output = String> + use<> {
        let limits = &self.shared.config.limits;
        let quota = Quota {
            bytes: limits.disk_bytes,
            entries: limits.disk_entries,
        };
        let mut folders = executor.folders();
        folders.push(self.space.root().to_owned());
        quota::exceeded(quota, folders)
    }
}

impl Execution<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let watched = self.on.watched(&*self.executor);
        let prepared = tokio::select! {
            biased;
            reason = self.on.stop.at_least(Reason::Timeout) => Err(Failure::Stopped(reason)),
            prepared = Box::pin(prepare(self)) => prepared,
            // Sources, caches and artifacts also count: a small repository may hold a tree without end.
            exceeded = watched => Err(Failure::Limit(exceeded)),
        };
        prepared?;
        let mut result = self.steps().await;
        if !ends_at_once(&result) {
            self.after_script(&result).await;
        }
        if ends_at_once(&result) || matches!(result, Err(Failure::Stopped(Reason::Canceling))) {
            return result;
        }
        let success = result.is_ok();
        // Nothing of the job's may change its files while they are read.
        self.executor.settle().await;
        let kept = tokio::select! {
            biased;
            reason = self.on.stop.at_least(Reason::Canceling) => Err(Failure::Stopped(reason)),
            kept = Box::pin(keep(&self.on, success)) => kept,
        };
        // The script's own failure says more than what came after it.
        if result.is_ok() {
            result = kept;
        } else if let Err(Failure::System(problem)) = kept {
            self.on.trace.warn(&problem.to_string());
        }
        result
    }

    /// All steps but `after_script`, one after the other.
    async fn steps(&mut self) -> Result<(), Failure> {
        let job = self.on.job;
        let mut result = Ok(());
        let mut any = false;
        for step in job.steps.iter().filter(|s| s.name != STEP_AFTER_SCRIPT) {
            if step.script.is_empty() {
                continue;
            }
            any = true;
            if !applies(step.when, result.is_ok()) || matches!(result, Err(Failure::Stopped(_))) {
                continue;
            }
            let section = format!("step_{}", step.name);
            self.on.section_start(
                &section,
                &format!("Executing \"step_{}\" stage of the job script", step.name),
            );
            let ended = self.step(step, None).await;
            self.on.section_end(&section);
            match ended {
                Err(Failure::Script(code)) if step.allow_failure => {
                    self.on.trace.warn(&format!(
                        "The step `{}` failed with {code}, which is allowed.",
                        step.name
                    ));
                }
                Err(failure) if result.is_ok() => result = Err(failure),
                _ => {}
            }
        }
        if !any {
            return Err(Failure::Refused(
                FailureReason::ConfigurationError,
                "it has no script this runner can run".to_owned(),
            ));
        }
        result
    }

    async fn after_script(&mut self, result: &Result<(), Failure>) {
        let job = self.on.job;
        let Some(step) = job
            .steps
            .iter()
            .find(|s| s.name == STEP_AFTER_SCRIPT && !s.script.is_empty())
        else {
            return;
        };
        let status = match result {
            Ok(()) => "success",
            Err(Failure::Stopped(Reason::Canceling)) => "canceled",
            Err(_) => "failed",
        };
        self.on.vars.set(Variable::public("CI_JOB_STATUS", status));
        self.on.section_start(STEP_AFTER_SCRIPT, "Running after_script");
        match self.step(step, Some(AFTER_SCRIPT)).await {
            Ok(()) => {}
            Err(Failure::Script(code)) => {
                self.on.trace.warn(&format!(
                    "after_script ended with {code}; the job's result stays."
                ));
            }
            Err(Failure::Stopped(Reason::Timeout)) => {
                self.on
                    .trace
                    .warn("after_script took longer than 5 minutes and was ended; the job's result stays.");
            }
            Err(Failure::System(problem)) => {
                self.on
                    .trace
                    .warn(&format!("after_script could not run: {problem}"));
            }
            Err(Failure::Limit(what)) => self.on.trace.warn(&format!("after_script was ended: {what}")),
            Err(Failure::Stopped(_) | Failure::Refused(..)) => {}
        }
        self.on.section_end(STEP_AFTER_SCRIPT);
    }

    /// Runs one step; `own_time` in place of the job's time, and then only a hard stop ends it.
    async fn step(&mut self, step: &Step, own_time: Option<Duration>) -> Result<(), Failure> {
        let on = &self.on;
        let mut running = self.executor.start(on, &step.script).await?;
        let mut pump = tokio::spawn({
            let trace = on.trace.clone();
            let output = running.output();
            async move {
                let Some(mut output) = output else { return };
                let mut buffer = vec![0; 32 * 1024];
                while let Ok(read @ 1..) = output.read(&mut buffer).await {
                    trace.write(buffer.get(..read).unwrap_or_default());
                }
            }
        });
        let stopped = async {
            match own_time {
                None => on.stop.at_least(Reason::Timeout).await,
                Some(time) => tokio::select! {
                    reason = on.stop.at_least(Reason::Canceled) => reason,
                    () = tokio::time::sleep(time) => Reason::Timeout,
                },
            }
        };
        let watched = on.watched(&*self.executor);
        let ended = tokio::select! {
            biased;
            exit = running.wait() => exit.map(Ok),
            reason = stopped => running.terminate(GRACE).await.map(|_| Err(Failure::Stopped(reason))),
            exceeded = watched => {
                running.terminate(Duration::ZERO).await.map(|_| Err(Failure::Limit(exceeded)))
            }
        };
        // All who could write are gone by now, so the end of the output is near.
        if tokio::time::timeout(Duration::from_secs(5), &mut pump)
            .await
            .is_err()
        {
            pump.abort();
        }
        ended??.judge(on)
    }
}

trait Judge {
    fn judge(self, on: &Ground<'_>) -> Result<(), Failure>;
}

impl Judge for Exit {
    /// What an exit means for the job.
    fn judge(self, on: &Ground<'_>) -> Result<(), Failure> {
        let allowed = on.shared.config.limits.memory_bytes >> 20;
        if self.oom_killed {
            on.trace.warn(&format!(
                "The job used more memory than the {allowed} MiB it is allowed, and a process of it was killed."
            ));
        }
        match self.code {
            0 => Ok(()),
            code => Err(Failure::Script(code)),
        }
    }
}

fn ends_at_once(result: &Result<(), Failure>) -> bool {
    matches!(
        result,
        Err(Failure::Stopped(
            Reason::Canceled | Reason::Shutdown | Reason::Gone
        ))
    )
}

/// Whether something with this `when` is due.
pub(crate) fn applies(when: When, success: bool) -> bool {
    match when {
        When::Always => true,
        When::OnSuccess => success,
        When::OnFailure => !success,
    }
}

/// All that comes before the script.
async fn prepare(execution: &mut Execution<'_>) -> Result<(), Failure> {
    let (e, config) = (&execution.on, &execution.on.shared.config);
    e.trace.line(&format!(
        "Running with bascule-runner {} on {}",
        env!("CARGO_PKG_VERSION"),
        config.name
    ));
    e.section_start("prepare_executor", "Preparing the executor");
    e.trace.line(&format!(
        "{}, network {}{}, {} MiB of memory, {} processes",
        execution.executor.title(),
        e.reach().as_str(),
        // The first thing that who comes from elsewhere runs into.
        match e.reach() {
            Reach::Nothing if !e.vars.is_on("BASCULE_NETWORK") => " (BASCULE_NETWORK: \"on\" asks for one)",
            _ => "",
        },
        config.limits.memory_bytes >> 20,
        config.limits.pids
    ));
    if e.vars.is_on("BASCULE_NETWORK") && e.reach() == Reach::Nothing {
        e.trace
            .warn("The job asks for a network (BASCULE_NETWORK), and this runner gives none.");
    }
    for (name, content) in e.vars.files() {
        let file = e.space.files().join(&name);
        workspace::write_private(&file, content.as_bytes())
            .map_err(|err| workspace::unwritable(&file, &err))?;
    }
    execution.executor.prepare(e).await?;
    e.section_end("prepare_executor");

    let strategy = e.vars.get("GIT_STRATEGY").unwrap_or_default();
    if !matches!(strategy.as_str(), "none" | "empty") && !e.job.git_info.repo_url.is_empty() {
        execution.hook(HOOK_PRE_GET_SOURCES).await?;
        execution.sources().await?;
        execution.hook(HOOK_POST_GET_SOURCES).await?;
    }
    let e = &execution.on;
    if e.job.cache.iter().any(|c| c.policy != CachePolicy::Push) {
        e.section_start("restore_cache", "Restoring cache");
        files::restore_caches(e).await;
        e.section_end("restore_cache");
    }
    if e.job.dependencies.iter().any(|d| d.artifacts_file.is_some()) {
        e.section_start("download_artifacts", "Downloading artifacts");
        files::download_dependencies(e).await?;
        e.section_end("download_artifacts");
    }
    Ok(())
}

impl Execution<'_> {
    /// Runs a script at a point of the runner's own work, where the job has one.
    async fn hook(&mut self, name: &str) -> Result<(), Failure> {
        let Some(hook) = self
            .on
            .job
            .hooks
            .iter()
            .find(|hook| hook.name == name && !hook.script.is_empty())
        else {
            return Ok(());
        };
        let step = Step {
            name: name.to_owned(),
            script: hook.script.clone(),
            ..Step::default()
        };
        self.on.section_start(name, &format!("Running {name}"));
        let ended = self.step(&step, None).await;
        self.on.section_end(name);
        ended
    }

    /// Fetches the sources.
    async fn sources(&mut self) -> Result<(), Failure> {
        let e = &mut self.on;
        e.section_start("get_sources", "Getting source from Git repository");
        let home = e.space.meta();
        git::Checkout {
            git: &e.job.git_info,
            dir: &e.space.sources(),
            home: &home,
            memory: e.shared.config.limits.memory_bytes,
            protocols: &e.shared.config.git_protocols,
            cache: e.object_cache(),
            wishes: git::Wishes::read(&e.vars, e.trace),
            beyond: match e.reach() {
                Reach::Nothing => Some(Allowed::server(&e.shared.config)),
                Reach::Mirrors => Some(Allowed::new(&e.shared.config)),
                Reach::Open => None,
            },
            trace: e.trace,
            stop: e.stop,
        }
        .run()
        .await?;
        let untracked =
            e.job.artifacts.iter().any(|a| a.untracked) || e.job.cache.iter().any(|c| c.untracked);
        if untracked {
            e.tracked = git::tracked(&e.space.sources(), &home)
                .await?
                .into_iter()
                .collect();
        }
        let space = e.space.clone();
        tokio::task::spawn_blocking(move || space.hand_over())
            .await
            .map_err(|error| Problem::internal().why(error.to_string()))?
            .map_err(|error| workspace::unwritable(&e.space.build(), &error))?;
        e.section_end("get_sources");
        Ok(())
    }
}

/// All that comes after the script.
async fn keep(e: &Ground<'_>, success: bool) -> Result<(), Failure> {
    if e.job
        .cache
        .iter()
        .any(|c| c.policy != CachePolicy::Pull && applies(c.when, success))
    {
        e.section_start("archive_cache", "Saving cache");
        files::store_caches(e, success).await;
        e.section_end("archive_cache");
    }
    if e.job.artifacts.iter().any(|a| applies(a.when, success)) {
        let section = if success {
            "upload_artifacts_on_success"
        } else {
            "upload_artifacts_on_failure"
        };
        e.section_start(section, "Uploading artifacts");
        let uploaded = files::upload_artifacts(e, success).await;
        e.section_end(section);
        uploaded.map_err(|problem| match problem.status {
            // The server read what the job made and it is not what the job says: it would not be at another try.
            400 | 422 => Failure::Limit(problem.to_string()),
            _ => problem.into(),
        })?;
    }
    Ok(())
}
