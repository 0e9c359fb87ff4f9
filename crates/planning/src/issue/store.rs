//! The queries about issues.

use super::{
    Assignee, Issue,
    list::{Filter, Having, Sort},
};
use crate::{
    label::{LabelRow, store::OfIssue},
    sight::Among,
};
use bascule_core::{GroupId, IssueId, LabelId, MilestoneId, ProjectId, Timestamp, UserId};
use bascule_store::{Query, Result, ToSql, Tx, Value, args, bind, bind_all, row};
use bascule_wire::planning::Column;
use std::collections::HashSet;

row! {
    /// An issue as stored.
    #[derive(Clone, Debug)]
    pub(crate) struct IssueRow {
        pub(crate) id: IssueId,
        pub(crate) project_id: ProjectId,
        pub(crate) group_id: GroupId,
        pub(crate) number: i64,
        pub(crate) title: String,
        /// Empty in lists.
        pub(crate) description: String,
        pub(crate) author: String,
        pub(crate) author_id: Option<UserId>,
        pub(crate) confidential: bool,
        pub(crate) place: String,
        pub(crate) rank: i64,
        pub(crate) due_on: Option<String>,
        pub(crate) milestone_id: Option<MilestoneId>,
        pub(crate) milestone: Option<String>,
        pub(crate) comments: i64,
        pub(crate) created_at: Timestamp,
        pub(crate) updated_at: Timestamp,
        pub(crate) closed_at: Option<Timestamp>,
        pub(crate) closed_by: Option<String>,
        pub(crate) closed_how: Option<String>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Comment {
        pub(crate) number: i64,
        pub(crate) actor: String,
        pub(crate) body: String,
        pub(crate) at: Timestamp,
    }
}

row! {
    /// A link as seen from one of its ends.
    #[derive(Clone, Debug)]
    pub(crate) struct Link {
        pub(crate) other: IssueId,
        pub(crate) kind: String,
        pub(crate) outward: bool,
    }
}

row! { struct Ranked { rank: i64 } }
row! {
    pub(crate) struct Counted {
        pub(crate) place: String,
        pub(crate) n: i64,
    }
}
row! {
    pub(crate) struct Busy {
        pub(crate) user_id: UserId,
        pub(crate) number: i64,
        pub(crate) project_id: ProjectId,
    }
}

impl Link {
    /// What the issue that was asked about does to the other: `blocks`, `blocked_by` or `relates`.
    pub(crate) fn told(&self) -> &'static str {
        match (self.kind.as_str(), self.outward) {
            ("blocks", true) => "blocks",
            ("blocks", false) => "blocked_by",
            _ => "relates",
        }
    }
}

impl IssueRow {
    pub(crate) fn column(&self) -> Column {
        Column::parse(&self.place).unwrap_or(Column::Open)
    }
}

const HEAD: &str = "issue.id AS id, issue.project_id AS project_id, issue.group_id AS group_id, issue.number AS number,
    issue.title AS title, issue.author AS author, issue.author_id AS author_id, issue.confidential AS confidential,
    issue.place AS place, issue.rank AS rank, issue.due_on AS due_on, issue.milestone_id AS milestone_id,
    milestone.title AS milestone, issue.comments AS comments, issue.created_at AS created_at,
    issue.updated_at AS updated_at, issue.closed_at AS closed_at, issue.closed_by AS closed_by,
    issue.closed_how AS closed_how";
const FROM: &str = "FROM issue LEFT JOIN milestone ON milestone.id = issue.milestone_id";

/// Values for a query that is put together.
#[derive(Default)]
pub(crate) struct Bound(pub(crate) Vec<Value>);

impl Bound {
    pub(crate) fn bind(&mut self, value: impl ToSql) -> String {
        bind(&mut self.0, &value)
    }

    pub(crate) fn list<T: ToSql>(&mut self, values: &[T]) -> String {
        bind_all(&mut self.0, values)
    }
}

pub(crate) async fn by_number(db: &impl Query, project: ProjectId, number: i64) -> Result<Option<Issue>> {
    let sql = format!(
        "SELECT {HEAD}, issue.description AS description {FROM} WHERE issue.project_id = $1 AND issue.number = $2"
    );
    whole(db, db.one::<IssueRow>(&sql, args![project, number]).await?).await
}

