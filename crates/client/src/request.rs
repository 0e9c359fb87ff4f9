//! Building and sending requests, repeating them where that is safe.

use crate::{Client, Response};
use bascule_core::{Digest, Problem, Result};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Serialize;
use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::io::ReaderStream;
use url::Url;

/// How often a call is tried and how long the pauses are: doubled each time, and each shortened by chance
/// by up to half, so that many clients do not come back in one wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; 1 is no repetition.
    pub attempts: u32,
    /// First pause.
    pub first: Duration,
    /// Longest pause.
    pub most: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(100),
            most: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// One attempt only.
    pub const NONE: Self = Self {
        attempts: 1,
        first: Duration::ZERO,
        most: Duration::ZERO,
    };

    /// The pause after the attempt numbered `attempt` (the first is 0).
    #[must_use]
    pub fn pause(&self, attempt: u32) -> Duration {
        let full = self
            .first
            .saturating_mul(1_u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX))
            .min(self.most);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// A file sent as `multipart/form-data`.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The file.
    pub file: PathBuf,
    /// Its name towards the server.
    pub file_name: String,
    /// Name of the form's part that holds it.
    pub part: String,
    /// Further text fields.
    pub fields: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Bytes(Bytes),
    File(PathBuf),
    Form(Upload),
}

/// A request being built.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request {
    client: Client,
    method: Method,
    url: Result<Url>,
    headers: HeaderMap,
    body: Body,
    timeout: Option<Duration>,
    retry: Retry,
    /// Whether sending twice does no more than sending once.
    repeatable: bool,
}

