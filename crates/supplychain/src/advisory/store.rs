//! The queries about advisories and findings.

use super::osv::Advisory;
use bascule_core::{ProjectId, ReleaseId, Timestamp};
use bascule_store::{Db, Json, Migration, Query, Result, ToSql as _, Tx, Value, args, bind_all, row};
use bascule_wire::advisory::Severity;
use std::collections::BTreeSet;

/// Tables of advisories and findings. Which releases have a package stands in `release_component`, by its index.
pub(crate) const ADVISORIES: Migration = Migration {
    id: "supplychain-2611-advisories",
    sql: "
        CREATE TABLE advisory (
            id TEXT PRIMARY KEY,
            modified BIGINT NOT NULL,
            withdrawn BIGINT,
            severity BIGINT NOT NULL,
            score DOUBLE PRECISION,
            summary TEXT NOT NULL,
            aliases TEXT NOT NULL,
            unmatched TEXT NOT NULL,
            body TEXT NOT NULL,
            imported_at BIGINT NOT NULL
        );
        CREATE TABLE advisory_package (
            ecosystem TEXT NOT NULL,
            name TEXT NOT NULL,
            advisory_id TEXT NOT NULL,
            PRIMARY KEY (ecosystem, name, advisory_id)
        );
        CREATE INDEX advisory_package_of ON advisory_package (advisory_id);
        CREATE TABLE advisory_pending (advisory_id TEXT PRIMARY KEY, after_release TEXT NOT NULL);
        CREATE TABLE finding (
            release_id TEXT NOT NULL,
            purl TEXT NOT NULL,
            finding_key TEXT NOT NULL,
            project_id TEXT NOT NULL,
            package TEXT NOT NULL,
            component_version TEXT NOT NULL,
            development BOOLEAN NOT NULL,
            advisory_id TEXT NOT NULL,
            names TEXT NOT NULL,
            severity BIGINT NOT NULL,
            fixed TEXT NOT NULL,
            summary TEXT NOT NULL,
            opened_at BIGINT NOT NULL,
            closed_at BIGINT,
            closed_reason TEXT NOT NULL,
            PRIMARY KEY (release_id, purl, finding_key)
        );
        CREATE INDEX finding_key ON finding (finding_key, release_id);
        CREATE INDEX finding_package ON finding (project_id, package);
        CREATE INDEX finding_advisory ON finding (advisory_id, release_id);
        CREATE TABLE finding_triage (
            project_id TEXT NOT NULL,
            finding_key TEXT NOT NULL,
            verdict TEXT NOT NULL,
            justification TEXT NOT NULL,
            reason TEXT NOT NULL,
            actor TEXT NOT NULL,
            at BIGINT NOT NULL,
            until_at BIGINT,
            PRIMARY KEY (project_id, finding_key)
        );
        CREATE INDEX finding_triage_until ON finding_triage (until_at);
    ",
};

/// Values bound at once, far below every engine's limit.
const ROWS: usize = 200;

row! {
    /// An advisory as it is kept, without its record.
    #[derive(Clone, Debug)]
    pub(super) struct Kept {
        pub(super) id: String,
        pub(super) modified: Timestamp,
        pub(super) withdrawn: Option<Timestamp>,
        pub(super) severity: i64,
        pub(super) score: Option<f64>,
        pub(super) summary: String,
        pub(super) aliases: Json<Vec<String>>,
        pub(super) unmatched: Json<Vec<String>>,
        pub(super) imported_at: Timestamp,
        pub(super) releases: i64,
    }
}

const KEPT: &str = "a.id, a.modified, a.withdrawn, a.severity, a.score, a.summary, a.aliases, a.unmatched, a.imported_at,
    (SELECT COUNT(DISTINCT f.release_id) FROM finding f WHERE f.advisory_id = a.id AND f.closed_at IS NULL) AS releases";

/// What a search looks for, as LIKE takes it.
pub(super) fn pattern(search: &str) -> String {
    let text = search.trim().to_lowercase();
    format!(
        "%{}%",
        text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
    )
}

