//! The queries about bundles.

use super::{Role, Way};
use crate::catalogue::Listed;
use bascule_core::{Digest, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Db, Json, Migration, Query, Result, Tx, args, bind_all, row};
use bascule_wire::bundle::ObservedSite;

/// Tables of bundles.
pub(crate) const CARRY: Migration = Migration {
    id: "delivery-0005-carry",
    sql: "
        ALTER TABLE site ADD COLUMN origin TEXT;
        CREATE TABLE carry_key (
            id TEXT PRIMARY KEY,
            pem TEXT NOT NULL,
            role TEXT NOT NULL,
            site TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE TABLE carry_export (
            way TEXT NOT NULL,
            site TEXT NOT NULL,
            sequence BIGINT NOT NULL,
            set_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            kept TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (way, site, sequence)
        );
        CREATE TABLE carry_applied (
            way TEXT NOT NULL,
            site TEXT NOT NULL,
            sequence BIGINT NOT NULL,
            set_id TEXT NOT NULL,
            checkpoint BOOLEAN NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (way, site, sequence)
        );
        CREATE TABLE carry_report (
            site TEXT PRIMARY KEY,
            sequence BIGINT NOT NULL,
            applied BIGINT NOT NULL,
            applied_id TEXT,
            body TEXT NOT NULL,
            inventory TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE TABLE carry_file (
            project_id TEXT NOT NULL,
            sha TEXT NOT NULL,
            path TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (project_id, sha, path)
        );
    ",
};

row! {
    /// A key that is believed.
    #[derive(Clone, Debug)]
    pub(crate) struct Key {
        pub id: String,
        pub pem: String,
        pub role: String,
        pub site: String,
        pub at: Timestamp,
    }
}

pub(crate) async fn keys(db: &impl Query) -> Result<Vec<Key>> {
    let sql = "SELECT id, pem, role, site, at FROM carry_key ORDER BY role, site, id LIMIT 10000";
    db.all(sql, args![]).await
}

pub(crate) async fn put_key(tx: &Tx, key: &Key) -> Result<()> {
    tx.run(
        "INSERT INTO carry_key (id, pem, role, site, at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET role = $3, site = $4, at = $5",
        args![key.id, key.pem, key.role, key.site, key.at],
    )
    .await
    .map(drop)
}

pub(crate) async fn remove_key(tx: &Tx, id: &str) -> Result<()> {
    tx.run("DELETE FROM carry_key WHERE id = $1", args![id])
        .await
        .map(drop)
}

impl Key {
    pub(super) fn is(&self, role: Role) -> bool {
        self.role == role.as_str()
    }
}

row! {
    /// A bundle that was made.
    #[derive(Clone, Debug)]
    pub(crate) struct Exported {
        pub site: String,
        pub sequence: i64,
        pub set_id: Digest,
        pub kind: String,
        pub kept: Digest,
        pub at: Timestamp,
    }
}

const EXPORTED: &str = "site, sequence, set_id, kind, kept, at";

pub(super) async fn put_export(tx: &Tx, way: Way, new: &Exported) -> Result<()> {
    tx.run(
        "INSERT INTO carry_export (way, site, sequence, set_id, kind, kept, at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            way.as_str(),
            new.site,
            new.sequence,
            new.set_id,
            new.kind,
            new.kept,
            new.at
        ],
    )
    .await
    .map(drop)
}

pub(super) async fn export(db: &impl Query, way: Way, site: &str, sequence: i64) -> Result<Option<Exported>> {
    let sql = format!("SELECT {EXPORTED} FROM carry_export WHERE way = $1 AND site = $2 AND sequence = $3");
    db.one(&sql, args![way.as_str(), site, sequence]).await
}

/// The newest export for each site.
pub(super) async fn newest_exports(db: &impl Query) -> Result<Vec<Exported>> {
    let sql = format!(
        "SELECT {EXPORTED} FROM carry_export e WHERE way = $1 AND sequence =
           (SELECT MAX(sequence) FROM carry_export n WHERE n.way = e.way AND n.site = e.site)
         ORDER BY site LIMIT 10000"
    );
    db.all(&sql, args![Way::To.as_str()]).await
}

row! {
    /// A set that was applied here.
    #[derive(Clone, Debug)]
    pub(crate) struct Applied {
        pub sequence: i64,
        pub set_id: Digest,
        pub checkpoint: bool,
    }
}

/// The newest sets that were applied, oldest first: as many as a staging area remembers.
pub(super) async fn applied(db: &impl Query, way: Way, site: &str) -> Result<Vec<Applied>> {
    let sql = "SELECT sequence, set_id, checkpoint FROM carry_applied WHERE way = $1 AND site = $2
               ORDER BY sequence DESC LIMIT 1000";
    let mut all: Vec<Applied> = db.all(sql, args![way.as_str(), site]).await?;
    all.reverse();
    Ok(all)
}

/// The last set that was applied.
pub(super) async fn last_applied(db: &impl Query, way: Way, site: &str) -> Result<Option<Applied>> {
    let sql = "SELECT sequence, set_id, checkpoint FROM carry_applied WHERE way = $1 AND site = $2
               ORDER BY sequence DESC LIMIT 1";
    db.one(sql, args![way.as_str(), site]).await
}

/// Notes that a set is applied; `false` where it was.
pub(super) async fn put_applied(tx: &Tx, way: Way, site: &str, new: &Applied, at: Timestamp) -> Result<bool> {
    let changed = tx
        .run(
            "INSERT INTO carry_applied (way, site, sequence, set_id, checkpoint, at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING",
            args![way.as_str(), site, new.sequence, new.set_id, new.checkpoint, at],
        )
        .await?;
    Ok(changed == 1)
}

row! {
    /// What a site told last.
    #[derive(Clone, Debug)]
    pub(crate) struct Reported {
        pub site: String,
        pub sequence: i64,
        pub applied: i64,
        pub applied_id: Option<Digest>,
        pub body: Json<ObservedSite>,
        pub inventory: Digest,
        pub at: Timestamp,
    }
}

const REPORTED: &str = "site, sequence, applied, applied_id, body, inventory, at";

pub(crate) async fn reports(db: &impl Query) -> Result<Vec<Reported>> {
    let sql = format!("SELECT {REPORTED} FROM carry_report ORDER BY site LIMIT 5000");
    db.all(&sql, args![]).await
}

/// What some sites told last.
pub(crate) async fn reports_of(db: &impl Query, names: &[String]) -> Result<Vec<Reported>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, names);
    let sql =
        format!("SELECT {REPORTED} FROM carry_report WHERE site IN ({places}) ORDER BY site LIMIT 5000");
    db.all(&sql, values).await
}

