//! The queries about sites and suppression windows.

use super::{Declared, Site, Suppressed, hooks::Phase};
use crate::product::Product;
use bascule_core::{DeploymentId, EnvironmentId, ProjectId, TaskId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args, bind_all, row};
use bascule_wire::agent::{Driver, MachineFacts};
use std::collections::BTreeMap;

const COLUMNS: &str = "name, body, sha, declared_at, origin";

/// All sites that are declared, by name.
pub(crate) async fn all(db: &impl Query) -> Result<Vec<Declared>> {
    let sql = format!("SELECT {COLUMNS} FROM site WHERE removed_at IS NULL ORDER BY name LIMIT 5000");
    db.all(&sql, args![]).await
}

/// Some sites that are declared.
pub(crate) async fn some(db: &impl Query, names: &[String]) -> Result<Vec<Declared>> {
    let mut values = args![];
    let places = bind_all(&mut values, names);
    let sql =
        format!("SELECT {COLUMNS} FROM site WHERE removed_at IS NULL AND name IN ({places}) LIMIT 5000");
    db.all(&sql, values).await
}

pub(crate) async fn get(db: &impl Query, name: &str) -> Result<Option<Declared>> {
    let sql = format!("SELECT {COLUMNS} FROM site WHERE name = $1 AND removed_at IS NULL");
    db.one(&sql, args![name]).await
}

/// Brings a declaration into force; `origin` is the hub's key where a bundle brought it.
pub(crate) async fn put(tx: &Tx, site: &Site, sha: &str, origin: Option<&str>, at: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO site (name, body, sha, declared_at, prune, origin) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO UPDATE SET body = $2, sha = $3, declared_at = $4, prune = $5, origin = $6, removed_at = NULL",
        args![site.name, Json(site), sha, at, site.prune, origin],
    )
    .await
    .map(drop)
}

pub(crate) async fn remove(tx: &Tx, name: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE site SET removed_at = $2 WHERE name = $1";
    tx.run(sql, args![name, at]).await.map(drop)
}

/// Suppression windows that are open.
pub(crate) async fn suppressed(db: &impl Query, now: Timestamp) -> Result<Vec<Suppressed>> {
    let sql = "SELECT site, cause, reason, actor, opened_at, until_at FROM suppression
               WHERE until_at IS NULL OR until_at > $1 ORDER BY site, cause LIMIT 10000";
    db.all(sql, args![now]).await
}

pub(crate) async fn suppress(tx: &Tx, new: &Suppressed) -> Result<()> {
    tx.run(
        "INSERT INTO suppression (site, cause, reason, actor, opened_at, until_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (site, cause) DO UPDATE SET reason = $3, actor = $4, opened_at = $5, until_at = $6",
        args![new.site, new.cause, new.reason, new.actor, new.opened_at, new.until_at],
    )
    .await
    .map(drop)
}

/// Closes a suppression window; `false` where none was open.
pub(crate) async fn release(tx: &Tx, site: &str, cause: &str) -> Result<bool> {
    let sql = "DELETE FROM suppression WHERE site = $1 AND cause = $2";
    Ok(tx.run(sql, args![site, cause]).await? > 0)
}

/// Gives a site's installs its tier and agent: the one that it names, and no other; where it names none, the
/// first that enrolled. No agent of ours runs what no network reaches.
pub(crate) async fn assign(tx: &Tx, site: &Site) -> Result<()> {
    if site.disconnected {
        let sql = "UPDATE environment SET tier = $2, agent_id = NULL WHERE name = $1 AND declared = TRUE";
        return tx.run(sql, args![site.name, site.tier]).await.map(drop);
    }
    tx.run(
        "UPDATE environment SET tier = $2, agent_id = CASE WHEN $3 = ''
           THEN COALESCE(agent_id, (SELECT id FROM agent ORDER BY created_at, id LIMIT 1))
           ELSE (SELECT id FROM agent WHERE name = $3) END
         WHERE name = $1 AND declared = TRUE",
        args![site.name, site.tier, site.agent],
    )
    .await
    .map(drop)
}

