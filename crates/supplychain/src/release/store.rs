//! The queries.

use super::{Release, ReleasePart};
use crate::{bundle::PartKind, sbom::Component};
use bascule_core::{Digest, FactId, JobId, PipelineId, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Db, Error, Json, Migration, Query as _, Result, Tx, Value, args, bind_all, places, row};
use bascule_wire::release::ReleaseComponent;

/// Tables of releases.
pub const MIGRATIONS: &[Migration] = &[
    FIRST,
    CARRIED,
    crate::advisory::ADVISORIES,
    crate::image::MIGRATION,
    super::preview::store::MIGRATION,
];

/// Releases of other instances. Their `pipeline_id` and `job_id` are 0: numbers of ours begin at 1.
const CARRIED: Migration = Migration {
    id: "supplychain-0002-carried",
    sql: "
        ALTER TABLE release ADD COLUMN origin TEXT;
        CREATE TABLE release_key (id TEXT PRIMARY KEY, pem TEXT NOT NULL, at BIGINT NOT NULL);
    ",
};

const FIRST: Migration = Migration {
    id: "supplychain-0001",
    sql: "
        CREATE TABLE release (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            project_path TEXT NOT NULL,
            tag TEXT NOT NULL,
            version TEXT NOT NULL,
            sha TEXT NOT NULL,
            name TEXT NOT NULL,
            description TEXT NOT NULL,
            pipeline_id BIGINT NOT NULL,
            job_id BIGINT NOT NULL,
            manifest TEXT NOT NULL,
            manifest_size BIGINT NOT NULL,
            key_id TEXT NOT NULL,
            components BIGINT NOT NULL,
            previous TEXT,
            commit_count BIGINT NOT NULL,
            lockfiles TEXT NOT NULL,
            notes TEXT NOT NULL,
            started_at BIGINT NOT NULL,
            finished_at BIGINT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE UNIQUE INDEX release_tag ON release (project_id, tag);
        CREATE UNIQUE INDEX release_version ON release (project_id, version);
        CREATE INDEX release_newest ON release (project_id, id);
        CREATE TABLE release_part (
            release_id TEXT NOT NULL,
            name TEXT NOT NULL,
            kind TEXT NOT NULL,
            media_type TEXT NOT NULL,
            digest TEXT NOT NULL,
            size BIGINT NOT NULL,
            job TEXT,
            path TEXT,
            PRIMARY KEY (release_id, name)
        );
        CREATE INDEX release_part_path ON release_part (release_id, path);
        CREATE INDEX release_part_digest ON release_part (release_id, digest);
        CREATE TABLE release_component (
            release_id TEXT NOT NULL,
            purl TEXT NOT NULL,
            ecosystem TEXT NOT NULL,
            name TEXT NOT NULL,
            version TEXT,
            scope TEXT NOT NULL,
            own BOOLEAN NOT NULL,
            PRIMARY KEY (release_id, purl)
        );
        CREATE INDEX release_component_name ON release_component (ecosystem, name);
        CREATE TABLE release_request (
            fact_id TEXT PRIMARY KEY,
            outcome TEXT NOT NULL
        );
    ",
};

row! {
    struct ReleaseRow {
        id: ReleaseId,
        project_id: ProjectId,
        project_path: String,
        tag: String,
        version: String,
        sha: String,
        name: String,
        description: String,
        pipeline_id: PipelineId,
        job_id: JobId,
        manifest: Digest,
        manifest_size: i64,
        key_id: String,
        components: i64,
        previous: Option<String>,
        commit_count: i64,
        lockfiles: Json<Vec<String>>,
        notes: Json<Vec<String>>,
        started_at: Timestamp,
        finished_at: Timestamp,
        at: Timestamp,
        origin: Option<String>,
    }
}

row! {
    pub(super) struct PartRow {
        name: String,
        kind: String,
        media_type: String,
        digest: Digest,
        size: i64,
        job: Option<String>,
        path: Option<String>,
    }
}

row! {
    struct ComponentRow {
        purl: String,
        ecosystem: String,
        name: String,
        version: Option<String>,
        scope: String,
        own: bool,
    }
}

row! {
    /// A release as far as ordering needs it.
    pub(super) struct KnownVersion {
        pub(super) tag: String,
        pub(super) version: String,
        pub(super) sha: String,
    }
}

const COLUMNS: &str = "id, project_id, project_path, tag, version, sha, name, description, pipeline_id, job_id, manifest, \
    manifest_size, key_id, components, previous, commit_count, lockfiles, notes, started_at, finished_at, at, origin";
/// Rows of one INSERT; keeps the number of bound values far below every engine's limit.
const ROWS: usize = 200;

impl From<ReleaseRow> for Release {
    fn from(row: ReleaseRow) -> Self {
        Self {
            id: row.id,
            project: row.project_id,
            project_path: row.project_path,
            tag: row.tag,
            version: row.version,
            sha: row.sha,
            name: row.name,
            description: row.description,
            pipeline: Some(row.pipeline_id).filter(|id| id.0 != 0),
            job: Some(row.job_id).filter(|id| id.0 != 0),
            origin: row.origin,
            manifest: row.manifest,
            manifest_size: unsigned(row.manifest_size),
            key_id: row.key_id,
            components: row.components,
            previous: row.previous,
            commit_count: row.commit_count,
            lockfiles: row.lockfiles.0,
            notes: row.notes.0,
            started_at: row.started_at,
            finished_at: row.finished_at,
            at: row.at,
        }
    }
}

pub(super) fn part(row: PartRow) -> Result<ReleasePart> {
    let kind = PartKind::parse(&row.kind).ok_or_else(|| Error::Column {
        column: "kind".to_owned(),
        reason: format!("`{}` is no kind of part", row.kind),
    })?;
    Ok(ReleasePart {
        name: row.name,
        kind,
        media_type: row.media_type,
        digest: row.digest,
        size: unsigned(row.size),
        job: row.job,
        path: row.path,
    })
}

fn unsigned(size: i64) -> u64 {
    u64::try_from(size).unwrap_or_default()
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) async fn by_id(db: &Db, id: ReleaseId) -> Result<Option<Release>> {
    let sql = format!("SELECT {COLUMNS} FROM release WHERE id = $1");
    Ok(db.one::<ReleaseRow>(&sql, args![id]).await?.map(Release::from))
}

pub(super) async fn by_tag_or_version(db: &Db, project: ProjectId, text: &str) -> Result<Option<Release>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM release WHERE project_id = $1 AND (tag = $2 OR version = $2) ORDER BY (CASE WHEN tag = $2 THEN 0 ELSE 1 END) LIMIT 1"
    );
    Ok(db
        .one::<ReleaseRow>(&sql, args![project, text])
        .await?
        .map(Release::from))
}

