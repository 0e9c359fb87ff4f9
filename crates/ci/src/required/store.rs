//! What groups require. The only file with these queries.

use super::Template;
use bascule_core::{GroupId, ProjectId, Timestamp};
use bascule_store::{Json, Migration, Query, Result, Tx, args, row};

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2611-required",
    sql: "
        CREATE TABLE ci_required (
            group_id TEXT PRIMARY KEY,
            group_name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            sha TEXT,
            templates TEXT NOT NULL,
            refused_sha TEXT,
            refused_why TEXT,
            set_by TEXT NOT NULL,
            changed_at BIGINT NOT NULL
        );
        CREATE INDEX ci_required_project ON ci_required (project_id);
    ",
};

row! {
    /// What a group requires.
    #[derive(Clone, Debug)]
    pub struct Required {
        /// The group.
        pub group_id: GroupId,
        /// Its name.
        pub group_name: String,
        /// The policy project.
        pub project_id: ProjectId,
        /// The policy's commit that holds; `None` until there is a good one.
        pub sha: Option<String>,
        /// The required pipelines of that commit.
        pub templates: Json<Vec<Template>>,
        /// A newer commit that was refused because it is faulty.
        pub refused_sha: Option<String>,
        /// What is wrong with it.
        pub refused_why: Option<String>,
        /// Who named the policy project.
        pub set_by: String,
        /// When what holds last changed.
        pub changed_at: Timestamp,
    }
}

const COLUMNS: &str =
    "group_id, group_name, project_id, sha, templates, refused_sha, refused_why, set_by, changed_at";

pub async fn of_group(on: &impl Query, group: GroupId) -> Result<Option<Required>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_required WHERE group_id = $1");
    on.one(&sql, args![group]).await
}

/// What is required by policies of a project.
pub async fn by_policy(on: &impl Query, project: ProjectId) -> Result<Vec<Required>> {
    let sql =
        format!("SELECT {COLUMNS} FROM ci_required WHERE project_id = $1 ORDER BY group_name LIMIT 1000");
    on.all(&sql, args![project]).await
}

pub async fn set(tx: &Tx, required: &Required) -> Result<()> {
    let sql = format!(
        "INSERT INTO ci_required ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (group_id) DO UPDATE SET group_name = excluded.group_name, project_id = excluded.project_id,
             sha = excluded.sha, templates = excluded.templates, refused_sha = excluded.refused_sha,
             refused_why = excluded.refused_why, set_by = excluded.set_by, changed_at = excluded.changed_at"
    );
    tx.run(
        &sql,
        args![
            required.group_id,
            required.group_name,
            required.project_id,
            required.sha,
            required.templates,
            required.refused_sha,
            required.refused_why,
            required.set_by,
            required.changed_at
        ],
    )
    .await
    .map(drop)
}

pub async fn remove(tx: &Tx, group: GroupId) -> Result<bool> {
    Ok(tx
        .run("DELETE FROM ci_required WHERE group_id = $1", args![group])
        .await?
        == 1)
}