row! {
    /// An environment of whose tier the ledger does not know yet.
    #[derive(Clone, Debug)]
    pub(crate) struct Untold {
        pub id: EnvironmentId,
        pub project_id: ProjectId,
        pub name: String,
        pub tier: String,
    }
}

/// A site's environments of whose tier the ledger does not know yet; from now on it does.
pub(crate) async fn untold(tx: &Tx, site: &str) -> Result<Vec<Untold>> {
    let of = "name = $1 AND declared = TRUE AND (told_tier IS NULL OR told_tier <> tier)";
    let found = tx
        .all(
            &format!(
                "SELECT id, project_id, name, tier FROM environment WHERE {of} ORDER BY project_path, id"
            ),
            args![site],
        )
        .await?;
    if !found.is_empty() {
        tx.run(
            &format!("UPDATE environment SET told_tier = tier WHERE {of}"),
            args![site],
        )
        .await?;
    }
    Ok(found)
}

/// Assigns agents anew, as when one enrolled.
pub(crate) async fn assign_all(tx: &Tx) -> Result<()> {
    for declared in all(tx).await? {
        assign(tx, &declared.body.0).await?;
    }
    Ok(())
}

row! {
    /// A product that is declared and does not exist.
    #[derive(Clone, Debug)]
    pub(crate) struct Unknown {
        pub site: String,
        pub product: String,
        pub since: Timestamp,
    }
}

pub(crate) async fn unknown(db: &impl Query) -> Result<Vec<Unknown>> {
    let sql = "SELECT site, product, since FROM site_unknown ORDER BY site, product LIMIT 100000";
    db.all(sql, args![]).await
}

pub(crate) async fn put_unknown(tx: &Tx, site: &str, product: &str, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO site_unknown (site, product, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.run(sql, args![site, product, at]).await.map(drop)
}

pub(crate) async fn unknown_over(tx: &Tx, site: &str, product: &str) -> Result<()> {
    let sql = "DELETE FROM site_unknown WHERE site = $1 AND product = $2";
    tx.run(sql, args![site, product]).await.map(drop)
}

row! {
    /// What a declaration names that is not there.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub(crate) struct Misnamed {
        pub site: String,
        /// The product that it bears on; empty: all of them.
        pub product: String,
        pub name: String,
        /// What is wrong.
        pub text: String,
        /// What to do.
        pub next: String,
    }
}

/// What the declarations of some sites name that is not there, in order.
pub(crate) async fn misnamed(db: &impl Query, sites: &[String]) -> Result<Vec<Misnamed>> {
    let mut values = args![];
    let places = bind_all(&mut values, sites);
    let sql = format!(
        "SELECT site, product, name, text, next FROM site_misnamed WHERE site IN ({places}) LIMIT 100000"
    );
    let mut all: Vec<Misnamed> = db.all(&sql, values).await?;
    all.sort();
    Ok(all)
}

/// What a site's declaration names that is not there, in place of what was kept.
pub(crate) async fn put_misnamed(tx: &Tx, site: &str, all: &[Misnamed]) -> Result<()> {
    tx.run("DELETE FROM site_misnamed WHERE site = $1", args![site])
        .await?;
    for one in all {
        let sql = "INSERT INTO site_misnamed (site, product, name, text, next) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT DO NOTHING";
        tx.run(sql, args![one.site, one.product, one.name, one.text, one.next])
            .await?;
    }
    Ok(())
}

row! {
    /// A site by its name.
    pub(crate) struct Waiting {
        pub name: String,
    }
}

/// The sites that name a group which is not there.
pub(crate) async fn waiting_for_group(db: &impl Query, group: &str) -> Result<Vec<Waiting>> {
    let sql = "SELECT DISTINCT site AS name FROM site_misnamed WHERE name = $1 ORDER BY site LIMIT 5000";
    db.all(sql, args![group]).await
}

row! {
    /// An install that was declared and is no more, where its file asks for it to be taken away.
    #[derive(Clone, Debug)]
    pub(crate) struct Leaving {
        pub id: EnvironmentId,
        pub project_id: ProjectId,
        pub project_path: String,
        pub name: String,
        pub version: Option<String>,
        pub moving: Option<String>,
    }
}

