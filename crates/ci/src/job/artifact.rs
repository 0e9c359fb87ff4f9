//! Files that jobs leave: stored as blobs, found by job and kind.

use crate::{Ci, config::duration, fault::shown, retention::store as retained, runner::upload::too_much};
use bascule_core::{Actor, Digest, JobId, PipelineId, Problem, ProjectId, Result, Timestamp, limits};
use bascule_ledger::facts::ci::JobErased;
use bascule_store::{Migration, Query, StoredBlob, Tx, args, row};
use bascule_wire::{
    ci as wire,
    runner::{ARTIFACT_ARCHIVE, ArtifactFormat},
};

row! {
    /// A file that a job left.
    #[derive(Clone, Debug)]
    pub struct Artifact {
        /// The job.
        pub job_id: JobId,
        /// `archive`, or a report's kind.
        pub kind: String,
        /// `zip`, `gzip` or `raw`.
        pub format: String,
        /// Its name.
        pub file_name: String,
        /// Digest of its bytes.
        pub digest: Digest,
        /// Size in bytes.
        pub size: i64,
        /// When it is no longer kept.
        pub expires_at: Option<Timestamp>,
    }
}

const COLUMNS: &str = "job_id, kind, format, file_name, digest, size, expires_at";

impl Artifact {
    /// As the API tells it.
    #[must_use]
    pub fn to_wire(&self) -> wire::JobArtifact {
        wire::JobArtifact {
            kind: self.kind.clone(),
            format: self.format.clone(),
            file_name: self.file_name.clone(),
            digest: self.digest.clone(),
            size: self.size,
            expires_at: self.expires_at,
        }
    }

    /// Whether it is still kept.
    #[must_use]
    pub fn is_kept(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// What a job left.
pub(crate) async fn of_job(on: &impl Query, job: JobId) -> Result<Vec<Artifact>> {
    Ok(on
        .all(
            &format!("SELECT {COLUMNS} FROM job_artifact WHERE job_id = $1 ORDER BY kind"),
            args![job],
        )
        .await?)
}

/// What the jobs of a pipeline left.
pub(crate) async fn of_pipeline(on: &impl Query, pipeline: PipelineId) -> Result<Vec<Artifact>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job_artifact WHERE job_id IN (SELECT id FROM job WHERE pipeline_id = $1)
         ORDER BY job_id, kind LIMIT 10000"
    );
    Ok(on.all(&sql, args![pipeline]).await?)
}

async fn insert(tx: &Tx, artifact: &Artifact, now: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO job_artifact (job_id, kind, format, file_name, digest, size, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (job_id, kind) DO UPDATE SET format = $3, file_name = $4, digest = $5, size = $6,
             created_at = $7, expires_at = $8",
        args![
            artifact.job_id,
            artifact.kind,
            artifact.format,
            artifact.file_name,
            artifact.digest,
            artifact.size,
            now,
            artifact.expires_at
        ],
    )
    .await?;
    Ok(())
}

row! { struct Newest { id: JobId } }

/// The newest job of a name that succeeded on a branch, or a tag, and whose archive is still kept.
pub(crate) async fn newest(
    on: &impl Query,
    project: ProjectId,
    (reference, tag): (&str, bool),
    name: &str,
    now: Timestamp,
) -> Result<Option<JobId>> {
    let sql = "SELECT j.id FROM job j JOIN pipeline p ON p.id = j.pipeline_id
               JOIN job_artifact a ON a.job_id = j.id AND a.kind = 'archive'
               WHERE j.project_id = $1 AND p.reference = $2 AND p.tag = $5 AND j.name = $3
               AND j.status = 'success' AND (a.expires_at IS NULL OR a.expires_at > $4) ORDER BY j.id DESC LIMIT 1";
    let found: Option<Newest> = on.one(sql, args![project, reference, name, now, tag]).await?;
    Ok(found.map(|newest| newest.id))
}

/// How much jobs have uploaded.
pub const UPLOADS: Migration = Migration {
    id: "ci-2711-uploads",
    sql: "ALTER TABLE job ADD COLUMN uploaded BIGINT NOT NULL DEFAULT 0;",
};

/// A file as it was sent.
pub(crate) struct Upload<'a> {
    pub kind: &'a str,
    pub format: ArtifactFormat,
    pub file_name: &'a str,
    /// As the job says it.
    pub expire_in: Option<&'a str>,
    pub blob: StoredBlob,
}

row! { struct Uploaded { uploaded: i64 } }

/// What all uploads of one job may hold, in bytes.
fn most() -> i64 {
    i64::try_from(limits::JOB_UPLOADS_BYTES).unwrap_or(i64::MAX)
}

/// Counts bytes that a job uploads, if it still runs and may.
async fn count_upload(tx: &Tx, job: JobId, size: i64) -> Result<()> {
    let counted = tx
        .run(
            "UPDATE job SET uploaded = uploaded + $2 WHERE id = $1 AND runner_id IS NOT NULL AND finished_at IS NULL
             AND uploaded + $2 <= $3",
            args![job, size, most()],
        )
        .await?;
    if counted == 1 {
        return Ok(());
    }
    let running =
        "SELECT COUNT(*) AS n FROM job WHERE id = $1 AND runner_id IS NOT NULL AND finished_at IS NULL";
    if tx.count(running, args![job]).await? == 1 {
        return Err(too_much());
    }
    Err(
        Problem::new(403, "job_not_running", "The job ended while this was sent.")
            .why("What a job leaves is known once it has ended."),
    )
}

/// Variables for the jobs behind.
const DOTENV: &str = "dotenv";
/// How long artifacts are kept whose job does not say.
const KEEP: &str = "30 days";