/// Advisories whose name, alias or summary holds something, after one of them.
pub(super) async fn advisories(db: &Db, search: &str, after: &str, limit: i64) -> Result<Vec<Kept>> {
    let sql = format!(
        "SELECT {KEPT} FROM advisory a WHERE a.id > $1 AND (LOWER(a.id) LIKE $2 ESCAPE '!'
         OR LOWER(a.aliases) LIKE $2 ESCAPE '!' OR LOWER(a.summary) LIKE $2 ESCAPE '!') ORDER BY a.id LIMIT $3"
    );
    db.all(&sql, args![after, pattern(search), limit]).await
}

/// One advisory.
pub(super) async fn advisory(db: &Db, id: &str) -> Result<Option<Kept>> {
    let sql = format!("SELECT {KEPT} FROM advisory a WHERE a.id = $1");
    db.one(&sql, args![id]).await
}

row! { struct Body { body: String } }

/// An advisory's record, as its maker wrote it.
pub(super) async fn body(db: &impl Query, id: &str) -> Result<Option<String>> {
    let found: Option<Body> = db
        .one("SELECT body FROM advisory WHERE id = $1", args![id])
        .await?;
    Ok(found.map(|row| row.body))
}

row! { struct Modified { modified: Timestamp } }

/// When what is here of an advisory was last changed by its maker.
pub(super) async fn modified(tx: &Tx, id: &str) -> Result<Option<Timestamp>> {
    let found: Option<Modified> = tx
        .one("SELECT modified FROM advisory WHERE id = $1", args![id])
        .await?;
    Ok(found.map(|row| row.modified))
}

/// Keeps an advisory in its newest state.
pub(super) async fn put(tx: &Tx, advisory: &Advisory, body: &str, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO advisory (id, modified, withdrawn, severity, score, summary, aliases, unmatched, body, imported_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
               ON CONFLICT (id) DO UPDATE SET modified = $2, withdrawn = $3, severity = $4, score = $5, summary = $6,
               aliases = $7, unmatched = $8, body = $9, imported_at = $10";
    let values = args![
        advisory.id,
        advisory.modified,
        advisory.withdrawn,
        advisory.severity.rank(),
        advisory.score.as_ref().map(|(score, _)| *score),
        advisory.summary,
        Json(&advisory.aliases),
        Json(&advisory.unmatched),
        body,
        at
    ];
    tx.run(sql, values).await?;
    let sql = "DELETE FROM advisory_package WHERE advisory_id = $1";
    tx.run(sql, args![advisory.id]).await?;
    let packages: BTreeSet<(&str, &str)> = advisory
        .packages
        .iter()
        .map(|package| (package.ecosystem, package.name.as_str()))
        .collect();
    for some in packages.into_iter().collect::<Vec<_>>().chunks(ROWS) {
        let mut values: Vec<Value> = args![advisory.id];
        let mut rows = Vec::new();
        for (ecosystem, name) in some {
            let at = values.len();
            rows.push(format!("(${}, ${}, $1)", at + 1, at + 2));
            values.extend(args![*ecosystem, *name]);
        }
        let sql = format!(
            "INSERT INTO advisory_package (ecosystem, name, advisory_id) VALUES {}",
            rows.join(", ")
        );
        tx.run(&sql, values).await?;
    }
    Ok(())
}

/// Marks advisories to be matched, those of them that any release may have to do with.
pub(super) async fn mark(tx: &Tx, ids: &[String]) -> Result<()> {
    for some in ids.chunks(ROWS) {
        let mut values = args![];
        let these = bind_all(&mut values, some);
        let sql = format!(
            "INSERT INTO advisory_pending (advisory_id, after_release)
             SELECT a.id, '' FROM advisory a WHERE a.id IN ({these}) AND (
                 EXISTS (SELECT 1 FROM advisory_package p JOIN release_component c
                         ON c.ecosystem = p.ecosystem AND c.name = p.name WHERE p.advisory_id = a.id)
                 OR EXISTS (SELECT 1 FROM finding f WHERE f.advisory_id = a.id))
             ON CONFLICT (advisory_id) DO UPDATE SET after_release = ''"
        );
        tx.run(&sql, values).await?;
    }
    Ok(())
}

row! {
    /// An advisory that is to be matched, with the release up to which it was.
    pub(super) struct Pending {
        pub(super) advisory_id: String,
        pub(super) after_release: String,
    }
}

pub(super) async fn pending(db: &Db) -> Result<Option<Pending>> {
    let sql = "SELECT advisory_id, after_release FROM advisory_pending ORDER BY advisory_id LIMIT 1";
    db.one(sql, args![]).await
}

/// Matching got so far; `None`: to the end.
pub(super) async fn matched(tx: &Tx, id: &str, up_to: Option<ReleaseId>) -> Result<()> {
    match up_to {
        Some(up_to) => {
            let sql = "UPDATE advisory_pending SET after_release = $2 WHERE advisory_id = $1";
            tx.run(sql, args![id, up_to]).await?;
        }
        None => {
            let sql = "DELETE FROM advisory_pending WHERE advisory_id = $1";
            tx.run(sql, args![id]).await?;
        }
    }
    Ok(())
}

row! { struct OfRelease { release_id: ReleaseId } }

/// Releases that have a package of an advisory, or an open finding of it, in order, after one of them.
pub(super) async fn releases_of(db: &Db, id: &str, after: &str, limit: i64) -> Result<Vec<ReleaseId>> {
    let sql = "SELECT release_id FROM (
                   SELECT c.release_id FROM advisory_package p JOIN release_component c
                       ON c.ecosystem = p.ecosystem AND c.name = p.name WHERE p.advisory_id = $1
                   UNION SELECT f.release_id FROM finding f WHERE f.advisory_id = $1 AND f.closed_at IS NULL
               ) touched WHERE release_id > $2 ORDER BY release_id LIMIT $3";
    let rows: Vec<OfRelease> = db.all(sql, args![id, after, limit]).await?;
    Ok(rows.into_iter().map(|row| row.release_id).collect())
}

