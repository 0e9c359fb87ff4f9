//! A git process that serves a client: it ends with its request, at its deadline, or by itself.

use super::http::turn_of;
use crate::Forge;
use axum::body::{Body, BodyDataStream};
use bascule_core::Problem;
use bytes::{Bytes, BytesMut};
use flate2::write::GzDecoder;
use futures::{Stream, StreamExt as _};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use std::{
    io::{self, Write as _},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

/// Read from git at once.
const READ: usize = 256 * 1024;
/// What a pipe holds; the default of 64 KiB costs a wake-up four times as often.
const PIPE: usize = 1024 * 1024;
/// How long git may take to clean up after itself once told to end.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Decompressed at once; a request that expands a thousandfold still needs little memory.
const SLICE: usize = 8 * 1024;
/// Memory that a git which answers a question may take, in bytes. A commit of a few kilobytes can hold the same folder a
/// billion times; files that are only looked into do not count (`RLIMIT_DATA`).
pub(crate) const MEMORY: u64 = 2 << 30;
/// Of what git complains, this much is kept.
const COMPLAINT: u64 = 8 * 1024;

/// A process group started for one request. Dropping it ends the group.
pub(crate) struct Running {
    child: Option<Child>,
    pub(crate) stdout: ChildStdout,
    complaint: JoinHandle<String>,
    pub(crate) feeder: Option<JoinHandle<io::Result<()>>>,
    watchdog: JoinHandle<()>,
}

impl Running {
    /// Starts a command and feeds it a request's body. `permit` is held until the end or the deadline.
    pub(crate) fn start(
        mut command: Command,
        body: Option<Upload>,
        deadline: Duration,
        permit: impl Send + 'static,
    ) -> io::Result<Self> {
        command
            .stdin(if body.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that git's helpers end with it.
            .process_group(0);
        let mut child = command.spawn()?;
        let taken = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = taken else {
            return Err(io::Error::other("git has no output"));
        };
        // A kernel that refuses larger pipes still works, only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE);
        let feeder = body.and_then(|body| child.stdin.take().map(|stdin| tokio::spawn(body.feed(stdin))));
        let group = group_of(&child);
        let watchdog = tokio::spawn(async move {
            let _permit = permit;
            tokio::time::sleep(deadline).await;
            tracing::warn!("a git process took too long and was ended");
            signal(group, Signal::TERM);
            tokio::time::sleep(GRACE).await;
            signal(group, Signal::KILL);
        });
        Ok(Self {
            child: Some(child),
            stdout,
            complaint: tokio::spawn(complaint(stderr)),
            feeder,
            watchdog,
        })
    }

    /// Bounds the memory of this git, and of what it starts.
    pub(crate) fn bound(self, bytes: u64) -> Self {
        if let Some(child) = &self.child {
            bound(child, bytes);
        }
        self
    }

    /// Lets git see the end of its input, upon which it ends and cleans up. A signal would end it too, but
    /// git does not remove its quarantine when it is signalled (since 2.39).
    pub(crate) fn hang_up(&mut self) {
        if let Some(feeder) = self.feeder.take() {
            feeder.abort();
        }
    }

    /// Tells git to end, when it did not by itself.
    pub(crate) fn terminate(&self) {
        if let Some(child) = &self.child {
            signal(group_of(child), Signal::TERM);
        }
    }

    /// Waits for the end; also says what git complained of.
    pub(crate) async fn finish(mut self) -> io::Result<(ExitStatus, String)> {
        let status = match self.child.as_mut() {
            Some(child) => child.wait().await?,
            None => return Err(io::Error::other("ended before")),
        };
        self.child = None;
        let complaint = tokio::time::timeout(GRACE, &mut self.complaint).await;
        Ok((status, complaint.ok().and_then(Result::ok).unwrap_or_default()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watchdog.abort();
        if let Some(feeder) = &self.feeder {
            feeder.abort();
        }
        let Some(mut child) = self.child.take() else {
            return;
        };
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        let group = group_of(&child);
        signal(group, Signal::TERM);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    signal(group, Signal::KILL);
                    drop(child.wait().await);
                }
            });
        }
    }
}

/// Reads what git writes next; empty at the end.
pub(crate) async fn read(stdout: &mut ChildStdout, buffer: &mut BytesMut) -> io::Result<Bytes> {
    if buffer.capacity() < READ / 4 {
        buffer.reserve(READ);
    }
    stdout.read_buf(buffer).await?;
    Ok(buffer.split().freeze())
}

/// Waits until the whole body was fed, or could not be.
pub(crate) async fn fed(feeder: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match feeder.as_mut() {
        Some(running) => {
            let end = running.await.unwrap_or_else(|e| Err(io::Error::other(e)));
            *feeder = None;
            end
        }
        None => std::future::pending().await,
    }
}

fn group_of(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
}

/// Bounds the memory of a git, and of what it starts.
pub(crate) fn bound(child: &Child, bytes: u64) {
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    // Without a process it would be this one's own; and one that has ended already needs none.
    if let Some(process) = group_of(child) {
        let _ = prlimit(Some(process), Resource::Data, limit);
    }
}

/// Whether git complains that it may not have more memory.
pub(crate) fn is_starved(complaint: &str) -> bool {
    complaint.to_ascii_lowercase().contains("out of memory")
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // Gone already is as good.
        let _ = kill_process_group(group, signal);
    }
}

pub(crate) async fn complaint(stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    let mut stderr = stderr.take(COMPLAINT);
    drop(stderr.read_to_end(&mut text).await);
    // Read on, so that git never blocks on a full pipe.
    drop(tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await);
    String::from_utf8_lossy(&text).into_owned()
}

