//! Starting, watching and ending a command.

use crate::{
    Host, Spec,
    cgroup::Group,
    handover::{Handed, Part, execute},
};
use bascule_core::{Problem, Result};
use rustix::{
    fs::MemfdFlags,
    process::{Pid, PidfdFlags, Resource, Signal, WaitId, WaitIdOptions},
};
use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::FileExt, process::ExitStatusExt},
    },
    process::Stdio,
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, ChildStderr, ChildStdout, Command},
    runtime::Handle,
    sync::oneshot,
    time::Instant,
};

/// Joins the groups named first, then becomes bubblewrap. Descriptor 3 is bubblewrap's words (they came as
/// standard input: no file, no process list shows them), 4 to 6 are small files of `/etc`. Descriptor 7
/// appends to the same memory what bubblewrap tells of the sandbox.
const WRAPPER: &str = r#"
home=$1 host=$2 merge=$3 groups=$4
shift 4
while [ "$groups" -gt 0 ]; do
  echo $$ > "$1" || exit 125
  shift
  groups=$((groups - 1))
done
exec 3<&0 7>>/proc/self/fd/0 0</dev/null
[ "$merge" = 0 ] || exec 2>&1
exec 4<<E
root:x:0:0:root:/root:/usr/sbin/nologin
job:x:1000:1000:job:$home:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
E
exec 5<<E
root:x:0:
job:x:1000:
nogroup:x:65534:
E
exec 6<<E
127.0.0.1 localhost $host
::1 localhost $host
E
exec "$@"
"#;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// Whether it was ended because its time was up.
    pub timed_out: bool,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// Whether it came to run at all; if not, the sandbox could not be set up, and bubblewrap's message is
    /// in the output.
    pub started: bool,
}

impl Exit {
    /// Whether it ended by itself with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == 0 && !self.timed_out
    }
}

/// A command that runs. Dropping it ends the command at once.
#[derive(Debug)]
pub struct Running {
    /// What the command writes. Read it, or the command stops when the pipe is full.
    pub stdout: Option<ChildStdout>,
    /// What the command writes to standard error; `None` if merged.
    pub stderr: Option<ChildStderr>,
    child: Kid,
    pid: i32,
    status: Arc<StatusFile>,
    group: Group,
    /// The other end of what it writes, held for a hand-over.
    output: Option<Arc<OwnedFd>>,
    deadline: Option<Instant>,
    grace: Duration,
    timed_out: bool,
    killed: bool,
    ended: Option<Exit>,
}

