//! Real instances and a real edge, all on loopback.

use bascule_core::{DeploymentId, EnvironmentId, InstanceId, ProjectId, ReleaseId, SystemClock};
use bascule_edge::{Config, Edge, Handle};
use bascule_wire::edge::{Backend, EdgeConfig, Route, Slice};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

pub type Body = BoxBody<Bytes, hyper::Error>;

pub fn text(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed()
}

/// A product's instance.
pub struct Instance {
    pub address: SocketAddr,
    pub seen: Arc<AtomicUsize>,
    kill: CancellationToken,
}

impl Instance {
    /// One that answers by `answer`.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, kill, seen): (SocketAddr, CancellationToken, Arc<AtomicUsize>) = (
            listener.local_addr().unwrap(),
            CancellationToken::new(),
            Arc::default(),
        );
        let (killed, count, answer) = (kill.clone(), Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = killed.cancelled() => return,
                };
                let (killed, answer, count) = (killed.clone(), Arc::clone(&answer), Arc::clone(&count));
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        count.fetch_add(1, Ordering::Relaxed);
                        let answer = answer(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = connection.with_upgrades() => {}
                        () = killed.cancelled() => {}
                    }
                });
            }
        });
        Self { address, seen, kill }
    }

    /// One that answers with its name.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(text(name)) }).await
    }

    /// Ends it with all its connections, as a kill does.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    pub fn backend(&self, weight: u32) -> Backend {
        backend(&self.address.to_string(), weight)
    }
}

pub fn backend(address: &str, weight: u32) -> Backend {
    Backend {
        instance: InstanceId::new(),
        deployment: DeploymentId::new(),
        release: ReleaseId::new(),
        version: "1.0.0".to_owned(),
        address: address.to_owned(),
        weight,
    }
}

pub fn route(backends: Vec<Backend>) -> Route {
    Route {
        environment: EnvironmentId::new(),
        project: ProjectId::new(),
        host: "production.clinic.demo".to_owned(),
        port: None,
        slow_ms: 500,
        backends,
    }
}

/// A running edge.
pub struct Running {
    pub handle: Handle,
    pub cancel: CancellationToken,
    pub task: tokio::task::JoinHandle<bascule_core::Result<()>>,
}

impl Running {
    pub async fn start(routes: Vec<Route>) -> Self {
        let mut config = Config::new("http://127.0.0.1:1", "", Arc::new(SystemClock));
        config.workers = 2;
        config.shared_listener = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.head_timeout = Duration::from_secs(5);
        let edge = Edge::with_static(config, EdgeConfig { revision: 1, routes });
        let (handle, cancel) = (edge.handle(), CancellationToken::new());
        let task = tokio::spawn(edge.run(cancel.clone()));
        let mut shared = handle.shared_address();
        shared.wait_for(Option::is_some).await.unwrap();
        Self { handle, cancel, task }
    }

    /// An edge for one route, and the address where it is served.
    pub async fn one(route: Route) -> (Self, SocketAddr) {
        let running = Self::start(vec![route]).await;
        let address = running.address().await;
        (running, address)
    }

    pub async fn address(&self) -> SocketAddr {
        let mut listeners = self.handle.listeners();
        let reports = listeners.wait_for(|reports| !reports.is_empty()).await.unwrap();
        SocketAddr::from(([127, 0, 0, 1], reports[0].port))
    }

    pub async fn shared(&self) -> SocketAddr {
        self.handle
            .shared_address()
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .unwrap()
    }

    /// All slices, once `enough` says that all that was sent is in them.
    pub async fn slices(&self, requests: u64) -> Vec<Slice> {
        let mut all = Vec::new();
        for _ in 0..500 {
            all.extend(self.handle.take_slices());
            if all.iter().map(|slice: &Slice| slice.requests).sum::<u64>() >= requests {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {all:?} were counted, not {requests}");
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A client connection that is kept.
pub struct Client {
    send: hyper::client::conn::http1::SendRequest<Body>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection.with_upgrades());
        Self { send }
    }

    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        self.send.ready().await?;
        self.send.send_request(request).await
    }

    pub async fn get(&mut self, path: &str) -> (u16, String) {
        let request = Request::get(path)
            .header("host", "x.localhost")
            .body(text(""))
            .unwrap();
        let response = self.send(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// What the edge answers to raw bytes, until it closes or is silent for a while.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(Ok(read)) = tokio::time::timeout(Duration::from_millis(700), stream.read(&mut buffer)).await
    {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