row! { struct Found { id: ReleaseId } }

/// The release of a tag, or of a version, by its identity alone.
pub(crate) async fn id_of_tag(db: &Db, project: ProjectId, text: &str) -> Result<Option<ReleaseId>> {
    let sql = "SELECT id FROM release WHERE project_id = $1 AND (tag = $2 OR version = $2)
               ORDER BY (CASE WHEN tag = $2 THEN 0 ELSE 1 END) LIMIT 1";
    let found: Option<Found> = db.one(sql, args![project, text]).await?;
    Ok(found.map(|row| row.id))
}

/// Newest first; identifiers sort by creation.
pub(super) async fn list(
    db: &Db,
    project: ProjectId,
    before: Option<ReleaseId>,
    limit: i64,
) -> Result<Vec<Release>> {
    let rows = match before {
        None => {
            let sql =
                format!("SELECT {COLUMNS} FROM release WHERE project_id = $1 ORDER BY id DESC LIMIT $2");
            db.all::<ReleaseRow>(&sql, args![project, limit]).await?
        }
        Some(before) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM release WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
            );
            db.all::<ReleaseRow>(&sql, args![project, before, limit]).await?
        }
    };
    Ok(rows.into_iter().map(Release::from).collect())
}

/// All versions of a project, to find the one before a new one; thin rows, since semantic versions do not
/// sort in SQL.
pub(super) async fn versions(db: &Db, project: ProjectId) -> Result<Vec<KnownVersion>> {
    db.all(
        "SELECT tag, version, sha FROM release WHERE project_id = $1",
        args![project],
    )
    .await
}

/// Parts, as a query finds them.
pub(super) async fn read_parts(db: &Db, sql: &str, values: Vec<Value>) -> Result<Vec<ReleasePart>> {
    let rows: Vec<PartRow> = db.all(sql, values).await?;
    rows.into_iter().map(part).collect()
}

pub(super) async fn parts(db: &Db, release: ReleaseId) -> Result<Vec<ReleasePart>> {
    let sql = "SELECT name, kind, media_type, digest, size, job, path FROM release_part WHERE release_id = $1 ORDER BY name";
    read_parts(db, sql, args![release]).await
}

pub(super) async fn part_by_name(db: &Db, release: ReleaseId, name: &str) -> Result<Option<ReleasePart>> {
    let sql = "SELECT name, kind, media_type, digest, size, job, path FROM release_part WHERE release_id = $1 AND name = $2";
    db.one::<PartRow>(sql, args![release, name])
        .await?
        .map(part)
        .transpose()
}

