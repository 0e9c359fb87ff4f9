//! One command over one channel: git's input from the client, its output to it, refusals on its error stream.

use super::{
    command::{Asked, Service},
    live::Live,
};
use crate::{
    Forge,
    git::{
        http::{enough_space, may_push, refused, set_protocol, turn_of},
        process::{Running, Upload, read},
        receive::Way,
    },
    ports::Keys,
};
use axum::body::{Body, BodyDataStream};
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, server::Msg};
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// SSH's number for a program's error stream (RFC 4254 §5.2).
const STDERR: u32 = 1;
/// How long a client has for words that nobody waits for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The other side of a channel.
pub(super) struct Client {
    read: ChannelReadHalf,
    say: Say,
}

/// The way to the client.
struct Say {
    write: ChannelWriteHalf<Msg>,
    /// The client has closed the channel, or the connection is at its end.
    closed: CancellationToken,
    _busy: Arc<()>,
}

impl Client {
    pub(super) fn new(channel: Channel<Msg>, closed: CancellationToken, busy: Arc<()>) -> Self {
        let (read, write) = channel.split();
        Self {
            read,
            say: Say {
                write,
                closed,
                _busy: busy,
            },
        }
    }

    /// Says no, and why.
    pub(super) async fn refuse(self, problem: &Problem) {
        self.say.problem(problem).await;
        self.say.end(1).await;
    }
}

