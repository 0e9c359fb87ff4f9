//! The way out for jobs that may reach mirrors and the server alone: a proxy for HTTP and for connections (`CONNECT`) that
//! listens on the loopback of the job's own network and connects from the machine's. Nothing else of the network is in
//! the job's.

use crate::{Config, job::Failure};
use bascule_core::Problem;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderName, PROXY_AUTHORIZATION},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsFd as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use url::Url;

/// Where the proxy listens in a job's network.
pub(crate) const ADDRESS: &str = "127.0.0.1:3128";
const PORT: u16 = 3128;
/// Connections of a job at once.
const CONNECTIONS: usize = 256;
/// Time to reach a mirror.
const CONNECT: Duration = Duration::from_secs(15);
/// Tries to listen while the job's loopback comes up, and the pause between.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

type Body = BoxBody<Bytes, hyper::Error>;

/// Where jobs may go.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    named: Arc<Vec<(String, Option<u16>)>>,
    /// Whether all else is too, but for the machine itself.
    beyond: bool,
}

impl Allowed {
    /// The mirrors of a configuration, and its server.
    pub(crate) fn new(config: &Config) -> Self {
        let mut all: Vec<(String, Option<u16>)> =
            config.network_mirrors.iter().map(|text| place(text)).collect();
        all.extend(Self::server(config).named.iter().cloned());
        Self {
            named: Arc::new(all),
            beyond: false,
        }
    }

    /// The server alone.
    pub(crate) fn server(config: &Config) -> Self {
        let mut all = Vec::new();
        if let Ok(url) = Url::parse(&config.url)
            && let Some(host) = url.host_str()
        {
            all.push((host.to_ascii_lowercase(), url.port_or_known_default()));
        }
        Self {
            named: Arc::new(all),
            beyond: false,
        }
    }

    /// The server, and all that is not this machine.
    pub(crate) fn beyond(config: &Config) -> Self {
        Self {
            beyond: true,
            ..Self::server(config)
        }
    }

    fn allows(&self, host: &str, port: u16) -> bool {
        self.beyond || self.names(host, port)
    }

    /// Whether it is named, and so may be on this machine.
    fn names(&self, host: &str, port: u16) -> bool {
        let host = host
            .trim_matches(['[', ']'])
            .trim_end_matches('.')
            .to_ascii_lowercase();
        self.named.iter().any(|(wanted, on)| {
            let named = match wanted.strip_prefix("*.") {
                Some(above) => host
                    .strip_suffix(above)
                    .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
                None => host == *wanted,
            };
            named && on.is_none_or(|on| on == port)
        })
    }

    fn words(&self) -> String {
        let one = |(host, port): &(String, Option<u16>)| match port {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        self.named.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// `mirror.example.org`, `*.example.org:8081` or an address with its scheme.
pub(crate) fn place(text: &str) -> (String, Option<u16>) {
    if let Ok(url) = Url::parse(text)
        && let Some(host) = url.host_str()
    {
        return (host.to_ascii_lowercase(), url.port_or_known_default());
    }
    match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host.to_ascii_lowercase(), Some(port)),
        _ => (text.to_ascii_lowercase(), None),
    }
}

/// An open way; it ends with this value.
#[derive(Debug)]
pub(crate) struct WayOut(JoinHandle<()>);

impl Drop for WayOut {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl WayOut {
    /// Opens a way for the network that a process is in, which must not be this process's own.
    pub(crate) async fn open(allowed: Allowed, pid: i32) -> Result<Self, Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let listener = entered(pid, address).await.map_err(|error| {
            closed(
                "no_way_out",
                "The job's network cannot be entered to let it reach mirrors.",
                &error,
                "Run the runner as root, or give jobs no network, or the machine's own (`open_network = \"host\"`).",
            )
        })?;
        Ok(Self(tokio::spawn(serve(listener, allowed))))
    }

    /// Lets one address of this machine through, by which another network has it too.
    pub(crate) async fn to(address: SocketAddr, pid: i32) -> Result<Self, Failure> {
        let listener = entered(pid, address).await.map_err(|error| {
            closed(
                "no_way_to_server",
                "The job's network cannot be led to the server.",
                &error,
                "Run the runner as root, or give jobs no open network.",
            )
        })?;
        Ok(Self(tokio::spawn(pass_on(listener, address))))
    }

    /// Opens a way for a program of the runner's own, on this machine's loopback; where it listens.
    pub(crate) async fn beside(allowed: Allowed) -> io::Result<(Self, SocketAddr)> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok((Self(tokio::spawn(serve(listener, allowed))), address))
    }
}

fn closed(code: &str, what: &str, error: &io::Error, next: &str) -> Failure {
    Failure::System(Problem::new(503, code, what).why(error.to_string()).next(next))
}

/// Listens in the network that a process is in.
async fn entered(pid: i32, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let listener = tokio::task::spawn_blocking(move || listen_in(pid, address))
        .await
        .map_err(io::Error::other)??;
    tokio::net::TcpListener::from_std(listener)
}