impl Spec {
    /// Starts the command.
    ///
    /// # Errors
    /// If bubblewrap is missing, the command cannot be passed on, or the machine has no process left.
    pub async fn spawn(self) -> Result<Running> {
        let host = crate::host().await?;
        let (words, status) = words_file(&self.bwrap_args(&host)?).map_err(|e| cannot_start(&e))?;
        let group = Group::create(self.memory_bytes, self.pids, self.cpus);
        let mut command = Command::new(&host.sh);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .kill_on_drop(true);
        command.stdin(Stdio::from(words)).stdout(Stdio::piped());
        command.stderr(if self.merge_stderr {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        let joins = group.join_files();
        command.args(["-c", WRAPPER, "sandbox", self.passwd_home(), self.hostname_word()]);
        command
            .arg(if self.merge_stderr { "1" } else { "0" })
            .arg(joins.len().to_string())
            .args(&joins);
        command
            .arg(&host.bwrap)
            .args(["--json-status-fd", "7", "--args", "3", "--"]);
        limits(&mut command, &self, &host, &group);
        command.arg(&self.program).args(&self.args);
        let mut child = keeper_spawn(command).await?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        let stdout = child.stdout.take();
        // Held only where it can be handed over, and where it is all that the command writes.
        let output = if self.merge_stderr && hosted() {
            let output = stdout.as_ref().map(|stdout| stdout.as_fd().try_clone_to_owned());
            output.transpose().ok().flatten().map(Arc::new)
        } else {
            None
        };
        Ok(Running {
            stdout,
            stderr: child.stderr.take(),
            child: Kid::Child(child),
            pid,
            status: Arc::new(status),
            group,
            output,
            deadline: self.timeout.map(|t| Instant::now() + t),
            grace: self.grace,
            timed_out: false,
            killed: false,
            ended: None,
        })
    }
}

/// A child of this process.
#[derive(Debug)]
enum Kid {
    Child(Child),
    /// Of the program before this one.
    Adopted(AsyncFd<OwnedFd>),
}

impl Kid {
    /// Waits for its end; its exit code, or 128 and the signal's number. May be given up and called again.
    async fn wait(&mut self) -> std::io::Result<i32> {
        match self {
            Self::Child(child) => {
                let status = child.wait().await?;
                Ok(status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
            }
            Self::Adopted(pidfd) => loop {
                let mut ended = pidfd.readable().await?;
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                match rustix::process::waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), options)? {
                    Some(status) => {
                        let signal = || 128 + status.terminating_signal().unwrap_or(0);
                        return Ok(status.exit_status().unwrap_or_else(signal));
                    }
                    None => ended.clear_ready(),
                }
            },
        }
    }

    fn start_kill(&mut self) {
        match self {
            Self::Child(child) => drop(child.start_kill()),
            Self::Adopted(pidfd) => {
                let _ = rustix::process::pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
            }
        }
    }
}

impl Running {
    pub(crate) fn adopted(handed: &Handed, output: OwnedFd) -> std::io::Result<Self> {
        let pid = Pid::from_raw(handed.pid).ok_or(std::io::ErrorKind::NotFound)?;
        // A child that was not waited for keeps its number: this is surely the one that was meant.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[allow(
            deprecated,
            reason = "sound for a descriptor that is owned; its successor cannot be called from safe code"
        )]
        let pidfd = AsyncFd::new(pidfd)?;
        let held = output.try_clone()?;
        let stdout = ChildStdout::from_std(std::process::ChildStdout::from(output))?;
        Ok(Self {
            stdout: Some(stdout),
            stderr: None,
            child: Kid::Adopted(pidfd),
            pid: handed.pid,
            status: Arc::new(StatusFile::Known(handed.first)),
            group: Group::adopt(&handed.group),
            output: Some(Arc::new(held)),
            deadline: None,
            grace: Duration::ZERO,
            timed_out: false,
            killed: false,
            ended: None,
        })
    }

    /// How it can be handed over to the next program of this process; `None` where it cannot.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        Some(Part {
            pid: self.pid,
            status: Arc::clone(&self.status),
            group: self.group.handed(),
            output: Arc::clone(self.output.as_ref().filter(|_| self.ended.is_none())?),
        })
    }

    /// The process number, on the machine, of the sandbox around the command.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.pid).unwrap_or(0)
    }

    /// The process number, on the machine, of the first process inside, once it is there.
    #[must_use]
    pub fn first_process(&self) -> Option<i32> {
        self.status.first_process()
    }

    /// Waits for the end. When the time given with [`Spec::timeout`] is up, ends it. May be called again
    /// after it was dropped half way, such as in `select!`.
    ///
    /// # Errors
    /// If the machine will not tell.
    pub async fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        let status = match self.deadline {
            None => self.child.wait().await,
            Some(deadline) => match tokio::time::timeout_at(deadline, self.child.wait()).await {
                Ok(status) => status,
                Err(_) => {
                    self.timed_out = true;
                    return self.terminate(self.grace).await;
                }
            },
        };
        let status = status.map_err(|e| cannot_start(&e))?;
        Ok(self.finish(status).await)
    }

    /// As [`Running::wait`], but ends it at the latest after `most`.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn wait_at_most(&mut self, most: Duration) -> Result<Exit> {
        let latest = Instant::now() + most;
        self.deadline = Some(self.deadline.map_or(latest, |d| d.min(latest)));
        self.wait().await
    }

    /// Asks every process of the command to end (SIGTERM), and after `grace` ends them all (SIGKILL).
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn terminate(&mut self, grace: Duration) -> Result<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        if !grace.is_zero() {
            for pid in self.status.first_process().map(descendants).unwrap_or_default() {
                signal(pid, Signal::TERM);
            }
            if let Ok(status) = tokio::time::timeout(grace, self.child.wait()).await {
                let status = status.map_err(|e| cannot_start(&e))?;
                return Ok(self.finish(status).await);
            }
        }
        self.kill_now();
        let status = self.child.wait().await.map_err(|e| cannot_start(&e))?;
        Ok(self.finish(status).await)
    }

    /// The first process of the namespace dies, and the kernel takes all others with it.
    fn kill_now(&mut self) {
        self.killed = true;
        // Still bubblewrap's child, and so surely the process that was meant.
        if let Some(pid) = self
            .status
            .first_process()
            .filter(|pid| parent_of(*pid) == Some(self.pid))
        {
            signal(pid, Signal::KILL);
        }
        self.child.start_kill();
    }

    async fn finish(&mut self, code: i32) -> Exit {
        // With bubblewrap gone the kernel ends the namespace's first process and then all others; that one
        // is a zombie only once these are gone.
        let first = self.status.first_process();
        for _ in 0..400 {
            let members = self.group.members();
            if members.is_empty() && !first.is_some_and(lives) {
                break;
            }
            for pid in members {
                signal(pid, Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let started = self.killed || self.timed_out || self.status.has_exit_code();
        let exit = Exit {
            code,
            timed_out: self.timed_out,
            oom_killed: self.group.oom_killed(),
            started,
        };
        self.ended = Some(exit);
        self.group.try_remove();
        exit
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill_now();
        }
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn cannot_start(error: &std::io::Error) -> Problem {
    Problem::new(
        503,
        "cannot_start",
        "A command could not be started in the sandbox.",
    )
    .why(error.to_string())
    .next("Check that the machine has free memory, processes and open files.")
}

/// A file in memory that only its descriptor leads to.
fn words_file(words: &[u8]) -> std::io::Result<(File, StatusFile)> {
    let mut file = File::from(rustix::fs::memfd_create("bwrap-args", MemfdFlags::CLOEXEC)?);
    // Bubblewrap reads its words to the end before it writes its first line behind them.
    file.write_all(words)?;
    file.seek(SeekFrom::Start(0))?;
    let status = StatusFile::Told {
        file: file.try_clone()?,
        from: words.len() as u64,
    };
    Ok((file, status))
}

/// Limits set on the first process inside, where they count for this sandbox alone.
fn limits(command: &mut Command, spec: &Spec, host: &Host, group: &Group) {
    command.arg(&host.prlimit).arg("--core=0");
    if let Some(pids) = spec.pids {
        // The kernel counts processes per user namespace; inside ours the count starts at nothing.
        command.arg(format!(
            "--nproc={}",
            within(Resource::Nproc, pids.saturating_add(1))
        ));
        if !group.limits_pids() {
            tracing::debug!("no control group for processes: by resource limit only");
        }
    }
    if let Some(bytes) = spec.memory_bytes.filter(|_| !group.limits_memory()) {
        // Not the address space: some programs reserve much and use little.
        command.arg(format!("--data={}", within(Resource::Data, bytes)));
    }
    if let Some(files) = spec.open_files {
        command.arg(format!("--nofile={}", within(Resource::Nofile, files)));
    }
    if let Some(bytes) = spec.file_bytes {
        command.arg(format!("--fsize={}", within(Resource::Fsize, bytes)));
    }
    command.arg("--");
}

/// No limit can be raised above this process's own.
fn within(resource: Resource, wanted: u64) -> u64 {
    rustix::process::getrlimit(resource)
        .maximum
        .map_or(wanted, |most| most.min(wanted))
}

/// State letter and parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything, so search from the end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    stat(pid).map(|(_, parent)| parent)
}

fn lives(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// All processes below `root`.
fn descendants(root: i32) -> Vec<i32> {
    let pairs: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(pid)?))
        })
        .collect();
    let mut all = Vec::new();
    let mut level = vec![root];
    while !level.is_empty() {
        level = pairs
            .iter()
            .filter(|(_, parent)| level.contains(parent))
            .map(|(pid, _)| *pid)
            .collect();
        all.extend_from_slice(&level);
    }
    all
}