impl Request {
    pub(crate) fn new(client: &Client, method: Method, path: &str) -> Self {
        let url = client
            .base
            .join(path.trim_start_matches('/'))
            .map_err(|e| bad_path(path, e.to_string()))
            .and_then(|url| {
                if url.origin() == client.base.origin() {
                    Ok(url)
                } else {
                    Err(bad_path(path, "It leads to another server.".to_owned()))
                }
            });
        let mut headers = HeaderMap::new();
        if let Some(token) = &client.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let repeatable = matches!(method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
        let retry = client.retry;
        Self {
            client: client.clone(),
            method,
            url,
            headers,
            body: Body::None,
            timeout: None,
            retry,
            repeatable,
        }
    }

    /// Adds a header. Values that no header can hold are left out, and the server then refuses.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds to the query.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        if let Ok(url) = &mut self.url {
            url.query_pairs_mut().append_pair(name, value);
        }
        self
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// If `body` cannot be written as JSON.
    pub fn json<B: Serialize + ?Sized>(mut self, body: &B) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|e| {
            Problem::bad_request("bad_json", "The request cannot be written as JSON.").why(e.to_string())
        })?;
        self.body = Body::Bytes(bytes.into());
        self.headers.insert(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Ok(self)
    }

    /// Sends bytes; name their type with [`Request::header`].
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// Streams a file as the body.
    pub fn file(mut self, file: &Path) -> Self {
        self.body = Body::File(file.to_owned());
        self
    }

    /// Streams a file as part of a form.
    pub fn upload(mut self, upload: Upload) -> Self {
        self.body = Body::Form(upload);
        self
    }

    /// Time allowed for the whole exchange; without it only silence ends it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often to try.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Says that sending twice does no harm, so a POST or PATCH may be repeated too.
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Sends it; answers from 400 on become the server's [`Problem`].
    ///
    /// # Errors
    /// The server's refusal, or `unreachable`.
    pub async fn send(self) -> Result<Response> {
        let response = self.send_raw().await?;
        if response.status().as_u16() >= 400 {
            Err(response.into_problem().await)
        } else {
            Ok(response)
        }
    }

    /// Sends it and returns whatever is answered.
    ///
    /// # Errors
    /// `unreachable` if nothing is answered.
    pub async fn send_raw(self) -> Result<Response> {
        let url = self.url.clone()?;
        let mut attempt = 0;
        loop {
            let result = self.once(url.clone()).await;
            attempt += 1;
            let last = attempt >= self.retry.attempts;
            match result {
                Ok(response) => {
                    let status = response.status();
                    // 429 and 503 say that nothing was done.
                    let safe = self.repeatable
                        || matches!(
                            status,
                            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                        );
                    if last || !safe || !may_pass(status) {
                        return Ok(Response::new(response));
                    }
                    let pause = retry_after(&response).unwrap_or_else(|| self.retry.pause(attempt - 1));
                    tracing::debug!(%status, ?pause, path = url.path(), "trying again");
                    tokio::time::sleep(pause.min(Duration::from_secs(60))).await;
                }
                Err(Failure::Local(problem)) => return Err(problem),
                Err(Failure::Transport(error)) => {
                    // A connection that never came to be did nothing, whatever the method.
                    if last || error.is_builder() || !(self.repeatable || error.is_connect()) {
                        return Err(unreachable(&self.client.base, &error));
                    }
                    let pause = self.retry.pause(attempt - 1);
                    tracing::debug!(error = chain(&error), ?pause, path = url.path(), "trying again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Sends it and stores the answer in `file`; see [`Client::download`].
    ///
    /// # Errors
    /// As [`Client::download`].
    pub async fn download(self, file: &Path, digest: Option<&Digest>, limit: u64) -> Result<(Digest, u64)> {
        let client = self.client.clone();
        let mut response = self.send().await?;
        if response.status().is_redirection() {
            // Storage elsewhere: the address itself is the permission, our tokens are not for it.
            let location = response.header("location").unwrap_or_default().to_owned();
            let url = response
                .url()
                .join(&location)
                .map_err(|e| bad_path(&location, e.to_string()))?;
            let answer = client
                .http()
                .get(url.clone())
                .send()
                .await
                .map_err(|e| unreachable(&url, &e))?;
            response = Response::new(answer);
            if !response.status().is_success() {
                return Err(response.into_problem().await);
            }
        }
        response.save(file, digest, limit).await
    }

    async fn once(&self, url: Url) -> Result<reqwest::Response, Failure> {
        let mut request = self
            .client
            .http()
            .request(self.method.clone(), url)
            .headers(self.headers.clone());
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        request = match &self.body {
            Body::None => request,
            Body::Bytes(bytes) => request.body(bytes.clone()),
            Body::File(path) => {
                let (body, length) = open(path).await?;
                request.header(reqwest::header::CONTENT_LENGTH, length).body(body)
            }
            Body::Form(upload) => {
                let (body, length) = open(&upload.file).await?;
                let part = reqwest::multipart::Part::stream_with_length(body, length)
                    .file_name(upload.file_name.clone());
                let mut form = reqwest::multipart::Form::new();
                for (name, value) in &upload.fields {
                    form = form.text(name.clone(), value.clone());
                }
                request.multipart(form.part(upload.part.clone(), part))
            }
        };
        request.send().await.map_err(Failure::Transport)
    }
}

enum Failure {
    /// Something on this machine, such as a file that cannot be read.
    Local(Problem),
    Transport(reqwest::Error),
}

async fn open(path: &Path) -> Result<(reqwest::Body, u64), Failure> {
    let local = |e: std::io::Error| {
        Failure::Local(
            Problem::bad_request("unreadable", format!("{} cannot be read.", path.display()))
                .why(e.to_string()),
        )
    };
    let file = tokio::fs::File::open(path).await.map_err(local)?;
    let length = file.metadata().await.map_err(local)?.len();
    Ok((
        reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 64 * 1024)),
        length,
    ))
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn bad_path(path: &str, reason: String) -> Problem {
    Problem::bad_request("bad_address", format!("`{path}` is not a path on the server.")).why(reason)
}

/// All causes of an error in one line; the outermost alone says little ("error sending request").
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

pub(crate) fn unreachable(base: &Url, error: &reqwest::Error) -> Problem {
    let mut shown = base.clone();
    // Addresses may hold a password; it is not for error messages.
    let _ = shown.set_password(None);
    let what = if error.is_timeout() {
        format!("The server at {shown} did not answer in time.")
    } else if error.is_connect() {
        format!("The server at {shown} cannot be reached.")
    } else {
        format!("The exchange with the server at {shown} broke off.")
    };
    Problem::new(503, "unreachable", what)
        .why(format!("{}.", chain(&error)))
        .next("Check that the server runs and that the address is right (`BASCULE_URL`), then try again.")
}
