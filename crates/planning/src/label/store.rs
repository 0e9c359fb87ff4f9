//! The queries about labels.

use super::SEEDS;
use crate::{issue::store::Bound, text};
use bascule_core::{GroupId, IssueId, LabelId, ProjectId, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, row};
use bascule_wire::planning::WipRule;

row! {
    /// A label as stored.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct LabelRow {
        pub(crate) id: LabelId,
        pub(crate) name: String,
        pub(crate) family: String,
        pub(crate) description: String,
        pub(crate) colour: String,
        pub(crate) place: i64,
        pub(crate) of_group: bool,
    }
}

row! {
    /// A label of an issue.
    #[derive(Clone, Debug)]
    pub(crate) struct OfIssue {
        pub(crate) issue_id: IssueId,
        id: LabelId,
        name: String,
        family: String,
        colour: String,
        place: i64,
        of_group: bool,
    }
}

row! { struct OnlyLabel { label_id: LabelId } }
row! { struct OnlyUser { user_id: UserId } }

impl OfIssue {
    pub(crate) fn label(&self) -> LabelRow {
        LabelRow {
            id: self.id,
            name: self.name.clone(),
            family: self.family.clone(),
            description: String::new(),
            colour: self.colour.clone(),
            place: self.place,
            of_group: self.of_group,
        }
    }
}

/// Whose labels or milestones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Project(ProjectId, GroupId),
    Group(GroupId),
}

impl Owner {
    pub(crate) const fn project(self) -> Option<ProjectId> {
        match self {
            Self::Project(project, _) => Some(project),
            Self::Group(_) => None,
        }
    }

    pub(crate) const fn group(self) -> Option<GroupId> {
        match self {
            Self::Project(..) => None,
            Self::Group(group) => Some(group),
        }
    }
}

const COLUMNS: &str = "id, name, family, description, colour, place, CASE WHEN group_id IS NULL THEN FALSE ELSE TRUE END AS of_group";
/// Most labels of one owner.
pub(crate) const AT_MOST: i64 = 500;

/// Labels that issues of an owner may have, by family and place: a project's own, and its group's.
pub(crate) async fn list(db: &impl Query, owner: Owner) -> Result<Vec<LabelRow>> {
    let (condition, values) = match owner {
        Owner::Project(project, group) => ("project_id = $1 OR group_id = $2", args![project, group]),
        Owner::Group(group) => ("group_id = $1", args![group]),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM label WHERE {condition}
         ORDER BY CASE WHEN family = '' THEN 1 ELSE 0 END, place, name LIMIT {}",
        2 * AT_MOST
    );
    db.all(&sql, values).await
}

/// A label of the owner itself.
pub(crate) async fn own(db: &impl Query, owner: Owner, name: &str) -> Result<Option<LabelRow>> {
    let (condition, id) = match owner {
        Owner::Project(project, _) => ("project_id = $1", project.to_string()),
        Owner::Group(group) => ("group_id = $1", group.to_string()),
    };
    let sql = format!("SELECT {COLUMNS} FROM label WHERE {condition} AND name = $2");
    db.one(&sql, args![id, name]).await
}

pub(crate) async fn of_issues(db: &impl Query, issues: &[IssueId]) -> Result<Vec<OfIssue>> {
    let mut bound = Bound::default();
    let places = bound.list(issues);
    let sql = format!(
        "SELECT has.issue_id AS issue_id, label.id AS id, label.name AS name, label.family AS family,
             label.colour AS colour, label.place AS place,
             CASE WHEN label.group_id IS NULL THEN FALSE ELSE TRUE END AS of_group
         FROM issue_label has JOIN label ON label.id = has.label_id
         WHERE has.issue_id IN ({places})
         ORDER BY CASE WHEN label.family = '' THEN 1 ELSE 0 END, label.place, label.name"
    );
    db.all(&sql, bound.0).await
}

pub(crate) async fn insert(tx: &Tx, owner: Owner, label: &LabelRow) -> Result<()> {
    let sql = "INSERT INTO label (id, project_id, group_id, name, family, description, colour, place)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    tx.run(
        sql,
        args![
            label.id,
            owner.project(),
            owner.group(),
            label.name,
            label.family,
            label.description,
            label.colour,
            label.place
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn update(tx: &Tx, label: &LabelRow) -> Result<()> {
    let sql =
        "UPDATE label SET name = $2, family = $3, description = $4, colour = $5, place = $6 WHERE id = $1";
    tx.run(
        sql,
        args![
            label.id,
            label.name,
            label.family,
            label.description,
            label.colour,
            label.place
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn delete(tx: &Tx, label: LabelId) -> Result<()> {
    for sql in [
        "DELETE FROM label_subscription WHERE label_id = $1",
        "DELETE FROM issue_label WHERE label_id = $1",
        "DELETE FROM label WHERE id = $1",
    ] {
        tx.run(sql, args![label]).await?;
    }
    Ok(())
}

pub(crate) async fn subscriptions(db: &impl Query, user: UserId) -> Result<Vec<LabelId>> {
    let sql = "SELECT label_id FROM label_subscription WHERE user_id = $1 LIMIT 5000";
    let rows: Vec<OnlyLabel> = db.all(sql, args![user]).await?;
    Ok(rows.into_iter().map(|row| row.label_id).collect())
}

pub(crate) async fn subscribers(db: &impl Query, labels: &[LabelId]) -> Result<Vec<UserId>> {
    let mut bound = Bound::default();
    let places = bound.list(labels);
    let sql =
        format!("SELECT DISTINCT user_id FROM label_subscription WHERE label_id IN ({places}) LIMIT 5000");
    let rows: Vec<OnlyUser> = db.all(&sql, bound.0).await?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

pub(crate) async fn subscribe(tx: &Tx, label: LabelId, user: UserId, on: bool) -> Result<()> {
    let sql = if on {
        "INSERT INTO label_subscription (label_id, user_id) VALUES ($1, $2) ON CONFLICT (label_id, user_id) DO NOTHING"
    } else {
        "DELETE FROM label_subscription WHERE label_id = $1 AND user_id = $2"
    };
    tx.run(sql, args![label, user]).await.map(drop)
}

/// Whether a project has its first labels.
pub(crate) async fn seeded(db: &impl Query, project: ProjectId) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM planned_project WHERE project_id = $1";
    Ok(db.count(sql, args![project]).await? > 0)
}

/// Gives a project its first labels, once.
pub(crate) async fn seed(tx: &Tx, project: ProjectId, group: GroupId, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO planned_project (project_id, wip, since) VALUES ($1, $2, $3) ON CONFLICT (project_id) DO NOTHING";
    if tx
        .run(sql, args![project, WipRule::default().as_str(), now])
        .await?
        == 0
    {
        return Ok(());
    }
    for (place, (name, colour, description)) in (0_i64..).zip(SEEDS) {
        let label = LabelRow {
            id: LabelId::new(),
            name: (*name).to_owned(),
            family: text::family(name).to_owned(),
            description: (*description).to_owned(),
            colour: (*colour).to_owned(),
            place,
            of_group: false,
        };
        insert(tx, Owner::Project(project, group), &label).await?;
    }
    Ok(())
}
