//! The threads that serve. Each has a runtime of its own, so that a connection, the instance's connection it
//! uses and the timers of both stay on one core and nothing is handed between threads on the way of a request.

use crate::{
    linger::Lingering,
    proxy::{self, Patience, Serves, Visit},
    table::Switch,
};
use futures::FutureExt as _;
use http::HeaderValue;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioTimer;
use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Largest request head, in bytes; more is answered with 431.
const HEAD_BYTES: usize = 32 * 1024;
/// Most headers in a request; more is answered with 431.
const HEADERS: usize = 100;
/// Read buffer of a client connection, in bytes.
const BUFFER_BYTES: usize = 128 * 1024;
/// Time for a request's head to arrive, and for an idle connection to send the next.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Client connections at a time over all workers; more wait in the kernel's queue.
const CONNECTIONS: usize = 8_000;
/// Pause after the machine could not accept, such as when out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) switch: Arc<Switch>,
    pub(crate) trusted: bool,
    pub(crate) patience: Patience,
    /// How long requests in flight may take once the edge stops.
    pub(crate) grace: Duration,
}

/// A socket to accept from.
#[derive(Debug)]
struct Listen {
    listener: TcpListener,
    serves: Serves,
    stop: CancellationToken,
}

/// The worker threads.
#[derive(Debug)]
pub(crate) struct Workers {
    orders: Vec<mpsc::Sender<Listen>>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize, common: &Arc<Common>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut orders, mut threads) = (Vec::new(), Vec::new());
        for worker in 0..count.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (sender, receiver) = mpsc::channel(64);
            let (common, stop) = (Arc::clone(common), stop.clone());
            let name = format!("edge-{worker}");
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                runtime.block_on(Box::pin(work(worker, count.max(1), receiver, common, stop)));
            })?;
            orders.push(sender);
            threads.push(thread);
        }
        Ok(Self {
            orders,
            threads,
            stop,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Accepts from a socket on all workers until `stop`; the connections then finish what is in flight.
    pub(crate) async fn listen(
        &self,
        listener: &TcpListener,
        serves: Serves,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        for order in &self.orders {
            let listener = listener.try_clone()?;
            // A worker that is gone only is when the edge stops.
            let _ = order
                .send(Listen {
                    listener,
                    serves,
                    stop: stop.clone(),
                })
                .await;
        }
        Ok(())
    }

    /// Stops accepting, lets requests in flight end within the grace, ends the threads.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        drop(self.orders);
        for thread in self.threads {
            if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
                tracing::error!("a worker of the edge ended badly");
            }
        }
    }
}

/// A worker's life.
async fn work(
    worker: usize,
    workers: usize,
    mut orders: mpsc::Receiver<Listen>,
    common: Arc<Common>,
    stop: CancellationToken,
) {
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let room = Arc::new(Semaphore::new((CONNECTIONS / workers).max(1)));
    loop {
        let order = tokio::select! {
            () = stop.cancelled() => break,
            order = orders.recv() => order,
        };
        let Some(Listen {
            listener,
            serves,
            stop: closed,
        }) = order
        else {
            break;
        };
        let host = Host {
            common: Arc::clone(&common),
            serves,
            worker,
            tasks: tasks.clone(),
            cut: cut.clone(),
            room: Arc::clone(&room),
            http: http(),
        };
        let all = stop.clone();
        // One token for both reasons to stop, so that a connection waits for one.
        let (leave, watch) = (CancellationToken::new(), CancellationToken::new());
        let told = leave.clone();
        let ended = watch.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = all.cancelled() => {}
                () = ended.cancelled() => {}
            }
            told.cancel();
        });
        tasks.spawn(async move {
            if let Err(error) = host.accept(listener, &leave).await {
                tracing::error!(%error, "a listener of the edge cannot be used");
            }
            watch.cancel();
        });
    }
    tasks.close();
    if tokio::time::timeout(common.grace, tasks.wait()).await.is_err() {
        tracing::warn!(
            open = tasks.len(),
            "the edge ends connections that did not finish in time"
        );
    }
    cut.cancel();
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER_BYTES)
        .max_header_size(HEAD_BYTES)
        // No `pipeline_flush`: with it hyper keeps back the answer to a head that it cannot read.
        .max_headers(HEADERS);
    http
}

/// One listener as one worker serves it.
struct Host {
    common: Arc<Common>,
    serves: Serves,
    worker: usize,
    tasks: TaskTracker,
    cut: CancellationToken,
    room: Arc<Semaphore>,
    http: http1::Builder,
}

impl Host {
    async fn accept(&self, listener: TcpListener, leave: &CancellationToken) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let next = async {
                let permit = Arc::clone(&self.room)
                    .acquire_owned()
                    .await
                    .map_err(io::Error::other)?;
                listener
                    .accept()
                    .await
                    .map(|(stream, peer)| (stream, peer, permit))
            };
            let accepted = tokio::select! {
                () = leave.cancelled() => break,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => self.welcome(stream, peer, Some(permit), leave),
                Err(error) => {
                    tracing::warn!(%error, "the edge cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Connections that the kernel accepted already would be reset: serve them one request.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.welcome(stream, peer, None, &CancellationToken::new());
        }
        Ok(())
    }

    fn welcome(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
        leave: &CancellationToken,
    ) {
        let client = HeaderValue::from_str(&peer.ip().to_canonical().to_string());
        let visit = Arc::new(Visit {
            switch: Arc::clone(&self.common.switch),
            serves: self.serves,
            worker: self.worker,
            client: client.unwrap_or(HeaderValue::from_static("unknown")),
            trusted: self.common.trusted,
            patience: self.common.patience,
            tunnels: self.tasks.clone(),
            cut: self.cut.clone(),
        });
        let service = service_fn(move |request| {
            let visit = Arc::clone(&visit);
            async move { Ok::<_, Infallible>(proxy::handle(&visit, request).await) }
        });
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a client left at once");
            return;
        }
        let connection = self
            .http
            .serve_connection(Lingering::new(stream), service)
            .with_upgrades();
        // Of its own, because checking a token takes its lock.
        let leave = leave.child_token();
        self.tasks.spawn(async move {
            let _permit = permit;
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = leave.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a client's connection ended");
            }
        });
    }
}
