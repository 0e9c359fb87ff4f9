//! Queries about what is no longer kept.

use bascule_core::{Digest, JobId, PipelineId, ProjectId, Timestamp};
use bascule_store::{Db, Migration, Query, Result, Tx, args, bind, bind_all, row};
use bascule_wire::runner::ARTIFACT_ARCHIVE;

/// Tables and indexes for what is no longer kept.
pub const MIGRATION: Migration = Migration {
    id: "ci-2711-retention",
    sql: "
        CREATE TABLE ci_unnamed (digest TEXT PRIMARY KEY, since BIGINT NOT NULL);
        CREATE INDEX ci_unnamed_since ON ci_unnamed (since);
        ALTER TABLE job ADD COLUMN archive_gone BOOLEAN NOT NULL DEFAULT FALSE;
        CREATE INDEX job_artifact_expiry ON job_artifact (expires_at) WHERE expires_at IS NOT NULL;
        CREATE INDEX job_artifact_digest ON job_artifact (digest);
        CREATE INDEX job_trace_digest ON job_trace (digest) WHERE digest IS NOT NULL;
        CREATE INDEX job_log_age ON job (finished_at) WHERE trace_bytes > 0 AND finished_at IS NOT NULL;
        CREATE INDEX pipeline_age ON pipeline (finished_at) WHERE finished_at IS NOT NULL;
    ",
};

/// Files whose rows go in one transaction.
const FILES: usize = 500;
/// Jobs whose logs go in one.
const LOGS: usize = 50;
/// Pipelines that go in one.
const PIPELINES: usize = 10;
/// Blobs looked at in one go.
const BLOBS: usize = 100;

row! { struct File { job_id: JobId, kind: String, digest: Digest } }
row! { struct JobRow { id: JobId } }
row! { struct PipelineRow { id: PipelineId } }
row! { struct DigestRow { digest: Digest } }

/// Notes digests that rows named which go.
pub async fn note(tx: &Tx, digests: &[Digest], now: Timestamp) -> Result<()> {
    for some in digests.chunks(FILES) {
        let mut values = args![];
        let rows: Vec<String> = some
            .iter()
            .map(|digest| format!("({}, {})", bind(&mut values, digest), bind(&mut values, &now)))
            .collect();
        let sql = format!(
            "INSERT INTO ci_unnamed (digest, since) VALUES {} ON CONFLICT (digest) DO NOTHING",
            rows.join(", ")
        );
        tx.run(&sql, values).await?;
    }
    Ok(())
}

/// Notes a blob that no row came to name.
pub async fn note_one(db: &Db, digest: &Digest, now: Timestamp) -> Result<()> {
    let tx = db.begin().await?;
    note(&tx, std::slice::from_ref(digest), now).await?;
    tx.commit().await
}

/// Notes what rows of a table name that are about to go: those of jobs that `of` names, a condition on `job_id`.
async fn note_rows(
    tx: &Tx,
    table: &str,
    of: &str,
    values: Vec<bascule_store::Value>,
    now: Timestamp,
) -> Result<()> {
    let mut values = values;
    let since = bind(&mut values, &now);
    let sql = format!(
        "INSERT INTO ci_unnamed (digest, since) SELECT DISTINCT digest, CAST({since} AS BIGINT) FROM {table}
         WHERE digest IS NOT NULL AND job_id {of} ON CONFLICT (digest) DO NOTHING"
    );
    tx.run(&sql, values).await?;
    Ok(())
}

/// Notes what a job's files name.
pub async fn note_files(tx: &Tx, job: JobId, now: Timestamp) -> Result<()> {
    note_rows(tx, "job_artifact", "= $1", args![job], now).await
}

/// Notes what all jobs of a project name, and its caches.
pub async fn note_project(tx: &Tx, project: ProjectId, now: Timestamp) -> Result<()> {
    let of = "IN (SELECT id FROM job WHERE project_id = $1)";
    note_rows(tx, "job_artifact", of, args![project], now).await?;
    note_rows(tx, "job_trace", of, args![project], now).await?;
    let of_caches =
        "INSERT INTO ci_unnamed (digest, since) SELECT DISTINCT digest, CAST($2 AS BIGINT) FROM ci_cache
                     WHERE project_id = $1 ON CONFLICT (digest) DO NOTHING";
    tx.run(of_caches, args![project, now]).await?;
    Ok(())
}

/// Removes rows of files that are no longer kept, some at a time; how many.
pub async fn drop_expired(tx: &Tx, now: Timestamp) -> Result<u64> {
    let sql = format!(
        "DELETE FROM job_artifact WHERE (job_id, kind) IN (
            SELECT job_id, kind FROM job_artifact WHERE expires_at IS NOT NULL AND expires_at <= $1
            ORDER BY expires_at LIMIT {FILES})
         RETURNING job_id, kind, digest"
    );
    let gone: Vec<File> = tx.all(&sql, args![now]).await?;
    let archives: Vec<JobId> = gone
        .iter()
        .filter(|file| file.kind == ARTIFACT_ARCHIVE)
        .map(|file| file.job_id)
        .collect();
    mark_gone(tx, &archives).await?;
    let digests: Vec<Digest> = gone.into_iter().map(|file| file.digest).collect();
    note(tx, &digests, now).await?;
    Ok(digests.len() as u64)
}

