//! One-off tasks: each is run at most once, in what an instance of its release would be run in. That it is about to
//! be begun is written down first. After a restart a container that a task runs in is gone on with; a process died
//! with its agent, and is told as lost.

mod marker;
mod output;

use crate::{
    Machine,
    artifacts::Missing,
    backoff::Backoff,
    driver::{Driver, Ended, Job, Process, TASK},
    instance::{GRACE, in_words, wipe},
};
use bascule_client::Client;
use bascule_core::TaskId;
use bascule_wire::{
    agent::DesiredState,
    task::{DesiredTask, TaskReport, TaskState},
};
use marker::{Marker, Markers};
use output::Written;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Time for the last output to be read after a task's end.
const REST: Duration = Duration::from_secs(2);

/// Why a task is ended before it ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    Cancelled,
    AgentStops,
}

enum Known {
    /// It is being run; told to end by this.
    Runs(watch::Sender<Stop>),
    Over(TaskReport),
}

/// All tasks.
pub(crate) struct Tasks {
    runner: Option<Runner>,
    known: BTreeMap<TaskId, Known>,
    work: JoinSet<TaskReport>,
    machine: Arc<Machine>,
}

/// What runs tasks.
#[derive(Clone)]
struct Runner {
    machine: Arc<Machine>,
    client: Client,
    markers: Markers,
}

impl Tasks {
    /// Reads what was written down; goes on with what was begun.
    pub(crate) async fn open(machine: Arc<Machine>, client: Client) -> Self {
        let mut tasks = Self {
            runner: None,
            known: BTreeMap::new(),
            work: JoinSet::new(),
            machine: Arc::clone(&machine),
        };
        let folder = machine.tasks_folder();
        let read = tokio::task::spawn_blocking(move || {
            let markers = Markers::open(folder)?;
            let all = markers.all()?;
            Ok::<_, std::io::Error>((markers, all))
        });
        let (markers, all) = match read.await {
            Ok(Ok(found)) => found,
            failed => {
                tracing::error!(?failed, "tasks cannot be written down, so none is run");
                return tasks;
            }
        };
        let runner = Runner {
            machine,
            client,
            markers,
        };
        tasks.runner = Some(runner.clone());
        for (task, marker) in all {
            match marker {
                Marker::Begun(spec) => tasks.spawn(*spec, false),
                Marker::Over(report) => {
                    let runner = runner.clone();
                    let (stop, _) = watch::channel(Stop::No);
                    tasks.known.insert(task, Known::Runs(stop));
                    tasks.work.spawn(async move { runner.over(report).await });
                }
            }
        }
        tasks
    }

    /// Names of containers that may still be gone on with.
    pub(crate) fn open_names(&self) -> impl Iterator<Item = String> {
        self.known.keys().map(|task| format!("{TASK}{task}"))
    }

    /// Runs what the server asks for, and tells how it ended for as long as it asks.
    pub(crate) async fn follow(&mut self, mut desired: watch::Receiver<Option<Arc<DesiredState>>>) {
        loop {
            // What was desired before this start is not acted on.
            tokio::select! {
                changed = desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(ended) = self.work.join_next() => self.ended(ended),
            }
            let state = desired.borrow_and_update().clone();
            if let Some(state) = state {
                self.see(&state.tasks);
            }
        }
    }

    fn see(&mut self, asked: &[DesiredTask]) {
        for task in asked {
            match self.known.get(&task.task) {
                Some(Known::Runs(stop)) if task.cancelled => {
                    stop.send_replace(Stop::Cancelled);
                }
                Some(Known::Runs(_)) => {}
                Some(Known::Over(report)) => self.machine.board.put_task(report.clone()),
                None if task.may_start => self.spawn(task.clone(), true),
                None => {
                    let report = not_begun(task);
                    self.machine.board.put_task(report.clone());
                    self.known.insert(task.task, Known::Over(report));
                }
            }
        }
        let asked = asked.iter().map(|task| task.task).collect();
        self.machine.board.keep_tasks(&asked);
    }

    fn spawn(&mut self, spec: DesiredTask, fresh: bool) {
        let Some(runner) = self.runner.clone() else { return };
        let (stop, told) = watch::channel(Stop::No);
        self.known.insert(spec.task, Known::Runs(stop));
        self.work.spawn(async move {
            let report = runner.run(&spec, told, fresh).await;
            runner.over(report).await
        });
    }

