//! The listener of agents and edges: TLS 1.3 with the instance's own authority, client certificates for all calls
//! but enrolment, and no other routes than theirs.

use super::cannot;
use crate::config::Config;
use axum::{
    Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::{Next, from_fn},
    response::Response,
    serve::{IncomingStream, Listener},
};
use bascule_core::{Clock, Digest, Result, Timestamp};
use bascule_delivery::{Door, fleet::authority::Authority};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    time_provider::TimeProvider,
};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// Connections that are being agreed on at once; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// Time for one.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken, such as for want of open files.
const PAUSE: Duration = Duration::from_millis(200);

/// The listener, not yet serving.
pub struct AgentsDoor {
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    door: Arc<Door>,
}

impl AgentsDoor {
    /// Opens it where the configuration says so; makes the authority at the first start.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Option<Self>> {
        let Some(address) = config.agent_listen else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| cannot(&format!("The address {address} cannot be listened on"), e))?;
        let address = listener
            .local_addr()
            .map_err(|e| cannot("The address is unknown", e))?;
        let url = url_of(config, address);
        let names = names_of(config, &url, address);
        let life = Duration::from_secs(config.agent_certificate_seconds.max(1));
        let file = config.data.join("agents-ca.pem");
        let authority = Authority::load_or_create(&file, life, clock.now())?;
        tracing::info!(%address, url, authority = %authority.fingerprint(), "agents may call by TLS");
        let door = Arc::new(Door { authority, url });
        let tls = tls(&door, names, clock).map_err(|e| cannot("The agents' listener cannot be set up", e))?;
        Ok(Some(Self {
            listener,
            address,
            tls: Arc::new(tls),
            door,
        }))
    }

    /// What delivery knows of it.
    pub fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Serves what agents and edges may call of `app`, until `stop`.
    pub async fn serve(self, app: Router, stop: CancellationToken) {
        let (ready, connections) = mpsc::channel(HANDSHAKES);
        let accepting = tokio::spawn(accept(
            self.listener,
            TlsAcceptor::from(self.tls),
            ready,
            stop.clone(),
        ));
        let listener = Connections {
            connections,
            address: self.address,
        };
        let app = app
            .layer(from_fn(mark))
            .into_make_service_with_connect_info::<Peer>();
        let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "the agents' listener ended");
        }
        accepting.abort();
    }
}

fn url_of(config: &Config, address: SocketAddr) -> String {
    match config.agent_url.trim_end_matches('/') {
        "" => {
            let outside = url::Url::parse(&config.external_url)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            match outside.filter(|_| address.ip().is_unspecified()) {
                Some(host) => format!("https://{host}:{}", address.port()),
                None => format!("https://{address}"),
            }
        }
        url => url.to_owned(),
    }
}

/// Names under which the listener's certificate is good.
fn names_of(config: &Config, url: &str, address: SocketAddr) -> Vec<String> {
    let mut names = config.agent_names.clone();
    let host = url::Url::parse(url).ok().and_then(|url| {
        url.host_str()
            .map(|host| host.trim_matches(['[', ']']).to_owned())
    });
    names.extend(host);
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn tls(door: &Arc<Door>, names: Vec<String>, clock: Arc<dyn Clock>) -> Result<ServerConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(door.authority.der().to_vec()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        // Enrolment has none yet; whatever else is called without one is refused by its handler.
        .allow_unauthenticated()
        .build()?;
    let shown = Shown {
        door: Arc::clone(door),
        names,
        clock: Arc::clone(&clock),
        present: Mutex::new(None),
    };
    // Tells a wrong name at the start, not at the first call.
    shown.present()?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(Now(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed connection would not show its certificate again.
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("{0}")]
    Problem(#[from] bascule_core::Problem),
}

/// The server's clock, for the certificates of clients.
#[derive(Debug)]
struct Now(Arc<dyn Clock>);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The listener's certificate, made anew before its end.
struct Shown {
    door: Arc<Door>,
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    present: Mutex<Option<(Timestamp, Arc<CertifiedKey>)>>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Shown {
    fn present(&self) -> Result<Arc<CertifiedKey>, Fault> {
        let now = self.clock.now();
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((renew_at, key)) = &*present
            && now < *renew_at
        {
            return Ok(Arc::clone(key));
        }
        let made = self.door.authority.for_listener(&self.names, now)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.key));
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let chain = made.chain.into_iter().map(CertificateDer::from).collect();
        let key = Arc::new(CertifiedKey::new(chain, key));
        *present = Some((made.renew_at, Arc::clone(&key)));
        Ok(key)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.present() {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(%error, "the agents' listener has no certificate to show");
                None
            }
        }
    }
}

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Takes connections and agrees with each on its own, so that a slow one holds nobody up.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<Connection>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = listener.accept() => taken,
        };
        let (Ok(place), Ok((mut stream, address))) = (place, taken) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            drop(stream.set_nodelay(true));
            super::probed::probe(&mut stream);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(ready.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "no agreement with a caller"),
                Err(_) => tracing::debug!(%address, "a caller took too long"),
            }
        });
    }
}

struct Connections {
    connections: mpsc::Receiver<Connection>,
    address: SocketAddr,
}

impl Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
    certificate: Option<Digest>,
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        let certificates = stream.io().get_ref().1.peer_certificates();
        Self {
            address: *stream.remote_addr(),
            certificate: certificates
                .and_then(<[_]>::first)
                .map(|certificate| Digest::of(certificate)),
        }
    }
}

/// Tells the gate and the handlers by which door a request came.
async fn mark(ConnectInfo(peer): ConnectInfo<Peer>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(ConnectInfo(peer.address));
    request.extensions_mut().insert(bascule_web::AgentsDoor {
        certificate: peer.certificate,
    });
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_and_the_names_follow_the_settings() {
        let mut config = Config::default();
        let any: SocketAddr = ([0, 0, 0, 0], 8443).into();
        let loopback: SocketAddr = ([127, 0, 0, 1], 8443).into();
        assert_eq!(url_of(&config, loopback), "https://127.0.0.1:8443");
        config.external_url = "https://bascule.example.org/".into();
        assert_eq!(url_of(&config, any), "https://bascule.example.org:8443");
        assert_eq!(url_of(&config, loopback), "https://127.0.0.1:8443");
        config.agent_url = "https://agents.example.org/".into();
        config.agent_names = vec!["agents.internal".into()];
        let url = url_of(&config, any);
        assert_eq!(url, "https://agents.example.org");
        let names = names_of(&config, &url, any);
        assert_eq!(
            names,
            ["127.0.0.1", "agents.example.org", "agents.internal", "localhost"]
        );
        let names = names_of(&config, "https://[::1]:8443", ([10, 0, 0, 7], 8443).into());
        assert_eq!(names, ["10.0.0.7", "::1", "agents.internal"]);
    }
}
