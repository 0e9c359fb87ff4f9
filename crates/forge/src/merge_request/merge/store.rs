//! Merges that are under way. The only file with their queries.

use bascule_core::{Actor, ActorKind, MergeRequestId, ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// Tables of merging.
pub(crate) const MIGRATION: Migration = Migration {
    id: "forge-2611-merging",
    sql: "
        CREATE TABLE merge_intent (
            merge_request_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            push TEXT NOT NULL,
            holder TEXT NOT NULL,
            target_branch TEXT NOT NULL,
            head TEXT NOT NULL,
            before_sha TEXT NOT NULL,
            after_sha TEXT NOT NULL,
            strategy TEXT NOT NULL,
            queued BOOLEAN NOT NULL,
            delete_source BOOLEAN NOT NULL,
            actor_kind TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX merge_intent_project ON merge_intent (project_id);
        ALTER TABLE merge_request ADD COLUMN merge_before TEXT;
        CREATE INDEX merge_request_auto ON merge_request (auto_id);
    ",
};

/// Wishes to have a request merged once all is met that somebody else than who had them took back.
pub(crate) const DROPPED: Migration = Migration {
    id: "ci-2711b-merge-wish",
    sql: "
        CREATE TABLE merge_wish_dropped (
            merge_request_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            wisher TEXT NOT NULL,
            why TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX merge_wish_dropped_project ON merge_wish_dropped (project_id);
    ",
};

row! {
    /// A wish that was taken back.
    #[derive(Clone, Debug)]
    pub(crate) struct Dropped {
        /// The user name of who asked for the merge.
        pub(crate) wisher: String,
        /// Why it is not merged by itself any more, one sentence.
        pub(crate) why: String,
        pub(crate) at: Timestamp,
    }
}

/// Notes that a request is not merged by itself any more, and why; `None` forgets it, since somebody asked anew or took
/// it back on purpose.
pub(crate) async fn set_dropped(
    tx: &Tx,
    id: MergeRequestId,
    project: ProjectId,
    dropped: Option<&Dropped>,
) -> Result<()> {
    tx.run(
        "DELETE FROM merge_wish_dropped WHERE merge_request_id = $1",
        args![id],
    )
    .await?;
    if let Some(dropped) = dropped {
        tx.run(
            "INSERT INTO merge_wish_dropped (merge_request_id, project_id, wisher, why, at) VALUES ($1, $2, $3, $4, $5)",
            args![id, project, dropped.wisher, dropped.why, dropped.at],
        )
        .await?;
    }
    Ok(())
}

pub(crate) async fn dropped(on: &impl Query, id: MergeRequestId) -> Result<Option<Dropped>> {
    on.one(
        "SELECT wisher, why, at FROM merge_wish_dropped WHERE merge_request_id = $1",
        args![id],
    )
    .await
}

row! {
    /// A merge that was about to move a branch.
    #[derive(Clone, Debug)]
    pub(crate) struct Intent {
        pub(crate) merge_request_id: MergeRequestId,
        pub(crate) project_id: ProjectId,
        pub(crate) push: String,
        /// The process that makes it.
        pub(crate) holder: String,
        pub(crate) target_branch: String,
        pub(crate) head: String,
        pub(crate) before_sha: String,
        pub(crate) after_sha: String,
        pub(crate) strategy: String,
        pub(crate) queued: bool,
        pub(crate) delete_source: bool,
        pub(crate) actor_kind: String,
        pub(crate) actor_id: String,
        pub(crate) actor_name: String,
        pub(crate) at: Timestamp,
    }
}

const COLUMNS: &str = "merge_request_id, project_id, push, holder, target_branch, head, before_sha, after_sha, strategy, \
     queued, delete_source, actor_kind, actor_id, actor_name, at";

impl Intent {
    pub(crate) fn actor(&self) -> Actor {
        Actor::new(
            ActorKind::parse(&self.actor_kind),
            self.actor_id.clone(),
            self.actor_name.clone(),
        )
    }
}

pub(crate) async fn insert(tx: &Tx, intent: &Intent) -> Result<()> {
    let sql = format!(
        "INSERT INTO merge_intent ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    );
    tx.run(
        &sql,
        args![
            intent.merge_request_id,
            intent.project_id,
            intent.push,
            intent.holder,
            intent.target_branch,
            intent.head,
            intent.before_sha,
            intent.after_sha,
            intent.strategy,
            intent.queued,
            intent.delete_source,
            intent.actor_kind,
            intent.actor_id,
            intent.actor_name,
            intent.at
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn of_project(on: &impl Query, project: ProjectId) -> Result<Vec<Intent>> {
    let sql =
        format!("SELECT {COLUMNS} FROM merge_intent WHERE project_id = $1 ORDER BY at, merge_request_id");
    on.all(&sql, args![project]).await
}

pub(crate) async fn projects(on: &impl Query) -> Result<Vec<ProjectId>> {
    row! { struct OnlyProject { project_id: ProjectId } }
    let rows: Vec<OnlyProject> = on
        .all(
            "SELECT DISTINCT project_id FROM merge_intent ORDER BY project_id LIMIT 1000",
            args![],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.project_id).collect())
}

pub(crate) async fn delete(tx: &Tx, id: MergeRequestId) -> Result<()> {
    tx.run("DELETE FROM merge_intent WHERE merge_request_id = $1", args![id])
        .await?;
    Ok(())
}

/// Forgets all of a project that is deleted.
pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run("DELETE FROM merge_intent WHERE project_id = $1", args![project])
        .await?;
    tx.run(
        "DELETE FROM merge_wish_dropped WHERE project_id = $1",
        args![project],
    )
    .await?;
    Ok(())
}
