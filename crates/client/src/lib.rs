//! HTTP client of the server's APIs, for the command line, runner, agent and edge.
//!
//! Every failure is a [`Problem`] that can be shown as it is: refusals of the server come through word for
//! word, and a server that cannot be reached becomes the code `unreachable` with advice. Calls that may be
//! repeated are, with growing pauses, so that a restart of the server goes unnoticed.

pub mod identity;
mod request;
mod response;
mod stream;
mod tls;

pub use identity::Identity;
pub use request::{Request, Retry, Upload};
pub use reqwest::{Method, StatusCode};
pub use response::Response;
pub use stream::{Chunks, Event, Events, Lines};

use bascule_core::{Digest, Problem, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    path::Path,
    sync::{Arc, Once, PoisonError, RwLock},
    time::Duration,
};
use url::Url;

/// Most redirects followed, all on the same host.
const REDIRECTS: usize = 5;
/// Time allowed for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time allowed without a single byte; longer than the server's longest poll.
const SILENCE: Duration = Duration::from_secs(260);
/// Silence on a connection after which it is probed, the time between probes, and how many may stay without an answer:
/// a question that hangs ends soon after its connection is lost.
const PROBE_AFTER: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// A connection to one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    /// Shared with all clones, so that a new certificate is shown by all of them.
    wire: Arc<RwLock<Wire>>,
    base: Url,
    token: Option<String>,
    retry: Retry,
}

/// What calls are made with.
struct Wire {
    http: reqwest::Client,
    /// In place of the system's certificate authorities.
    tls: Option<rustls::ClientConfig>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// Rustls wants its cryptography named once per process; whoever did it first may keep it.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            tracing::debug!("another cryptography provider was installed before");
        }
    });
}

impl Client {
    /// A client of the server at `base_url` (`http://` or `https://`), which sends `token` as bearer.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(base_url: &str, token: Option<String>) -> Result<Self> {
        Self::over(base_url, token, None)
    }

    /// A client without a token that trusts one authority alone, known by the digest of its certificate. The server
    /// shows that certificate beside its own.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn pinned(base_url: &str, authority: &Digest) -> Result<Self> {
        Self::over(base_url, None, Some(tls::pinned(authority)?))
    }

    /// A client that shows an identity's certificate and token, and trusts its authority alone.
    ///
    /// # Errors
    /// As [`Client::new`]; or the identity's file is damaged.
    pub fn identified(base_url: &str, identity: &Identity) -> Result<Self> {
        let tls = tls::identified(identity)?;
        Self::over(base_url, Some(identity.token.clone()), Some(tls))
    }

    /// Lets this client and all its clones show another certificate. Calls under way end as they began.
    ///
    /// # Errors
    /// The identity is damaged.
    pub fn show(&self, identity: &Identity) -> Result<()> {
        let tls = tls::identified(identity)?;
        let http = http(&self.base, Some(SILENCE), Some(&tls))?;
        *self.wire.write().unwrap_or_else(PoisonError::into_inner) = Wire { http, tls: Some(tls) };
        Ok(())
    }

    /// What a call is made with just now.
    fn http(&self) -> reqwest::Client {
        self.wire
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .http
            .clone()
    }

    fn over(base_url: &str, token: Option<String>, tls: Option<rustls::ClientConfig>) -> Result<Self> {
        install_crypto();
        let bad = |reason: String| {
            Problem::bad_request("bad_address", format!("`{base_url}` is not a server's address."))
                .why(reason)
                .next("Write it as in `http://127.0.0.1:8080` or `https://bascule.example.org`.")
        };
        let mut base = Url::parse(base_url.trim()).map_err(|e| bad(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(bad(
                "Only http and https addresses with a host can be called.".to_owned()
            ));
        }
        if tls.is_some() && base.scheme() != "https" {
            return Err(bad(
                "The code and the certificate are for an address that begins with https.".to_owned(),
            ));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        base.set_query(None);
        base.set_fragment(None);
        let http = http(&base, Some(SILENCE), tls.as_ref())?;
        Ok(Self {
            wire: Arc::new(RwLock::new(Wire { http, tls })),
            base,
            token,
            retry: Retry::default(),
        })
    }

    /// The same client with another habit of repeating calls.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same client, which waits for an answer as long as the connection stands: for calls that take in or make
    /// something large before they say a word.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn patient(mut self) -> Result<Self> {
        let tls = self
            .wire
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .tls
            .clone();
        let http = http(&self.base, None, tls.as_ref())?;
        self.wire = Arc::new(RwLock::new(Wire { http, tls }));
        Ok(self)
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// The server's address, ending in `/`.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// A request to a path on the server, such as `/api/v1/projects?page=2`.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self, method, path)
    }

    /// GET, JSON in return.
    ///
    /// # Errors
    /// The server's refusal, or `unreachable`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.request(Method::GET, path).send().await?.json().await
    }

    /// POST of JSON, JSON in return (an empty answer reads as `null`, so `T` may be `()`).
    ///
    /// # Errors
    /// The server's refusal, or `unreachable`.
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.request(Method::POST, path)
            .json(body)?
            .send()
            .await?
            .json()
            .await
    }

    /// PUT of JSON, JSON in return.
    ///
    /// # Errors
    /// The server's refusal, or `unreachable`.
    pub async fn put<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.request(Method::PUT, path)
            .json(body)?
            .send()
            .await?
            .json()
            .await
    }

    /// PATCH of JSON, JSON in return.
    ///
    /// # Errors
    /// The server's refusal, or `unreachable`.
    pub async fn patch<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.request(Method::PATCH, path)
            .json(body)?
            .send()
            .await?
            .json()
            .await
    }

    /// DELETE, JSON in return.
    ///
    /// # Errors
    /// The server's refusal, or `unreachable`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.request(Method::DELETE, path).send().await?.json().await
    }

    /// Downloads to `file`, which appears only when it is whole and, where `digest` is given, right.
    /// Returns digest and size.
    ///
    /// # Errors
    /// The server's refusal, `unreachable`, `wrong_digest`, `too_large` above `limit` bytes, or a full disk.
    pub async fn download(
        &self,
        path: &str,
        file: &Path,
        digest: Option<&Digest>,
        limit: u64,
    ) -> Result<(Digest, u64)> {
        self.request(Method::GET, path)
            .download(file, digest, limit)
            .await
    }
}

fn http(
    base: &Url,
    silence: Option<Duration>,
    tls: Option<&rustls::ClientConfig>,
) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("bascule/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .tcp_keepalive(PROBE_AFTER)
        .tcp_keepalive_interval(PROBE_EVERY)
        .tcp_keepalive_retries(PROBES)
        .redirect(same_origin());
    if let Some(silence) = silence {
        builder = builder.read_timeout(silence);
    }
    if is_loopback(base) {
        // A proxy configured for the internet cannot reach this machine's own loopback.
        builder = builder.no_proxy();
    }
    if let Some(tls) = tls {
        builder = builder.tls_backend_preconfigured(tls.clone());
    }
    builder.build().map_err(|e| {
        Problem::new(500, "client_setup", "The HTTP client could not be set up.")
            .why(request::chain(&e))
            .next("Check that the system's certificate store is readable (package `ca-certificates`).")
    })
}

fn same_origin() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        // Custom headers carry tokens; only the server they are meant for may see them.
        let same = attempt
            .previous()
            .first()
            .is_some_and(|first| first.origin() == attempt.url().origin());
        if same && attempt.previous().len() <= REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
