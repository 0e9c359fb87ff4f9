//! Caches of jobs, kept here for runners that have no store of their own: streamed in and out over the job's token, within
//! a size, for as long as they are used. The bytes of one that goes are deleted as those of files are (see
//! [`crate::retention`]). A cache may be lost at any time; a job then makes it anew.
//!
//! Caches of protected and of other branches are apart, and which a job gets is decided by its pipeline and not by what
//! its runner says: what anyone may push does not run on the trunk.

use crate::{Ci, job::Job, pipeline, retention::store as retained, runner::upload::enough_space};
use axum::{body::Body, response::IntoResponse};
use bascule_core::{Digest, Problem, ProjectId, Result, Timestamp, limits};
use bascule_store::{BlobWriter, Migration, Query, StoredBlob, args, row};
use bascule_web::Answer;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// Largest archive of one cache, in bytes.
pub(crate) const ONE_BYTES: u64 = 2 * limits::ARTIFACT_BYTES;
/// What the caches of a project take together, in bytes; those used longest ago go first.
pub(crate) const PROJECT_BYTES: u64 = 10 * limits::ARTIFACT_BYTES;
/// How long a cache is kept that no job uses.
pub(crate) const KEPT_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often those that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(3600);
/// Uses are noted no more often than so.
const NOTED: Duration = Duration::from_secs(3600);
/// Longest key, in bytes.
const KEY_BYTES: usize = 1024;
/// Caches removed at once.
const AT_ONCE: i64 = 200;
/// How keys end that protected and other branches may share.
const SHARED: &str = "-non_protected";
/// How all keys of a project's own jobs end, and what stands in those of required jobs.
const OWN: &str = "protected";
const REQUIRED: &str = "protected-required-";
/// Bytes of a cache between two looks at the disk.
const LOOK: u64 = 64 * 1024 * 1024;

/// Which caches there are.
pub const CACHES: Migration = Migration {
    id: "ci-2711-caches",
    sql: "
        CREATE TABLE ci_cache (
            project_id TEXT NOT NULL,
            protected BOOLEAN NOT NULL,
            cache_key TEXT NOT NULL,
            digest TEXT NOT NULL,
            size BIGINT NOT NULL,
            stored_at BIGINT NOT NULL,
            used_at BIGINT NOT NULL,
            PRIMARY KEY (project_id, protected, cache_key)
        );
        CREATE INDEX ci_cache_used ON ci_cache (used_at);
        CREATE INDEX ci_cache_digest ON ci_cache (digest);
    ",
};

row! {
    /// A cache that is kept.
    #[derive(Clone, Debug)]
    struct Kept {
        project_id: ProjectId,
        protected: bool,
        cache_key: String,
        digest: Digest,
        size: i64,
        used_at: Timestamp,
    }
}

const COLUMNS: &str = "project_id, protected, cache_key, digest, size, used_at";

impl Ci {
    /// Which half of its project's caches a job gets under a key.
    async fn half(&self, job: &Job, key: &str) -> Result<bool> {
        if key.is_empty() || key.len() > KEY_BYTES {
            return Err(Problem::bad_request(
                "bad_cache_key",
                format!(
                    "A cache's key has 1 to {KEY_BYTES} bytes; this one has {}.",
                    key.len()
                ),
            )
            .next("Shorten `cache:key`."));
        }
        // A job's token may name any key; those of required jobs are for them alone, or the project's jobs could leave
        // there what a required one would run. The project's own keys end otherwise (see `plan`).
        if job.required.is_none() && key.contains(REQUIRED) && !key.ends_with(OWN) {
            return Err(Problem::new(
                403,
                "cache_of_required_job",
                "This cache is for jobs that the project's group requires.",
            )
            .why("What they run must not come from the project's own jobs.")
            .next("Use the key that the job's `cache` says."));
        }
        let pipeline = pipeline::store::find(&self.db, job.pipeline_id).await?;
        let protected = pipeline.is_some_and(|pipeline| pipeline.protected);
        Ok(protected && !key.ends_with(SHARED))
    }