/// The first line of git's complaint, fit to be shown.
pub(crate) fn first_line(complaint: &str) -> String {
    let line = complaint
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it gave no reason");
    line.trim()
        .trim_start_matches("fatal: ")
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

/// A request's body on its way to git.
pub(crate) struct Upload {
    pub(crate) body: Body,
    pub(crate) gzip: bool,
    pub(crate) idle: Duration,
    /// Set once the client has sent something.
    pub(crate) begun: Arc<AtomicBool>,
}

impl Upload {
    async fn feed(self, mut stdin: ChildStdin) -> io::Result<()> {
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE);
        let mut stream = self.body.into_data_stream();
        let begun = self.begun;
        if self.gzip {
            let mut decoder = GzDecoder::new(Vec::new());
            while let Some(chunk) = next(&mut stream, self.idle).await? {
                begun.store(true, Ordering::SeqCst);
                for slice in chunk.chunks(SLICE) {
                    decoder.write_all(slice)?;
                    stdin.write_all(decoder.get_ref()).await?;
                    decoder.get_mut().clear();
                }
            }
            stdin.write_all(&decoder.finish()?).await?;
        } else {
            while let Some(chunk) = next(&mut stream, self.idle).await? {
                begun.store(true, Ordering::SeqCst);
                stdin.write_all(&chunk).await?;
            }
        }
        stdin.shutdown().await
    }
}

async fn next(stream: &mut BodyDataStream, idle: Duration) -> io::Result<Option<Bytes>> {
    match tokio::time::timeout(idle, stream.next()).await {
        Ok(chunk) => chunk.transpose().map_err(io::Error::other),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client sent nothing for too long",
        )),
    }
}

/// What git writes, as a response's body. The process ends when the body is dropped. `whole` says that the answer breaks
/// off where git fails; without, git has told its client by itself.
pub(crate) fn output(
    first: Bytes,
    running: Running,
    whole: bool,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let start = (Some(first), Some(running), BytesMut::new());
    futures::stream::unfold(start, move |(first, running, mut buffer)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, running, buffer)));
        }
        let mut running = running?;
        match read(&mut running.stdout, &mut buffer).await {
            Ok(chunk) if !chunk.is_empty() => Some((Ok(chunk), (None, Some(running), buffer))),
            Ok(_) => match running.finish().await {
                Ok((status, complaint)) if !status.success() => {
                    tracing::info!(%status, complaint = first_line(&complaint), "git ended early");
                    whole.then(|| (Err(io::Error::other("git ended early")), (None, None, buffer)))
                }
                Ok(_) => None,
                Err(error) => Some((Err(error), (None, None, buffer))),
            },
            Err(error) => Some((Err(error), (None, None, buffer))),
        }
    })
}

/// What a git command said, within bounds.
pub(crate) struct Said {
    pub(crate) bytes: Vec<u8>,
    /// How it ended, and what it complained of; `None` where there was more than is kept, and it was ended for that.
    pub(crate) end: Option<(ExitStatus, String)>,
}

/// Runs a command to its end and keeps at most `most` bytes of what it writes. It is ended where it writes more, and
/// where it takes longer than `patience`, which is an error of the kind [`io::ErrorKind::TimedOut`].
pub(crate) async fn ask(command: Command, most: usize, patience: Duration) -> io::Result<Said> {
    let run = async {
        // Dropped with this future, it ends the process.
        let mut running = Running::start(command, None, patience + GRACE, ())?.bound(MEMORY);
        let (mut bytes, mut buffer) = (Vec::new(), BytesMut::new());
        loop {
            let chunk = read(&mut running.stdout, &mut buffer).await?;
            if chunk.is_empty() {
                let end = Some(running.finish().await?);
                return Ok(Said { bytes, end });
            }
            bytes.extend_from_slice(&chunk);
            if bytes.len() >= most {
                bytes.truncate(most);
                return Ok(Said { bytes, end: None });
            }
        }
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "git took too long");
    tokio::time::timeout(patience, run).await.map_err(late)?
}

impl Forge {
    /// The output of a command, streamed, once it is its turn; for what is too large to be held. What git cannot do is said
    /// where it has said nothing yet; later the answer breaks off, so that nobody takes a part for the whole.
    pub(crate) async fn stream(&self, command: Command) -> Result<Body, Problem> {
        let permit = turn_of(self).await?;
        let failed = |error: io::Error| {
            tracing::error!(%error, "git could not be asked");
            Problem::internal()
        };
        let mut running = Running::start(command, None, self.config().timeout, permit)
            .map_err(failed)?
            .bound(MEMORY);
        let first = read(&mut running.stdout, &mut BytesMut::new())
            .await
            .map_err(failed)?;
        if !first.is_empty() {
            return Ok(Body::from_stream(output(first, running, true)));
        }
        let (status, complaint) = running.finish().await.map_err(failed)?;
        if status.success() {
            return Ok(Body::empty());
        }
        tracing::warn!(complaint = first_line(&complaint), "git could not answer");
        Err(too_much(&complaint).unwrap_or_else(Problem::internal))
    }
}

/// What is said where git had not memory enough for an answer.
pub(crate) fn too_much(complaint: &str) -> Option<Problem> {
    is_starved(complaint).then(|| {
        Problem::invalid(
            "too_much_memory",
            "This needs more memory than the server gives to one question.",
        )
        .why("One answer must not take what everybody else's need.")
        .next("Ask git in your clone.")
    })
}