/// Installs that leave, of one site or of all. A site that is removed counts as its file last stood.
pub(crate) async fn leaving(db: &impl Query, site: Option<&str>) -> Result<Vec<Leaving>> {
    let (one, values) = match site {
        Some(site) => ("AND e.name = $1", args![site]),
        None => ("", args![]),
    };
    let sql = format!(
        "SELECT e.id, e.project_id, e.project_path, e.name, d.version, o.version AS moving
         FROM environment e JOIN site s ON s.name = e.name AND s.prune = TRUE
              LEFT JOIN deployment d ON d.id = e.serving_id
              LEFT JOIN deployment o ON o.environment_id = e.id AND o.finished_at IS NULL
         WHERE e.undeclared_at IS NOT NULL AND e.declared = FALSE AND e.pruned_at IS NULL {one}
         ORDER BY e.name, e.project_path LIMIT 10000"
    );
    db.all(&sql, values).await
}

row! {
    pub(crate) struct Staying {
        pub name: String,
        pub n: i64,
    }
}

/// How many installs each site that takes away what is not declared still declares.
pub(crate) async fn staying(db: &impl Query) -> Result<Vec<Staying>> {
    let sql =
        "SELECT e.name, COUNT(*) AS n FROM environment e JOIN site s ON s.name = e.name AND s.prune = TRUE
               WHERE e.declared = TRUE AND s.removed_at IS NULL GROUP BY e.name";
    db.all(sql, args![]).await
}

/// A site as it was last declared, also where it is not declared any more.
pub(crate) async fn last(db: &impl Query, name: &str) -> Result<Option<Declared>> {
    let sql = format!("SELECT {COLUMNS} FROM site WHERE name = $1");
    db.one(&sql, args![name]).await
}

row! {
    /// What was said about taking installs away.
    #[derive(Clone, Debug)]
    pub(crate) struct Pruning {
        pub site: String,
        /// Why it was refused; empty: it was not.
        pub refused: String,
        /// The installs that it was about.
        pub installs: Json<Vec<EnvironmentId>>,
        /// The installs that a person confirmed.
        pub confirmed: Json<Vec<EnvironmentId>>,
        pub at: Timestamp,
    }
}

pub(crate) async fn prunings(db: &impl Query) -> Result<Vec<Pruning>> {
    let sql = "SELECT site, refused, installs, confirmed, at FROM site_prune ORDER BY site LIMIT 5000";
    db.all(sql, args![]).await
}

pub(crate) async fn put_pruning(tx: &Tx, pruning: &Pruning) -> Result<()> {
    let sql = "INSERT INTO site_prune (site, refused, installs, confirmed, at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (site) DO UPDATE SET refused = $2, installs = $3, confirmed = $4, at = $5";
    let values = args![
        pruning.site,
        pruning.refused,
        Json(&pruning.installs.0),
        Json(&pruning.confirmed.0),
        pruning.at
    ];
    tx.run(sql, values).await.map(drop)
}

pub(crate) async fn pruning_over(tx: &Tx, site: &str) -> Result<()> {
    tx.run("DELETE FROM site_prune WHERE site = $1", args![site])
        .await
        .map(drop)
}

/// Takes an install out of its site; `false` where it was declared again, or taken out before.
pub(crate) async fn pruned(tx: &Tx, id: EnvironmentId, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE environment SET pruned_at = $2, serving_id = NULL
               WHERE id = $1 AND declared = FALSE AND undeclared_at IS NOT NULL AND pruned_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM deployment d WHERE d.environment_id = $1 AND d.finished_at IS NULL)";
    if tx.run(sql, args![id, at]).await? != 1 {
        return Ok(false);
    }
    tx.run("DELETE FROM plan WHERE environment_id = $1", args![id])
        .await?;
    Ok(true)
}

/// Sites that ask for what is no longer declared to be taken away, also those that are gone themselves.
pub(crate) async fn pruners(db: &impl Query) -> Result<Vec<Declared>> {
    let sql = format!("SELECT {COLUMNS} FROM site WHERE prune = TRUE ORDER BY name LIMIT 5000");
    db.all(&sql, args![]).await
}

