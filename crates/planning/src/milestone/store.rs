//! The queries about milestones.

use crate::{
    issue::store::{Bound, seen},
    label::store::Owner,
    sight::Among,
};
use bascule_core::{GroupId, MilestoneId, ProjectId, Timestamp};
use bascule_store::{Query, Result, Tx, args, row};

row! {
    /// A milestone as stored.
    #[derive(Clone, Debug)]
    pub(crate) struct MilestoneRow {
        pub(crate) id: MilestoneId,
        pub(crate) project_id: Option<ProjectId>,
        pub(crate) group_id: Option<GroupId>,
        pub(crate) number: i64,
        pub(crate) title: String,
        pub(crate) description: String,
        pub(crate) starts_on: Option<String>,
        pub(crate) due_on: Option<String>,
        pub(crate) state: String,
        pub(crate) created_at: Timestamp,
        pub(crate) closed_at: Option<Timestamp>,
    }
}

row! {
    /// How much of a milestone is done.
    pub(crate) struct Progress {
        pub(crate) milestone_id: MilestoneId,
        pub(crate) total: i64,
        pub(crate) closed: i64,
    }
}

row! {
    /// When an issue came into a milestone, and when it was closed.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Span {
        pub(crate) planned_at: Option<Timestamp>,
        pub(crate) created_at: Timestamp,
        pub(crate) closed_at: Option<Timestamp>,
    }
}

const COLUMNS: &str =
    "id, project_id, group_id, number, title, description, starts_on, due_on, state, created_at, closed_at";
/// Most milestones that are read.
const AT_MOST: i64 = 500;

/// Milestones that an owner's issues may be in: open ones first, by the day they are due.
pub(crate) async fn list(db: &impl Query, owner: Owner) -> Result<Vec<MilestoneRow>> {
    let (condition, values) = match owner {
        Owner::Project(project, group) => ("project_id = $1 OR group_id = $2", args![project, group]),
        Owner::Group(group) => ("group_id = $1", args![group]),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM milestone WHERE {condition}
         ORDER BY CASE WHEN state = 'open' THEN 0 ELSE 1 END, COALESCE(due_on, '9999-12-31'), title LIMIT {AT_MOST}"
    );
    db.all(&sql, values).await
}

fn own(owner: Owner) -> (&'static str, String) {
    match owner {
        Owner::Project(project, _) => ("project_id = $1", project.to_string()),
        Owner::Group(group) => ("group_id = $1", group.to_string()),
    }
}

/// A milestone of the owner itself, by number.
pub(crate) async fn by_number(db: &impl Query, owner: Owner, number: i64) -> Result<Option<MilestoneRow>> {
    let (condition, id) = own(owner);
    let sql = format!("SELECT {COLUMNS} FROM milestone WHERE {condition} AND number = $2");
    db.one(&sql, args![id, number]).await
}

/// A milestone by title: a project's own before its group's.
pub(crate) async fn named(db: &impl Query, owner: Owner, title: &str) -> Result<Option<MilestoneRow>> {
    let found = list(db, owner).await?;
    let find = |of_group: bool| {
        found
            .iter()
            .find(|row| row.group_id.is_some() == of_group && row.title == title)
    };
    Ok(find(false).or_else(|| find(true)).cloned())
}

/// How far milestones are, counting the issues that someone sees.
pub(crate) async fn progress(db: &impl Query, among: &Among, ids: &[MilestoneId]) -> Result<Vec<Progress>> {
    let mut bound = Bound::default();
    let condition = seen(among, &mut bound);
    let places = bound.list(ids);
    let sql = format!(
        "SELECT issue.milestone_id AS milestone_id, COUNT(*) AS total,
             COUNT(CASE WHEN issue.place = 'done' THEN 1 END) AS closed
         FROM issue WHERE {condition} AND issue.milestone_id IN ({places}) GROUP BY issue.milestone_id"
    );
    db.all(&sql, bound.0).await
}

/// The lives of a milestone's issues that someone sees.
pub(crate) async fn spans(db: &impl Query, among: &Among, id: MilestoneId) -> Result<Vec<Span>> {
    let mut bound = Bound::default();
    let condition = seen(among, &mut bound);
    let id = bound.bind(id);
    let sql = format!(
        "SELECT issue.planned_at AS planned_at, issue.created_at AS created_at, issue.closed_at AS closed_at
         FROM issue WHERE {condition} AND issue.milestone_id = {id} LIMIT 20000"
    );
    db.all(&sql, bound.0).await
}

pub(crate) async fn insert(tx: &Tx, row: &MilestoneRow) -> Result<()> {
    let sql =
        format!("INSERT INTO milestone ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL)");
    tx.run(
        &sql,
        args![
            row.id,
            row.project_id,
            row.group_id,
            row.number,
            row.title,
            row.description,
            row.starts_on,
            row.due_on,
            row.state,
            row.created_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn update(tx: &Tx, row: &MilestoneRow) -> Result<()> {
    let sql = "UPDATE milestone SET title = $2, description = $3, starts_on = $4, due_on = $5, state = $6,
                   closed_at = $7 WHERE id = $1";
    tx.run(
        sql,
        args![
            row.id,
            row.title,
            row.description,
            row.starts_on,
            row.due_on,
            row.state,
            row.closed_at
        ],
    )
    .await
    .map(drop)
}
