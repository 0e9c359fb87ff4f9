//! Queries about CI variables.

use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// Variables of the instance, of groups and of projects, each for some environments.
pub const SCOPED: Migration = Migration {
    id: "ci-2611-scoped-variables",
    sql: "
        CREATE TABLE ci_scoped_variable (
            scope TEXT NOT NULL,
            target TEXT NOT NULL,
            name TEXT NOT NULL,
            environment TEXT NOT NULL,
            value TEXT NOT NULL,
            sealed BOOLEAN NOT NULL,
            masked BOOLEAN NOT NULL,
            protected BOOLEAN NOT NULL,
            file BOOLEAN NOT NULL,
            expand BOOLEAN NOT NULL,
            secret BOOLEAN NOT NULL,
            updated_at BIGINT NOT NULL,
            PRIMARY KEY (scope, target, name, environment)
        );
        INSERT INTO ci_scoped_variable (scope, target, name, environment, value, sealed, masked, protected, file,
            expand, secret, updated_at)
            SELECT 'project', project_id, name, '*', value, FALSE, masked, protected, file, expand, FALSE, updated_at
            FROM ci_variable;
        DELETE FROM ci_variable;
    ",
};

/// Most variables of one scope.
pub const MOST: i64 = 500;

row! {
    /// A variable as stored.
    #[derive(Clone, Debug)]
    pub struct Row {
        pub scope: String,
        pub target: String,
        pub name: String,
        pub environment: String,
        pub value: String,
        pub sealed: bool,
        pub masked: bool,
        pub protected: bool,
        pub file: bool,
        pub expand: bool,
        pub secret: bool,
        pub updated_at: Timestamp,
    }
}

const COLUMNS: &str =
    "scope, target, name, environment, value, sealed, masked, protected, file, expand, secret, updated_at";

/// Those of one scope.
pub async fn of(on: &impl Query, scope: &str, target: &str) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_scoped_variable WHERE scope = $1 AND target = $2 ORDER BY name, environment LIMIT {MOST}"
    );
    on.all(&sql, args![scope, target]).await
}

/// All that a project's jobs may get, from the instance to the project.
pub async fn reaching(on: &impl Query, group: &str, project: ProjectId) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_scoped_variable WHERE (scope = 'instance' AND target = '')
         OR (scope = 'group' AND target = $1) OR (scope = 'project' AND target = $2) ORDER BY name LIMIT {}",
        3 * MOST
    );
    on.all(&sql, args![group, project]).await
}

pub async fn count(on: &impl Query, scope: &str, target: &str) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM ci_scoped_variable WHERE scope = $1 AND target = $2",
        args![scope, target],
    )
    .await
}

pub async fn set(tx: &Tx, row: &Row) -> Result<()> {
    let sql = format!(
        "INSERT INTO ci_scoped_variable ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (scope, target, name, environment) DO UPDATE SET value = $5, sealed = $6, masked = $7,
             protected = $8, file = $9, expand = $10, secret = $11, updated_at = $12"
    );
    tx.run(
        &sql,
        args![
            row.scope,
            row.target,
            row.name,
            row.environment,
            row.value,
            row.sealed,
            row.masked,
            row.protected,
            row.file,
            row.expand,
            row.secret,
            row.updated_at
        ],
    )
    .await?;
    Ok(())
}

pub async fn delete(tx: &Tx, scope: &str, target: &str, name: &str, environment: &str) -> Result<bool> {
    let gone = tx
        .run(
            "DELETE FROM ci_scoped_variable WHERE scope = $1 AND target = $2 AND name = $3 AND environment = $4",
            args![scope, target, name, environment],
        )
        .await?;
    Ok(gone == 1)
}

/// A project is gone.
pub async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run(
        "DELETE FROM ci_scoped_variable WHERE scope = 'project' AND target = $1",
        args![project],
    )
    .await?;
    Ok(())
}