pub(crate) async fn by_id(db: &impl Query, id: IssueId) -> Result<Option<Issue>> {
    let sql = format!("SELECT {HEAD}, issue.description AS description {FROM} WHERE issue.id = $1");
    whole(db, db.one::<IssueRow>(&sql, args![id]).await?).await
}

row! { struct Numbered { number: i64, place: String } }

/// Those of the numbers whose issues are open.
pub(crate) async fn open_of(db: &impl Query, project: ProjectId, numbers: &[i64]) -> Result<HashSet<i64>> {
    let mut open = HashSet::new();
    for some in numbers.chunks(500) {
        let mut values = args![project];
        let places = bind_all(&mut values, some);
        let sql = format!("SELECT number, place FROM issue WHERE project_id = $1 AND number IN ({places})");
        let rows: Vec<Numbered> = db.all(&sql, values).await?;
        let still = |row: &Numbered| Column::parse(&row.place) != Some(Column::Done);
        open.extend(rows.into_iter().filter(still).map(|row| row.number));
    }
    Ok(open)
}

async fn whole(db: &impl Query, row: Option<IssueRow>) -> Result<Option<Issue>> {
    match row {
        None => Ok(None),
        Some(row) => Ok(complete(db, vec![row]).await?.pop()),
    }
}

/// Adds labels and people to rows, in their order.
async fn complete(db: &impl Query, rows: Vec<IssueRow>) -> Result<Vec<Issue>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<IssueId> = rows.iter().map(|row| row.id).collect();
    let labels = crate::label::store::of_issues(db, &ids).await?;
    let mut bound = Bound::default();
    let places = bound.list(&ids);
    let sql = format!(
        "SELECT issue_id, user_id, username FROM issue_assignee WHERE issue_id IN ({places}) ORDER BY username"
    );
    let people: Vec<Assignee> = db.all(&sql, bound.0).await?;
    Ok(rows
        .into_iter()
        .map(|row| Issue {
            labels: labels
                .iter()
                .filter(|of| of.issue_id == row.id)
                .map(OfIssue::label)
                .collect(),
            assignees: people
                .iter()
                .filter(|of| of.issue_id == row.id)
                .cloned()
                .collect(),
            row,
        })
        .collect())
}

/// The condition under which someone sees an issue.
pub(crate) fn seen(among: &Among, bound: &mut Bound) -> String {
    let projects = bound.list(&among.projects);
    let trusted = bound.list(&among.trusted);
    let me = among.me.map(|me| {
        let me = bound.bind(me);
        format!(
            " OR issue.author_id = {me} OR EXISTS (SELECT 1 FROM issue_assignee mine WHERE mine.issue_id = issue.id AND mine.user_id = {me})"
        )
    });
    format!(
        "issue.project_id IN ({projects}) AND (issue.confidential = FALSE OR issue.project_id IN ({trusted}){})",
        me.unwrap_or_default()
    )
}

fn conditions(filter: &Filter, among: &Among, bound: &mut Bound) -> String {
    let mut all = vec![seen(among, bound)];
    if let Some(open) = filter.open {
        all.push(format!("issue.place {} 'done'", if open { "<>" } else { "=" }));
    }
    if let Some(column) = filter.column {
        all.push(format!("issue.place = {}", bound.bind(column.as_str())));
    }
    for label in &filter.labels {
        let name = bound.bind(label);
        all.push(format!(
            "EXISTS (SELECT 1 FROM issue_label has JOIN label ON label.id = has.label_id WHERE has.issue_id = issue.id AND label.name = {name})"
        ));
    }
    let has = "EXISTS (SELECT 1 FROM issue_assignee has WHERE has.issue_id = issue.id";
    match &filter.assignee {
        Having::Whatever => {}
        Having::None => all.push(format!("NOT {has})")),
        Having::Any => all.push(format!("{has})")),
        Having::This(name) => all.push(format!("{has} AND has.username = {})", bound.bind(name))),
    }
    if !filter.author.is_empty() {
        all.push(format!("issue.author = {}", bound.bind(&filter.author)));
    }
    match &filter.milestone {
        Having::Whatever => {}
        Having::None => all.push("issue.milestone_id IS NULL".to_owned()),
        Having::Any => all.push("issue.milestone_id IS NOT NULL".to_owned()),
        Having::This(title) => all.push(format!("milestone.title = {}", bound.bind(title))),
    }
    for word in &filter.words {
        let number = word.strip_prefix('#').unwrap_or(word).parse::<i64>().ok();
        let like = word.replace('!', "!!").replace('%', "!%").replace('_', "!_");
        let text = format!("issue.words LIKE {} ESCAPE '!'", bound.bind(format!("%{like}%")));
        all.push(match number {
            Some(number) => format!("({text} OR issue.number = {})", bound.bind(number)),
            None => text,
        });
    }
    all.join(" AND ")
}

