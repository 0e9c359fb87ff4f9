//! The life of one instance: fetch, unpack, start, watch, start again, drain, end.

use crate::{
    Machine,
    artifacts::Missing,
    backoff::Backoff,
    driver::{Driver, Ended, Job, Process, Seal},
    handover::{self, Live},
    output::Output,
    plan::Told,
    probe,
};
use bascule_core::{InstanceId, Problem};
use bascule_sandbox::Running;
use bascule_wire::agent::{DesiredInstance, InstanceState};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

/// Time between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Health checks that must fail in a row before a healthy instance counts as unhealthy: one may be bad luck.
const FAILURES: u32 = 3;
/// An instance that is unhealthy for this long, and for the time it has to start, hangs and is started again.
const HANGS: Duration = Duration::from_secs(30);
/// An instance that ran this long crashes anew, not again.
const SETTLED: Duration = Duration::from_secs(60);
/// Shortest time between two health checks, whatever was asked for.
const LEAST_INTERVAL: Duration = Duration::from_millis(20);
/// Lines of output in a message.
const LINES: usize = 10;

/// Why a stretch of an instance's life ended.
enum End {
    /// It was told to, or drained: nothing runs any more.
    Done,
    /// It ended by itself or hung.
    Crashed(String),
    /// It cannot run.
    Failed(String),
}

/// One instance, looked after by one task.
pub(crate) struct Instance {
    machine: Arc<Machine>,
    spec: DesiredInstance,
    told: watch::Receiver<Told>,
    driver: Arc<dyn Driver>,
    job: Job,
    /// What the driver made ready, as it was then.
    seal: Option<Seal>,
    output: Output,
    smoked: bool,
    /// Whether it was healthy before this version of the agent took it over.
    was_healthy: bool,
    /// Held while it is not known how what went on without an agent is: nothing is reported until then.
    settling: Option<mpsc::Sender<()>>,
}

impl Instance {
    pub(crate) fn new(machine: Arc<Machine>, spec: DesiredInstance, told: watch::Receiver<Told>) -> Self {
        let job = job(&machine, &spec);
        let output = Output::new(spec.instance, &job.folder.join("output.log"));
        Self {
            driver: machine.driver(spec.driver),
            settling: machine.settling(),
            machine,
            spec,
            told,
            job,
            seal: None,
            output,
            smoked: false,
            was_healthy: false,
        }
    }

    /// Lives until told to end, then wipes its folder. A failed one waits to be told.
    pub(crate) async fn live(mut self) -> InstanceId {
        let taken = match self.machine.take_over(self.spec.instance) {
            Some((told, running)) => Some(self.take_over(told, running)),
            None => {
                self.machine.board.put(&self.spec, InstanceState::Fetching, "");
                None
            }
        };
        let end = self.work(taken).await;
        self.settling = None;
        match end {
            End::Failed(message) | End::Crashed(message) => {
                self.say(InstanceState::Failed, &message);
                self.until(|told| told == Told::Stop).await;
            }
            End::Done => {
                self.say(InstanceState::Stopped, "");
                // A drained one is reported until nobody asks any more.
                self.until(|told| !matches!(told, Told::Drain(_))).await;
            }
        }
        let folder = self.job.folder.clone();
        let wiped = tokio::task::spawn_blocking(move || wipe(&folder)).await;
        if !matches!(wiped, Ok(Ok(()))) {
            tracing::warn!(instance = %self.spec.instance, ?wiped, "the folder of an instance cannot be removed");
        }
        self.spec.instance
    }

    /// Goes on where the version of the agent before this one was.
    fn take_over(&mut self, told: handover::Instance, running: Running) -> (u16, Box<dyn Process>) {
        if let Some(report) = told.report {
            self.smoked = report.smoke.is_some();
            self.was_healthy = report.address.is_some();
            self.machine.board.put_again(report);
        } else {
            self.machine.board.put(&self.spec, InstanceState::Starting, "");
        }
        // Only now: a report without it would take it out of traffic.
        self.settling = None;
        self.register(told.port, &running);
        (told.port, Box::new(running))
    }

