//! The queries about previews.

use super::{Preview, Reason, TIER, state};
use crate::environment::Environment;
use bascule_core::{DeploymentId, EnvironmentId, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, bind_all, row};
use std::collections::HashSet;

/// Previews of merge requests.
pub(crate) const MIGRATION: Migration = Migration {
    id: "delivery-2611-previews",
    sql: "
        CREATE TABLE preview (
            project_id TEXT NOT NULL,
            iid BIGINT NOT NULL,
            source_project_id TEXT NOT NULL,
            source_branch TEXT NOT NULL,
            target_branch TEXT NOT NULL,
            head TEXT NOT NULL,
            open BOOLEAN NOT NULL,
            state TEXT NOT NULL,
            rule TEXT NOT NULL,
            why TEXT NOT NULL,
            next TEXT NOT NULL,
            environment_id TEXT REFERENCES environment (id),
            routed BOOLEAN NOT NULL,
            deployment_id TEXT,
            build_id TEXT,
            version TEXT,
            sha TEXT,
            stopped_head TEXT,
            stopped_rule TEXT,
            stopped_by TEXT,
            allowed_head TEXT,
            allowed_by TEXT,
            changed_at BIGINT NOT NULL,
            used_at BIGINT,
            ends_at BIGINT,
            asked BIGINT NOT NULL,
            look_at BIGINT,
            PRIMARY KEY (project_id, iid)
        );
        CREATE INDEX preview_look ON preview (look_at);
        CREATE INDEX preview_source ON preview (source_project_id, source_branch);
        CREATE INDEX preview_environment ON preview (environment_id);
    ",
};

const COLUMNS: &str = "project_id, iid, source_project_id, source_branch, target_branch, head, open, state, rule, why, \
     next, environment_id, routed, deployment_id, build_id, version, sha, stopped_head, stopped_rule, stopped_by, \
     allowed_head, allowed_by, changed_at, used_at, ends_at, asked";

/// Asks for a look, at once.
const ASK: &str = "asked = asked + 1, look_at = 0";

/// What is known of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Something of the request changed.
    Anyhow,
    /// Its commits changed: the preview's time begins anew.
    Pushed,
    /// It begins anew: what was stopped before counts no more.
    Afresh,
}

pub(crate) async fn get(db: &impl Query, project: ProjectId, iid: i64) -> Result<Option<Preview>> {
    let sql = format!("SELECT {COLUMNS} FROM preview WHERE project_id = $1 AND iid = $2");
    db.one(&sql, args![project, iid]).await
}

/// The previews of a project's open requests, newest first, and those that still end.
pub(crate) async fn list(db: &impl Query, project: ProjectId, limit: i64) -> Result<Vec<Preview>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM preview WHERE project_id = $1 AND (open = TRUE OR state = 'stopping') ORDER BY iid DESC LIMIT $2"
    );
    db.all(&sql, args![project, limit]).await
}

/// Those to be looked at, longest due first.
pub(crate) async fn due(db: &impl Query, now: Timestamp, limit: i64) -> Result<Vec<Preview>> {
    let sql = format!("SELECT {COLUMNS} FROM preview WHERE look_at <= $1 ORDER BY look_at, iid LIMIT $2");
    db.all(&sql, args![now, limit]).await
}

/// A project's previews that edges serve, the longest unused first.
pub(crate) async fn routed(db: &impl Query, project: ProjectId) -> Result<Vec<Preview>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM preview WHERE project_id = $1 AND routed = TRUE
         ORDER BY CASE WHEN used_at > changed_at THEN used_at ELSE changed_at END, iid LIMIT 1000"
    );
    db.all(&sql, args![project]).await
}

/// A request is there, or changed: where it stands is read at the look that this asks for.
pub(crate) async fn touch(
    tx: &Tx,
    project: ProjectId,
    iid: i64,
    touched: Touched,
    now: Timestamp,
) -> Result<()> {
    let sql = format!(
        "INSERT INTO preview (project_id, iid, source_project_id, source_branch, target_branch, head, open, state, rule,
                why, next, routed, changed_at, asked, look_at)
         VALUES ($1, $2, $1, '', '', '', TRUE, '{}', '', '', '', FALSE, $3, 1, 0)
         ON CONFLICT (project_id, iid) DO UPDATE SET asked = preview.asked + 1, look_at = 0",
        state::WAITING
    );
    tx.run(&sql, args![project, iid, now]).await?;
    if touched != Touched::Anyhow {
        let sql = "UPDATE preview SET changed_at = $3 WHERE project_id = $1 AND iid = $2";
        tx.run(sql, args![project, iid, now]).await?;
    }
    if touched == Touched::Afresh {
        let sql = "UPDATE preview SET stopped_head = NULL, stopped_rule = NULL, stopped_by = NULL
                   WHERE project_id = $1 AND iid = $2";
        tx.run(sql, args![project, iid]).await?;
    }
    Ok(())
}

row! { struct Numbered { iid: i64 } }

