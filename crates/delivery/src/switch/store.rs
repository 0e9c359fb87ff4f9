//! The queries about group steps.

use super::{Course, Member, Switch};
use bascule_core::{DeploymentId, EnvironmentId};
use bascule_store::{Migration, Query, Result, Tx, args, bind_all, row};

/// Group steps, and their deployments.
pub(crate) const SWITCHES: Migration = Migration {
    id: "delivery-2611-switches",
    sql: "
        CREATE TABLE delivery_switch (
            id TEXT PRIMARY KEY,
            site TEXT NOT NULL,
            actor TEXT NOT NULL,
            reason TEXT NOT NULL,
            course TEXT NOT NULL,
            why TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE TABLE delivery_switch_member (
            deployment_id TEXT PRIMARY KEY REFERENCES deployment (id),
            switch_id TEXT NOT NULL REFERENCES delivery_switch (id),
            place BIGINT NOT NULL
        );
        CREATE INDEX delivery_switch_member_switch ON delivery_switch_member (switch_id);
    ",
};

pub(crate) async fn insert(tx: &Tx, switch: &Switch, members: &[Member]) -> Result<()> {
    let sql = "INSERT INTO delivery_switch (id, site, actor, reason, course, why, at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = args![
        switch.id,
        switch.site,
        switch.actor,
        switch.reason,
        switch.course,
        switch.why,
        switch.at
    ];
    tx.run(sql, values).await?;
    for member in members {
        let sql = "INSERT INTO delivery_switch_member (deployment_id, switch_id, place) VALUES ($1, $2, $3)";
        tx.run(sql, args![member.deployment_id, switch.id, member.place])
            .await?;
    }
    Ok(())
}

/// The group step that a deployment belongs to.
pub(crate) async fn of(db: &impl Query, deployment: DeploymentId) -> Result<Option<Switch>> {
    let sql = "SELECT s.id, s.site, s.actor, s.reason, s.course, s.why, s.at
               FROM delivery_switch s JOIN delivery_switch_member m ON m.switch_id = s.id
               WHERE m.deployment_id = $1";
    db.one(sql, args![deployment]).await
}

/// The deployments of a group step, in the order in which they end.
pub(crate) async fn members(db: &impl Query, switch: DeploymentId) -> Result<Vec<Member>> {
    let sql = "SELECT deployment_id, place FROM delivery_switch_member WHERE switch_id = $1 ORDER BY place LIMIT 1000";
    db.all(sql, args![switch]).await
}

/// Decides for the whole group; `false` where that was done before.
pub(crate) async fn decide(tx: &Tx, switch: DeploymentId, course: Course, why: &str) -> Result<bool> {
    let sql = "UPDATE delivery_switch SET course = $2, why = $3 WHERE id = $1 AND course = 'open'";
    Ok(tx.run(sql, args![switch, course.as_str(), why]).await? == 1)
}

row! {
    /// How long the product of an environment took to be healthy when it was started last.
    #[derive(Clone, Debug)]
    pub(crate) struct Started {
        pub environment_id: EnvironmentId,
        /// In microseconds.
        pub took: i64,
    }
}

/// What the starts of the instances that serve took.
pub(crate) async fn started(db: &impl Query, environments: &[EnvironmentId]) -> Result<Vec<Started>> {
    let mut values = args![];
    let places = bind_all(&mut values, environments);
    let sql = format!(
        "SELECT i.environment_id, MIN(i.state_at - i.started_at) AS took FROM instance i
         WHERE i.environment_id IN ({places}) AND i.desired = 'run' AND i.state = 'healthy' AND i.baseline = FALSE
               AND i.started_at IS NOT NULL AND i.state_at > i.started_at
         GROUP BY i.environment_id LIMIT 1000"
    );
    db.all(&sql, values).await
}
