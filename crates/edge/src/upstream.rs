//! Connections to instances: HTTP/1.1, kept alive, pooled per worker.
//!
//! A connection has no task of its own. Whoever sends a request over it also drives it, first while waiting
//! for the head, then from the response's body ([`crate::body::AnswerBody`]). That saves two task switches and
//! two channel hops per request, which is a good part of what a proxy spends.

use crate::{body::RequestBody, table::Backend};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// Idle connections kept per instance and worker.
const MOST_IDLE: usize = 256;
/// How long an idle connection is kept. Servers close theirs after 5 s (Node, uvicorn) or more.
const IDLE: Duration = Duration::from_secs(4);
/// A request that cannot be sent twice takes only a connection used within this time, so that it does not
/// meet one that the instance is just closing.
const FRESH: Duration = Duration::from_secs(1);
/// Largest response head, in bytes.
const HEAD_BYTES: usize = 256 * 1024;

/// One connection to an instance.
pub(crate) struct Upstream {
    send: SendRequest<RequestBody>,
    connection: Connection<TokioIo<TcpStream>, RequestBody>,
    open: bool,
    used: Instant,
    pooled: bool,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("open", &self.open)
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
    }
}

/// How sending a request over a connection ended.
pub(crate) enum Sent {
    /// The response's head came; the body is still to be read, driven by the connection.
    Answered(Response<Incoming>, Box<Upstream>),
    /// Nothing was sent: the connection turned out closed. The request is whole and can be sent elsewhere.
    Unsent(Request<RequestBody>),
    /// The connection broke after the request, or some of it, was sent.
    Broken(hyper::Error),
}

impl Upstream {
    /// A new connection.
    pub(crate) async fn connect(backend: &Backend, within: Duration) -> io::Result<Box<Self>> {
        let stream = dial(backend, within).await?;
        let (send, connection) = Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Self {
            send,
            connection,
            open: true,
            used: Instant::now(),
            pooled: false,
        }))
    }

    /// Whether it was used before, so that the instance may have closed it meanwhile.
    pub(crate) fn pooled(&self) -> bool {
        self.pooled
    }

    /// Lets the connection read and write; afterwards it wakes the task of `context`.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if self.open && Pin::new(&mut self.connection).poll(context).is_ready() {
            self.open = false;
        }
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn send(mut self: Box<Self>, request: Request<RequestBody>) -> Sent {
        let mut answer = pin!(self.send.try_send_request(request));
        let upstream = &mut self;
        let answer = poll_fn(|context| {
            upstream.drive(context);
            answer.as_mut().poll(context)
        });
        match answer.await {
            Ok(response) => Sent::Answered(response, self),
            Err(mut error) => match error.take_message() {
                Some(request) => Sent::Unsent(request),
                None => Sent::Broken(error.into_error()),
            },
        }
    }

    /// Whether the connection can take another request; drives it to the end of the last one if need be.
    fn reusable(&mut self, context: &mut Context<'_>) -> bool {
        if self.open && !self.send.is_ready() {
            self.drive(context);
        }
        self.open && self.send.is_ready()
    }
}

/// A plain connection to the instance.
pub(crate) async fn dial(backend: &Backend, within: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(within, async {
        match backend.address.parse::<SocketAddr>() {
            Ok(address) => TcpStream::connect(address).await,
            Err(_) => TcpStream::connect(backend.address.as_str()).await,
        }
    });
    let stream = stream
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The idle connections to one instance, those of each worker apart: a connection stays with the runtime
/// that polls it, and no two workers wait for one lock.
#[allow(
    clippy::vec_box,
    reason = "moved between tasks and bodies as the pointer it is"
)]
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Box<[Mutex<Vec<Box<Upstream>>>]>,
}

impl Pool {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            idle: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
        }
    }

    /// An idle connection that is still open as far as is known, the last used first.
    pub(crate) async fn take(&self, worker: usize, repeatable: bool) -> Option<Box<Upstream>> {
        loop {
            let mut upstream = {
                let mut idle = self
                    .idle
                    .get(worker)?
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                idle.pop()?
            };
            let age = upstream.used.elapsed();
            if age > if repeatable { IDLE } else { FRESH } {
                continue;
            }
            // Sees an end that the instance sent meanwhile.
            poll_fn(|context| {
                upstream.drive(context);
                Poll::Ready(())
            })
            .await;
            if upstream.open && upstream.send.is_ready() {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection for the next request, if it can take one.
    pub(crate) fn put(&self, worker: usize, mut upstream: Box<Upstream>, context: &mut Context<'_>) {
        if !upstream.reusable(context) {
            return;
        }
        upstream.used = Instant::now();
        upstream.pooled = true;
        let Some(idle) = self.idle.get(worker) else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(upstream);
        }
    }

    /// Closes connections that were idle for too long. The oldest are at the bottom.
    pub(crate) fn tidy(&self) {
        for idle in &self.idle {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            let old = idle
                .iter()
                .take_while(|upstream| upstream.used.elapsed() > IDLE)
                .count();
            let closed: Vec<_> = idle.drain(..old).collect();
            drop(idle);
            drop(closed);
        }
    }
}