/// Issues that someone sees, and where the next page begins.
pub(crate) async fn list(
    db: &impl Query,
    among: &Among,
    filter: &Filter,
) -> Result<(Vec<Issue>, Option<String>)> {
    let mut bound = Bound::default();
    let mut condition = conditions(filter, among, &mut bound);
    let (key, down) = filter.sort.key();
    if let Some(after) = &filter.after {
        let mark = match (filter.sort, after.key.parse::<i64>()) {
            (Sort::Due, _) | (_, Err(_)) => bound.bind(&after.key),
            (_, Ok(number)) => bound.bind(number),
        };
        let id = bound.bind(after.id);
        let sign = if down { "<" } else { ">" };
        condition.push_str(&format!(" AND ({key}, issue.id) {sign} ({mark}, {id})"));
    }
    let order = if down { "DESC" } else { "ASC" };
    let limit = bound.bind(filter.limit + 1);
    let text = if filter.whole { "issue.description" } else { "''" };
    let sql = format!(
        "SELECT {HEAD}, {text} AS description {FROM} WHERE {condition} ORDER BY {key} {order}, issue.id {order} LIMIT {limit}"
    );
    let mut rows: Vec<IssueRow> = db.all(&sql, bound.0).await?;
    let most = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| more).map(|last| {
        let key = match filter.sort {
            Sort::Priority => last.rank.to_string(),
            Sort::Created => last.created_at.micros().to_string(),
            Sort::Updated => last.updated_at.micros().to_string(),
            Sort::Due => last.due_on.clone().unwrap_or_else(|| "9999-12-31".to_owned()),
        };
        format!("{key}~{}", last.id)
    });
    Ok((complete(db, rows).await?, next))
}

/// Those of some issues that someone sees.
pub(crate) async fn seen_of(db: &impl Query, among: &Among, ids: &[IssueId]) -> Result<Vec<Issue>> {
    let mut bound = Bound::default();
    let seen = seen(among, &mut bound);
    let ids = bound.list(ids);
    let sql = format!("SELECT {HEAD}, '' AS description {FROM} WHERE issue.id IN ({ids}) AND {seen}");
    let rows: Vec<IssueRow> = db.all(&sql, bound.0).await?;
    complete(db, rows).await
}

/// The projects of some issues, each once.
pub(crate) async fn projects_of(db: &impl Query, ids: &[IssueId]) -> Result<Vec<ProjectId>> {
    let mut bound = Bound::default();
    let ids = bound.list(ids);
    let sql = format!("SELECT DISTINCT project_id AS c0 FROM issue WHERE id IN ({ids})");
    let rows: Vec<(ProjectId,)> = db.all(&sql, bound.0).await?;
    Ok(rows.into_iter().map(|(project,)| project).collect())
}

/// The text of one comment.
pub(crate) async fn comment_text(db: &impl Query, id: IssueId, number: i64) -> Result<Option<String>> {
    let sql = "SELECT body AS c0 FROM issue_comment WHERE issue_id = $1 AND number = $2";
    Ok(db
        .one::<(String,)>(sql, args![id, number])
        .await?
        .map(|(body,)| body))
}