    fn ended(&mut self, ended: Result<TaskReport, tokio::task::JoinError>) {
        match ended {
            Ok(report) => {
                tracing::info!(task = %report.task, state = ?report.state, exit_code = ?report.exit_code, "a task ended");
                self.machine.board.put_task(report.clone());
                self.known.insert(report.task, Known::Over(report));
            }
            Err(error) => tracing::error!(%error, "looking after a task failed"),
        }
    }

    /// Ends all tasks; how they ended is told at the next start.
    pub(crate) async fn end(mut self) {
        for known in self.known.values() {
            if let Known::Runs(stop) = known {
                stop.send_replace(Stop::AgentStops);
            }
        }
        let all = async { while self.work.join_next().await.is_some() {} };
        // What waits for a server that is away waits on in its file.
        drop(timeout(GRACE + REST, all).await);
        self.work.shutdown().await;
    }
}

fn not_begun(task: &DesiredTask) -> TaskReport {
    let (state, message) = if task.begun {
        (
            TaskState::Lost,
            "The agent that began it is another, or lost its data.",
        )
    } else if task.cancelled {
        (TaskState::Refused, "It was cancelled before it was begun.")
    } else {
        (
            TaskState::Refused,
            "Its agent did not report in time, and a command is meant for its moment.",
        )
    };
    over(task.task, state, None, message)
}

fn over(task: TaskId, state: TaskState, exit_code: Option<i32>, message: impl Into<String>) -> TaskReport {
    TaskReport {
        task,
        state,
        exit_code,
        message: message.into(),
    }
}

impl Runner {
    /// Runs a task to its end, or goes on with one that was begun; whatever comes of it is written down.
    async fn run(&self, spec: &DesiredTask, mut stop: watch::Receiver<Stop>, fresh: bool) -> TaskReport {
        let id = spec.task;
        // Waits while the agent becomes another version.
        let _runs = self.machine.tasks.read().await;
        let job = self.job(spec);
        let driver = self.machine.driver(spec.driver);
        let started = if fresh {
            self.begin(spec, &job, driver.as_ref(), &mut stop).await
        } else {
            let went_on = driver.adopt(&job).await.map(|(_, process)| process);
            went_on.ok_or_else(|| {
                let what = "The agent was ended while it ran, and it with the agent; it is not run again.";
                over(id, TaskState::Lost, None, what)
            })
        };
        let report = match started {
            Ok(process) => self.watch(spec, process, &mut stop).await,
            Err(report) => report,
        };
        if let Err(error) = self.write(id, Marker::Over(report.clone())).await {
            tracing::error!(task = %id, %error, "the end of a task cannot be written down");
        }
        report
    }

