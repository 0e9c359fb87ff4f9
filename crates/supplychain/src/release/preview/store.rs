//! The queries about builds for previews.

use super::PreviewBuild;
use crate::release::{
    ReleasePart,
    store::{insert_parts_into, read_parts},
};
use bascule_core::{ProjectId, ReleaseId};
use bascule_store::{Db, Migration, Query as _, Result, Tx, args};

/// Builds for previews, apart from releases.
pub(in crate::release) const MIGRATION: Migration = Migration {
    id: "supplychain-2611-previews",
    sql: "
        CREATE TABLE preview_build (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            iid BIGINT NOT NULL,
            version TEXT NOT NULL,
            sha TEXT NOT NULL,
            manifest TEXT NOT NULL,
            at BIGINT NOT NULL,
            UNIQUE (project_id, version)
        );
        CREATE INDEX preview_build_request ON preview_build (project_id, iid);
        CREATE TABLE preview_part (
            build_id TEXT NOT NULL REFERENCES preview_build (id),
            name TEXT NOT NULL,
            kind TEXT NOT NULL,
            media_type TEXT NOT NULL,
            digest TEXT NOT NULL,
            size BIGINT NOT NULL,
            job TEXT,
            path TEXT,
            PRIMARY KEY (build_id, name)
        );
        CREATE INDEX preview_part_digest ON preview_part (digest);
    ",
};

const COLUMNS: &str = "id, project_id, iid, version, sha, manifest, at";

pub(super) async fn get(db: &Db, id: ReleaseId) -> Result<Option<PreviewBuild>> {
    let sql = format!("SELECT {COLUMNS} FROM preview_build WHERE id = $1");
    db.one(&sql, args![id]).await
}

pub(super) async fn by_version(db: &Db, project: ProjectId, version: &str) -> Result<Option<PreviewBuild>> {
    let sql = format!("SELECT {COLUMNS} FROM preview_build WHERE project_id = $1 AND version = $2");
    db.one(&sql, args![project, version]).await
}

/// Enters a build; `false` where there is one of that version.
pub(super) async fn insert(tx: &Tx, build: &PreviewBuild) -> Result<bool> {
    let sql = format!(
        "INSERT INTO preview_build ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (project_id, version) DO NOTHING"
    );
    let values = args![
        build.id,
        build.project_id,
        build.iid,
        build.version,
        build.sha,
        build.manifest,
        build.at
    ];
    Ok(tx.run(&sql, values).await? == 1)
}

pub(super) async fn insert_parts(tx: &Tx, build: ReleaseId, parts: &[ReleasePart]) -> Result<()> {
    let into = "preview_part (build_id, name, kind, media_type, digest, size, job, path)";
    insert_parts_into(tx, into, build, parts).await
}

pub(in crate::release) async fn parts_by_path(
    db: &Db,
    build: ReleaseId,
    path: &str,
) -> Result<Vec<ReleasePart>> {
    let sql = "SELECT name, kind, media_type, digest, size, job, path FROM preview_part
               WHERE build_id = $1 AND path = $2 ORDER BY name LIMIT 100";
    read_parts(db, sql, args![build, path]).await
}

/// Forgets the builds of a request, save one.
pub(super) async fn forget(tx: &Tx, project: ProjectId, iid: i64, save: Option<ReleaseId>) -> Result<()> {
    let save = save.map(|id| id.to_string()).unwrap_or_default();
    let of = "SELECT id FROM preview_build WHERE project_id = $1 AND iid = $2 AND id <> $3";
    let sql = format!("DELETE FROM preview_part WHERE build_id IN ({of})");
    tx.run(&sql, args![project, iid, save]).await?;
    let sql = "DELETE FROM preview_build WHERE project_id = $1 AND iid = $2 AND id <> $3";
    tx.run(sql, args![project, iid, save]).await.map(drop)
}