/// Listens in another network. A thread of its own enters it and ends there.
fn listen_in(pid: i32, address: SocketAddr) -> io::Result<TcpListener> {
    let entered = move || {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        if std::fs::read_link(&path)? == std::fs::read_link("/proc/self/ns/net")? {
            return Err(io::Error::other("it is the machine's own"));
        }
        let network = File::open(path)?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut tried = 0;
        loop {
            match TcpListener::bind(address) {
                Ok(listener) => {
                    listener.set_nonblocking(true)?;
                    return Ok(listener);
                }
                // Its loopback is not up yet.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && tried < TRIES => {
                    tried += 1;
                    std::thread::park_timeout(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    };
    std::thread::Builder::new()
        .name("way-out".to_owned())
        .spawn(entered)?
        .join()
        .map_err(|_| io::Error::other("the thread broke down"))?
}

async fn serve(listener: tokio::net::TcpListener, allowed: Allowed) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let allowed = allowed.clone();
        connections.spawn(async move {
            let service =
                service_fn(move |request| handle(request, allowed.clone()).map(Ok::<_, hyper::Error>));
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a job's connection to the way out broke off");
            }
            drop(place);
        });
    }
}

/// Joins each connection with one to an address of this machine.
async fn pass_on(listener: tokio::net::TcpListener, address: SocketAddr) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(address).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            }
            drop(place);
        });
    }
}

async fn handle(request: Request<Incoming>, allowed: Allowed) -> Response<Body> {
    let connect = request.method() == Method::CONNECT;
    let Some(host) = request.uri().host().map(str::to_owned) else {
        return told(
            StatusCode::BAD_REQUEST,
            "This is a proxy: name the address to go to.",
        );
    };
    let port = request.uri().port_u16().unwrap_or(if connect { 443 } else { 80 });
    if !allowed.allows(&host, port) {
        return told(
            StatusCode::FORBIDDEN,
            &format!(
                "{host}:{port} is none of the places that this runner lets jobs reach. They are: {}. Ask for a mirror, or \
                 for a runner whose network is open.",
                allowed.words()
            ),
        );
    }
    let named = allowed.names(&host, port);
    let stream = match reach(&host, port, named).await {
        Ok(stream) => stream,
        Err(error) => {
            return told(
                StatusCode::BAD_GATEWAY,
                &format!("{host}:{port} cannot be reached: {error}"),
            );
        }
    };
    if connect {
        tokio::spawn(async move {
            if let Ok(upgraded) = hyper::upgrade::on(request).await {
                let mut stream = stream;
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
            }
        });
        return Response::new(Full::default().map_err(|never| match never {}).boxed());
    }
    match forward(request, stream).await {
        Ok(response) => response,
        Err(error) => told(StatusCode::BAD_GATEWAY, &format!("{host}:{port}: {error}")),
    }
}

/// A connection; never to where clouds tell a machine's secrets, whatever a name resolves to, and to this machine only by
/// a place that is named.
async fn reach(host: &str, port: u16, named: bool) -> io::Result<TcpStream> {
    let connected = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in lookup_host((host.trim_matches(['[', ']']), port)).await? {
            if is_link_local(address.ip()) || (!named && is_here(address.ip())) {
                last = io::Error::other(
                    "jobs reach neither the runner's machine itself nor link-local addresses",
                );
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    tokio::time::timeout(CONNECT, connected)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether an address is this machine's own: only those can be listened on.
fn is_here(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback()
        || address.is_unspecified()
        || std::net::UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

async fn forward(request: Request<Incoming>, stream: TcpStream) -> Result<Response<Body>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = authority.as_str().parse()
    {
        parts.headers.insert(HOST, value);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(|error| error.to_string())?;
    for name in [
        CONNECTION,
        PROXY_AUTHORIZATION,
        HeaderName::from_static("proxy-connection"),
    ] {
        parts.headers.remove(name);
    }
    let response = sender
        .send_request(Request::from_parts(parts, body))
        .await
        .map_err(|error| error.to_string())?;
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONNECTION);
    Ok(Response::from_parts(parts, body.boxed()))
}

fn told(status: StatusCode, words: &str) -> Response<Body> {
    let body = Full::from(Bytes::from(format!("bascule-runner: {words}\n")));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_allowed_by_host_and_port() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("http://Forge.example.org:8080/x", "t", dir.path());
        config.network_mirrors = vec![
            "mirror.example.org".into(),
            "*.pkg.example.org:443".into(),
            "https://crates.example.org/index".into(),
        ];
        let allowed = Allowed::new(&config);
        for (host, port, yes) in [
            ("forge.example.org", 8080, true),
            ("forge.example.org", 22, false),
            ("MIRROR.example.org.", 9999, true),
            ("a.pkg.example.org", 443, true),
            ("a.pkg.example.org", 80, false),
            ("pkg.example.org", 443, false),
            ("evilpkg.example.org", 443, false),
            ("crates.example.org", 443, true),
            ("mirror.example.org.evil.example", 80, false),
            ("169.254.169.254", 80, false),
        ] {
            assert_eq!(allowed.allows(host, port), yes, "{host}:{port}");
        }
        assert!(is_link_local("::ffff:169.254.169.254".parse().unwrap()));
    }
}
