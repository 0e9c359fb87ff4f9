//! The queries.

use super::layout::{Image, ImageBlob};
use bascule_core::{Digest, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Db, Migration, Query as _, Result, Tx, Value, args, row};

/// Where in archives the blobs of images lie. An archive that holds no image is known too, with the reason.
pub(crate) const MIGRATION: Migration = Migration {
    id: "supplychain-2611-images",
    sql: "
        CREATE TABLE image_archive (
            digest TEXT PRIMARY KEY,
            root TEXT,
            why TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE TABLE image_blob (
            archive TEXT NOT NULL,
            digest TEXT NOT NULL,
            media_type TEXT NOT NULL,
            manifest BOOLEAN NOT NULL,
            position BIGINT NOT NULL,
            size BIGINT NOT NULL,
            content TEXT,
            PRIMARY KEY (archive, digest)
        );
        CREATE INDEX image_blob_by_digest ON image_blob (digest);
        CREATE INDEX release_part_holding ON release_part (digest);
    ",
};

/// Archives looked at for one blob, at most.
const SHARED: i64 = 100;

row! {
    /// What is known of an archive.
    pub(super) struct Archive {
        pub(super) root: Option<Digest>,
        pub(super) why: String,
    }
}

row! {
    /// A blob, and the archive that it lies in.
    pub(super) struct Held {
        pub(super) archive: Digest,
        pub(super) digest: Digest,
        pub(super) media_type: String,
        pub(super) manifest: bool,
        pub(super) position: i64,
        pub(super) size: i64,
        pub(super) content: Option<String>,
    }
}

row! {
    /// A file of a release that may hold an image.
    pub(super) struct Candidate {
        pub(super) version: String,
        pub(super) path: String,
        pub(super) digest: Digest,
    }
}

row! { struct Version { version: String } }

pub(super) async fn archive(db: &Db, digest: &Digest) -> Result<Option<Archive>> {
    db.one(
        "SELECT root, why FROM image_archive WHERE digest = $1",
        args![digest],
    )
    .await
}

/// Keeps what was found in an archive; what is known already stays as it is.
pub(super) async fn keep(
    tx: &Tx,
    archive: &Digest,
    found: &std::result::Result<Image, String>,
    at: Timestamp,
) -> Result<()> {
    let (root, why) = match found {
        Ok(image) => (Some(image.root.clone()), ""),
        Err(why) => (None, why.as_str()),
    };
    let sql = "INSERT INTO image_archive (digest, root, why, at) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING";
    let new = tx.run(sql, args![archive, root, why, at]).await? == 1;
    let blobs = found
        .as_ref()
        .map(|image| image.blobs.as_slice())
        .unwrap_or_default();
    for blob in blobs.iter().filter(|_| new) {
        insert(tx, archive, blob).await?;
    }
    Ok(())
}

async fn insert(tx: &Tx, archive: &Digest, blob: &ImageBlob) -> Result<()> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let values: Vec<Value> = args![
        archive,
        blob.digest,
        blob.media_type,
        blob.manifest,
        signed(blob.position),
        signed(blob.size),
        blob.content
    ];
    let sql = "INSERT INTO image_blob (archive, digest, media_type, manifest, position, size, content)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.run(sql, values).await.map(drop)
}

/// Where a blob lies in archives of a project's releases, or of what its previews run.
pub(super) async fn held(db: &Db, project: ProjectId, digest: &Digest) -> Result<Vec<Held>> {
    let sql = "SELECT b.archive, b.digest, b.media_type, b.manifest, b.position, b.size, b.content FROM image_blob b
               WHERE b.digest = $1 AND (EXISTS (
                   SELECT 1 FROM release_part p JOIN release r ON r.id = p.release_id
                   WHERE p.digest = b.archive AND r.project_id = $2) OR EXISTS (
                   SELECT 1 FROM preview_part p JOIN preview_build r ON r.id = p.build_id
                   WHERE p.digest = b.archive AND r.project_id = $2))
               ORDER BY b.archive LIMIT $3";
    db.all(sql, args![digest, project, SHARED]).await
}

/// Whether a project's release has this file, or a build that a preview runs.
pub(super) async fn has(db: &Db, project: ProjectId, archive: &Digest) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM (
                   SELECT p.digest FROM release_part p JOIN release r ON r.id = p.release_id
                   WHERE p.digest = $1 AND r.project_id = $2 AND p.kind = 'file'
                   UNION ALL SELECT p.digest FROM preview_part p JOIN preview_build r ON r.id = p.build_id
                   WHERE p.digest = $1 AND r.project_id = $2 AND p.kind = 'file') parts";
    Ok(db.count(sql, args![archive, project]).await? > 0)
}

/// Archives among a release's files that may hold an image, by path.
pub(super) async fn candidates(db: &Db, release: ReleaseId) -> Result<Vec<Candidate>> {
    let sql = "SELECT DISTINCT r.version, p.path, p.digest FROM release_part p JOIN release r ON r.id = p.release_id
               LEFT JOIN image_archive a ON a.digest = p.digest
               WHERE r.id = $1 AND p.kind = 'file' AND p.path LIKE '%.tar' AND (a.digest IS NULL OR a.root IS NOT NULL)
               ORDER BY p.path, p.digest LIMIT 100";
    db.all(sql, args![release]).await
}

/// Versions of a project's releases that may hold an image, in the order of their text, those after `last`.
pub(super) async fn versions(db: &Db, project: ProjectId, last: &str, limit: i64) -> Result<Vec<String>> {
    let sql = "SELECT r.version FROM release r WHERE r.project_id = $1 AND r.version > $2 AND EXISTS (
                   SELECT 1 FROM release_part p LEFT JOIN image_archive a ON a.digest = p.digest
                   WHERE p.release_id = r.id AND p.kind = 'file' AND p.path LIKE '%.tar'
                     AND (a.digest IS NULL OR a.root IS NOT NULL))
               ORDER BY r.version LIMIT $3";
    let rows: Vec<Version> = db.all(sql, args![project, last, limit]).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}