impl Drop for Say {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Say {
    /// Waits for the client's window; a client that has gone is an error.
    async fn out(&self, bytes: Bytes) -> io::Result<()> {
        tokio::select! {
            sent = self.write.data_bytes(bytes) => sent.map_err(io::Error::other),
            () = self.closed.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    async fn words(&self, text: &str) {
        let told = self
            .write
            .extended_data_bytes(STDERR, Bytes::copy_from_slice(text.as_bytes()));
        drop(tokio::time::timeout(LAST_WORDS, told).await);
    }

    async fn problem(&self, problem: &Problem) {
        self.words(&format!("\nRefused: {problem}\n\n")).await;
    }

    async fn end(&self, status: u32) {
        let end = async {
            self.write.eof().await?;
            self.write.exit_status(status).await?;
            self.write.close().await
        };
        drop(tokio::time::timeout(LAST_WORDS, end).await);
    }
}

/// What the client sends, as a body. A channel that closes without its end being told is an error, upon
/// which a push is given up.
fn body(read: ChannelReadHalf) -> Body {
    Body::from_stream(futures::stream::unfold(Some(read), |read| async move {
        let mut read = read?;
        loop {
            return match read.wait().await {
                Some(ChannelMsg::Data { data }) => Some((Ok(data), Some(read))),
                Some(ChannelMsg::Eof) => None,
                Some(ChannelMsg::Close) | None => {
                    Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
                }
                Some(_) => continue,
            };
        }
    }))
}

/// Says who the client is.
pub(super) async fn greet(client: Client, caller: Caller) {
    let name = &caller.actor.name;
    let text = format!(
        "Hello {name}! Your key works. There is no shell here: use git, as in `git clone`, `git fetch` and `git push`.\n"
    );
    drop(client.say.out(Bytes::from(text.into_bytes())).await);
    client.say.end(0).await;
}

/// Runs one of git's commands.
#[allow(
    clippy::too_many_arguments,
    reason = "all that a command is made of, passed on once"
)]
pub(super) async fn command(
    forge: &Forge,
    keys: &dyn Keys,
    live: &Arc<Live>,
    client: Client,
    caller: &Caller,
    asked: &Asked,
    protocol: Option<String>,
    ended: CancellationToken,
) {
    let Client { read, say } = client;
    let scope = match allowed(forge, keys, caller, asked).await {
        Ok(scope) => scope,
        Err(problem) => {
            say.problem(&problem).await;
            say.end(1).await;
            return;
        }
    };
    if (scope.group.as_str(), scope.name.as_str()) != (asked.group.as_str(), asked.project.as_str()) {
        say.words(&moved(forge, &scope, asked)).await;
    }
    let needs = match asked.service {
        Service::ReceivePack => Permission::CodePush,
        Service::UploadPack | Service::UploadArchive => Permission::CodeRead,
    };
    let lost = ended.child_token();
    let _entry = live.running(caller, (&scope.group, &scope.name), needs, lost.clone());
    let served = serve(forge, &say, read, caller, &scope, asked.service, protocol);
    let outcome = tokio::select! {
        biased;
        () = lost.cancelled() => Err(Problem::new(403, "access_ended", "Your access has ended.")
            .why("The key was removed, the account closed, the role taken away, or the server is stopping.")
            .next("If this surprises you, ask a maintainer of the project.")),
        outcome = served => outcome,
    };
    match outcome {
        Ok(status) => say.end(status).await,
        Err(problem) => {
            say.problem(&problem).await;
            say.end(1).await;
        }
    }
}

fn moved(forge: &Forge, scope: &ProjectScope, asked: &Asked) -> String {
    let address = forge.config().ssh.as_ref().map(|ssh| ssh.url(&scope.path()));
    format!(
        "\nThe project {}/{} is now {}.\n  next: git remote set-url origin {}\n\n",
        asked.group,
        asked.project,
        scope.path(),
        address.unwrap_or_default()
    )
}

async fn allowed(forge: &Forge, keys: &dyn Keys, caller: &Caller, asked: &Asked) -> Result<ProjectScope> {
    let scope = keys
        .project(caller, &asked.group, &asked.project)
        .await?
        .ok_or_else(|| Problem::not_found("project"))?;
    if !scope.holds(Permission::CodeRead) {
        return Err(Problem::forbidden(Permission::CodeRead));
    }
    if asked.service == Service::ReceivePack {
        may_push(&scope)?;
        enough_space(forge)?;
    }
    Ok(scope)
}

async fn serve(
    forge: &Forge,
    say: &Say,
    read: ChannelReadHalf,
    caller: &Caller,
    scope: &ProjectScope,
    service: Service,
    protocol: Option<String>,
) -> Result<u32> {
    let permit = turn_of(forge).await?;
    let mut command = forge.git().command();
    set_protocol(&mut command, protocol.as_deref());
    command.arg(service.name());
    if service == Service::UploadPack {
        command.arg("--strict");
    }
    command.arg(forge.repositories().path(scope.id));
    let begun = Arc::new(AtomicBool::new(false));
    let upload = Upload {
        body: body(read),
        gzip: false,
        // Whether a silent client is still there is found out by SSH itself; it may be packing for long.
        idle: forge.config().timeout,
        begun: begun.clone(),
    };
    if service == Service::ReceivePack {
        let way = Way::Conversation(begun);
        let answer = forge.receive(command, scope, caller, upload, permit, way).await?;
        return pass_on(say, answer.into_data_stream()).await;
    }
    let deadline = forge.config().timeout;
    let mut running = Running::start(command, Some(upload), deadline, permit).map_err(|error| {
        tracing::error!(%error, "git could not be started");
        Problem::internal()
    })?;
    let mut buffer = BytesMut::new();
    let mut told = false;
    loop {
        match read_next(&mut running, &mut buffer).await {
            Ok(chunk) if chunk.is_empty() => break,
            Ok(chunk) => {
                told = true;
                if say.out(chunk).await.is_err() {
                    return Ok(1);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "git's output could not be read");
                break;
            }
        }
    }
    let (status, complaint) = running.finish().await.map_err(|_| Problem::internal())?;
    if !status.success() && !told {
        return Err(refused(&complaint));
    }
    Ok(u32::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

async fn read_next(running: &mut Running, buffer: &mut BytesMut) -> io::Result<Bytes> {
    read(&mut running.stdout, buffer).await
}

/// Passes on what a push answers. What breaks off in the middle was said by git already.
async fn pass_on(say: &Say, mut answer: BodyDataStream) -> Result<u32> {
    while let Some(part) = answer.next().await {
        match part {
            Ok(part) => {
                if say.out(part).await.is_err() {
                    return Ok(1);
                }
            }
            Err(error) => {
                say.words(&format!("\nRefused: {error}\n\n")).await;
                return Ok(1);
            }
        }
    }
    Ok(0)
}
