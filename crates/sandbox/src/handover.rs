//! Becoming another program without letting go of the commands that run.
//!
//! A process that executes another program keeps its number, and so its children; but the kernel ends a sandbox
//! with the *thread* that started it, and only the thread that executes lives on. Whoever wants to hand commands
//! over therefore calls [`host`] on the main thread: it starts all sandboxes, and executes in the end. What the
//! commands write goes on into the same pipes; their ends are given to the next program over a socket that is its
//! standard input.

use crate::{
    cgroup::HandedGroup,
    process::{KEEPER, Order, Running, StatusFile, keep},
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
    sync::{Arc, mpsc},
};

/// Descriptors in one message; the kernel takes 253.
const AT_ONCE: usize = 128;

/// What is told of a running command to the next program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handed {
    pub(crate) pid: i32,
    pub(crate) first: Option<i32>,
    pub(crate) group: HandedGroup,
}

/// A running command as it can be handed over.
#[derive(Clone, Debug)]
pub struct Part {
    pub(crate) pid: i32,
    pub(crate) status: Arc<StatusFile>,
    pub(crate) group: HandedGroup,
    pub(crate) output: Arc<OwnedFd>,
}

impl Part {
    /// What is told of it.
    #[must_use]
    pub fn handed(&self) -> Handed {
        Handed {
            pid: self.pid,
            first: self.status.first_process(),
            group: self.group.clone(),
        }
    }
}

/// Does `work` on a thread of its own and starts all sandboxes on this one, which must be the main thread, until
/// `work` is done. Without it sandboxes are started by a thread that cannot be handed over.
///
/// # Errors
/// No thread can be started, or `work` panicked.
pub fn host<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    struct Done(mpsc::SyncSender<Order>);
    impl Drop for Done {
        fn drop(&mut self) {
            drop(self.0.send(Order::Done));
        }
    }
    let (send, receive) = mpsc::sync_channel::<Order>(256);
    let hosted = KEEPER.set((send.clone(), true)).is_ok();
    let worker = std::thread::Builder::new()
        .name("main-work".to_owned())
        .spawn(move || {
            // Also when the work panics.
            let _done = Done(send);
            work()
        })?;
    if hosted {
        keep(&receive);
    }
    worker
        .join()
        .map_err(|_| io::Error::other("the work of the main thread panicked"))
}

/// Executes a program in place of this one, on the thread that started the sandboxes; what runs in them goes on.
/// The parts' outputs go with it: [`receive`] takes them in the same order.
///
/// # Errors
/// Always, if it comes back at all: why the program could not be executed.
pub async fn become_program(mut command: Command, parts: &[Part]) -> io::Error {
    let Some((keeper, true)) = KEEPER.get() else {
        return io::Error::from(io::ErrorKind::Unsupported);
    };
    let socket = match send(parts) {
        Ok(socket) => socket,
        Err(error) => return error,
    };
    command.stdin(Stdio::from(socket));
    let (reply, answer) = tokio::sync::oneshot::channel();
    if keeper.try_send(Order::Become { command, reply }).is_err() {
        return io::Error::other("the main thread is gone or overloaded");
    }
    let failed = answer
        .await
        .unwrap_or_else(|_| io::Error::other("the main thread is gone"));
    // The standard input that was meant for the other program.
    drop(nothing_to_read());
    failed
}

pub(crate) fn execute(mut command: Command) -> io::Error {
    command.exec()
}

fn nothing_to_read() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?)
}

/// A socket from which the parts' outputs can be taken, by whoever holds it.
fn send(parts: &[Part]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let (from, to) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for batch in parts.chunks(AT_ONCE) {
        let outputs: Vec<BorrowedFd<'_>> = batch.iter().map(|part| part.output.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&outputs)) {
            return Err(io::Error::other("too many descriptors"));
        }
        // Never waits: nobody reads yet.
        sendmsg(&from, &[IoSlice::new(b"o")], &mut control, SendFlags::DONTWAIT)?;
    }
    Ok(to)
}

/// Takes the outputs that the program before this one gave, from standard input, in their order.
///
/// # Errors
/// There are fewer.
pub fn receive(count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    let stdin = io::stdin();
    while all.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = match recvmsg(
            stdin.as_fd(),
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            flags,
        ) {
            Err(Errno::INTR) => continue,
            got => got?,
        };
        let before = all.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(outputs) = message {
                all.extend(outputs);
            }
        }
        if got.bytes == 0 || all.len() == before {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
    nothing_to_read()?;
    Ok(all)
}

/// Goes on with a command that the program before this one started.
///
/// # Errors
/// It is gone.
pub fn adopt(handed: &Handed, output: OwnedFd) -> io::Result<Running> {
    Running::adopted(handed, output)
}
