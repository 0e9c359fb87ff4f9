//! Taking a push. It runs apart from the request, because once the hook has let it through it must be
//! finished and told to the ledger even when the client has gone.

use super::{
    http::{Part, full_packet, is_full, is_huge, packet, refused},
    process::{GRACE, Running, Upload, fed, read},
};
use crate::{
    Forge,
    merge_request::options::Wanted,
    push::{Lookout, Session},
    storage::too_large_a_push,
};
use axum::body::Body;
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result};
use bytes::{Bytes, BytesMut};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::Command,
    sync::{OwnedSemaphorePermit, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;

/// Parts of the answer that may wait for a slow client.
const WAITING: usize = 64;
/// The same where git is made to wait: what it says first may be long.
const FEW: usize = 4;
/// How long the client waits for the facts of what it pushed.
const SOON: Duration = Duration::from_millis(100);
/// The packet that ends an answer in bands.
const FLUSH: &[u8] = b"0000";

/// How the client speaks.
pub(crate) enum Way {
    /// One request, one answer, as over HTTP.
    Request,
    /// In turn, as over SSH: git speaks first, which is passed on at once until the client has spoken.
    Conversation(Arc<AtomicBool>),
}

impl Way {
    fn is_greeting(&self) -> bool {
        match self {
            Self::Request => false,
            Self::Conversation(begun) => !begun.load(Ordering::SeqCst),
        }
    }
}

impl Forge {
    /// Runs `git receive-pack`. The answer's last part leaves only once the push's intents are durable, and after its
    /// facts too unless counting many commits for them takes longer than [`SOON`]. Until they are, the project's next
    /// push waits; a server that is killed tells them at its next start.
    pub(crate) async fn receive(
        &self,
        mut command: Command,
        scope: &ProjectScope,
        caller: &Caller,
        upload: Upload,
        permit: OwnedSemaphorePermit,
        way: Way,
    ) -> Result<Body> {
        let project = self
            .find(&scope.group, &scope.name)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let largest = self.limits_of(project.group_id, project.id).await?.push;
        let too_large = too_large_a_push(largest, &project.path());
        let session = self
            .pushes()
            .begin(project, caller, scope.holds(Permission::ProtectedPush));
        command
            .env(crate::hook::SOCKET, self.pushes().socket())
            .env(crate::hook::SECRET, session.secret())
            // git itself ends a push that grows too large, before all of it is on the disk.
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "receive.maxInputSize")
            .env("GIT_CONFIG_VALUE_0", largest.to_string());
        let running =
            Running::start(command, Some(upload), self.config().timeout, permit).map_err(|error| {
                tracing::error!(%error, "git could not be started");
                Problem::internal()
            })?;
        let waiting = match way {
            Way::Request => WAITING,
            Way::Conversation(_) => FEW,
        };
        let (parts, mut answer) = mpsc::channel::<Result<Bytes>>(waiting);
        let person = (caller.clone(), scope.clone());
        tokio::spawn(
            self.clone()
                .carry(running, session, parts, way, too_large, person),
        );
        match answer.recv().await {
            None => Ok(Body::empty()),
            Some(Err(problem)) => Err(problem),
            Some(Ok(first)) => {
                let rest = futures::StreamExt::map(ReceiverStream::new(answer), |part| {
                    part.map_err(|problem| std::io::Error::other(problem.what))
                });
                let first = futures::stream::iter([Part::Ok(first)]);
                Ok(Body::from_stream(futures::StreamExt::chain(first, rest)))
            }
        }
    }

    async fn carry(
        self,
        mut running: Running,
        session: Arc<Session>,
        parts: mpsc::Sender<Result<Bytes>>,
        way: Way,
        too_large: Problem,
        (caller, scope): (Caller, ProjectScope),
    ) {
        let mut buffer = BytesMut::new();
        // The part held back, and what a slow client has not taken yet.
        let mut held = BytesMut::new();
        let mut gone = false;
        let mut told = false;
        // Whether git speaks in bands, and whether it spoke of a full disk.
        let mut banded = None;
        let mut full = false;
        let mut huge = false;
        let mut patience = None;
        let mut lookout = Some(self.look_out(session.project.id));
        loop {
            tokio::select! {
                chunk = read(&mut running.stdout, &mut buffer) => {
                    match chunk {
                        Ok(chunk) if !chunk.is_empty() && way.is_greeting() => {
                            told = true;
                            // One who has gone is noticed below.
                            drop(parts.send(Ok(chunk)).await);
                        }
                        Ok(chunk) if !chunk.is_empty() => {
                            // Never wait for the client here: a client that reads slowly must not hold up
                            // a push that is past its judgement.
                            if !held.is_empty()
                                && let Ok(place) = parts.try_reserve()
                            {
                                place.send(Ok(held.split().freeze()));
                                told = true;
                            }
                            banded.get_or_insert_with(|| in_bands(&chunk));
                            full = full || is_full(&chunk);
                            huge = huge || is_huge(&chunk);
                            held.extend_from_slice(&chunk);
                        }
                        _ => break,
                    }
                }
                end = fed(&mut running.feeder) => {
                    if let Err(error) = end && !session.accepted() {
                        // git sees the end of its input now and gives up by itself.
                        tracing::debug!(%error, "a push broke off");
                        patience = Some(tokio::time::Instant::now() + GRACE);
                    }
                }
                () = until(patience) => {
                    patience = None;
                    if !session.accepted() {
                        running.terminate();
                    }
                }
                () = parts.closed(), if !gone => {
                    gone = true;
                    if !session.accepted() {
                        running.hang_up();
                        patience = Some(tokio::time::Instant::now() + GRACE);
                    }
                }
            }
        }
        let end = running.finish().await;
        let wanted = match &end {
            Ok((status, _)) if status.success() && session.accepted() => Wanted::parse(session.options()),
            _ => None,
        };
        // What happened is told to the ledger before the client hears of it. Where many commits are to be counted the
        // client does not wait for that: its references and the intents of them are durable, and the next push waits.
        let mut concluding = session.accepted().then(|| Box::pin(self.conclude(&session)));
        if let Some(conclusion) = &mut concluding {
            let in_time = if wanted.is_some() {
                conclusion.await;
                true
            } else {
                tokio::time::timeout(SOON, conclusion).await.is_ok()
            };
            if in_time {
                concluding = None;
            }
        }
        if concluding.is_none() {
            self.over(&session, &end, lookout.take()).await;
        }
        let more = if let Some(wanted) = wanted {
            let text = Box::pin(self.open_by_push(&caller, &scope, session.branches(), &wanted)).await;
            (!text.is_empty()).then(|| packet(&format!("{text}\n")))
        } else if full {
            Some(full_packet())
        } else if huge {
            Some(packet(&format!("\nRefused: {too_large}\n\n")))
        } else {
            None
        };
        if let Some(more) = more.filter(|_| banded == Some(true) && held.ends_with(FLUSH)) {
            held.truncate(held.len() - FLUSH.len());
            held.extend_from_slice(&more);
            held.extend_from_slice(FLUSH);
        }
        let last = match &end {
            Ok((status, complaint))
                if !status.success() && held.is_empty() && (!told || matches!(way, Way::Conversation(_))) =>
            {
                Some(Err(refused(complaint)))
            }
            Ok(_) => (!held.is_empty()).then(|| Ok(held.freeze())),
            Err(error) => {
                tracing::error!(%error, "the end of a push could not be awaited");
                Some(Err(Problem::internal()))
            }
        };
        if let Some(last) = last {
            // A client that has gone hears nothing; the push stands all the same.
            drop(parts.send(last).await);
        }
        drop(parts);
        if let Some(conclusion) = concluding {
            conclusion.await;
            self.over(&session, &end, lookout.take()).await;
        }
    }

    /// Clears up after a push whose facts are told.
    async fn over(
        &self,
        session: &Session,
        end: &std::io::Result<(std::process::ExitStatus, String)>,
        lookout: Option<Lookout>,
    ) {
        self.pushes().end(session);
        if !matches!(end, Ok((status, _)) if status.success()) {
            self.repositories()
                .sweep_quarantine(session.project.id, self.pushes())
                .await;
        }
        if let Some(lookout) = lookout {
            self.looked_out(session.project.id, lookout).await;
        }
    }
}

/// Whether an answer that begins so carries bands: its first packet then begins with a band's number.
fn in_bands(answer: &[u8]) -> bool {
    matches!(answer.get(4), Some(1 | 2))
}

/// Waits until then; for ever without a time.
async fn until(then: Option<tokio::time::Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}
