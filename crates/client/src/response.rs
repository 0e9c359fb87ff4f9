//! Reading answers.

use crate::{Chunks, Events, Lines, request::unreachable};
use bascule_core::{Digest, Problem, Result};
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;
use url::Url;

/// Longest JSON answer read into memory, in bytes.
const JSON_BYTES: usize = 64 * 1024 * 1024;

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
}

impl Response {
    pub(crate) fn new(inner: reqwest::Response) -> Self {
        Self { inner }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// A header's value, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The address that answered.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// The body as JSON; an empty one reads as `null`.
    ///
    /// # Errors
    /// If it is no such JSON, or the connection breaks.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let url = self.url().clone();
        let bytes = self.body().await?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|e| {
            Problem::new(502, "bad_answer", format!("{} answered something unexpected.", url.path()))
                .why(format!("Not the JSON that this version knows: {e}."))
                .next("Check that the address is a Bascule server's, and that client and server are of one version.")
        })
    }

    /// The body as text.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn text(self) -> Result<String> {
        self.body()
            .await
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The body as it comes.
    #[must_use]
    pub fn chunks(self) -> Chunks {
        Chunks::new(self.inner)
    }

    /// The body line by line, as lines come.
    #[must_use]
    pub fn lines(self) -> Lines {
        Lines::new(self.chunks())
    }

    /// The body as server-sent events.
    #[must_use]
    pub fn events(self) -> Events {
        Events::new(self.lines())
    }

    async fn body(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let url = self.url().clone();
        while let Some(chunk) = self.inner.chunk().await.map_err(|e| unreachable(&url, &e))? {
            if all.len() + chunk.len() > JSON_BYTES {
                return Err(Problem::too_large(format!(
                    "The answer is larger than {JSON_BYTES} bytes."
                )));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// Reads an answer that is a refusal.
    pub async fn into_problem(self) -> Problem {
        let status = self.status();
        let text = self.text().await.unwrap_or_default();
        decode_problem(status, &text)
    }

    /// Stores the body in `file`, which appears only when it is whole; see [`crate::Client::download`].
    ///
    /// # Errors
    /// As [`crate::Client::download`].
    pub async fn save(self, file: &Path, digest: Option<&Digest>, limit: u64) -> Result<(Digest, u64)> {
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let result = self.save_part(&part, digest, limit).await;
        let result = match result {
            Ok(done) => tokio::fs::rename(&part, file)
                .await
                .map(|()| done)
                .map_err(|e| unwritable(file, &e)),
            Err(problem) => Err(problem),
        };
        if result.is_err() {
            // Best effort: the half of a file must not be taken for the whole.
            let _ = tokio::fs::remove_file(&part).await;
        }
        result
    }

    async fn save_part(mut self, part: &Path, digest: Option<&Digest>, limit: u64) -> Result<(Digest, u64)> {
        let url = self.url().clone();
        let mut out = tokio::fs::File::create(part)
            .await
            .map_err(|e| unwritable(part, &e))?;
        let mut hash = Sha256::new();
        let mut size = 0_u64;
        while let Some(chunk) = self.inner.chunk().await.map_err(|e| unreachable(&url, &e))? {
            size += chunk.len() as u64;
            if size > limit {
                return Err(Problem::too_large(format!(
                    "{} is larger than the {limit} bytes allowed.",
                    url.path()
                )));
            }
            hash.update(&chunk);
            out.write_all(&chunk).await.map_err(|e| unwritable(part, &e))?;
        }
        out.flush().await.map_err(|e| unwritable(part, &e))?;
        out.sync_all().await.map_err(|e| unwritable(part, &e))?;
        let found = Digest::from_hash(&hash.finalize());
        match digest {
            Some(wanted) if *wanted != found => Err(Problem::new(
                502,
                "wrong_digest",
                format!("{} is not what was asked for.", url.path()),
            )
            .why(format!("Its digest is {found}, and it must be {wanted}."))
            .next("Nothing was kept. Try again; if it stays, the stored file is damaged or was changed.")),
            _ => Ok((found, size)),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        500,
        "unwritable",
        format!("{} cannot be written.", path.display()),
    )
    .why(error.to_string())
    .next("Check free space and permissions there.")
}

/// Reads problem details, or the `message`/`error` of other servers, or makes do with the status.
pub(crate) fn decode_problem(status: StatusCode, text: &str) -> Problem {
    if let Ok(problem) = serde_json::from_str::<Problem>(text) {
        return problem;
    }
    let said = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|json| {
            let said = json.get("message").or_else(|| json.get("error"))?;
            Some(said.as_str().map_or_else(|| said.to_string(), str::to_owned))
        });
    let reason = status.canonical_reason().unwrap_or("no reason given");
    let problem = match status.as_u16() {
        401 => Problem::unauthenticated(),
        404 => Problem::not_found("thing"),
        code => Problem::new(code, "refused", format!("The server answered {code} ({reason}).")),
    };
    match said {
        Some(said) => problem.why(said),
        None if problem.why.is_empty() && !text.is_empty() && !text.trim_start().starts_with('<') => {
            problem.why(text.trim().chars().take(500).collect::<String>())
        }
        None => problem,
    }
}