pub(crate) async fn report(db: &impl Query, site: &str) -> Result<Option<Reported>> {
    let sql = format!("SELECT {REPORTED} FROM carry_report WHERE site = $1");
    db.one(&sql, args![site]).await
}

pub(crate) async fn put_report(tx: &Tx, new: &Reported) -> Result<()> {
    tx.run(
        "INSERT INTO carry_report (site, sequence, applied, applied_id, body, inventory, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (site) DO UPDATE SET sequence = $2, applied = $3, applied_id = $4, body = $5, inventory = $6, at = $7",
        args![
            new.site,
            new.sequence,
            new.applied,
            new.applied_id,
            Json(&new.body.0),
            new.inventory,
            new.at
        ],
    )
    .await
    .map(drop)
}

row! {
    /// A product that a declaration installs.
    pub(super) struct Installed {
        pub(super) project_id: ProjectId,
        pub(super) project_path: String,
    }
}

const OF_SITE: &str = "SELECT project_id FROM environment WHERE name = $1 AND declared = TRUE";

pub(super) async fn installed(db: &impl Query, site: &str) -> Result<Vec<Installed>> {
    let sql = "SELECT project_id, project_path FROM environment WHERE name = $1 AND declared = TRUE
               ORDER BY project_path LIMIT 5000";
    db.all(sql, args![site]).await
}

/// All releases of the products that a site installs.
pub(super) async fn releases_for(db: &impl Query, site: &str) -> Result<Vec<Listed>> {
    let sql = format!(
        "SELECT release_id, project_id, version, sha, relations, published_at, recall_reason, recall_floor, recall_cause
         FROM catalogue_release WHERE project_id IN ({OF_SITE}) ORDER BY project_id, release_id LIMIT 200000"
    );
    db.all(&sql, args![site]).await
}

row! {
    pub(super) struct InChannel {
        pub(super) release_id: ReleaseId,
        pub(super) channel: String,
    }
}

/// The channels that they are in.
pub(super) async fn channels_for(db: &impl Query, site: &str) -> Result<Vec<InChannel>> {
    let sql = format!(
        "SELECT c.release_id, c.channel FROM catalogue_channel c JOIN catalogue_release r ON r.release_id = c.release_id
         WHERE r.project_id IN ({OF_SITE}) ORDER BY c.release_id, c.channel LIMIT 1000000"
    );
    db.all(&sql, args![site]).await
}

row! { struct Found { release_id: ReleaseId } }

/// The release of a version, once it is in the catalogue.
pub(super) async fn listed(tx: &Tx, project: ProjectId, version: &str) -> Result<Option<ReleaseId>> {
    let sql = "SELECT release_id FROM catalogue_release WHERE project_id = $1 AND version = $2";
    Ok(tx
        .one::<Found>(sql, args![project, version])
        .await?
        .map(|found| found.release_id))
}

row! { struct Body { body: String } }

/// A file that came with a release instead of its repository.
pub(crate) async fn file(db: &Db, project: ProjectId, sha: &str, path: &str) -> Result<Option<String>> {
    let sql = "SELECT body FROM carry_file WHERE project_id = $1 AND sha = $2 AND path = $3";
    Ok(db
        .one::<Body>(sql, args![project, sha, path])
        .await?
        .map(|row| row.body))
}

pub(super) async fn put_file(tx: &Tx, project: ProjectId, sha: &str, path: &str, body: &str) -> Result<()> {
    let sql =
        "INSERT INTO carry_file (project_id, sha, path, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    tx.run(sql, args![project, sha, path, body]).await.map(drop)
}