row! { struct OfAdvisory { advisory_id: String } }

/// Advisories that speak of a release's components, in order.
pub(super) async fn advisories_of(db: &Db, release: ReleaseId) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT p.advisory_id FROM release_component c JOIN advisory_package p
                   ON p.ecosystem = c.ecosystem AND p.name = c.name
               WHERE c.release_id = $1 ORDER BY p.advisory_id LIMIT 100000";
    let rows: Vec<OfAdvisory> = db.all(sql, args![release]).await?;
    Ok(rows.into_iter().map(|row| row.advisory_id).collect())
}

/// Advisories that some releases have or had a finding of.
pub(super) async fn touching(db: &Db, releases: &[ReleaseId], limit: usize) -> Result<Vec<String>> {
    let mut all = BTreeSet::new();
    for some in releases.chunks(ROWS) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT DISTINCT advisory_id FROM finding WHERE release_id IN ({places}) ORDER BY advisory_id LIMIT {limit}"
        );
        let rows: Vec<OfAdvisory> = db.all(&sql, values).await?;
        all.extend(rows.into_iter().map(|row| row.advisory_id));
    }
    Ok(all.into_iter().take(limit).collect())
}

row! {
    /// A release, as far as findings need it.
    #[derive(Clone, Debug)]
    pub(super) struct ReleaseRow {
        pub(super) id: ReleaseId,
        pub(super) project_id: ProjectId,
        pub(super) version: String,
    }
}

pub(super) async fn release(db: &impl Query, id: ReleaseId) -> Result<Option<ReleaseRow>> {
    let sql = "SELECT id, project_id, version FROM release WHERE id = $1";
    db.one(sql, args![id]).await
}

row! {
    /// A component that an advisory speaks of.
    #[derive(Clone, Debug)]
    pub(super) struct Component {
        pub(super) purl: String,
        pub(super) ecosystem: String,
        pub(super) name: String,
        pub(super) version: Option<String>,
        pub(super) scope: String,
    }
}