/// The numbers of a project's requests that are known.
pub(crate) async fn known(db: &impl Query, project: ProjectId) -> Result<HashSet<i64>> {
    let sql = "SELECT iid FROM preview WHERE project_id = $1 LIMIT 1000000";
    let rows: Vec<Numbered> = db.all(sql, args![project]).await?;
    Ok(rows.into_iter().map(|row| row.iid).collect())
}

/// Requests that are open and not known yet.
pub(crate) async fn add_missing(tx: &Tx, project: ProjectId, iids: &[i64], at: Timestamp) -> Result<()> {
    for iid in iids {
        let sql = format!(
            "INSERT INTO preview (project_id, iid, source_project_id, source_branch, target_branch, head, open, state,
                    rule, why, next, routed, changed_at, asked, look_at)
             VALUES ($1, $2, $1, '', '', '', TRUE, '{}', '', '', '', FALSE, $3, 1, 0)
             ON CONFLICT (project_id, iid) DO NOTHING",
            state::WAITING
        );
        tx.run(&sql, args![project, *iid, at]).await?;
    }
    Ok(())
}

/// Previews of commits of a project whose pipeline changed.
pub(crate) async fn ask_of_commit(tx: &Tx, source: ProjectId, sha: &str) -> Result<()> {
    let sql = format!(
        "UPDATE preview SET {ASK} WHERE source_project_id = $1 AND (head = $2 OR head = '') AND open = TRUE"
    );
    tx.run(&sql, args![source, sha]).await.map(drop)
}

/// Previews whose commits come from a branch, or whose rules do.
pub(crate) async fn ask_of_branch(tx: &Tx, project: ProjectId, branch: &str) -> Result<()> {
    let sql = format!(
        "UPDATE preview SET {ASK} WHERE source_project_id = $1 AND source_branch = $2 AND open = TRUE"
    );
    tx.run(&sql, args![project, branch]).await?;
    let sql =
        format!("UPDATE preview SET {ASK} WHERE project_id = $1 AND target_branch = $2 AND open = TRUE");
    tx.run(&sql, args![project, branch]).await.map(drop)
}

/// All that has to do with a project.
pub(crate) async fn ask_of_project(tx: &Tx, project: ProjectId) -> Result<()> {
    let sql = format!("UPDATE preview SET {ASK} WHERE project_id = $1 OR source_project_id = $1");
    tx.run(&sql, args![project]).await.map(drop)
}

pub(crate) async fn ask_of_environment(tx: &Tx, environment: EnvironmentId) -> Result<()> {
    let sql = format!("UPDATE preview SET {ASK} WHERE environment_id = $1");
    tx.run(&sql, args![environment]).await.map(drop)
}

/// What a look found.
pub(crate) struct Found<'a> {
    pub state: &'a str,
    pub reason: &'a Reason,
    pub ends_at: Option<Timestamp>,
    /// When to look again, if nobody asks before.
    pub again: Option<Timestamp>,
}

/// Writes down what a look found; what was asked for since stays due. `false`: something was.
pub(crate) async fn note(tx: &Tx, seen: &Preview, found: &Found<'_>) -> Result<bool> {
    let sql = "UPDATE preview SET state = $3, rule = $4, why = $5, next = $6, ends_at = $7,
                      source_project_id = $8, source_branch = $9, target_branch = $10, head = $11, open = $12,
                      look_at = CASE WHEN asked = $13 THEN $14 ELSE look_at END
               WHERE project_id = $1 AND iid = $2";
    let values = args![
        seen.project_id,
        seen.iid,
        found.state,
        found.reason.rule,
        found.reason.why,
        found.reason.next,
        found.ends_at,
        seen.source_project_id,
        seen.source_branch,
        seen.target_branch,
        seen.head,
        seen.open,
        seen.asked,
        found.again
    ];
    Ok(tx.run(sql, values).await? == 1)
}

/// A look could not be had; it is had again.
pub(crate) async fn postpone(tx: &Tx, seen: &Preview, until: Timestamp) -> Result<()> {
    let sql = "UPDATE preview SET look_at = $4 WHERE project_id = $1 AND iid = $2 AND asked = $3";
    tx.run(sql, args![seen.project_id, seen.iid, seen.asked, until])
        .await
        .map(drop)
}

/// What is put into a preview.
pub(crate) struct Put<'a> {
    pub environment: EnvironmentId,
    pub deployment: DeploymentId,
    pub build: ReleaseId,
    pub version: &'a str,
    pub sha: &'a str,
}

/// Claims the row for putting something there: nobody may have said anything since it was read.
pub(crate) async fn claim(tx: &Tx, seen: &Preview) -> Result<bool> {
    let sql = "UPDATE preview SET routed = TRUE WHERE project_id = $1 AND iid = $2 AND asked = $3";
    Ok(tx.run(sql, args![seen.project_id, seen.iid, seen.asked]).await? == 1)
}

pub(crate) async fn put(tx: &Tx, seen: &Preview, put: &Put<'_>) -> Result<()> {
    let sql =
        "UPDATE preview SET environment_id = $3, deployment_id = $4, build_id = $5, version = $6, sha = $7
               WHERE project_id = $1 AND iid = $2";
    let values = args![
        seen.project_id,
        seen.iid,
        put.environment,
        put.deployment,
        put.build,
        put.version,
        put.sha
    ];
    tx.run(sql, values).await.map(drop)
}

