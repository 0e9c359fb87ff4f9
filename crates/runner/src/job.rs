//! One job from first to last: sources, cache, dependencies, scripts, artifacts, result.

use crate::{
    Shared,
    api::JobRef,
    archive::Bounds,
    cache::Caches,
    context::{masker, project_dir, variables},
    files, git,
    report::Reporter,
    script,
    stop::{Reason, Stop},
    trace::Trace,
    vars::Vars,
    workspace::{self, Workspace},
};
use bascule_core::{Problem, Result};
use bascule_sandbox::{Exit, Network, Sandbox, Spec};
use bascule_wire::runner::{
    CachePolicy, FailureReason, Job, JobState, JobUpdate, STEP_AFTER_SCRIPT, Step, Variable, When,
};
use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt, time::Instant};
use tokio_util::sync::CancellationToken;

/// Time that an `after_script` may take.
const AFTER_SCRIPT: Duration = Duration::from_secs(5 * 60);
/// Time between SIGTERM and SIGKILL for a job that has to end.
const GRACE: Duration = Duration::from_secs(2);
/// Time for the result of a job that nobody waits for.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);
/// Where rendered scripts lie inside the sandbox.
const SCRIPTS: &str = "/run/bascule";

/// Why a job did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The script ended so.
    Script(i32),
    /// It had to end.
    Stopped(Reason),
    /// The runner could not do its part.
    System(Problem),
    /// The job asks for what cannot be.
    Configuration(String),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::System(problem)
    }
}