/// A release's components that an advisory speaks of; not the project's own, whose names may be a stranger's.
pub(super) async fn components(
    db: &impl Query,
    release: ReleaseId,
    advisory: &str,
) -> Result<Vec<Component>> {
    let sql = "SELECT c.purl, c.ecosystem, c.name, c.version, c.scope FROM release_component c
               JOIN advisory_package p ON p.ecosystem = c.ecosystem AND p.name = c.name
               WHERE c.release_id = $1 AND p.advisory_id = $2 AND c.own = FALSE ORDER BY c.purl LIMIT 10000";
    db.all(sql, args![release, advisory]).await
}

row! {
    /// A finding in one release.
    #[derive(Clone, Debug)]
    pub(super) struct Row {
        pub(super) release_id: ReleaseId,
        pub(super) purl: String,
        pub(super) finding_key: String,
        pub(super) project_id: ProjectId,
        pub(super) package: String,
        pub(super) component_version: String,
        pub(super) development: bool,
        pub(super) advisory_id: String,
        pub(super) names: Json<BTreeSet<String>>,
        pub(super) severity: i64,
        pub(super) fixed: Json<Vec<String>>,
        pub(super) summary: String,
        pub(super) opened_at: Timestamp,
        pub(super) closed_at: Option<Timestamp>,
        pub(super) closed_reason: String,
    }
}

const FINDING: &str =
    "f.release_id, f.purl, f.finding_key, f.project_id, f.package, f.component_version, f.development,
    f.advisory_id, f.names, f.severity, f.fixed, f.summary, f.opened_at, f.closed_at, f.closed_reason";

/// Findings of a release in one package.
pub(super) async fn in_package(tx: &Tx, release: ReleaseId, package: &str) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {FINDING} FROM finding f WHERE f.release_id = $1 AND f.package = $2 ORDER BY f.finding_key LIMIT 10000"
    );
    tx.all(&sql, args![release, package]).await
}

/// Open findings of a release by one advisory.
pub(super) async fn by_advisory(tx: &Tx, release: ReleaseId, advisory: &str) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {FINDING} FROM finding f WHERE f.advisory_id = $2 AND f.release_id = $1 AND f.closed_at IS NULL
         ORDER BY f.purl LIMIT 10000"
    );
    tx.all(&sql, args![release, advisory]).await
}

row! {
    /// A key with names that it stands for.
    pub(super) struct Keyed {
        pub(super) finding_key: String,
        pub(super) names: Json<BTreeSet<String>>,
    }
}

/// Keys of a project's findings in one package.
pub(super) async fn keys(tx: &Tx, project: ProjectId, package: &str) -> Result<Vec<Keyed>> {
    let sql = "SELECT DISTINCT finding_key, names FROM finding WHERE project_id = $1 AND package = $2
               ORDER BY finding_key LIMIT 2000";
    tx.all(sql, args![project, package]).await
}

pub(super) async fn put_finding(tx: &Tx, row: &Row) -> Result<()> {
    let sql = "INSERT INTO finding (release_id, purl, finding_key, project_id, package, component_version, development,
                   advisory_id, names, severity, fixed, summary, opened_at, closed_at, closed_reason)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
               ON CONFLICT (release_id, purl, finding_key) DO UPDATE SET development = $7, advisory_id = $8, names = $9,
                   severity = $10, fixed = $11, summary = $12, opened_at = $13, closed_at = $14, closed_reason = $15";
    let values = args![
        row.release_id,
        row.purl,
        row.finding_key,
        row.project_id,
        row.package,
        row.component_version,
        row.development,
        row.advisory_id,
        Json(&row.names.0),
        row.severity,
        Json(&row.fixed.0),
        row.summary,
        row.opened_at,
        row.closed_at,
        row.closed_reason
    ];
    tx.run(sql, values).await.map(drop)
}

