//! The queries about boards: their versions, their rule, and who is away.

use bascule_core::{GroupId, ProjectId, UserId};
use bascule_store::{Query, Result, Tx, args, row};
use bascule_wire::planning::WipRule;

row! {
    /// Someone who is away.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Away {
        pub(crate) user_id: UserId,
        pub(crate) until: Option<String>,
    }
}

row! { struct Rule { wip: String } }

/// Holds a group's issues until the transaction ends, and makes its boards' version new.
pub(crate) async fn touch(tx: &Tx, group: GroupId) -> Result<()> {
    let sql = "INSERT INTO board (group_id, version) VALUES ($1, 1)
               ON CONFLICT (group_id) DO UPDATE SET version = board.version + 1";
    tx.run(sql, args![group]).await.map(drop)
}

pub(crate) async fn version(db: &impl Query, group: GroupId) -> Result<i64> {
    db.count("SELECT version AS n FROM board WHERE group_id = $1", args![group])
        .await
}

pub(crate) async fn wip(db: &impl Query, project: ProjectId) -> Result<WipRule> {
    let found = db
        .one::<Rule>(
            "SELECT wip FROM planned_project WHERE project_id = $1",
            args![project],
        )
        .await?;
    Ok(found
        .and_then(|rule| WipRule::parse(&rule.wip))
        .unwrap_or_default())
}

pub(crate) async fn set_wip(tx: &Tx, project: ProjectId, rule: WipRule) -> Result<()> {
    let sql = "UPDATE planned_project SET wip = $2 WHERE project_id = $1";
    tx.run(sql, args![project, rule.as_str()]).await.map(drop)
}

/// Everyone who is away on a day.
pub(crate) async fn away(db: &impl Query, today: &str) -> Result<Vec<Away>> {
    let sql = "SELECT user_id, until FROM away WHERE until IS NULL OR until >= $1 LIMIT 20000";
    db.all(sql, args![today]).await
}

pub(crate) async fn set_away(tx: &Tx, user: UserId, until: Option<&str>) -> Result<()> {
    let sql =
        "INSERT INTO away (user_id, until) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET until = $2";
    tx.run(sql, args![user, until]).await.map(drop)
}

pub(crate) async fn set_back(tx: &Tx, user: UserId) -> Result<()> {
    tx.run("DELETE FROM away WHERE user_id = $1", args![user])
        .await
        .map(drop)
}