    /// Streams a cache to the job whose it is.
    ///
    /// # Errors
    /// There is none under that key.
    pub(crate) async fn serve_cache(&self, job: &Job, key: &str) -> Answer {
        let protected = self.half(job, key).await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM ci_cache WHERE project_id = $1 AND protected = $2 AND cache_key = $3"
        );
        let found: Option<Kept> = self.db.one(&sql, args![job.project_id, protected, key]).await?;
        let none = || Problem::not_found("cache");
        let Some(kept) = found else {
            return Err(none().into());
        };
        let Some(stream) = self.blobs.open(&kept.digest).await? else {
            self.forget(&kept).await?;
            return Err(none().into());
        };
        let now = self.clock.now();
        if now > kept.used_at.plus(NOTED) {
            let sql = "UPDATE ci_cache SET used_at = $1 WHERE project_id = $2 AND protected = $3 AND cache_key = $4";
            let tx = self.db.begin().await?;
            tx.run(sql, args![now, kept.project_id, kept.protected, kept.cache_key])
                .await?;
            tx.commit().await?;
        }
        let headers = [
            (header::CONTENT_TYPE, "application/zip".to_owned()),
            (header::CONTENT_LENGTH, kept.size.to_string()),
            (header::ETAG, format!("\"{}\"", kept.digest)),
        ];
        Ok((headers, Body::from_stream(stream)).into_response())
    }

    /// Keeps a cache in the place of the one before.
    ///
    /// # Errors
    /// It is larger than it may be, or cannot be stored.
    pub(crate) async fn take_cache(&self, job: &Job, key: &str, headers: &HeaderMap, body: Body) -> Answer {
        let too_large = || {
            Problem::too_large(format!("The cache is larger than {ONE_BYTES} bytes."))
                .next("Keep fewer files: narrow `cache:paths`.")
        };
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        if announced.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) > ONE_BYTES {
            return Err(too_large().into());
        }
        let protected = self.half(job, key).await?;
        enough_space(self)?;
        let mut writer = self.blobs.writer(ONE_BYTES).await?;
        if let Err(problem) = self.write_cache(&mut writer, body).await {
            writer.abort().await;
            return Err(if problem.status == 413 {
                too_large()
            } else {
                problem
            }
            .into());
        }
        let blob = writer.finish().await?;
        let kept = self.keep_cache(job.project_id, protected, key, &blob).await;
        if kept.is_err() {
            retained::note_one(&self.db, &blob.digest, self.clock.now()).await?;
        }
        kept?;
        Ok(StatusCode::CREATED.into_response())
    }

    async fn write_cache(&self, writer: &mut BlobWriter, body: Body) -> Result<()> {
        let mut stream = body.into_data_stream();
        let mut looked = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::bad_request("cut_off", format!("The cache did not come whole: {error}."))
                    .next("Send it again.")
            })?;
            writer.write(&chunk).await?;
            if writer.size() >= looked + LOOK {
                looked = writer.size();
                enough_space(self)?;
            }
        }
        Ok(())
    }

    async fn keep_cache(
        &self,
        project: ProjectId,
        protected: bool,
        key: &str,
        blob: &StoredBlob,
    ) -> Result<()> {
        let now = self.clock.now();
        let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
        let tx = self.db.begin().await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM ci_cache WHERE project_id = $1 AND protected = $2 AND cache_key = $3"
        );
        let before: Option<Kept> = tx.one(&sql, args![project, protected, key]).await?;
        tx.run(
            "INSERT INTO ci_cache (project_id, protected, cache_key, digest, size, stored_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)
             ON CONFLICT (project_id, protected, cache_key)
             DO UPDATE SET digest = $4, size = $5, stored_at = $6, used_at = $6",
            args![project, protected, key, blob.digest, size, now],
        )
        .await?;
        if let Some(before) = before.filter(|before| before.digest != blob.digest) {
            retained::note(&tx, &[before.digest], now).await?;
        }
        tx.commit().await?;
        self.make_room(project, PROJECT_BYTES).await
    }

    /// Removes the caches of a project that were used longest ago, until the others fit.
    async fn make_room(&self, project: ProjectId, most: u64) -> Result<()> {
        let sql = format!(
            "SELECT {COLUMNS} FROM ci_cache WHERE project_id = $1 ORDER BY used_at DESC, cache_key LIMIT 10000"
        );
        let all: Vec<Kept> = self.db.all(&sql, args![project]).await?;
        let mut total = 0_u64;
        for kept in all {
            total = total.saturating_add(u64::try_from(kept.size).unwrap_or(0));
            if total > most {
                self.forget(&kept).await?;
            }
        }
        Ok(())
    }

    /// Removes caches that no job has used for long.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn expire_caches(&self) -> Result<()> {
        let sql =
            format!("SELECT {COLUMNS} FROM ci_cache WHERE used_at < $1 ORDER BY used_at LIMIT {AT_ONCE}");
        loop {
            let before = self.clock.now().minus(KEPT_UNUSED);
            let old: Vec<Kept> = self.db.all(&sql, args![before]).await?;
            for kept in &old {
                self.forget(kept).await?;
            }
            if old.is_empty() {
                return Ok(());
            }
        }
    }

    async fn forget(&self, kept: &Kept) -> Result<()> {
        let tx = self.db.begin().await?;
        tx.run(
            "DELETE FROM ci_cache WHERE project_id = $1 AND protected = $2 AND cache_key = $3 AND digest = $4",
            args![kept.project_id, kept.protected, kept.cache_key, kept.digest],
        )
        .await?;
        retained::note(&tx, std::slice::from_ref(&kept.digest), self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Looks for caches that nobody uses, until the server stops.
    pub(crate) async fn expire_caches_on(&self) {
        loop {
            tokio::select! {
                () = self.options.stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            if let Err(problem) = self.expire_caches().await {
                tracing::warn!(%problem, "looking for caches that nobody uses failed; tried again later");
            }
        }
    }
}