pub(super) async fn part_by_digest(
    db: &Db,
    release: ReleaseId,
    digest: &Digest,
) -> Result<Option<ReleasePart>> {
    let sql = "SELECT name, kind, media_type, digest, size, job, path FROM release_part
               WHERE release_id = $1 AND digest = $2 ORDER BY name LIMIT 1";
    db.one::<PartRow>(sql, args![release, digest])
        .await?
        .map(part)
        .transpose()
}

pub(super) async fn parts_by_path(db: &Db, release: ReleaseId, path: &str) -> Result<Vec<ReleasePart>> {
    let sql = "SELECT name, kind, media_type, digest, size, job, path FROM release_part
               WHERE release_id = $1 AND path = $2 ORDER BY name";
    read_parts(db, sql, args![release, path]).await
}

/// Components whose name or package URL holds `search`, after the one given, and how many there are.
pub(super) async fn components(
    db: &Db,
    release: ReleaseId,
    search: &str,
    after: &str,
    limit: i64,
) -> Result<(Vec<ReleaseComponent>, i64)> {
    let pattern = format!(
        "%{}%",
        search
            .trim()
            .to_lowercase()
            .replace('!', "!!")
            .replace('%', "!%")
            .replace('_', "!_")
    );
    let total = db
        .count(
            "SELECT COUNT(*) AS n FROM release_component WHERE release_id = $1 AND LOWER(purl) LIKE $2 ESCAPE '!'",
            args![release, pattern],
        )
        .await?;
    let rows: Vec<ComponentRow> = db
        .all(
            "SELECT purl, ecosystem, name, version, scope, own FROM release_component
             WHERE release_id = $1 AND LOWER(purl) LIKE $2 ESCAPE '!' AND purl > $3 ORDER BY purl LIMIT $4",
            args![release, pattern, after, limit],
        )
        .await?;
    let items = rows.into_iter().map(|row| ReleaseComponent {
        purl: row.purl,
        ecosystem: row.ecosystem,
        name: row.name,
        version: row.version,
        scope: row.scope,
        local: row.own,
    });
    Ok((items.collect(), total))
}

/// Whether a request was answered before.
pub(super) async fn answered(db: &Db, fact: FactId) -> Result<bool> {
    Ok(db
        .count(
            "SELECT COUNT(*) AS n FROM release_request WHERE fact_id = $1",
            args![fact],
        )
        .await?
        > 0)
}

/// Marks a request as answered; `false` if it was before.
pub(super) async fn answer(tx: &Tx, fact: FactId, outcome: &str) -> Result<bool> {
    let sql =
        "INSERT INTO release_request (fact_id, outcome) VALUES ($1, $2) ON CONFLICT (fact_id) DO NOTHING";
    Ok(tx.run(sql, args![fact, outcome]).await? == 1)
}