/// The last closed issues, last first.
pub(crate) async fn last_closed(db: &impl Query, among: &Among, limit: i64) -> Result<Vec<Issue>> {
    let mut bound = Bound::default();
    let condition = seen(among, &mut bound);
    let limit = bound.bind(limit);
    let sql = format!(
        "SELECT {HEAD}, '' AS description {FROM} WHERE {condition} AND issue.place = 'done'
         ORDER BY issue.closed_at DESC, issue.id DESC LIMIT {limit}"
    );
    complete(db, db.all(&sql, bound.0).await?).await
}

/// How many issues that someone sees stand in each column.
pub(crate) async fn counts(db: &impl Query, among: &Among) -> Result<Vec<Counted>> {
    let mut bound = Bound::default();
    let condition = seen(among, &mut bound);
    let sql = format!(
        "SELECT issue.place AS place, COUNT(*) AS n FROM issue WHERE {condition} GROUP BY issue.place"
    );
    db.all(&sql, bound.0).await
}

/// How many are being done in a project, seen or not.
pub(crate) async fn doing(db: &impl Query, project: ProjectId) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM issue WHERE project_id = $1 AND place = 'doing'";
    db.count(sql, args![project]).await
}

/// Who does what in some projects.
pub(crate) async fn busy(db: &impl Query, projects: &[ProjectId]) -> Result<Vec<Busy>> {
    let mut bound = Bound::default();
    let places = bound.list(projects);
    let sql = format!(
        "SELECT a.user_id AS user_id, i.number AS number, i.project_id AS project_id
         FROM issue i JOIN issue_assignee a ON a.issue_id = i.id
         WHERE i.project_id IN ({places}) AND i.place = 'doing' ORDER BY i.rank LIMIT 2000"
    );
    db.all(&sql, bound.0).await
}

/// What is new about an issue.
pub(crate) struct NewRow<'a> {
    pub(crate) row: &'a IssueRow,
    pub(crate) labels: &'a [LabelRow],
    pub(crate) assignees: &'a [(UserId, String)],
}

/// What is searched: both texts in lower case.
fn words(title: &str, description: &str) -> String {
    format!("{title}\n{description}").to_lowercase()
}

pub(crate) async fn insert(tx: &Tx, new: &NewRow<'_>) -> Result<()> {
    let row = new.row;
    tx.run(
        "INSERT INTO issue (id, project_id, group_id, number, title, description, words, author, author_id, confidential,
             place, rank, due_on, milestone_id, planned_at, comments, created_at, updated_at, closed_at, closed_by, closed_how)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, $16, $17, $18, $19, $20)",
        args![
            row.id,
            row.project_id,
            row.group_id,
            row.number,
            row.title,
            row.description,
            words(&row.title, &row.description),
            row.author,
            row.author_id,
            row.confidential,
            row.place,
            row.rank,
            row.due_on,
            row.milestone_id,
            row.milestone_id.map(|_| row.created_at),
            row.created_at,
            row.updated_at,
            row.closed_at,
            row.closed_by,
            row.closed_how
        ],
    )
    .await?;
    for label in new.labels {
        put_label(tx, row.id, label.id).await?;
    }
    for (user, name) in new.assignees {
        assign(tx, row.id, *user, name).await?;
    }
    Ok(())
}

pub(crate) async fn put_label(tx: &Tx, id: IssueId, label: LabelId) -> Result<()> {
    let sql = "INSERT INTO issue_label (issue_id, label_id) VALUES ($1, $2) ON CONFLICT (issue_id, label_id) DO NOTHING";
    tx.run(sql, args![id, label]).await.map(drop)
}

pub(crate) async fn take_label(tx: &Tx, id: IssueId, label: LabelId) -> Result<()> {
    let sql = "DELETE FROM issue_label WHERE issue_id = $1 AND label_id = $2";
    tx.run(sql, args![id, label]).await.map(drop)
}

pub(crate) async fn assign(tx: &Tx, id: IssueId, user: UserId, username: &str) -> Result<()> {
    let sql = "INSERT INTO issue_assignee (issue_id, user_id, username) VALUES ($1, $2, $3)
               ON CONFLICT (issue_id, user_id) DO NOTHING";
    tx.run(sql, args![id, user, username]).await.map(drop)
}

pub(crate) async fn unassign(tx: &Tx, id: IssueId, user: UserId) -> Result<()> {
    let sql = "DELETE FROM issue_assignee WHERE issue_id = $1 AND user_id = $2";
    tx.run(sql, args![id, user]).await.map(drop)
}

