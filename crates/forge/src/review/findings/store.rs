//! The tables of findings. The only file with their queries.

use super::{Found, Severity};
use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, ToSql as _, Tx, Value, args, bind_all, row};

/// Tables of findings.
pub(crate) const TABLES: &str = "
    CREATE TABLE review_finding_run (
        project_id TEXT NOT NULL,
        sha TEXT NOT NULL,
        tool TEXT NOT NULL,
        by_name TEXT NOT NULL,
        found BIGINT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (project_id, sha, tool)
    );
    CREATE TABLE review_finding (
        project_id TEXT NOT NULL,
        sha TEXT NOT NULL,
        tool TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        rule TEXT NOT NULL,
        severity TEXT NOT NULL,
        path TEXT NOT NULL,
        start_line BIGINT NOT NULL,
        end_line BIGINT NOT NULL,
        message TEXT NOT NULL,
        url TEXT,
        PRIMARY KEY (project_id, sha, tool, fingerprint)
    );
";

/// The tool's own word for how bad a finding is.
pub(crate) const LABEL: Migration = Migration {
    id: "ci-2711b-finding-label",
    sql: "ALTER TABLE review_finding ADD COLUMN label TEXT NOT NULL DEFAULT '';",
};

row! {
    /// That a tool looked at a commit.
    #[derive(Clone, Debug)]
    pub(crate) struct Run {
        pub(crate) sha: String,
        pub(crate) tool: String,
    }
}

row! {
    /// A finding as kept.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Kept {
        pub(crate) sha: String,
        pub(crate) tool: String,
        pub(crate) fingerprint: String,
        pub(crate) rule: String,
        pub(crate) severity: String,
        pub(crate) label: String,
        pub(crate) path: String,
        pub(crate) start_line: i64,
        pub(crate) end_line: i64,
        pub(crate) message: String,
        pub(crate) url: Option<String>,
    }
}

impl Kept {
    pub(crate) fn severity(&self) -> Severity {
        Severity::parse(&self.severity)
    }

    /// The lines, from 1; 0 for the whole file.
    pub(crate) fn lines(&self) -> (u32, u32) {
        let number = |line: i64| u32::try_from(line).unwrap_or(0);
        (number(self.start_line), number(self.end_line))
    }
}

/// Puts a run in the place of an earlier one of the same tool at the same commit.
pub(crate) async fn put(
    tx: &Tx,
    project: ProjectId,
    sha: &str,
    tool: &str,
    found: &[(&Found, &str)],
    by: &str,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "DELETE FROM review_finding WHERE project_id = $1 AND sha = $2 AND tool = $3",
        args![project, sha, tool],
    )
    .await?;
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    tx.run(
        "INSERT INTO review_finding_run (project_id, sha, tool, by_name, found, at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_id, sha, tool) DO UPDATE SET by_name = $4, found = $5, at = $6",
        args![project, sha, tool, by, count, at],
    )
    .await?;
    for (one, fingerprint) in found {
        tx.run(
            "INSERT INTO review_finding
                 (project_id, sha, tool, fingerprint, rule, severity, path, start_line, end_line, message, url, label)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (project_id, sha, tool, fingerprint) DO NOTHING",
            args![
                project,
                sha,
                tool,
                *fingerprint,
                one.rule,
                one.severity.as_str(),
                one.path,
                i64::from(one.start),
                i64::from(one.end),
                one.message,
                one.url,
                one.label
            ],
        )
        .await?;
    }
    Ok(())
}

/// Tools that have looked at a commit.
pub(crate) async fn count_tools(on: &impl Query, project: ProjectId, sha: &str) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM review_finding_run WHERE project_id = $1 AND sha = $2",
        args![project, sha],
    )
    .await
}

fn among(project: ProjectId, shas: &[String]) -> (String, Vec<Value>) {
    let mut values = vec![project.to_sql()];
    let places = bind_all(&mut values, shas);
    (places, values)
}

/// Which tools looked at which of these commits.
pub(crate) async fn runs(on: &impl Query, project: ProjectId, shas: &[String]) -> Result<Vec<Run>> {
    if shas.is_empty() {
        return Ok(Vec::new());
    }
    let (marks, values) = among(project, shas);
    let sql = format!(
        "SELECT sha, tool FROM review_finding_run WHERE project_id = $1 AND sha IN ({marks}) ORDER BY tool, sha LIMIT 2000"
    );
    on.all(&sql, values).await
}

/// What was found at one of these commits.
pub(crate) async fn kept(
    on: &impl Query,
    project: ProjectId,
    shas: &[String],
    limit: i64,
) -> Result<Vec<Kept>> {
    if shas.is_empty() {
        return Ok(Vec::new());
    }
    let (marks, mut values) = among(project, shas);
    values.push(limit.to_sql());
    let sql = format!(
        "SELECT sha, tool, fingerprint, rule, severity, label, path, start_line, end_line, message, url FROM review_finding
         WHERE project_id = $1 AND sha IN ({marks}) ORDER BY path, start_line, tool, fingerprint LIMIT ${}",
        values.len()
    );
    on.all(&sql, values).await
}

pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    for table in ["review_finding", "review_finding_run"] {
        tx.run(
            &format!("DELETE FROM {table} WHERE project_id = $1"),
            args![project],
        )
        .await?;
    }
    Ok(())
}