pub(super) async fn insert(tx: &Tx, release: &Release) -> Result<()> {
    let sql = format!(
        "INSERT INTO release ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)"
    );
    tx.run(
        &sql,
        args![
            release.id,
            release.project,
            release.project_path,
            release.tag,
            release.version,
            release.sha,
            release.name,
            release.description,
            release.pipeline.unwrap_or(PipelineId(0)),
            release.job.unwrap_or(JobId(0)),
            release.manifest,
            signed(release.manifest_size),
            release.key_id,
            release.components,
            release.previous,
            release.commit_count,
            Json(&release.lockfiles),
            Json(&release.notes),
            release.started_at,
            release.finished_at,
            release.at,
            release.origin
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn insert_parts(tx: &Tx, release: ReleaseId, parts: &[ReleasePart]) -> Result<()> {
    let into = "release_part (release_id, name, kind, media_type, digest, size, job, path)";
    insert_parts_into(tx, into, release, parts).await
}

pub(super) async fn insert_parts_into(
    tx: &Tx,
    into: &str,
    release: ReleaseId,
    parts: &[ReleasePart],
) -> Result<()> {
    for some in parts.chunks(ROWS) {
        let mut values: Vec<Value> = Vec::with_capacity(some.len() * 8);
        for part in some {
            values.extend(args![
                release,
                part.name,
                part.kind.as_str(),
                part.media_type,
                part.digest,
                signed(part.size),
                part.job,
                part.path
            ]);
        }
        tx.run(&many(into, 8, some.len()), values).await?;
    }
    Ok(())
}

pub(super) async fn insert_components<'a>(
    tx: &Tx,
    release: ReleaseId,
    components: impl Iterator<Item = &'a Component>,
) -> Result<()> {
    let rows: Vec<ReleaseComponent> = components
        .map(|component| ReleaseComponent {
            purl: component.purl.clone(),
            ecosystem: component.ecosystem.purl_type().to_owned(),
            name: component.full_name(),
            version: component.version.clone(),
            scope: component.need.scope().to_owned(),
            local: component.local,
        })
        .collect();
    insert_rows(tx, release, &rows).await
}

pub(super) async fn insert_rows(tx: &Tx, release: ReleaseId, rows: &[ReleaseComponent]) -> Result<()> {
    for some in rows.chunks(ROWS) {
        let mut values: Vec<Value> = Vec::with_capacity(some.len() * 7);
        for component in some {
            values.extend(args![
                release,
                component.purl,
                component.ecosystem,
                component.name,
                component.version,
                component.scope,
                component.local
            ]);
        }
        let into = "release_component (release_id, purl, ecosystem, name, version, scope, own)";
        tx.run(&many(into, 7, some.len()), values).await?;
    }
    Ok(())
}

/// Several releases, those that there are.
pub(super) async fn by_ids(db: &Db, ids: &[ReleaseId]) -> Result<Vec<Release>> {
    let mut found = Vec::new();
    for some in ids.chunks(ROWS) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql = format!("SELECT {COLUMNS} FROM release WHERE id IN ({places})");
        let rows = db.all::<ReleaseRow>(&sql, values);
        found.extend(rows.await?.into_iter().map(Release::from));
    }
    Ok(found)
}

row! {
    struct OwnedPart {
        release_id: ReleaseId,
        name: String,
        kind: String,
        media_type: String,
        digest: Digest,
        size: i64,
        job: Option<String>,
        path: Option<String>,
    }
}

/// The parts of several releases.
pub(super) async fn parts_of(db: &Db, ids: &[ReleaseId]) -> Result<Vec<(ReleaseId, ReleasePart)>> {
    let mut found = Vec::new();
    for some in ids.chunks(ROWS) {
        let mut values = args![];
        let owners = bind_all(&mut values, some);
        let sql = format!(
            "SELECT release_id, name, kind, media_type, digest, size, job, path FROM release_part
             WHERE release_id IN ({owners}) ORDER BY release_id, name"
        );
        let rows = db.all::<OwnedPart>(&sql, values);
        for row in rows.await? {
            let owner = row.release_id;
            let row = PartRow {
                name: row.name,
                kind: row.kind,
                media_type: row.media_type,
                digest: row.digest,
                size: row.size,
                job: row.job,
                path: row.path,
            };
            found.push((owner, part(row)?));
        }
    }
    Ok(found)
}

row! {
    /// A release that stands in the way of another.
    pub(super) struct Standing {
        pub(super) id: ReleaseId,
        pub(super) tag: String,
        pub(super) version: String,
        pub(super) manifest: Digest,
    }
}

/// A release of the project with that tag, version or identity.
pub(super) async fn standing(tx: &Tx, project: ProjectId, release: &Release) -> Result<Option<Standing>> {
    let sql = "SELECT id, tag, version, manifest FROM release
               WHERE id = $4 OR (project_id = $1 AND (tag = $2 OR version = $3)) ORDER BY id LIMIT 1";
    tx.one(sql, args![project, release.tag, release.version, release.id])
        .await
}

row! {
    /// A key that signed releases of another instance.
    pub(super) struct OriginKey {
        pub(super) pem: String,
    }
}

pub(super) async fn origin_keys(db: &Db) -> Result<Vec<OriginKey>> {
    db.all("SELECT pem FROM release_key ORDER BY at, id LIMIT 1000", args![])
        .await
}

pub(super) async fn keep_key(tx: &Tx, id: &str, pem: &str, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO release_key (id, pem, at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    tx.run(sql, args![id, pem, at]).await.map(drop)
}

row! { struct Held { digest: Digest } }

/// The blobs of all releases, once each, `limit` at most.
pub(super) async fn held(db: &Db, limit: i64) -> Result<Vec<Digest>> {
    let sql = "SELECT digest FROM (SELECT digest FROM release_part UNION SELECT manifest AS digest FROM release) held
               ORDER BY digest LIMIT $1";
    let rows: Vec<Held> = db.all(sql, args![limit]).await?;
    Ok(rows.into_iter().map(|row| row.digest).collect())
}

/// One INSERT of several rows.
fn many(into: &str, columns: usize, rows: usize) -> String {
    let row = |row: usize| format!("({})", places(row * columns + 1, columns));
    let all: Vec<String> = (0..rows).map(row).collect();
    format!("INSERT INTO {into} VALUES {}", all.join(", "))
}