    /// Notes what could be handed over to another version of the agent.
    fn register(&self, port: u16, process: &dyn Process) {
        let Some(part) = process.part() else { return };
        let live = Live {
            spec: self.spec.clone(),
            port,
            part,
        };
        let mut all = self.machine.live.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.spec.instance, live);
    }

    fn unregister(&self) {
        let mut all = self.machine.live.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.spec.instance);
    }

    async fn work(&mut self, taken: Option<(u16, Box<dyn Process>)>) -> End {
        let mut crashes = Backoff::new(self.machine.crash_pause, Duration::from_secs(60));
        let goes_on = taken.is_some();
        let mut running = match taken {
            Some(taken) => Some(taken),
            None => self.driver.adopt(&self.job).await,
        };
        if let Some((port, process)) = &running {
            self.machine.ports.claim(*port);
            if !goes_on {
                self.started(process.pid());
            }
        } else {
            self.settling = None;
            self.wipe().await;
        }
        loop {
            let (port, process) = match running.take() {
                Some(running) => running,
                None => match self.start().await {
                    Ok(Some(running)) => running,
                    Ok(None) => return End::Done,
                    Err(end @ (End::Failed(_) | End::Done)) => return end,
                    Err(End::Crashed(message)) => {
                        if self.crashed(message, &mut crashes).await {
                            return End::Done;
                        }
                        continue;
                    }
                },
            };
            let started = Instant::now();
            let end = Box::pin(self.run(port, process)).await;
            self.unregister();
            self.machine.ports.give_back(port);
            let message = match end {
                End::Crashed(message) => message,
                end => return end,
            };
            if matches!(*self.told.borrow(), Told::Drain(_) | Told::Stop) {
                return End::Done;
            }
            if started.elapsed() > SETTLED {
                crashes.reset();
            }
            if self.crashed(message, &mut crashes).await {
                return End::Done;
            }
        }
    }

    /// Reports a crash and waits before the next start; true if it was told to end or drain meanwhile.
    async fn crashed(&mut self, message: String, crashes: &mut Backoff) -> bool {
        self.settling = None;
        self.machine.board.update(self.spec.instance, |report| {
            report.state = InstanceState::Crashed;
            report.message = message;
            report.address = None;
            report.pid = None;
        });
        if self.pause(crashes.pause()).await {
            return true;
        }
        self.machine
            .board
            .update(self.spec.instance, |report| report.restarts += 1);
        false
    }

    /// Makes ready and starts. What is started was checked just before against the digest that was asked for:
    /// the archive itself, and what was made of it. `None` if it was told to end or drain meanwhile.
    async fn start(&mut self) -> Result<Option<(u16, Box<dyn Process>)>, End> {
        let mut away = Backoff::new(Duration::from_millis(300), Duration::from_secs(30));
        loop {
            match self.prepare().await {
                Ok(true) => break,
                Ok(false) => return Ok(None),
                Err(Missing::Forever(problem)) => return Err(End::Failed(in_words(&problem))),
                Err(Missing::ForNow(problem)) => {
                    self.say(
                        InstanceState::Fetching,
                        &format!("Trying again: {}", in_words(&problem)),
                    );
                    if self.pause(away.pause()).await {
                        return Ok(None);
                    }
                }
            }
        }
        let port = self.machine.ports.take(self.machine.host);
        let port = port.map_err(|error| End::Crashed(format!("No free port was found: {error}.")))?;
        let _starts = self.machine.starts.read().await;
        match self.driver.start(&self.job, Some(port)).await {
            Ok(process) => {
                self.register(port, process.as_ref());
                self.started(process.pid());
                Ok(Some((port, process)))
            }
            Err(problem) => {
                self.machine.ports.give_back(port);
                // A machine without bubblewrap or out of processes may have them later.
                Err(if problem.status >= 500 {
                    End::Crashed(in_words(&problem))
                } else {
                    End::Failed(in_words(&problem))
                })
            }
        }
    }

    /// Fetches and makes ready; false if it was told to end or drain meanwhile.
    async fn prepare(&mut self) -> Result<bool, Missing> {
        let artifact = tokio::select! {
            artifact = self.machine.artifacts.get(&self.spec.artifact) => artifact?,
            // Nothing runs yet, so there is nothing to drain either.
            _ = self.told.wait_for(|told| *told != Told::Run) => return Ok(false),
        };
        self.driver.prepare(&self.job, &artifact, &mut self.seal).await?;
        Ok(true)
    }

    fn started(&self, pid: u32) {
        let now = self.machine.clock.now();
        self.machine.board.update(self.spec.instance, |report| {
            report.state = InstanceState::Starting;
            // Why it had to be started again is told until it is healthy.
            if report.restarts == 0 {
                report.message = String::new();
            }
            report.address = None;
            report.pid = Some(pid);
            report.started_at = Some(now);
        });
    }

    async fn wipe(&self) {
        let folder = self.job.folder.clone();
        let wiped =
            tokio::task::spawn_blocking(move || wipe(&folder).and_then(|()| std::fs::create_dir_all(folder)))
                .await;
        if !matches!(wiped, Ok(Ok(()))) {
            tracing::warn!(instance = %self.spec.instance, ?wiped, "the folder of an instance cannot be made");
        }
    }

    /// Looks after a started process until its end.
    async fn run(&mut self, port: u16, mut process: Box<dyn Process>) -> End {
        let address = SocketAddr::new(self.machine.host, port).to_string();
        let outputs: Vec<_> = process
            .outputs()
            .into_iter()
            .map(|stream| self.output.follow(stream))
            .collect();
        match Box::pin(self.watch(&address, process.as_mut())).await {
            Watched::Exited(ended) => {
                for output in outputs {
                    // What it wrote last tells why it ended. A grandchild cannot hold the pipe open: all are gone.
                    let _ = tokio::time::timeout(Duration::from_secs(2), output).await;
                }
                self.exited(ended)
            }
            Watched::Hung(why) => {
                self.end(process.as_mut(), GRACE).await;
                End::Crashed(self.with_output(&why))
            }
            Watched::ToEnd => {
                self.end(process.as_mut(), GRACE).await;
                End::Done
            }
        }
    }

    /// Looks after the running process.
    async fn watch(&mut self, address: &str, process: &mut dyn Process) -> Watched {
        let health = self.spec.health.clone();
        let interval = Duration::from_millis(health.interval_ms).max(LEAST_INTERVAL);
        let must_start_by = Instant::now() + Duration::from_millis(health.start_ms);
        // While it starts it is asked more often, so that it takes traffic as soon as it can.
        let starting = interval.min(Duration::from_millis(100));
        let ever = std::mem::take(&mut self.was_healthy);
        let (mut ever, mut failures, mut unhealthy_since) = (ever, 0_u32, None);
        let mut next = Instant::now() + starting;
        let mut drain_until: Option<Instant> = None;
        loop {
            let told = *self.told.borrow_and_update();
            match told {
                Told::Stop => return Watched::ToEnd,
                Told::Drain(most) if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + most);
                    self.say(InstanceState::Draining, "");
                }
                Told::Run if drain_until.is_some() => {
                    drain_until = None;
                    // Taken back: what it is, the next check tells, and it comes at once.
                    self.say(
                        if ever {
                            InstanceState::Healthy
                        } else {
                            InstanceState::Starting
                        },
                        "",
                    );
                    next = Instant::now();
                }
                _ => {}
            }
            let wake = drain_until.unwrap_or(next);
            let checked = tokio::select! {
                exit = process.wait() => return match exit {
                    Ok(exit) => Watched::Exited(exit),
                    Err(problem) => Watched::Hung(in_words(&problem)),
                },
                changed = self.told.changed() => {
                    if changed.is_err() {
                        return Watched::ToEnd;
                    }
                    continue;
                }
                checked = async {
                    sleep_until(wake).await;
                    if drain_until.is_some() { None } else { Some(probe::health(address, &health).await) }
                } => checked,
            };
            let Some(checked) = checked else {
                return Watched::ToEnd;
            };
            let now = Instant::now();
            match checked {
                Ok(()) => {
                    (failures, unhealthy_since) = (0, None);
                    if !ever {
                        ever = true;
                        self.machine.board.update(self.spec.instance, |report| {
                            report.address = Some(address.to_owned());
                        });
                    }
                    self.say(InstanceState::Healthy, "");
                    self.settling = None;
                    self.smoke(address).await;
                }
                Err(why) if !ever => {
                    if now >= must_start_by {
                        return Watched::Hung(format!(
                            "It was not healthy within {} ms of its start: {why}.",
                            health.start_ms
                        ));
                    }
                }
                Err(why) => {
                    failures += 1;
                    if failures >= FAILURES {
                        let since = *unhealthy_since.get_or_insert(now);
                        let patience = HANGS.max(Duration::from_millis(health.start_ms));
                        self.say(
                            InstanceState::Unhealthy,
                            &format!("{failures} health checks failed: {why}."),
                        );
                        if now - since > patience {
                            return Watched::Hung(format!(
                                "It was unhealthy for {} s: {why}.",
                                patience.as_secs()
                            ));
                        }
                    }
                }
            }
            next = now + if ever { interval } else { starting };
        }
    }

    /// Runs the smoke test, once in an instance's life.
    async fn smoke(&mut self, address: &str) {
        if std::mem::replace(&mut self.smoked, true) {
            return;
        }
        let result = tokio::select! {
            result = probe::smoke(address, &self.spec.smoke) => result,
            _ = self.told.wait_for(|told| *told != Told::Run) => {
                // If that is taken back, it is run from the start.
                self.smoked = false;
                return;
            }
        };
        self.machine
            .board
            .update(self.spec.instance, |report| report.smoke = Some(result));
    }

    async fn end(&self, process: &mut dyn Process, grace: Duration) {
        if let Err(problem) = process.end(grace).await {
            tracing::warn!(instance = %self.spec.instance, %problem, "an instance may still run");
        }
    }

    fn exited(&self, exit: Ended) -> End {
        let how = match exit.code {
            _ if exit.oom_killed => {
                let megabytes = self.spec.limits.memory_bytes / (1024 * 1024);
                format!("It used more than the {megabytes} MiB of memory it may, and was ended.")
            }
            126 | 127 => {
                return End::Failed(
                    self.with_output("The command cannot be run: it is missing or not executable."),
                );
            }
            0 => "It ended by itself, without an error.".to_owned(),
            137 => {
                let megabytes = self.spec.limits.memory_bytes / (1024 * 1024);
                format!(
                    "It was ended by signal 9; if nobody did so, it used more than the {megabytes} MiB of memory it may."
                )
            }
            code if code > 128 => format!("It was ended by signal {}.", code - 128),
            code => format!("It ended with exit code {code}."),
        };
        End::Crashed(self.with_output(&how))
    }

    fn with_output(&self, what: &str) -> String {
        let tail = self.output.tail(LINES);
        if tail.is_empty() {
            format!("{what} It wrote nothing.")
        } else {
            format!("{what} Its last output:\n{tail}")
        }
    }

    /// Reports a state, where it is news.
    fn say(&self, state: InstanceState, message: &str) {
        self.machine.board.say(self.spec.instance, state, message);
    }

    /// Waits; true if it was told to end or drain meanwhile.
    async fn pause(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = sleep(time) => false,
            _ = self.told.wait_for(|told| *told != Told::Run) => true,
        }
    }

    async fn until(&mut self, what: impl Fn(Told) -> bool) {
        // An agent that is gone ends all.
        let _ = self.told.wait_for(|told| what(*told)).await;
    }
}