/// Takes a preview out of the edges' hands; `false` where it was out before.
pub(crate) async fn unroute(tx: &Tx, seen: &Preview) -> Result<bool> {
    let sql =
        "UPDATE preview SET routed = FALSE, deployment_id = NULL, build_id = NULL, version = NULL, sha = NULL
               WHERE project_id = $1 AND iid = $2 AND routed = TRUE";
    Ok(tx.run(sql, args![seen.project_id, seen.iid]).await? == 1)
}

/// Stops a preview at its present commit, by a person's word or by a rule.
pub(crate) async fn stop(tx: &Tx, seen: &Preview, rule: &str, by: &str) -> Result<()> {
    let sql = format!(
        "UPDATE preview SET stopped_head = $3, stopped_rule = $4, stopped_by = $5, {ASK} WHERE project_id = $1 AND iid = $2"
    );
    let values = args![seen.project_id, seen.iid, seen.head, rule, by];
    tx.run(&sql, values).await.map(drop)
}

/// A maintainer lets a commit run.
pub(crate) async fn allow(tx: &Tx, project: ProjectId, iid: i64, sha: &str, by: &str) -> Result<()> {
    let sql = "UPDATE preview SET allowed_head = $3, allowed_by = $4 WHERE project_id = $1 AND iid = $2";
    tx.run(sql, args![project, iid, sha, by]).await.map(drop)
}

/// The request is gone, and nothing of its preview is left.
pub(crate) async fn forget(tx: &Tx, seen: &Preview) -> Result<()> {
    let sql = "DELETE FROM preview WHERE project_id = $1 AND iid = $2 AND asked = $3 AND routed = FALSE";
    tx.run(sql, args![seen.project_id, seen.iid, seen.asked])
        .await
        .map(drop)
}

/// Makes a preview's environment, or takes it up again; it stands in no list of environments. `None`: another
/// environment of the project has this name.
pub(crate) async fn environment(tx: &Tx, new: &Environment) -> Result<Option<EnvironmentId>> {
    row! { struct Made { id: EnvironmentId } }
    let sql = format!(
        "INSERT INTO environment (id, project_id, project_path, name, tier, agent_id, created_at, pruned_at)
         VALUES ($1, $2, $3, $4, '{TIER}',
                 COALESCE($5, (SELECT id FROM agent ORDER BY created_at, id LIMIT 1)), $6, $6)
         ON CONFLICT (project_id, name) DO UPDATE SET project_path = $3, agent_id = COALESCE($5, environment.agent_id)
         WHERE environment.tier = '{TIER}'"
    );
    let values = args![
        new.id,
        new.project_id,
        new.project_path,
        new.name,
        new.agent_id,
        new.created_at
    ];
    tx.run(&sql, values).await?;
    let sql = format!("SELECT id FROM environment WHERE project_id = $1 AND name = $2 AND tier = '{TIER}'");
    let made: Option<Made> = tx.one(&sql, args![new.project_id, new.name]).await?;
    Ok(made.map(|made| made.id))
}

/// Nothing serves in a preview's environment, and edges have no port for it.
pub(crate) async fn empty(tx: &Tx, environment: EnvironmentId) -> Result<()> {
    let sql = format!(
        "UPDATE environment SET serving_id = NULL, port = NULL, url = NULL WHERE id = $1 AND tier = '{TIER}'"
    );
    tx.run(&sql, args![environment]).await.map(drop)
}

/// The environments of previews that edges serve.
pub(crate) async fn routed_environments(db: &impl Query) -> Result<Vec<Environment>> {
    let sql =
        "SELECT e.id, e.project_id, e.project_path, e.name, e.tier, e.agent_id, e.serving_id, e.port, e.url,
                      e.created_at
               FROM preview v JOIN environment e ON e.id = v.environment_id WHERE v.routed = TRUE
               ORDER BY e.project_path, e.name LIMIT 10000";
    db.all(sql, args![]).await
}

row! { pub(crate) struct Used { pub environment_id: EnvironmentId, pub used_at: Option<Timestamp> } }

/// Of these environments, those of previews.
pub(crate) async fn among(db: &impl Query, ids: &[EnvironmentId]) -> Result<Vec<Used>> {
    let mut found = Vec::new();
    for some in ids.chunks(500) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql = format!("SELECT environment_id, used_at FROM preview WHERE environment_id IN ({places})");
        found.extend(db.all::<Used>(&sql, values).await?);
    }
    Ok(found)
}

/// Notes that previews were used; to the minute is enough.
pub(crate) async fn used(tx: &Tx, ids: &[EnvironmentId], now: Timestamp, since: Timestamp) -> Result<()> {
    for some in ids.chunks(500) {
        let mut values = args![now, since];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "UPDATE preview SET used_at = $1 WHERE (used_at IS NULL OR used_at < $2) AND environment_id IN ({places})"
        );
        tx.run(&sql, values).await?;
    }
    Ok(())
}
