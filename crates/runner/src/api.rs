//! The runner protocol's calls.

use bascule_client::{Client, Method, Response, Retry, Upload};
use bascule_core::{JobId, Problem, Result};
use bascule_wire::runner::{
    ArtifactFormat, Dependency, JOB_STATUS, JOB_TOKEN, Job, JobRequest, JobUpdate, LAST_UPDATE, RUNNER_TOKEN,
    RunnerInfo, TRACE_UPDATE_INTERVAL, VerifyRequest, parse_stored_range,
};
use bytes::Bytes;
use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// What our runner can do, by GitLab's names.
const FEATURES: &[&str] = &[
    "variables",
    "raw_variables",
    "artifacts",
    "artifacts_exclude",
    "upload_multiple_artifacts",
    "upload_raw_artifacts",
    "cache",
    "fallback_cache_keys",
    "refspecs",
    "masking",
    "multi_build_steps",
    "trace_reset",
    "trace_checksum",
    "trace_size",
    "cancelable",
    "cancel_gracefully",
    "return_exit_code",
];

/// Which job is meant, with the proof that we run it.
#[derive(Clone, Debug)]
pub(crate) struct JobRef {
    pub(crate) id: JobId,
    pub(crate) token: String,
    /// Whether its log tells whatever the shell does.
    pub(crate) debug: bool,
}

/// The answer to a trace patch or job update.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of the log that the server holds.
    pub(crate) stored: Option<u64>,
    pub(crate) job_status: String,
    pub(crate) interval: Option<Duration>,
}

/// The calls of one runner.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    token: String,
    system_id: String,
    executor: &'static str,
    last_update: Mutex<String>,
}

impl Api {
    pub(crate) fn new(client: Client, token: String, system_id: String, executor: &'static str) -> Self {
        Self {
            client,
            token,
            system_id,
            executor,
            last_update: Mutex::default(),
        }
    }

