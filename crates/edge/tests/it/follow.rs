//! The edge and its server.

use crate::support::{Client, Instance, route};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use bascule_core::SystemClock;
use bascule_edge::{Config, Edge};
use bascule_wire::edge::{EdgeConfig, ListenerReport, Slice};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A server that knows what the edge needs of one.
#[derive(Clone)]
struct Server {
    config: watch::Sender<EdgeConfig>,
    listeners: watch::Sender<Vec<ListenerReport>>,
    slices: Arc<Mutex<Vec<Slice>>>,
    /// Whether it was ever told that no port is open.
    emptied: Arc<AtomicBool>,
    away: watch::Sender<bool>,
}

impl Server {
    async fn start(config: EdgeConfig) -> (Self, SocketAddr) {
        let server = Self {
            config: watch::Sender::new(config),
            listeners: watch::Sender::new(Vec::new()),
            slices: Arc::default(),
            emptied: Arc::default(),
            away: watch::Sender::new(false),
        };
        let app = Router::new()
            .route("/api/v1/edge/config", get(config_of))
            .route("/api/v1/edge/listeners", post(listeners))
            .route("/api/v1/edge/counts", post(counts))
            .with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (server, address)
    }

    fn counted(&self) -> u64 {
        self.slices
            .lock()
            .unwrap()
            .iter()
            .map(|slice| slice.requests)
            .sum()
    }
}

async fn config_of(
    State(server): State<Server>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<EdgeConfig>, StatusCode> {
    if *server.away.borrow() {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let (known, wait): (i64, u64) = (query["revision"].parse().unwrap(), query["wait"].parse().unwrap());
    let mut config = server.config.subscribe();
    let changed = config.wait_for(|config| config.revision != known);
    let _ = tokio::time::timeout(Duration::from_secs(wait), changed).await;
    Ok(Json(server.config.borrow().clone()))
}

async fn listeners(State(server): State<Server>, Json(reports): Json<Vec<ListenerReport>>) {
    assert!(
        !reports.is_empty(),
        "an edge that starts must not make the server forget its ports"
    );
    server.listeners.send_replace(reports);
}

async fn counts(State(server): State<Server>, Json(slices): Json<Vec<Slice>>) -> StatusCode {
    if *server.away.borrow() {
        return StatusCode::BAD_GATEWAY;
    }
    let mut all = server.slices.lock().unwrap();
    for slice in slices {
        // As the real one: a slice replaces itself.
        all.retain(|old| (old.instance, old.at) != (slice.instance, slice.at));
        all.push(slice);
    }
    StatusCode::NO_CONTENT
}

#[tokio::test]
async fn it_follows_the_server_and_outlives_its_absence_without_losing_counts() {
    let (old, new) = (Instance::named("old").await, Instance::named("new").await);
    let first = route(vec![old.backend(1)]);
    let (server, address) = Server::start(EdgeConfig {
        revision: 1,
        routes: vec![first.clone()],
    })
    .await;
    let mut config = Config::new(&format!("http://{address}"), "secret", Arc::new(SystemClock));
    config.workers = 1;
    let (edge, cancel) = (Edge::new(config), CancellationToken::new());
    let task = tokio::spawn(edge.run(cancel.clone()));
    let mut told = server.listeners.subscribe();
    let port = told.wait_for(|reports| !reports.is_empty()).await.unwrap()[0].port;
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
    assert_eq!(client.get("/").await.1, "old");

    // A new configuration arrives within a moment.
    let mut second = first.clone();
    second.backends = vec![new.backend(1)];
    second.port = Some(port);
    server.config.send_replace(EdgeConfig {
        revision: 2,
        routes: vec![second.clone()],
    });
    let mut sent = 1;
    loop {
        sent += 1;
        if client.get("/").await.1 == "new" {
            break;
        }
    }

    // The server goes away: requests are served and counted all the same.
    server.away.send_replace(true);
    for _ in 0..50 {
        assert_eq!(client.get("/").await.1, "new");
        sent += 1;
    }
    let before = server.slices.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(server.slices.lock().unwrap().len(), before);
    server.away.send_replace(false);
    while server.counted() < sent {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.get("/").await.1, "new");

    // What was counted last is sent at the end.
    cancel.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(server.counted(), sent + 1);
    // An edge that starts must not make the server forget which ports the routes had.
    assert!(!server.emptied.load(Ordering::Relaxed));
}
