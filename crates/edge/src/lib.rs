//! The proxy in front of products. It takes a product's requests on a port of its own or under a host name,
//! spreads them over the running instances in exact shares, and counts what each instance answers, second by
//! second. Shares change without losing a request: whoever is on the way finishes where it started.
//!
//! [`Edge`] follows the server; [`Edge::with_static`] serves a fixed configuration without one.

mod body;
mod counts;
mod headers;
mod linger;
mod listen;
mod outbox;
mod proxy;
mod refuse;
mod schedule;
mod sync;
mod table;
mod upstream;
mod worker;

use bascule_client::{Client, Identity};
use bascule_core::{Clock, Problem, Result};
use bascule_wire::edge::{EdgeConfig, ListenerReport, Slice};
use counts::Registry;
use listen::Listeners;
use outbox::{Outbox, Seconds};
use proxy::{Patience, Serves};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use table::Switch;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use worker::{Common, Workers};

/// Time for the last counts to reach the server when the edge stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How an edge is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's address.
    pub server_url: String,
    /// The edge's token.
    pub token: String,
    /// Address on which each route gets its port.
    pub bind: IpAddr,
    /// Name or address by which clients reach `bind`, for the addresses reported to the server; `None` takes
    /// `bind` itself.
    pub public_host: Option<String>,
    /// A listener for all routes, told apart by host name.
    pub shared_listener: Option<SocketAddr>,
    /// Worker threads; 0 takes one per processor, four at most.
    pub workers: usize,
    /// Whether another proxy stands in front, whose `X-Forwarded-*` are to be kept.
    pub trust_forwarded: bool,
    /// Time allowed to connect to an instance.
    pub connect_timeout: Duration,
    /// Time allowed from a request to its response's head.
    pub head_timeout: Duration,
    /// Time that requests in flight get when the edge stops.
    pub grace: Duration,
    /// Dates the counts.
    pub clock: Arc<dyn Clock>,
    /// The certificate to show, and where it is kept, where the server wants one.
    pub identity: Option<(Identity, PathBuf)>,
}

impl Config {
    /// The usual set-up: loopback, no shared listener.
    #[must_use]
    pub fn new(server_url: &str, token: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            server_url: server_url.to_owned(),
            token: token.to_owned(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            public_host: None,
            shared_listener: None,
            workers: 0,
            trust_forwarded: false,
            connect_timeout: Duration::from_secs(2),
            head_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            clock,
            identity: None,
        }
    }

    fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(4),
            count => count,
        }
    }
}

/// A configuration on its way to the edge, and who waits for it to be in force.
type Order = (EdgeConfig, oneshot::Sender<()>);

/// What the edge and those who hold a [`Handle`] share.
#[derive(Debug)]
struct Shared {
    switch: Arc<Switch>,
    counts: Registry,
    outbox: Arc<Outbox>,
    seconds: Mutex<Seconds>,
    listeners: watch::Sender<Vec<ListenerReport>>,
    shared_address: watch::Sender<Option<SocketAddr>>,
    orders: mpsc::Sender<Order>,
    clock: Arc<dyn Clock>,
}

/// A running or soon running edge, seen from outside.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Puts a configuration in force. When this returns, all new requests follow it.
    pub async fn apply(&self, config: EdgeConfig) {
        let (done, wait) = oneshot::channel();
        if self.0.orders.send((config, done)).await.is_ok() {
            // An edge that stops meanwhile drops the other end.
            let _ = wait.await;
        }
    }

    /// The ports of the routes, as they change.
    #[must_use]
    pub fn listeners(&self) -> watch::Receiver<Vec<ListenerReport>> {
        self.0.listeners.subscribe()
    }

    /// The address of the shared listener, once it is open.
    #[must_use]
    pub fn shared_address(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.0.shared_address.subscribe()
    }

    /// Takes all counts up to now that were not sent to a server; for an edge without one.
    #[must_use]
    pub fn take_slices(&self) -> Vec<Slice> {
        self.0.collect_last();
        self.0.outbox.drain()
    }
}

impl Shared {
    fn collect_last(&self) {
        let at = self
            .seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last(&*self.clock);
        self.outbox.add(self.counts.collect(at));
    }

    /// Every second: counts to the outbox, idle connections closed.
    async fn tick(&self) {
        loop {
            tokio::time::sleep(Seconds::until_next(&*self.clock)).await;
            let ended = self
                .seconds
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .ended(&*self.clock);
            if let Some(at) = ended {
                self.outbox.add(self.counts.collect(at));
            }
            for backend in self.switch.table().backends() {
                backend.pool.tidy();
            }
        }
    }
}

/// The proxy.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    fixed: Option<EdgeConfig>,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
}