    /// What this runner is told as.
    pub(crate) fn executor(&self) -> &'static str {
        self.executor
    }

    fn info(&self) -> RunnerInfo {
        RunnerInfo {
            name: "bascule-runner".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
            platform: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            executor: self.executor.to_owned(),
            shell: "bash".to_owned(),
            features: FEATURES.iter().map(|f| ((*f).to_owned(), true.into())).collect(),
        }
    }

    /// Whether the server knows this runner.
    pub(crate) async fn verify(&self) -> Result<()> {
        let body = VerifyRequest {
            token: self.token.clone(),
            system_id: self.system_id.clone(),
            info: self.info(),
        };
        self.client
            .request(Method::POST, "/api/v4/runners/verify")
            .header(RUNNER_TOKEN, &self.token)
            .json(&body)?
            .repeatable()
            .send()
            .await?;
        Ok(())
    }

    /// Asks for a job; may hang as long as the server likes.
    pub(crate) async fn request_job(&self) -> Result<Option<Job>> {
        let last_update = self
            .last_update
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let body = JobRequest {
            token: self.token.clone(),
            system_id: self.system_id.clone(),
            last_update,
            info: self.info(),
        };
        let response = self
            .client
            .request(Method::POST, "/api/v4/jobs/request")
            .header(RUNNER_TOKEN, &self.token)
            .json(&body)?
            .retry(Retry::NONE)
            .send()
            .await?;
        if let Some(seen) = response.header(LAST_UPDATE) {
            seen.clone_into(&mut self.last_update.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match response.status().as_u16() {
            201 => response.json().await.map(Some),
            204 => Ok(None),
            other => Err(Problem::new(
                502,
                "bad_answer",
                format!("The server answered a job request with {other}."),
            )),
        }
    }

    /// Sends a piece of the log that begins at `start`.
    pub(crate) async fn patch_trace(&self, job: &JobRef, start: u64, body: Bytes) -> Result<Answer> {
        let end = (start + body.len() as u64).saturating_sub(1);
        let response = self
            .client
            .request(Method::PATCH, &format!("/api/v4/jobs/{}/trace", job.id))
            .query("debug_trace", if job.debug { "true" } else { "false" })
            .header(JOB_TOKEN, &job.token)
            .header("content-range", &format!("{start}-{end}"))
            .header("content-type", "text/plain")
            .bytes(body)
            .timeout(Duration::from_secs(60))
            .retry(Retry::NONE)
            .send_raw()
            .await?;
        Ok(answer(&response))
    }

    /// Tells how the job stands.
    pub(crate) async fn update(&self, job: &JobRef, mut update: JobUpdate) -> Result<Answer> {
        update.token.clone_from(&job.token);
        update.info = self.info();
        let response = self
            .client
            .request(Method::PUT, &format!("/api/v4/jobs/{}", job.id))
            .header(JOB_TOKEN, &job.token)
            .json(&update)?
            .timeout(Duration::from_secs(60))
            .retry(Retry::NONE)
            .send_raw()
            .await?;
        Ok(answer(&response))
    }

    /// Downloads a dependency's archive.
    pub(crate) async fn download(&self, dependency: &Dependency, to: &Path, limit: u64) -> Result<u64> {
        self.client
            .request(Method::GET, &format!("/api/v4/jobs/{}/artifacts", dependency.id))
            .header(JOB_TOKEN, &dependency.token)
            .retry(patient())
            .download(to, None, limit)
            .await
            .map(|(_, size)| size)
    }

    /// Fetches a cache that the server keeps; `None` if there is none.
    pub(crate) async fn fetch_cache(
        &self,
        job: &JobRef,
        key: &str,
        to: &Path,
        limit: u64,
    ) -> Result<Option<u64>> {
        let fetched = self
            .client
            .request(Method::GET, &format!("/api/v4/jobs/{}/cache", job.id))
            .query("key", key)
            .header(JOB_TOKEN, &job.token)
            .retry(patient())
            .download(to, None, limit)
            .await;
        if_there(fetched)
    }

    /// Has the server keep a cache, in the place of the one before.
    pub(crate) async fn store_cache(&self, job: &JobRef, key: &str, file: &Path) -> Result<()> {
        self.client
            .request(Method::PUT, &format!("/api/v4/jobs/{}/cache", job.id))
            .query("key", key)
            .header(JOB_TOKEN, &job.token)
            .file(file)
            .retry(patient())
            .send()
            .await?;
        Ok(())
    }

    /// Uploads an artifact file.
    pub(crate) async fn upload(
        &self,
        job: &JobRef,
        file: &Path,
        file_name: &str,
        kind: &str,
        format: ArtifactFormat,
        expire_in: Option<&str>,
    ) -> Result<()> {
        let mut request = self
            .client
            .request(Method::POST, &format!("/api/v4/jobs/{}/artifacts", job.id))
            .query("artifact_format", format.as_str())
            .query("artifact_type", kind);
        if let Some(expire_in) = expire_in {
            request = request.query("expire_in", expire_in);
        }
        let upload = Upload {
            file: file.to_owned(),
            file_name: file_name.to_owned(),
            part: "file".to_owned(),
            fields: Vec::new(),
        };
        // The server puts a second upload of the same kind in the place of the first.
        request
            .header(JOB_TOKEN, &job.token)
            .upload(upload)
            .repeatable()
            .retry(patient())
            .send()
            .await?;
        Ok(())
    }
}

/// Outlasts a restart of the server: about a minute.
fn patient() -> Retry {
    Retry {
        attempts: 12,
        first: Duration::from_millis(200),
        most: Duration::from_secs(8),
    }
}

fn answer(response: &Response) -> Answer {
    let seconds = response
        .header(TRACE_UPDATE_INTERVAL)
        .and_then(|v| v.trim().parse().ok());
    Answer {
        status: response.status().as_u16(),
        stored: response.header("range").and_then(parse_stored_range),
        job_status: response.header(JOB_STATUS).unwrap_or_default().to_owned(),
        interval: seconds.map(Duration::from_secs),
    }
}

/// The size of what was fetched; `None` where there is no such thing.
pub(crate) fn if_there<T>(fetched: Result<(T, u64)>) -> Result<Option<u64>> {
    match fetched {
        Ok((_, size)) => Ok(Some(size)),
        Err(problem) if problem.status == 404 => Ok(None),
        Err(problem) => Err(problem),
    }
}