row! {
    /// What runs in an environment, and on what.
    #[derive(Clone, Debug)]
    pub(crate) struct Runs {
        pub id: EnvironmentId,
        pub declared: bool,
        pub url: Option<String>,
        pub version: Option<String>,
        pub product: Option<Json<Product>>,
        pub settings: Option<Json<BTreeMap<String, String>>>,
        pub agent_version: Option<String>,
        pub machine: Option<Json<MachineFacts>>,
        pub drivers: Option<Json<Vec<Driver>>>,
        /// When a carried report told it, which is then all that is known; no query finds it.
        pub reported_at: Option<Timestamp>,
    }
}

/// What runs in some environments.
pub(crate) async fn runs(db: &impl Query, ids: &[EnvironmentId]) -> Result<Vec<Runs>> {
    // Every engine bounds what may be bound.
    const AT_ONCE: usize = 500;
    let mut found = Vec::new();
    for some in ids.chunks(AT_ONCE) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT e.id, e.declared, e.url, d.version, d.product, d.settings, a.version AS agent_version,
                    a.machine, a.drivers, CAST(NULL AS BIGINT) AS reported_at
             FROM environment e LEFT JOIN deployment d ON d.id = e.serving_id LEFT JOIN agent a ON a.id = e.agent_id
             WHERE e.id IN ({places})"
        );
        found.extend(db.all::<Runs>(&sql, values).await?);
    }
    Ok(found)
}

row! {
    /// How a hook stands.
    #[derive(Clone, Debug)]
    pub(crate) struct Hook {
        pub status: String,
        pub exit_code: Option<i64>,
        pub message: String,
        pub finished_at: Option<Timestamp>,
    }
}

/// The hook of a deployment.
pub(crate) async fn hook(db: &impl Query, deployment: DeploymentId, phase: Phase) -> Result<Option<Hook>> {
    let sql = "SELECT t.status, t.exit_code, t.message, t.finished_at FROM deployment_hook h
               JOIN task t ON t.id = h.task_id WHERE h.deployment_id = $1 AND h.phase = $2";
    db.one(sql, args![deployment, phase.as_str()]).await
}

pub(crate) async fn put_hook(tx: &Tx, deployment: DeploymentId, phase: Phase, task: TaskId) -> Result<()> {
    let sql = "INSERT INTO deployment_hook (deployment_id, phase, task_id) VALUES ($1, $2, $3)";
    tx.run(sql, args![deployment, phase.as_str(), task])
        .await
        .map(drop)
}

/// Has the hooks of a deployment ended that has lost its use.
pub(crate) async fn cancel_hooks(tx: &Tx, deployment: DeploymentId) -> Result<()> {
    let sql = "UPDATE task SET cancelled = TRUE WHERE finished_at IS NULL
               AND id IN (SELECT task_id FROM deployment_hook WHERE deployment_id = $1)";
    tx.run(sql, args![deployment]).await.map(drop)
}

row! {
    /// Which commit of the environments project is in force, and which is not.
    #[derive(Clone, Debug)]
    pub(crate) struct Synced {
        pub project_id: ProjectId,
        /// The last that was taken; empty: none was since this is noted.
        pub taken_sha: String,
        /// A later one that was refused; empty: none.
        pub refused_sha: String,
        pub reason: String,
        pub at: Timestamp,
    }
}

pub(crate) async fn sync(db: &impl Query, project: ProjectId) -> Result<Option<Synced>> {
    let sql = "SELECT project_id, taken_sha, refused_sha, reason, at FROM site_sync WHERE project_id = $1";
    db.one(sql, args![project]).await
}

pub(crate) async fn put_sync(tx: &Tx, sync: &Synced) -> Result<()> {
    let sql =
        "INSERT INTO site_sync (project_id, taken_sha, refused_sha, reason, at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (project_id) DO UPDATE SET taken_sha = $2, refused_sha = $3, reason = $4, at = $5";
    let values = args![
        sync.project_id,
        sync.taken_sha,
        sync.refused_sha,
        sync.reason,
        sync.at
    ];
    tx.run(sql, values).await.map(drop)
}
