//! Intents: what a push is about to do, written before any reference moves. The only file with their
//! queries.

use super::{CiOptions, Update};
use bascule_core::{Actor, ActorKind, ProjectId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args, row};

row! {
    /// One reference that a push was let through to change.
    #[derive(Clone, Debug)]
    pub(crate) struct Intent {
        pub(crate) push: String,
        pub(crate) project_id: ProjectId,
        pub(crate) reference: String,
        pub(crate) old_sha: Option<String>,
        pub(crate) new_sha: Option<String>,
        pub(crate) actor_kind: String,
        pub(crate) actor_id: String,
        pub(crate) actor_name: String,
        pub(crate) may_protect: bool,
        pub(crate) at: Timestamp,
        pub(crate) ci_skip: bool,
        pub(crate) ci_options: bool,
    }
}

const COLUMNS: &str = "push, project_id, reference, old_sha, new_sha, actor_kind, actor_id, actor_name, may_protect, at, ci_skip, ci_options";

impl Intent {
    pub(crate) fn actor(&self) -> Actor {
        Actor::new(
            ActorKind::parse(&self.actor_kind),
            self.actor_id.clone(),
            self.actor_name.clone(),
        )
    }

    pub(crate) fn update(&self) -> Update {
        Update {
            reference: self.reference.clone(),
            old: self.old_sha.clone(),
            new: self.new_sha.clone(),
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "one row, written once")]
pub(crate) async fn insert(
    tx: &Tx,
    push: &str,
    project: ProjectId,
    actor: &Actor,
    may_protect: bool,
    update: &Update,
    at: Timestamp,
    (ci_skip, ci_options): (bool, bool),
) -> Result<()> {
    let sql = format!(
        "INSERT INTO push_intent ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    );
    tx.run(
        &sql,
        args![
            push,
            project,
            update.reference,
            update.old,
            update.new,
            actor.kind.as_str(),
            actor.id,
            actor.name,
            may_protect,
            at,
            ci_skip,
            ci_options
        ],
    )
    .await?;
    Ok(())
}

/// What a push gives its pipeline; that of pushes before `old` is forgotten.
pub(crate) async fn put_options(
    tx: &Tx,
    push: &str,
    project: ProjectId,
    options: &CiOptions,
    (at, old): (Timestamp, Timestamp),
) -> Result<()> {
    tx.run("DELETE FROM push_option WHERE at < $1", args![old])
        .await?;
    tx.run(
        "INSERT INTO push_option (push, project_id, options, at) VALUES ($1, $2, $3, $4)",
        args![push, project, Json(options.clone()), at],
    )
    .await?;
    Ok(())
}

row! { struct Given { options: Json<CiOptions> } }

pub(crate) async fn options(on: &impl Query, project: ProjectId, push: &str) -> Result<Option<CiOptions>> {
    let found: Option<Given> = on
        .one(
            "SELECT options FROM push_option WHERE push = $1 AND project_id = $2",
            args![push, project],
        )
        .await?;
    Ok(found.map(|given| given.options.0))
}

pub(crate) async fn of_push(on: &impl Query, push: &str) -> Result<Vec<Intent>> {
    on.all(
        &format!("SELECT {COLUMNS} FROM push_intent WHERE push = $1 ORDER BY reference"),
        args![push],
    )
    .await
}

pub(crate) async fn of_project(on: &impl Query, project: ProjectId) -> Result<Vec<Intent>> {
    let sql = format!("SELECT {COLUMNS} FROM push_intent WHERE project_id = $1 ORDER BY push, reference");
    on.all(&sql, args![project]).await
}

pub(crate) async fn projects_with_intents(on: &impl Query) -> Result<Vec<ProjectId>> {
    row! { struct OnlyProject { project_id: ProjectId } }
    let rows: Vec<OnlyProject> = on
        .all(
            "SELECT DISTINCT project_id FROM push_intent ORDER BY project_id LIMIT 1000",
            args![],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.project_id).collect())
}

pub(crate) async fn delete(tx: &Tx, intent: &Intent) -> Result<()> {
    let sql = "DELETE FROM push_intent WHERE push = $1 AND reference = $2";
    tx.run(sql, args![intent.push, intent.reference]).await?;
    Ok(())
}