/// Notes that the archives of jobs went.
pub async fn mark_gone(tx: &Tx, jobs: &[JobId]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut values = args![];
    let places = bind_all(&mut values, jobs);
    tx.run(
        &format!("UPDATE job SET archive_gone = TRUE WHERE id IN ({places})"),
        values,
    )
    .await?;
    Ok(())
}

/// Ended jobs with logs from before a time, some of them.
pub async fn with_old_logs(tx: &Tx, before: Timestamp) -> Result<Vec<JobId>> {
    let sql = format!(
        "SELECT id FROM job WHERE trace_bytes > 0 AND finished_at IS NOT NULL AND finished_at < $1
         ORDER BY finished_at LIMIT {LOGS}"
    );
    let rows: Vec<JobRow> = tx.all(&sql, args![before]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Removes the logs of jobs.
pub async fn drop_logs(tx: &Tx, jobs: &[JobId], now: Timestamp) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut values = args![];
    let of = format!("IN ({})", bind_all(&mut values, jobs));
    note_rows(tx, "job_trace", &of, values.clone(), now).await?;
    tx.run(
        &format!("DELETE FROM job_trace WHERE job_id {of}"),
        values.clone(),
    )
    .await?;
    tx.run(
        &format!("UPDATE job SET trace_bytes = 0, trace_crc = 0 WHERE id {of}"),
        values,
    )
    .await?;
    Ok(())
}

/// Pipelines that ended before a time, some of them. Those stay whose job would stop an environment that is in use, and
/// those of whose family something still runs.
pub async fn old_pipelines(tx: &Tx, before: Timestamp) -> Result<Vec<PipelineId>> {
    let sql = format!(
        "SELECT id FROM pipeline WHERE finished_at IS NOT NULL AND finished_at < $1
         AND NOT EXISTS (SELECT 1 FROM ci_environment e WHERE e.pipeline_id = pipeline.id AND e.state <> 'stopped')
         AND NOT EXISTS (SELECT 1 FROM pipeline child WHERE child.parent_id = pipeline.id AND child.finished_at IS NULL)
         AND NOT EXISTS (SELECT 1 FROM ci_site s JOIN job j ON j.id = s.job_id WHERE j.pipeline_id = pipeline.id)
         ORDER BY finished_at LIMIT {PIPELINES}"
    );
    let rows: Vec<PipelineRow> = tx.all(&sql, args![before]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Removes pipelines with all of their jobs. What is known of flaky tests stays.
pub async fn drop_pipelines(tx: &Tx, pipelines: &[PipelineId], now: Timestamp) -> Result<()> {
    if pipelines.is_empty() {
        return Ok(());
    }
    let mut values = args![];
    let places = bind_all(&mut values, pipelines);
    let of = format!("IN (SELECT id FROM job WHERE pipeline_id IN ({places}))");
    for table in ["job_artifact", "job_trace"] {
        note_rows(tx, table, &of, values.clone(), now).await?;
    }
    for table in ["job_artifact", "job_trace", "ci_dotenv", "ci_test_failure"] {
        tx.run(&format!("DELETE FROM {table} WHERE job_id {of}"), values.clone())
            .await?;
    }
    for table in ["ci_report", "ci_test_run", "ci_coverage", "ci_played", "job"] {
        let sql = format!("DELETE FROM {table} WHERE pipeline_id IN ({places})");
        tx.run(&sql, values.clone()).await?;
    }
    tx.run(&format!("DELETE FROM pipeline WHERE id IN ({places})"), values)
        .await?;
    Ok(())
}

/// Digests that nothing named any more before a time, some of them.
pub async fn unnamed(on: &impl Query, before: Timestamp) -> Result<Vec<Digest>> {
    let sql = format!("SELECT digest FROM ci_unnamed WHERE since < $1 ORDER BY since LIMIT {BLOBS}");
    let rows: Vec<DigestRow> = on.all(&sql, args![before]).await?;
    Ok(rows.into_iter().map(|row| row.digest).collect())
}

/// Whether a row names a blob.
pub async fn is_named(on: &impl Query, digest: &Digest) -> Result<bool> {
    let sql = "SELECT (SELECT COUNT(*) FROM job_artifact WHERE digest = $1)
               + (SELECT COUNT(*) FROM job_trace WHERE digest = $1 AND digest IS NOT NULL)
               + (SELECT COUNT(*) FROM ci_cache WHERE digest = $1) AS n";
    Ok(on.count(sql, args![digest]).await? > 0)
}

/// Nothing is to be done about a digest any more.
pub async fn settled(db: &Db, digest: &Digest) -> Result<()> {
    let tx = db.begin().await?;
    tx.run("DELETE FROM ci_unnamed WHERE digest = $1", args![digest])
        .await?;
    tx.commit().await
}

/// A digest is to be looked at again later.
pub async fn unnamed_since(db: &Db, digest: &Digest, now: Timestamp) -> Result<()> {
    let tx = db.begin().await?;
    tx.run(
        "UPDATE ci_unnamed SET since = $2 WHERE digest = $1",
        args![digest, now],
    )
    .await?;
    tx.commit().await
}