row! {
    /// What was decided on a finding.
    #[derive(Clone, Debug)]
    pub(super) struct TriageRow {
        pub(super) project_id: ProjectId,
        pub(super) finding_key: String,
        pub(super) verdict: String,
        pub(super) justification: String,
        pub(super) reason: String,
        pub(super) actor: String,
        pub(super) at: Timestamp,
        pub(super) until_at: Option<Timestamp>,
    }
}

const TRIAGE: &str = "project_id, finding_key, verdict, justification, reason, actor, at, until_at";

pub(super) async fn triage(db: &impl Query, project: ProjectId, key: &str) -> Result<Option<TriageRow>> {
    let sql = format!("SELECT {TRIAGE} FROM finding_triage WHERE project_id = $1 AND finding_key = $2");
    db.one(&sql, args![project, key]).await
}

pub(super) async fn put_triage(tx: &Tx, row: &TriageRow) -> Result<()> {
    let sql = format!(
        "INSERT INTO finding_triage ({TRIAGE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (project_id, finding_key) DO UPDATE SET verdict = $3, justification = $4, reason = $5, actor = $6,
         at = $7, until_at = $8"
    );
    let values = args![
        row.project_id,
        row.finding_key,
        row.verdict,
        row.justification,
        row.reason,
        row.actor,
        row.at,
        row.until_at
    ];
    tx.run(&sql, values).await.map(drop)
}

/// Takes a decision back; `false` where there was none.
pub(super) async fn drop_triage(tx: &Tx, project: ProjectId, key: &str) -> Result<bool> {
    let sql = "DELETE FROM finding_triage WHERE project_id = $1 AND finding_key = $2";
    Ok(tx.run(sql, args![project, key]).await? == 1)
}

/// Decisions whose time has passed.
pub(super) async fn passed(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<TriageRow>> {
    let sql = format!("SELECT {TRIAGE} FROM finding_triage WHERE until_at <= $1 ORDER BY until_at LIMIT $2");
    db.all(&sql, args![now, limit]).await
}

/// Decisions on some findings.
pub(super) async fn triages(db: &Db, keys: &[String]) -> Result<Vec<TriageRow>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, keys);
    let sql = format!("SELECT {TRIAGE} FROM finding_triage WHERE finding_key IN ({places}) LIMIT 1000");
    db.all(&sql, values).await
}

/// Which findings are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Those of these projects; all where it is `None`.
    pub(super) projects: Option<Vec<ProjectId>>,
    pub(super) release: Option<ReleaseId>,
    pub(super) key: Option<String>,
    pub(super) search: String,
    pub(super) least: Severity,
    pub(super) state: State,
}

/// In which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Open, and nobody decided to live with it.
    #[default]
    Open,
    /// A decision stands.
    SetAside,
    /// Both.
    Standing,
    /// No release has it any more.
    Closed,
    /// All there ever were.
    All,
}

row! {
    /// A finding over all releases of its project.
    #[derive(Clone, Debug)]
    pub(super) struct Group {
        pub(super) project_id: ProjectId,
        pub(super) finding_key: String,
        pub(super) severity: i64,
        pub(super) releases: i64,
        pub(super) opened_at: Timestamp,
        pub(super) standing: i64,
    }
}

/// Most projects whose findings are shown to one person at once.
const PROJECTS: usize = 20_000;

