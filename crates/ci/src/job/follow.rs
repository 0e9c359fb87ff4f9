//! Following a log while it is written, and who may speak for a job.

use super::{Job, log, store};
use crate::{Ci, pipeline, signals::Change};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bascule_core::{JobId, Problem, ProjectId, Result};
use bascule_store::Query as _;
use bascule_web::Answer;
use bascule_wire::runner as wire;
use futures::Stream;
use http::header;
use std::time::Duration;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

/// Bytes of a log sent in one go.
const CHUNK: usize = 256 * 1024;
/// How often to look for what another replica stored.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who a job token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobIdentity {
    /// The running job.
    pub job: JobId,
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// The account that started its pipeline, if it was one: by its user name.
    pub starter: Option<String>,
}

/// A piece of a log.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub bytes: Vec<u8>,
    /// Nothing follows: the job ended.
    pub last: bool,
}

impl Ci {
    /// The job that a token speaks for, while it runs. For git over HTTP with the user `gitlab-ci-token`.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn job_for_token(&self, token: &str) -> Result<Option<JobIdentity>> {
        let job = self.job_by_token(token).await?;
        // What was only offered opens nothing yet.
        let Some(job) = job.filter(|job| job.status != crate::status::JobStatus::Pending) else {
            return Ok(None);
        };
        Ok(Some(JobIdentity {
            job: job.id,
            project: job.project_id,
            name: job.name,
            starter: pipeline::store::starter(&self.db, job.pipeline_id).await?,
        }))
    }

    /// The job whose script's or runner's token this is.
    pub(crate) async fn job_by_token(&self, token: &str) -> Result<Option<Job>> {
        if !token.starts_with(crate::token::JOB) {
            return Ok(None);
        }
        match store::by_token(&self.db, &crate::token::hash(token)).await? {
            None => self.job_by_runners_token(token).await,
            job => Ok(job),
        }
    }

    /// The job whose runner's token this is: the one with which its state, its log and its files are told.
    pub(crate) async fn job_by_runners_token(&self, token: &str) -> Result<Option<Job>> {
        if !token.starts_with(crate::token::JOB) {
            return Ok(None);
        }
        Ok(store::by_token(&self.db, &crate::token::hash_of_job(token)).await?)
    }

    /// Whether a runner's token was a job's until the job ended or went back to the queue: how the job stands is told to no other.
    pub(crate) async fn was_token(&self, job: JobId, token: &str) -> Result<bool> {
        Ok(store::was_token(&self.db, job, &crate::token::hash_of_job(token)).await?)
    }

    /// The job's runner is still there.
    pub(crate) async fn heard_of(&self, job: JobId) -> Result<()> {
        let tx = self.db.begin().await?;
        store::heard(&tx, job, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Whether the log is what the runner says it must be. If not, the runner is asked once to send it again.
    pub(crate) async fn log_is_whole(&self, job: &Job, update: &wire::JobUpdate) -> Result<bool> {
        let expected = update.log_checksum();
        let bytes = update
            .output
            .as_ref()
            .map(|output| output.bytesize)
            .filter(|bytes| *bytes > 0);
        if expected.is_none() && bytes.is_none() {
            return Ok(true);
        }
        let Some(now) = store::find(&self.db, job.id).await? else {
            return Ok(true);
        };
        let stored = u64::try_from(now.trace_bytes).unwrap_or_default();
        let short = bytes.is_some_and(|bytes| stored < bytes);
        let checksum = wire::log_checksum(u32::try_from(now.trace_crc).unwrap_or_default());
        let wrong = !short && expected.is_some_and(|expected| expected != checksum);
        if !short && !wrong {
            return Ok(true);
        }
        if !self.signals.may_ask_again(job.id) {
            tracing::warn!(job = %job.id, stored, "a job's log stays other than its runner says");
            self.signals.forget(job.id);
            return Ok(true);
        }
        if wrong {
            log::clear(&self.db, job.id, self.clock.now()).await?;
        }
        Ok(false)
    }

    /// The log from an offset on, as it grows, until the job ends.
    pub(crate) fn follow(&self, job: JobId, from: u64) -> impl Stream<Item = Result<Piece>> + Send + use<> {
        let ci = self.clone();
        let watching = self.signals.watch(job);
        let changes = self.signals.listen();
        futures::stream::unfold(Some((ci, watching, changes, from)), move |state| async move {
            let (ci, watching, mut changes, from) = state?;
            loop {
                match ci.piece(job, from).await {
                    Err(problem) => return Some((Err(problem), None)),
                    Ok(piece) if piece.last => return Some((Ok(piece), None)),
                    Ok(piece) if !piece.bytes.is_empty() => {
                        let next = from + piece.bytes.len() as u64;
                        return Some((Ok(piece), Some((ci, watching, changes, next))));
                    }
                    Ok(_) => {}
                }
                // Until this job changes here, or for a moment, in case it changed on another replica.
                let wait = async {
                    loop {
                        match changes.recv().await {
                            Ok(Change::Job(changed)) if changed == job => return,
                            Err(RecvError::Lagged(_)) => return,
                            Err(RecvError::Closed) => std::future::pending().await,
                            Ok(_) => {}
                        }
                    }
                };
                tokio::select! {
                    _ = timeout(LOOK_EVERY, wait) => {}
                    () = ci.options.stop.cancelled() => return None,
                }
            }
        })
    }

    async fn piece(&self, job: JobId, from: u64) -> Result<Piece> {
        // The status is read first: what was stored before it became final is then read for sure.
        let sql = "SELECT COUNT(*) AS n FROM job WHERE id = $1 AND status IN ('created', 'pending', 'running', 'canceling', 'manual')";
        let open = self.db.count(sql, bascule_store::args![job]).await? > 0;
        let bytes = log::read(&self.db, &self.blobs, job, from, CHUNK).await?;
        let last = !open && bytes.len() < CHUNK;
        Ok(Piece { bytes, last })
    }

    /// The log as a body of plain text, whole or from an offset, if asked so until the job ends.
    pub(crate) async fn serve_log(&self, job: &Job, from: u64, follow: bool) -> Answer {
        use futures::StreamExt as _;
        let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
        let body = if follow {
            Body::from_stream(
                self.follow(job.id, from)
                    .map(|piece| piece.map(|piece| piece.bytes)),
            )
        } else {
            let (ci, id) = (self.clone(), job.id);
            let pieces = futures::stream::try_unfold(from, move |at| {
                let ci = ci.clone();
                async move {
                    let bytes = log::read(&ci.db, &ci.blobs, id, at, CHUNK).await?;
                    let next = at + bytes.len() as u64;
                    Ok::<_, bascule_store::Error>((!bytes.is_empty()).then_some((bytes, next)))
                }
            });
            Body::from_stream(pieces)
        };
        Ok(([kind], body).into_response())
    }

    /// A file that a job left, as a download.
    pub(crate) async fn serve_artifact(&self, job: JobId, kind: &str) -> Answer {
        let artifact = self.artifact(job, kind).await?;
        let stream = self
            .blobs
            .open(&artifact.digest)
            .await?
            .ok_or_else(|| Problem::not_found("artifact"))?;
        let media = match artifact.format.as_str() {
            "zip" => "application/zip",
            "gzip" => "application/gzip",
            _ => "application/octet-stream",
        };
        let ascii: String = artifact
            .file_name
            .chars()
            .map(|c| {
                if c.is_ascii() && c != '"' && c != '\\' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let mut response: Response = (
            [
                (header::CONTENT_TYPE, media.to_owned()),
                (header::CONTENT_LENGTH, artifact.size.to_string()),
                (
                    header::CONTENT_DISPOSITION,
                    format!("attachment; filename=\"{ascii}\""),
                ),
            ],
            Body::from_stream(stream),
        )
            .into_response();
        if let Ok(tag) = http::HeaderValue::from_str(&format!("\"{}\"", artifact.digest)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        Ok(response)
    }
}