impl Edge {
    /// An edge that gets its routes from the server and sends its counts there.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::build(config, None)
    }

    /// An edge without a server, that serves these routes. [`Handle::apply`] changes them.
    #[must_use]
    pub fn with_static(config: Config, routes: EdgeConfig) -> Self {
        Self::build(config, Some(routes))
    }

    fn build(config: Config, fixed: Option<EdgeConfig>) -> Self {
        let (sender, orders) = mpsc::channel(4);
        let shared = Arc::new(Shared {
            switch: Arc::default(),
            counts: Registry::new(config.worker_count()),
            outbox: Arc::default(),
            seconds: Mutex::new(Seconds::new()),
            listeners: watch::Sender::new(Vec::new()),
            shared_address: watch::Sender::new(None),
            orders: sender,
            clock: Arc::clone(&config.clock),
        });
        Self {
            config,
            fixed,
            shared,
            orders,
        }
    }

    /// A view from outside, which stays good while the edge runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Serves until `cancel`; then stops accepting, lets requests in flight end within the grace and sends
    /// the last counts.
    ///
    /// # Errors
    /// If the server's address is none, the shared listener cannot be opened, or no thread can be started.
    /// A server that is away is no error.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let Self {
            config,
            fixed,
            shared,
            mut orders,
        } = self;
        let client = match fixed {
            Some(_) => None,
            None => Some(match &config.identity {
                Some((identity, _)) => Client::identified(&config.server_url, identity)?,
                None => Client::new(&config.server_url, Some(config.token.clone()))?,
            }),
        };
        let common = Arc::new(Common {
            switch: Arc::clone(&shared.switch),
            trusted: config.trust_forwarded,
            patience: Patience {
                connect: config.connect_timeout,
                head: config.head_timeout,
            },
            grace: config.grace,
        });
        let workers = Workers::start(config.worker_count(), &common).map_err(|error| {
            Problem::new(500, "edge_threads", "The edge cannot start its threads.").why(error.to_string())
        })?;
        let mut listeners = Listeners::new(config.bind, config.public_host.as_deref());
        if let Some(address) = config.shared_listener {
            open_shared(address, &workers, &shared).await?;
        }
        if let Some(routes) = &fixed {
            apply(routes, &mut listeners, &workers, &shared).await;
        }
        let serve = async {
            while let Some((routes, done)) = orders.recv().await {
                apply(&routes, &mut listeners, &workers, &shared).await;
                // Nobody waits any more: nothing to tell.
                let _ = done.send(());
            }
        };
        let handle = Handle(Arc::clone(&shared));
        let talk = async {
            match &client {
                Some(client) => {
                    tokio::join!(
                        sync::follow(client, &handle),
                        sync::tell_listeners(client, shared.listeners.subscribe()),
                        sync::send_counts(client, &shared.outbox),
                    );
                }
                None => std::future::pending().await,
            }
        };
        let fresh = async {
            match (&client, config.identity) {
                (Some(client), Some((identity, file))) => {
                    identity
                        .keep_fresh(client.clone(), file, || shared.clock.now())
                        .await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = Box::pin(fresh) => {}
            () = async { tokio::join!(serve, Box::pin(talk), shared.tick()); } => {}
        }
        workers.stop().await;
        shared.collect_last();
        if let Some(client) = &client {
            let flush = async {
                loop {
                    let batch = shared.outbox.peek();
                    if batch.is_empty() || sync::send(client, &batch).await.is_err() {
                        break;
                    }
                    shared.outbox.sent(&batch);
                }
            };
            // A server that is away gets them never; the slices say so by their absence.
            let _ = tokio::time::timeout(LAST_WORDS, flush).await;
        }
        Ok(())
    }
}

async fn open_shared(address: SocketAddr, workers: &Workers, shared: &Shared) -> Result<()> {
    let failed = |error: std::io::Error| {
        Problem::new(
            500,
            "edge_listen",
            format!("The edge cannot listen on {address}."),
        )
        .why(error.to_string())
        .next("Choose another address, or end what uses it.")
    };
    let listener = listen::bind(address).map_err(failed)?;
    workers
        .listen(&listener, Serves::Hosts, &CancellationToken::new())
        .await
        .map_err(failed)?;
    shared.shared_address.send_replace(listener.local_addr().ok());
    Ok(())
}

/// Puts routes in force: first where requests go, then the ports, so that a new port finds its route.
async fn apply(routes: &EdgeConfig, listeners: &mut Listeners, workers: &Workers, shared: &Shared) {
    shared.switch.set(routes, &shared.counts, workers.count());
    let reports = listeners.apply(routes, workers).await;
    shared.listeners.send_if_modified(|present| {
        let changed = *present != reports;
        *present = reports;
        changed
    });
}