/// How watching a process ended.
enum Watched {
    Exited(Ended),
    Hung(String),
    ToEnd,
}

pub(crate) fn in_words(problem: &Problem) -> String {
    [&problem.what, &problem.why]
        .into_iter()
        .filter(|text| !text.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(" ")
}

/// What the driver is to run.
fn job(machine: &Machine, spec: &DesiredInstance) -> Job {
    let mut variables = vec![
        ("BASCULE_PROJECT".to_owned(), spec.project.clone()),
        ("BASCULE_ENVIRONMENT".to_owned(), spec.environment_name.clone()),
        ("BASCULE_VERSION".to_owned(), spec.version.clone()),
        ("BASCULE_INSTANCE".to_owned(), spec.instance.to_string()),
    ];
    variables.extend(spec.variables.clone());
    Job {
        name: spec.instance.to_string(),
        folder: machine.instance_folder(spec.instance),
        artifact: spec.artifact.clone(),
        command: spec.command.clone(),
        words: Vec::new(),
        variables,
        limits: spec.limits.clone(),
    }
}

/// Removes the folders of instances, but for those that go on.
pub(crate) fn wipe_but(folder: &Path, keep: &BTreeSet<String>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !keep.contains(entry.file_name().to_string_lossy().as_ref()) {
            wipe(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn wipe(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
