//! The table of sites. The only file with these queries.

use bascule_core::{JobId, ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2711-site",
    sql: "
        CREATE TABLE ci_site (
            project_id TEXT NOT NULL,
            prefix TEXT NOT NULL,
            job_id BIGINT NOT NULL,
            pipeline_id BIGINT NOT NULL,
            folder TEXT NOT NULL,
            kept_until BIGINT,
            expires_at BIGINT,
            deployed_at BIGINT NOT NULL,
            PRIMARY KEY (project_id, prefix)
        );
    ",
};

row! {
    /// A site as stored.
    #[derive(Clone, Debug)]
    pub struct Site {
        /// The project.
        pub project_id: ProjectId,
        /// Under which prefix it is served; empty is the main site.
        pub prefix: String,
        /// The job whose archive it is in.
        pub job_id: JobId,
        /// That job's pipeline.
        pub pipeline_id: i64,
        /// The folder of the archive that it is.
        pub folder: String,
        /// Until when the archive would be kept if it were no site.
        pub kept_until: Option<Timestamp>,
        /// Until when it is served.
        pub expires_at: Option<Timestamp>,
        /// Since when.
        pub deployed_at: Timestamp,
    }
}

const COLUMNS: &str = "project_id, prefix, job_id, pipeline_id, folder, kept_until, expires_at, deployed_at";

pub(crate) async fn list(on: &impl Query, project: ProjectId) -> Result<Vec<Site>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_site WHERE project_id = $1 ORDER BY prefix LIMIT 1000");
    on.all(&sql, args![project]).await
}

/// Keeps the site's archive as long as it is a site.
pub(crate) async fn insert(tx: &Tx, site: &Site) -> Result<()> {
    let sql = format!("INSERT INTO ci_site ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    tx.run(
        &sql,
        args![
            site.project_id,
            site.prefix,
            site.job_id,
            site.pipeline_id,
            site.folder,
            site.kept_until,
            site.expires_at,
            site.deployed_at
        ],
    )
    .await?;
    tx.run(
        "UPDATE job_artifact SET expires_at = $2 WHERE job_id = $1 AND kind = 'archive'",
        args![site.job_id, site.expires_at],
    )
    .await
    .map(drop)
}

pub(crate) async fn delete(tx: &Tx, site: &Site) -> Result<()> {
    tx.run(
        "DELETE FROM ci_site WHERE project_id = $1 AND prefix = $2",
        args![site.project_id, site.prefix],
    )
    .await?;
    tx.run(
        "UPDATE job_artifact SET expires_at = $2 WHERE job_id = $1 AND kind = 'archive'",
        args![site.job_id, site.kept_until],
    )
    .await
    .map(drop)
}

pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run("DELETE FROM ci_site WHERE project_id = $1", args![project])
        .await
        .map(drop)
}