/// Runs a job and reports on it. `halt` ends it because the runner ends.
pub(crate) async fn run(shared: Arc<Shared>, job: Job, halt: CancellationToken) {
    let config = &shared.config;
    let job_ref = JobRef {
        id: job.id,
        token: job.token.clone(),
    };
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

    let result = match Workspace::create(&config.builds_dir, &job_ref) {
        Ok(space) => {
            let mut execution = Execution {
                shared: &shared,
                job: &job,
                job_ref: &job_ref,
                vars,
                trace: &trace,
                stop: &stop,
                space: space.clone(),
                project_dir,
                tracked: HashSet::new(),
                scripts: 0,
            };
            let result = Box::pin(execution.run()).await;
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
        Err(Failure::Configuration(what)) => {
            trace.error(&format!("Job failed: {what}"));
            failed(FailureReason::ConfigurationError, None)
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

pub(crate) struct Execution<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) job: &'a Job,
    pub(crate) job_ref: &'a JobRef,
    pub(crate) vars: Vars,
    pub(crate) trace: &'a Trace,
    stop: &'a Stop,
    pub(crate) space: Workspace,
    pub(crate) project_dir: String,
    /// Paths that git tracks; read only where `untracked` is asked for.
    pub(crate) tracked: HashSet<String>,
    scripts: u32,
}

impl Execution<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let prepared = tokio::select! {
            biased;
            reason = self.stop.at_least(Reason::Timeout) => Err(Failure::Stopped(reason)),
            prepared = Box::pin(prepare(self)) => prepared,
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
        let kept = tokio::select! {
            biased;
            reason = self.stop.at_least(Reason::Canceling) => Err(Failure::Stopped(reason)),
            kept = Box::pin(keep(self, success)) => kept,
        };
        // The script's own failure says more than what came after it.
        if result.is_ok() {
            result = kept;
        } else if let Err(Failure::System(problem)) = kept {
            self.trace.warn(&problem.to_string());
        }
        result
    }

    pub(crate) fn section_start(&self, name: &str, title: &str) {
        let now = self.shared.config.clock.now().seconds();
        self.trace.line(&format!(
            "section_start:{now}:{name}\r\x1b[0K\x1b[0K\x1b[36;1m{title}\x1b[0;m"
        ));
    }

    pub(crate) fn section_end(&self, name: &str) {
        let now = self.shared.config.clock.now().seconds();
        // The marker's line is empty to the eye.
        self.trace.line(&format!("section_end:{now}:{name}\r\x1b[0K"));
    }

    /// All steps but `after_script`, one after the other.
    async fn steps(&mut self) -> Result<(), Failure> {
        let job = self.job;
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
            self.section_start(
                &section,
                &format!("Executing \"step_{}\" stage of the job script", step.name),
            );
            let ended = self.step(step, None).await;
            self.section_end(&section);
            match ended {
                Err(Failure::Script(code)) if step.allow_failure => {
                    self.trace.warn(&format!(
                        "The step `{}` failed with {code}, which is allowed.",
                        step.name
                    ));
                }
                Err(failure) if result.is_ok() => result = Err(failure),
                _ => {}
            }
        }
        if !any {
            return Err(Failure::Configuration(
                "it has no script this runner can run".to_owned(),
            ));
        }
        result
    }

    async fn after_script(&mut self, result: &Result<(), Failure>) {
        let job = self.job;
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
        self.vars.set(Variable::public("CI_JOB_STATUS", status));
        self.section_start(STEP_AFTER_SCRIPT, "Running after_script");
        match self.step(step, Some(AFTER_SCRIPT)).await {
            Ok(()) => {}
            Err(Failure::Script(code)) => {
                self.trace.warn(&format!(
                    "after_script ended with {code}; the job's result stays."
                ));
            }
            Err(Failure::Stopped(Reason::Timeout)) => {
                self.trace
                    .warn("after_script took longer than 5 minutes and was ended; the job's result stays.");
            }
            Err(Failure::System(problem)) => {
                self.trace.warn(&format!("after_script could not run: {problem}"));
            }
            Err(Failure::Stopped(_) | Failure::Configuration(_)) => {}
        }
        self.section_end(STEP_AFTER_SCRIPT);
    }

    /// Runs one step; `own_time` in place of the job's time, and then only a hard stop ends it.
    async fn step(&mut self, step: &Step, own_time: Option<Duration>) -> Result<(), Failure> {
        self.scripts += 1;
        let bash = Path::new("/usr/bin/bash").exists() || Path::new("/bin/bash").exists();
        let name = format!("{}-{}", self.scripts, if bash { "bash" } else { "sh" });
        let file = self.space.scripts().join(&name);
        let text = script::render(bash, &self.project_dir, &step.script);
        workspace::write_private(&file, text.as_bytes()).map_err(|e| workspace::unwritable(&file, &e))?;
        let mut running = self.spec(bash, &format!("{SCRIPTS}/{name}")).spawn().await?;
        let mut pump = tokio::spawn({
            let trace = self.trace.clone();
            let stdout = running.stdout.take();
            async move {
                let Some(mut stdout) = stdout else { return };
                let mut buffer = vec![0; 32 * 1024];
                while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
                    trace.write(buffer.get(..read).unwrap_or_default());
                }
            }
        });
        let stopped = async {
            match own_time {
                None => self.stop.at_least(Reason::Timeout).await,
                Some(time) => tokio::select! {
                    reason = self.stop.at_least(Reason::Canceled) => reason,
                    () = tokio::time::sleep(time) => Reason::Timeout,
                },
            }
        };
        let ended = tokio::select! {
            biased;
            exit = running.wait() => exit.map(Ok),
            reason = stopped => running.terminate(GRACE).await.map(|_| Err(reason)),
        };
        // All who could write are gone by now, so the end of the output is near.
        if tokio::time::timeout(Duration::from_secs(5), &mut pump)
            .await
            .is_err()
        {
            pump.abort();
        }
        match ended? {
            Err(reason) => Err(Failure::Stopped(reason)),
            Ok(exit) => self.judge(exit),
        }
    }

    fn judge(&self, exit: Exit) -> Result<(), Failure> {
        if exit.oom_killed {
            self.trace.warn(&format!(
                "The job used more memory than the {} MiB it is allowed, and a process of it was killed.",
                self.shared.config.limits.memory_bytes >> 20
            ));
        }
        if !exit.started {
            let problem = Problem::new(503, "sandbox_failed", "The sandbox could not be set up.")
                .why("bubblewrap's own message is above.")
                .next("Run `bascule doctor` on the runner's machine.");
            return Err(Failure::System(problem));
        }
        if exit.code == 0 {
            Ok(())
        } else {
            Err(Failure::Script(exit.code))
        }
    }

    fn spec(&self, bash: bool, script: &str) -> Spec {
        let config = &self.shared.config;
        let limits = &config.limits;
        let mut spec = Sandbox::command(if bash { "bash" } else { "sh" })
            .arg(script)
            .merge_stderr()
            .hostname("runner")
            .bind(self.space.build(), &self.project_dir)
            .bind(self.space.files(), format!("{}.tmp", self.project_dir))
            .bind(self.space.home(), "/home/job")
            .bind(self.space.tmp(), "/tmp")
            .ro_bind(self.space.scripts(), SCRIPTS)
            .directory(&self.project_dir)
            .network(if self.network() {
                Network::Host
            } else {
                Network::None
            })
            .memory_bytes(limits.memory_bytes)
            .pids(limits.pids)
            .open_files(limits.open_files)
            .file_bytes(limits.file_bytes);
        for bind in &config.binds {
            spec = if bind.writable {
                spec.bind(&bind.from, &bind.to)
            } else {
                spec.ro_bind(&bind.from, &bind.to)
            };
        }
        spec.envs(self.vars.environment())
    }

    pub(crate) fn network(&self) -> bool {
        use crate::NetworkPolicy::{Always, Never, OnRequest};
        match self.shared.config.network_policy {
            Never => false,
            OnRequest => self.vars.is_on("BASCULE_NETWORK"),
            Always => true,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let limits = &self.shared.config.limits;
        Bounds {
            bytes: limits.unpacked_bytes,
            entries: limits.unpacked_entries,
        }
    }

    pub(crate) fn caches(&self) -> Caches {
        let config = &self.shared.config;
        let project = &self.job.job_info.project_full_path;
        let protected = self.job.git_info.protected;
        Caches::new(&config.cache_dir, project, protected, config.limits.cache_bytes)
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
async fn prepare(e: &mut Execution<'_>) -> Result<(), Failure> {
    let config = &e.shared.config;
    e.trace.line(&format!(
        "Running with bascule-runner {} on {}",
        env!("CARGO_PKG_VERSION"),
        config.name
    ));
    e.section_start("prepare_executor", "Preparing the sandbox");
    let network = if e.network() { "on" } else { "off" };
    e.trace.line(&format!(
        "bubblewrap, network {network}, {} MiB of memory, {} processes",
        config.limits.memory_bytes >> 20,
        config.limits.pids
    ));
    if e.vars.is_on("BASCULE_NETWORK") && !e.network() {
        e.trace
            .warn("The job asks for a network (BASCULE_NETWORK), and this runner gives none.");
    }
    if let Some(image) = e.job.image.as_ref().filter(|i| !i.name.is_empty()) {
        e.trace.warn(&format!(
            "The image `{}` is not used: this runner runs jobs with the programs of its own machine.",
            image.name
        ));
    }
    if !e.job.services.is_empty() {
        e.trace
            .warn("Services are not started: this runner runs no containers.");
    }
    for (name, content) in e.vars.files() {
        let file = e.space.files().join(&name);
        workspace::write_private(&file, content.as_bytes())
            .map_err(|err| workspace::unwritable(&file, &err))?;
    }
    e.section_end("prepare_executor");

    let strategy = e.vars.get("GIT_STRATEGY").unwrap_or_default();
    if !matches!(strategy.as_str(), "none" | "empty") && !e.job.git_info.repo_url.is_empty() {
        e.section_start("get_sources", "Getting source from Git repository");
        let home = e.space.meta();
        git::checkout(
            &e.job.git_info,
            &e.space.build(),
            &home,
            &config.git_protocols,
            e.trace,
            e.stop,
        )
        .await?;
        let submodules = e.vars.get("GIT_SUBMODULE_STRATEGY").unwrap_or_default();
        if !matches!(submodules.as_str(), "" | "none") {
            e.trace.warn("Submodules are not fetched by this runner.");
        }
        let untracked =
            e.job.artifacts.iter().any(|a| a.untracked) || e.job.cache.iter().any(|c| c.untracked);
        if untracked {
            e.tracked = git::tracked(&e.space.build(), &home).await?.into_iter().collect();
        }
        e.section_end("get_sources");
    }
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

/// All that comes after the script.
async fn keep(e: &mut Execution<'_>, success: bool) -> Result<(), Failure> {
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
        uploaded?;
    }
    Ok(())
}