impl Ci {
    /// Bytes that a job may still upload.
    pub(crate) async fn upload_room(&self, job: JobId) -> Result<u64> {
        let found: Option<Uploaded> = self
            .db
            .one("SELECT uploaded FROM job WHERE id = $1", args![job])
            .await?;
        let uploaded = found.map_or(0, |found| found.uploaded);
        Ok(u64::try_from(most().saturating_sub(uploaded)).unwrap_or_default())
    }

    /// Notes an uploaded file as a job's, while the job runs.
    pub(crate) async fn add_artifact(&self, job: JobId, upload: Upload<'_>) -> Result<Artifact> {
        let Upload {
            kind,
            format,
            file_name,
            expire_in,
            blob,
        } = upload;
        let now = self.clock.now();
        let kept = expire_in.filter(|text| !text.is_empty()).unwrap_or(KEEP);
        let expires_at = match kept {
            "never" => None,
            text => Some(now.plus(duration(text).ok_or_else(|| {
                Problem::bad_request("bad_expiry", format!("`{}` is no duration.", shown(text)))
                    .next("Write it as `1 week`, `3 hours` or `never`.")
            })?)),
        };
        let artifact = Artifact {
            job_id: job,
            kind: kind.to_owned(),
            format: format.to_string(),
            file_name: plain_name(file_name, format),
            digest: blob.digest,
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            expires_at,
        };
        let made = if kind == DOTENV {
            let read = self.read_dotenv(&artifact).await?;
            Some(read.map_err(|why| {
                Problem::bad_request("bad_dotenv", format!("The dotenv report cannot be read: {why}."))
                    .why("Jobs behind this one would run without the variables that it makes.")
                    .next("Write one `NAME=value` on a line.")
            })?)
        } else {
            None
        };
        let tx = self.db.begin().await?;
        // The same bytes sent again, because an answer got lost, are stored once.
        let known = of_job(&tx, job).await?;
        let again = known
            .iter()
            .any(|known| known.kind == artifact.kind && known.digest == artifact.digest);
        count_upload(&tx, job, if again { 0 } else { artifact.size }).await?;
        for replaced in known.iter().filter(|known| known.kind == artifact.kind && !again) {
            retained::note(&tx, std::slice::from_ref(&replaced.digest), now).await?;
        }
        insert(&tx, &artifact, now).await?;
        if let Some(made) = &made {
            crate::results::store::put_dotenv(&tx, job, made).await?;
        }
        tx.commit().await?;
        Ok(artifact)
    }

    /// Keeps what a job left until someone erases it.
    ///
    /// # Errors
    /// There is no such job, or it left nothing that is still kept.
    pub async fn keep_artifacts(&self, project: ProjectId, id: JobId) -> Result<()> {
        let job = self.job(project, id).await?;
        let tx = self.db.begin().await?;
        let rows = tx
            .run(
                "UPDATE job_artifact SET expires_at = NULL WHERE job_id = $1 AND (expires_at IS NULL OR expires_at > $2)",
                args![job.id, self.clock.now()],
            )
            .await?;
        if rows == 0 {
            return Err(Problem::not_found("artifact"));
        }
        Ok(tx.commit().await?)
    }

    /// Erases what a job left, and its log, for who may ([`Self::guard_traces`]). What was read from its reports stays.
    ///
    /// # Errors
    /// There is no such job, or it has not ended.
    pub async fn erase_job(&self, project: ProjectId, id: JobId, actor: &Actor) -> Result<()> {
        let job = self.job(project, id).await?;
        if !job.status.is_final() {
            return Err(Problem::conflict("not_ended", "The job has not ended.")
                .next("Cancel it first, or wait for its end."));
        }
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        if of_job(&tx, job.id)
            .await?
            .iter()
            .any(|left| left.kind == ARTIFACT_ARCHIVE)
        {
            retained::mark_gone(&tx, &[job.id]).await?;
        }
        retained::note_files(&tx, job.id, now).await?;
        tx.run("DELETE FROM job_artifact WHERE job_id = $1", args![job.id])
            .await?;
        retained::drop_logs(&tx, &[job.id], now).await?;
        let fact = JobErased {
            project: job.project_id,
            pipeline: job.pipeline_id,
            job: job.id,
            name: job.name,
        };
        self.ledger.append(&tx, actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// A file that a job left and that is still kept.
    ///
    /// # Errors
    /// There is none of that kind.
    pub async fn artifact(&self, job: JobId, kind: &str) -> Result<Artifact> {
        let now = self.clock.now();
        of_job(&self.db, job)
            .await?
            .into_iter()
            .find(|artifact| artifact.kind == kind && artifact.is_kept(now))
            .ok_or_else(|| Problem::not_found("artifact"))
    }
}

/// The last part of a name, without anything that means something in a path or a header.
fn plain_name(name: &str, format: ArtifactFormat) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ' | '+') {
                c
            } else {
                '_'
            }
        })
        .take(120)
        .collect();
    match (kept.trim_matches(['.', ' ']).is_empty(), format) {
        (false, _) => kept,
        (true, ArtifactFormat::Zip) => "artifacts.zip".to_owned(),
        (true, ArtifactFormat::Gzip) => "artifacts.gz".to_owned(),
        (true, ArtifactFormat::Raw) => "artifacts".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_plain() {
        for (name, expected) in [
            ("../../etc/passwd", "passwd"),
            ("a\"b\r\n.zip", "a_b__.zip"),
            ("..", "artifacts.zip"),
            ("", "artifacts.zip"),
            ("C:\\x\\out.zip", "out.zip"),
        ] {
            assert_eq!(plain_name(name, ArtifactFormat::Zip), expected);
        }
    }
}