/// Writes what people may edit.
pub(crate) async fn update(tx: &Tx, row: &IssueRow, planned_at: Option<Timestamp>) -> Result<()> {
    tx.run(
        "UPDATE issue SET title = $2, description = $3, words = $4, confidential = $5, due_on = $6, milestone_id = $7,
             planned_at = COALESCE($8, planned_at) WHERE id = $1",
        args![
            row.id,
            row.title,
            row.description,
            words(&row.title, &row.description),
            row.confidential,
            row.due_on,
            row.milestone_id,
            planned_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn set_place(tx: &Tx, id: IssueId, column: Column) -> Result<()> {
    let sql = "UPDATE issue SET place = $2 WHERE id = $1";
    tx.run(sql, args![id, column.as_str()]).await.map(drop)
}

pub(crate) async fn set_closed(tx: &Tx, id: IssueId, at: Timestamp, by: &str, how: &str) -> Result<()> {
    let sql =
        "UPDATE issue SET place = 'done', closed_at = $2, closed_by = $3, closed_how = $4 WHERE id = $1";
    tx.run(sql, args![id, at, by, how]).await.map(drop)
}

pub(crate) async fn set_open(tx: &Tx, id: IssueId, column: Column) -> Result<()> {
    let sql =
        "UPDATE issue SET place = $2, closed_at = NULL, closed_by = NULL, closed_how = NULL WHERE id = $1";
    tx.run(sql, args![id, column.as_str()]).await.map(drop)
}

pub(crate) async fn set_rank(tx: &Tx, id: IssueId, rank: i64) -> Result<()> {
    tx.run("UPDATE issue SET rank = $2 WHERE id = $1", args![id, rank])
        .await
        .map(drop)
}

pub(crate) async fn touch(tx: &Tx, id: IssueId, now: Timestamp) -> Result<()> {
    tx.run("UPDATE issue SET updated_at = $2 WHERE id = $1", args![id, now])
        .await
        .map(drop)
}

pub(crate) async fn rank(db: &impl Query, id: IssueId) -> Result<Option<i64>> {
    let found = db
        .one::<Ranked>("SELECT rank FROM issue WHERE id = $1", args![id])
        .await?;
    Ok(found.map(|row| row.rank))
}

/// The nearest number above or below another in a group, but for one issue's own.
pub(crate) async fn neighbour(
    db: &impl Query,
    group: GroupId,
    me: IssueId,
    of: i64,
    above: bool,
) -> Result<Option<i64>> {
    let (sign, order) = if above { ("<", "DESC") } else { (">", "ASC") };
    let sql = format!(
        "SELECT rank FROM issue WHERE group_id = $1 AND id <> $2 AND rank {sign} $3 ORDER BY rank {order} LIMIT 1"
    );
    Ok(db
        .one::<Ranked>(&sql, args![group, me, of])
        .await?
        .map(|row| row.rank))
}

/// The last number of a group, but for one issue's own.
pub(crate) async fn last_rank(db: &impl Query, group: GroupId, me: IssueId) -> Result<Option<i64>> {
    let sql = "SELECT rank FROM issue WHERE group_id = $1 AND id <> $2 ORDER BY rank DESC LIMIT 1";
    Ok(db.one::<Ranked>(sql, args![group, me]).await?.map(|row| row.rank))
}

row! { struct OnlyId { id: IssueId } }

/// The first open issue of a project that is less urgent than the place of a priority label says.
pub(crate) async fn first_less_urgent(
    db: &impl Query,
    project: ProjectId,
    me: IssueId,
    urgency: i64,
) -> Result<Option<IssueId>> {
    let sql = "SELECT id FROM issue WHERE project_id = $1 AND id <> $2 AND place <> 'done'
               AND NOT EXISTS (SELECT 1 FROM issue_label has JOIN label ON label.id = has.label_id
                   WHERE has.issue_id = issue.id AND label.family = 'priority' AND label.place <= $3)
               ORDER BY rank LIMIT 1";
    Ok(db
        .one::<OnlyId>(sql, args![project, me, urgency])
        .await?
        .map(|row| row.id))
}

/// Spreads a group's issues anew, in their order.
pub(crate) async fn spread(tx: &Tx, group: GroupId, gap: i64) -> Result<()> {
    tx.run(
        "UPDATE issue SET rank = ordered.n * $2
         FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY rank, id) AS n FROM issue WHERE group_id = $1) AS ordered
         WHERE ordered.id = issue.id",
        args![group, gap],
    )
    .await
    .map(drop)
}

/// Adds a comment; returns its number.
pub(crate) async fn comment(tx: &Tx, id: IssueId, actor: &str, body: &str, at: Timestamp) -> Result<i64> {
    let number = tx
        .count(
            "UPDATE issue SET comments = comments + 1, updated_at = $2 WHERE id = $1 RETURNING comments AS n",
            args![id, at],
        )
        .await?;
    let sql = "INSERT INTO issue_comment (issue_id, number, actor, body, at) VALUES ($1, $2, $3, $4, $5)";
    tx.run(sql, args![id, number, actor, body, at]).await?;
    Ok(number)
}

/// The last comments, oldest first.
pub(crate) async fn comments(db: &impl Query, id: IssueId, limit: i64) -> Result<Vec<Comment>> {
    let sql =
        "SELECT number, actor, body, at FROM issue_comment WHERE issue_id = $1 ORDER BY number DESC LIMIT $2";
    let mut found: Vec<Comment> = db.all(sql, args![id, limit]).await?;
    found.reverse();
    Ok(found)
}

pub(crate) async fn links(db: &impl Query, id: IssueId) -> Result<Vec<Link>> {
    let sql = "SELECT to_id AS other, kind, TRUE AS outward FROM issue_link WHERE from_id = $1
               UNION ALL SELECT from_id AS other, kind, FALSE AS outward FROM issue_link WHERE to_id = $1
               LIMIT 200";
    db.all(sql, args![id]).await
}

pub(crate) async fn unlink(tx: &Tx, one: IssueId, other: IssueId) -> Result<u64> {
    let sql = "DELETE FROM issue_link WHERE (from_id = $1 AND to_id = $2) OR (from_id = $2 AND to_id = $1)";
    tx.run(sql, args![one, other]).await
}

pub(crate) async fn link(tx: &Tx, from: IssueId, to: IssueId, kind: &str) -> Result<()> {
    let sql = "INSERT INTO issue_link (from_id, to_id, kind) VALUES ($1, $2, $3)";
    tx.run(sql, args![from, to, kind]).await.map(drop)
}

/// Marks that something closed an issue; `false` where it did before.
pub(crate) async fn claim_closing(tx: &Tx, id: IssueId, source: &str) -> Result<bool> {
    let sql = "INSERT INTO issue_closing (issue_id, source) VALUES ($1, $2) ON CONFLICT (issue_id, source) DO NOTHING";
    Ok(tx.run(sql, args![id, source]).await? == 1)
}

/// Removes all that a deleted project had.
pub(crate) async fn forget(tx: &Tx, project: ProjectId) -> Result<()> {
    let issues = "(SELECT id FROM issue WHERE project_id = $1)";
    let own_labels = "(SELECT id FROM label WHERE project_id = $1)";
    for sql in [
        format!("DELETE FROM issue_closing WHERE issue_id IN {issues}"),
        format!("DELETE FROM issue_link WHERE from_id IN {issues} OR to_id IN {issues}"),
        format!("DELETE FROM issue_comment WHERE issue_id IN {issues}"),
        format!("DELETE FROM issue_label WHERE issue_id IN {issues} OR label_id IN {own_labels}"),
        format!("DELETE FROM issue_assignee WHERE issue_id IN {issues}"),
        "DELETE FROM issue WHERE project_id = $1".to_owned(),
        format!("DELETE FROM label_subscription WHERE label_id IN {own_labels}"),
        "DELETE FROM label WHERE project_id = $1".to_owned(),
        "DELETE FROM milestone WHERE project_id = $1".to_owned(),
        "DELETE FROM planned_project WHERE project_id = $1".to_owned(),
    ] {
        tx.run(&sql, args![project]).await?;
    }
    Ok(())
}