    /// Makes ready, writes down, starts.
    async fn begin(
        &self,
        spec: &DesiredTask,
        job: &Job,
        driver: &dyn Driver,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Box<dyn Process>, TaskReport> {
        let refused = |why: String| over(spec.task, TaskState::Refused, None, why);
        tokio::select! {
            ready = self.prepare(spec, job, driver) => ready.map_err(refused)?,
            _ = stop.wait_for(|stop| *stop != Stop::No) => {
                return Err(refused("It was ended before it was begun.".to_owned()));
            }
        }
        if let Err(error) = self.write(spec.task, Marker::Begun(Box::new(spec.clone()))).await {
            return Err(refused(format!(
                "That it begins cannot be written down: {error}."
            )));
        }
        driver
            .start(job, None)
            .await
            .map_err(|problem| refused(in_words(&problem)))
    }

    async fn prepare(&self, spec: &DesiredTask, job: &Job, driver: &dyn Driver) -> Result<(), String> {
        let mut away = Backoff::new(Duration::from_millis(300), Duration::from_secs(10));
        let give_up = Instant::now() + Duration::from_millis(spec.timeout_ms);
        loop {
            let ready = async {
                let folder = job.folder.clone();
                let made = tokio::task::spawn_blocking(move || {
                    wipe(&folder).and_then(|()| std::fs::create_dir_all(folder))
                });
                drop(made.await);
                let artifact = if driver.fetches() {
                    self.machine.artifacts.get(&spec.artifact).await?
                } else {
                    std::path::PathBuf::new()
                };
                driver.prepare(job, &artifact, &mut None).await
            };
            match ready.await {
                Ok(()) => return Ok(()),
                Err(Missing::Forever(problem)) => return Err(in_words(&problem)),
                Err(Missing::ForNow(problem)) if Instant::now() >= give_up => return Err(in_words(&problem)),
                Err(Missing::ForNow(_)) => sleep(away.pause()).await,
            }
        }
    }

    /// Looks after a task that runs. Its output goes to the server while it does.
    async fn watch(
        &self,
        spec: &DesiredTask,
        mut process: Box<dyn Process>,
        stop: &mut watch::Receiver<Stop>,
    ) -> TaskReport {
        let id = spec.task;
        self.machine
            .board
            .put_task(over(id, TaskState::Running, None, ""));
        let (written, seen) = watch::channel(Written::default());
        let mut kept = JoinSet::new();
        let file = self.markers.output(id);
        for stream in process.outputs() {
            let (file, written) = (file.clone(), written.clone());
            kept.spawn(async move {
                if let Err(error) = output::keep(stream, file, &written).await {
                    tracing::warn!(task = %id, %error, "not all output of a task is kept");
                }
            });
        }
        let client = self.client.clone();
        let sending = tokio::spawn(async move { output::send(&client, id, file, seen).await });
        let until = Instant::now() + Duration::from_millis(spec.timeout_ms);
        let ended = tokio::select! {
            ended = process.wait() => ended.map_err(|problem| in_words(&problem)),
            () = sleep_until(until) => {
                Err(format!("It was ended because its time was up: {} s.", spec.timeout_ms / 1_000))
            }
            stopped = stop.wait_for(|stop| *stop != Stop::No) => {
                let agent = stopped.is_ok_and(|stop| *stop == Stop::AgentStops);
                Err(if agent { "It was ended because its agent was stopped." } else { "It was cancelled." }.to_owned())
            }
        };
        let grace = if ended.is_ok() { Duration::ZERO } else { GRACE };
        if ended.is_err() {
            // What it writes last is still taken.
            self.put_away(id, process.as_mut(), grace).await;
        }
        let rest = async { while kept.join_next().await.is_some() {} };
        drop(timeout(REST, rest).await);
        if ended.is_ok() {
            self.put_away(id, process.as_mut(), grace).await;
        }
        sending.abort();
        match ended {
            Ok(Ended { oom_killed: true, .. }) => {
                let megabytes = spec.limits.memory_bytes / (1024 * 1024);
                let message =
                    format!("It used more than the {megabytes} MiB of memory it may, and was ended.");
                over(id, TaskState::Ended, Some(137), message)
            }
            Ok(Ended { code, .. }) => over(id, TaskState::Ended, Some(code), ""),
            Err(message) => over(id, TaskState::Ended, None, message),
        }
    }

    async fn put_away(&self, task: TaskId, process: &mut dyn Process, grace: Duration) {
        if let Err(problem) = process.end(grace).await {
            tracing::warn!(%task, %problem, "a task may still run");
        }
    }

    /// Sends what was not sent yet; then nothing of the task is left but the note of its end.
    async fn over(&self, report: TaskReport) -> TaskReport {
        let file = self.markers.output(report.task);
        let bytes = tokio::fs::metadata(&file).await.map_or(0, |found| found.len());
        if bytes > 0 {
            let (_written, seen) = watch::channel(Written { bytes, over: true });
            output::send(&self.client, report.task, file.clone(), seen).await;
        }
        let folder = self.markers.folder(report.task);
        let cleared = tokio::task::spawn_blocking(move || {
            wipe(&folder).and_then(|()| match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
        });
        if !matches!(cleared.await, Ok(Ok(()))) {
            tracing::warn!(task = %report.task, "the files of a task cannot be removed");
        }
        report
    }

    async fn write(&self, task: TaskId, marker: Marker) -> std::io::Result<()> {
        let markers = self.markers.clone();
        let written = tokio::task::spawn_blocking(move || markers.write(task, &marker));
        written.await.map_err(std::io::Error::other)?
    }

    fn job(&self, spec: &DesiredTask) -> Job {
        let mut variables = vec![
            ("BASCULE_PROJECT".to_owned(), spec.project.clone()),
            ("BASCULE_ENVIRONMENT".to_owned(), spec.environment_name.clone()),
            ("BASCULE_VERSION".to_owned(), spec.version.clone()),
            ("BASCULE_TASK".to_owned(), spec.task.to_string()),
        ];
        variables.extend(spec.variables.clone());
        Job {
            name: format!("{TASK}{}", spec.task),
            folder: self.markers.folder(spec.task),
            artifact: spec.artifact.clone(),
            command: String::new(),
            words: spec.command.clone(),
            variables,
            limits: spec.limits.clone(),
        }
    }
}