/// The inner query: one row for each finding, with the values that it needs.
fn grouped(wanted: &Wanted, now: Timestamp, least: Severity) -> (String, Vec<Value>) {
    let mut values = args![now, least.rank()];
    let mut filters = vec!["f.severity >= $2".to_owned()];
    if matches!(wanted.state, State::Open | State::SetAside | State::Standing) {
        filters.push("f.closed_at IS NULL".to_owned());
    }
    match wanted.state {
        State::Open => filters.push("t.verdict IS NULL".to_owned()),
        State::SetAside => filters.push("t.verdict IS NOT NULL".to_owned()),
        _ => {}
    }
    if let Some(projects) = &wanted.projects {
        let projects = projects.get(..PROJECTS).unwrap_or(projects);
        filters.push(format!("f.project_id IN ({})", bind_all(&mut values, projects)));
    }
    if let Some(release) = wanted.release {
        values.push(release.to_sql());
        filters.push(format!("f.release_id = ${}", values.len()));
    }
    if let Some(key) = &wanted.key {
        values.push(key.to_sql());
        filters.push(format!("f.finding_key = ${}", values.len()));
    }
    if !wanted.search.trim().is_empty() {
        values.push(pattern(&wanted.search).to_sql());
        let at = values.len();
        filters.push(format!(
            "(LOWER(f.package) LIKE ${at} ESCAPE '!' OR LOWER(f.names) LIKE ${at} ESCAPE '!'
              OR LOWER(f.summary) LIKE ${at} ESCAPE '!')"
        ));
    }
    let having = if wanted.state == State::Closed {
        "HAVING MAX(CASE WHEN f.closed_at IS NULL THEN 1 ELSE 0 END) = 0"
    } else {
        ""
    };
    let sql = format!(
        "SELECT f.project_id, f.finding_key, MAX(f.severity) AS severity, COUNT(DISTINCT f.release_id) AS releases,
                MIN(f.opened_at) AS opened_at,
                CAST(MAX(CASE WHEN f.closed_at IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS standing
         FROM finding f LEFT JOIN finding_triage t ON t.project_id = f.project_id AND t.finding_key = f.finding_key
              AND (t.until_at IS NULL OR t.until_at > $1)
         WHERE {} GROUP BY f.project_id, f.finding_key {having}",
        filters.join(" AND ")
    );
    (sql, values)
}

/// Findings, worst first, after one of them.
pub(super) async fn groups(
    db: &Db,
    wanted: &Wanted,
    now: Timestamp,
    after: Option<(i64, &str)>,
    limit: i64,
) -> Result<Vec<Group>> {
    let (inner, mut values) = grouped(wanted, now, wanted.least);
    let onward = match after {
        None => String::new(),
        Some((severity, key)) => {
            values.extend(args![severity, key]);
            let at = values.len();
            format!(
                "WHERE severity < ${} OR (severity = ${} AND finding_key > ${at})",
                at - 1,
                at - 1
            )
        }
    };
    values.push(limit.to_sql());
    let sql = format!(
        "SELECT * FROM ({inner}) found {onward} ORDER BY severity DESC, finding_key LIMIT ${}",
        values.len()
    );
    db.all(&sql, values).await
}

row! { struct Counted { severity: i64, n: i64 } }

/// How many of each severity.
pub(super) async fn counts(db: &Db, wanted: &Wanted, now: Timestamp) -> Result<Vec<(Severity, i64)>> {
    let (inner, values) = grouped(wanted, now, Severity::Unknown);
    let sql = format!("SELECT severity, COUNT(*) AS n FROM ({inner}) found GROUP BY severity");
    let rows: Vec<Counted> = db.all(&sql, values).await?;
    Ok(rows
        .into_iter()
        .map(|row| (Severity::of_rank(row.severity), row.n))
        .collect())
}

/// A finding in a release, with the release.
pub(super) struct InRelease {
    pub(super) finding: Row,
    pub(super) tag: String,
    pub(super) version: String,
    pub(super) project_path: String,
}

impl bascule_store::FromRow for InRelease {
    fn from_row(row: &bascule_store::Row) -> Result<Self> {
        use bascule_store::Column as _;
        Ok(Self {
            finding: Row::from_row(row)?,
            tag: String::read(row, "tag")?,
            version: String::read(row, "version")?,
            project_path: String::read(row, "project_path")?,
        })
    }
}

/// The releases that have some findings, newest first.
pub(super) async fn in_releases(db: &Db, keys: &[String], limit: i64) -> Result<Vec<InRelease>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, keys);
    let sql = format!(
        "SELECT {FINDING}, r.tag, r.version, r.project_path FROM finding f JOIN release r ON r.id = f.release_id
         WHERE f.finding_key IN ({places}) ORDER BY f.release_id DESC, f.purl LIMIT {limit}"
    );
    db.all(&sql, values).await
}