/// Asks a process and all below it to end (SIGTERM).
pub fn ask_to_end(root: i32) {
    for pid in std::iter::once(root).chain(descendants(root)) {
        signal(pid, Signal::TERM);
    }
}

/// What bubblewrap tells of the sandbox: JSON lines behind its own words.
#[derive(Debug)]
pub(crate) enum StatusFile {
    Told {
        file: File,
        /// Where the words end.
        from: u64,
    },
    /// It was read by the program before this one: the first process of the namespace.
    Known(Option<i32>),
}

impl StatusFile {
    fn text(&self) -> String {
        let Self::Told { file, from } = self else {
            return String::new();
        };
        let mut buffer = [0_u8; 1024];
        let read = file.read_at(&mut buffer, *from).unwrap_or(0);
        String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned()
    }

    /// The first process of the namespace, by its number on the machine.
    pub(crate) fn first_process(&self) -> Option<i32> {
        if let Self::Known(first) = self {
            return *first;
        }
        let text = self.text();
        let digits = text.split_once("\"child-pid\":")?.1.trim_start();
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Whether the command's own exit code was told; it is not where the set-up failed.
    fn has_exit_code(&self) -> bool {
        // What was handed over ran.
        matches!(self, Self::Known(_)) || self.text().contains("\"exit-code\"")
    }
}

/// What the thread that starts sandboxes is asked for.
pub(crate) enum Order {
    Start {
        command: Command,
        runtime: Handle,
        reply: oneshot::Sender<std::io::Result<Child>>,
    },
    /// Execute another program.
    Become {
        command: std::process::Command,
        reply: oneshot::Sender<std::io::Error>,
    },
    /// End.
    Done,
}

/// Where orders go, and whether the thread is the main one.
pub(crate) static KEEPER: OnceLock<(mpsc::SyncSender<Order>, bool)> = OnceLock::new();

fn hosted() -> bool {
    KEEPER.get().is_some_and(|(_, hosted)| *hosted)
}

/// Carries out orders until the end.
pub(crate) fn keep(orders: &mpsc::Receiver<Order>) {
    for order in orders {
        match order {
            Order::Start {
                mut command,
                runtime,
                reply,
            } => {
                let _inside = runtime.enter();
                // A caller that went away drops the child, and the child ends.
                let _ = reply.send(command.spawn());
            }
            Order::Become { command, reply } => drop(reply.send(execute(command))),
            Order::Done => return,
        }
    }
}

/// Starts a process from a thread that lives as long as this process. The kernel ends a sandbox with the
/// *thread* that started it, and an executor's threads come and go.
async fn keeper_spawn(command: Command) -> Result<Child> {
    let (keeper, _) = KEEPER.get_or_init(|| {
        let (send, receive) = mpsc::sync_channel::<Order>(256);
        let started = std::thread::Builder::new()
            .name("sandbox-keeper".to_owned())
            .spawn(move || keep(&receive));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for starting sandboxes");
        }
        (send, false)
    });
    let (reply, answer) = oneshot::channel();
    let order = Order::Start {
        command,
        runtime: Handle::current(),
        reply,
    };
    let gone = || {
        cannot_start(&std::io::Error::other(
            "the starting thread is gone or overloaded",
        ))
    };
    keeper.try_send(order).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?.map_err(|e| cannot_start(&e))
}
