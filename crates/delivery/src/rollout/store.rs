//! The queries about rollouts, their seconds and their points.

use super::{Cause, ClosedSlice, Progress, Second, Status};
use crate::judge::{Counts, Judge};
use crate::product::RolloutPolicy;
use bascule_core::{DeploymentId, EnvironmentId, InstanceId, ProjectId, RolloutId, Timestamp};
use bascule_store::{Json, Query, Result, ToSql as _, Tx, args, row};

row! {
    /// A rollout.
    #[derive(Clone, Debug)]
    pub(crate) struct Rollout {
        pub id: RolloutId,
        pub project_id: ProjectId,
        pub environment_id: EnvironmentId,
        pub deployment_id: DeploymentId,
        pub old_deployment_id: DeploymentId,
        pub new_instance_id: InstanceId,
        pub old_instance_id: InstanceId,
        pub version: String,
        pub baseline: String,
        pub policy: Json<RolloutPolicy>,
        pub status: String,
        pub step: i64,
        pub step_at: Timestamp,
        pub weight: i64,
        pub extended: bool,
        pub recovering_at: Option<Timestamp>,
        pub base_restarts: i64,
        pub judge: Json<Judge>,
        pub judged_until: Timestamp,
        pub cause: Option<String>,
        pub reason: String,
        pub first_error_at: Option<Timestamp>,
        pub created_at: Timestamp,
        pub finished_at: Option<Timestamp>,
        pub held: bool,
        /// Whether it is compared with an instance of the old version that was started with it.
        pub fresh: bool,
        /// Instances that served when it began.
        pub old_count: i64,
        /// Since when nothing served, where old instances end before new ones start.
        pub down_at: Option<Timestamp>,
        /// When something served again.
        pub up_at: Option<Timestamp>,
    }
}

const COLUMNS: &str = "id, project_id, environment_id, deployment_id, old_deployment_id, new_instance_id, \
     old_instance_id, version, baseline, policy, status, step, step_at, weight, extended, recovering_at, base_restarts, \
     judge, judged_until, cause, reason, first_error_at, created_at, finished_at, held, fresh, old_count, down_at, up_at";

impl Rollout {
    pub fn status(&self) -> Status {
        Status::parse(&self.status)
    }

    pub fn step(&self) -> usize {
        usize::try_from(self.step).unwrap_or(0)
    }

    pub fn weight(&self) -> u32 {
        u32::try_from(self.weight).unwrap_or(0).min(100)
    }

    /// Instances that served when it began.
    pub fn old_count(&self) -> usize {
        usize::try_from(self.old_count).unwrap_or(1).max(1)
    }

    pub fn progress(&self) -> Progress {
        Progress {
            status: self.status(),
            step: self.step(),
            step_at: self.step_at,
            extended: self.extended,
            recovering_at: self.recovering_at,
            base_restarts: u32::try_from(self.base_restarts).unwrap_or(0),
            held: self.held,
        }
    }
}

pub(crate) async fn get(db: &impl Query, id: RolloutId) -> Result<Option<Rollout>> {
    db.one(&format!("SELECT {COLUMNS} FROM rollout WHERE id = $1"), args![id])
        .await
}

pub(crate) async fn open(db: &impl Query) -> Result<Vec<Rollout>> {
    db.all(
        &format!("SELECT {COLUMNS} FROM rollout WHERE finished_at IS NULL ORDER BY id LIMIT 1000"),
        args![],
    )
    .await
}

pub(crate) async fn open_of(db: &impl Query, deployment: DeploymentId) -> Result<Option<Rollout>> {
    let sql =
        format!("SELECT {COLUMNS} FROM rollout WHERE deployment_id = $1 AND finished_at IS NULL LIMIT 1");
    db.one(&sql, args![deployment]).await
}

pub(crate) async fn list(
    db: &impl Query,
    project: ProjectId,
    before: Option<RolloutId>,
    limit: i64,
) -> Result<Vec<Rollout>> {
    let mut args = args![project, limit];
    let mut sql = format!("SELECT {COLUMNS} FROM rollout WHERE project_id = $1");
    if let Some(before) = before {
        args.push(before.to_sql());
        sql.push_str(" AND id < $3");
    }
    sql.push_str(" ORDER BY id DESC LIMIT $2");
    db.all(&sql, args).await
}

pub(crate) async fn insert(tx: &Tx, r: &Rollout) -> Result<()> {
    let values = bascule_store::places(1, COLUMNS.split(',').count());
    tx.run(
        &format!("INSERT INTO rollout ({COLUMNS}) VALUES ({values})"),
        args![
            r.id,
            r.project_id,
            r.environment_id,
            r.deployment_id,
            r.old_deployment_id,
            r.new_instance_id,
            r.old_instance_id,
            r.version,
            r.baseline,
            r.policy,
            r.status,
            r.step,
            r.step_at,
            r.weight,
            r.extended,
            r.recovering_at,
            r.base_restarts,
            r.judge,
            r.judged_until,
            r.cause,
            r.reason,
            r.first_error_at,
            r.created_at,
            r.finished_at,
            r.held,
            r.fresh,
            r.old_count,
            r.down_at,
            r.up_at
        ],
    )
    .await
    .map(drop)
}

/// A step begins; `false` where the rollout is not at the step it was thought to be at.
pub(crate) async fn set_step(
    tx: &Tx,
    r: &Rollout,
    step: usize,
    weight: u32,
    judge: &Judge,
    at: Timestamp,
) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE rollout SET step = $2, step_at = $3, weight = $4, extended = $5, judge = $6,
                    status = CASE WHEN step = $2 THEN status ELSE 'running' END,
                    held = CASE WHEN step = $2 THEN held ELSE FALSE END,
                    judged_until = $7, recovering_at = NULL, base_restarts = $8, reason = ''
             WHERE id = $1 AND finished_at IS NULL AND step = $9",
            args![
                r.id,
                i64::try_from(step).unwrap_or(i64::MAX),
                at,
                i64::from(weight),
                false,
                Json(judge),
                super::first_slice(at),
                r.base_restarts,
                r.step
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Sets where a rollout that goes on stands, and why.
pub(crate) async fn set_status(
    tx: &Tx,
    id: RolloutId,
    from: &[Status],
    to: Status,
    reason: &str,
) -> Result<bool> {
    let from: Vec<String> = from
        .iter()
        .map(|status| format!("'{}'", status.as_str()))
        .collect();
    let sql = format!(
        "UPDATE rollout SET status = $2, reason = $3, extended = $4 WHERE id = $1 AND finished_at IS NULL AND status IN ({})",
        from.join(", ")
    );
    Ok(tx.run(&sql, args![id, to.as_str(), reason, true]).await? == 1)
}

/// Where a replacement instance by instance stands after a move.
pub(crate) struct Rolled {
    /// Index of the step.
    pub step: usize,
    /// When it began.
    pub step_at: Timestamp,
    /// Share of traffic of the new version.
    pub weight: u32,
    /// The new instances' restarts.
    pub base_restarts: u32,
    /// Whether it was said that this step passed.
    pub passed: bool,
}

/// Instances were exposed or taken away, so another share is judged from here on. `false` where the rollout has
/// moved on meanwhile.
pub(crate) async fn set_roll(tx: &Tx, r: &Rollout, to: &Rolled, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE rollout SET step = $2, step_at = $3, weight = $4, held = $5, judge = $6, judged_until = $7,
                      base_restarts = $8, extended = CASE WHEN step_at = $3 THEN extended ELSE $10 END,
                      recovering_at = NULL, status = CASE WHEN status = 'waiting' THEN 'running' ELSE status END
               WHERE id = $1 AND finished_at IS NULL AND status = $9";
    let changed = tx
        .run(
            sql,
            args![
                r.id,
                i64::try_from(to.step).unwrap_or(i64::MAX),
                to.step_at,
                i64::from(to.weight),
                to.passed,
                r.judge,
                super::first_slice(at),
                i64::from(to.base_restarts),
                r.status,
                false
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// It goes on without the judge, or back: what ends it is known from here on.
pub(crate) async fn set_course(
    tx: &Tx,
    id: RolloutId,
    to: Status,
    cause: Cause,
    reason: &str,
    at: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE rollout SET status = $2, cause = $3, reason = $4, step_at = $5, recovering_at = NULL
               WHERE id = $1 AND finished_at IS NULL AND status <> $2 AND status <> 'undoing'";
    Ok(tx
        .run(sql, args![id, to.as_str(), cause.as_str(), reason, at])
        .await?
        == 1)
}

/// Notes a phase of a replacement without two versions at once.
pub(crate) async fn set_phase(
    tx: &Tx,
    r: &Rollout,
    step: usize,
    down_at: Option<Timestamp>,
    at: Timestamp,
) -> Result<bool> {
    let sql =
        "UPDATE rollout SET step = $2, step_at = $3, down_at = COALESCE(down_at, $4), recovering_at = NULL
               WHERE id = $1 AND finished_at IS NULL AND status = $5 AND step = $6";
    let args = args![
        r.id,
        i64::try_from(step).unwrap_or(i64::MAX),
        at,
        down_at,
        r.status,
        r.step
    ];
    Ok(tx.run(sql, args).await? == 1)
}

/// Something serves again.
pub(crate) async fn set_up(tx: &Tx, id: RolloutId, at: Timestamp) -> Result<()> {
    let sql = "UPDATE rollout SET up_at = $2 WHERE id = $1 AND down_at IS NOT NULL AND up_at IS NULL";
    tx.run(sql, args![id, at]).await.map(drop)
}

/// The comparison goes on with what served before; the fresh instance is lost.
pub(crate) async fn drop_fresh(tx: &Tx, id: RolloutId) -> Result<()> {
    let sql = "UPDATE rollout SET fresh = $2 WHERE id = $1";
    tx.run(sql, args![id, false]).await.map(drop)
}

/// The policy's pause at a step begins; `false` where the rollout has moved on meanwhile.
pub(crate) async fn hold(tx: &Tx, r: &Rollout, reason: &str) -> Result<bool> {
    let sql = "UPDATE rollout SET status = 'paused', held = $2, reason = $3
               WHERE id = $1 AND finished_at IS NULL AND step = $4 AND status IN ('running', 'waiting')";
    Ok(tx.run(sql, args![r.id, true, reason, r.step]).await? == 1)
}

/// Ends a rollout; `false` where it has ended before.
pub(crate) async fn finish(
    tx: &Tx,
    id: RolloutId,
    (status, weight): (Status, u32),
    cause: Cause,
    reason: &str,
    at: Timestamp,
) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE rollout SET status = $2, weight = $3, cause = $4, reason = $5, finished_at = $6, recovering_at = NULL
             WHERE id = $1 AND finished_at IS NULL",
            args![id, status.as_str(), i64::from(weight), cause.as_str(), reason, at],
        )
        .await?;
    Ok(changed == 1)
}

/// Every rollout under way waits for its instances to be seen again.
pub(crate) async fn begin_recovery(tx: &Tx, at: Timestamp) -> Result<u64> {
    tx.run(
        "UPDATE rollout SET recovering_at = $1 WHERE finished_at IS NULL",
        args![at],
    )
    .await
}

/// Notes what one edge counted in one second; the same count given twice stays the same.
pub(crate) async fn put_second(
    tx: &Tx,
    rollout: RolloutId,
    edge: &str,
    instance: InstanceId,
    at: Timestamp,
    counts: Counts,
) -> Result<()> {
    tx.run(
        "INSERT INTO rollout_second (rollout_id, edge, instance_id, at, requests, errors, slow)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (rollout_id, at, instance_id, edge) DO UPDATE SET requests = $5, errors = $6, slow = $7",
        args![
            rollout,
            edge,
            instance,
            at,
            signed(counts.requests),
            signed(counts.errors),
            signed(counts.slow)
        ],
    )
    .await
    .map(drop)
}

row! {
    struct SecondRow {
        deployment_id: DeploymentId,
        baseline: bool,
        at: Timestamp,
        requests: i64,
        errors: i64,
        slow: i64,
    }
}

/// The seconds of a rollout from `from` on, by side: the new version is what belongs to its deployment. Beside a
/// fresh baseline, what served before is no side.
pub(crate) async fn seconds(db: &impl Query, rollout: &Rollout, from: Timestamp) -> Result<Vec<Second>> {
    let rows: Vec<SecondRow> = db
        .all(
            "SELECT i.deployment_id, i.baseline, s.at, CAST(SUM(s.requests) AS BIGINT) AS requests,
                    CAST(SUM(s.errors) AS BIGINT) AS errors, CAST(SUM(s.slow) AS BIGINT) AS slow
             FROM rollout_second s JOIN instance i ON i.id = s.instance_id
             WHERE s.rollout_id = $1 AND s.at >= $2
             GROUP BY i.deployment_id, i.baseline, s.at ORDER BY s.at LIMIT 100000",
            args![rollout.id, from],
        )
        .await?;
    let compared =
        |row: &SecondRow| row.deployment_id == rollout.deployment_id || row.baseline == rollout.fresh;
    Ok(rows
        .into_iter()
        .filter(compared)
        .map(|row| Second {
            at: row.at,
            new: row.deployment_id == rollout.deployment_id,
            counts: Counts {
                requests: unsigned(row.requests),
                errors: unsigned(row.errors),
                slow: unsigned(row.slow),
            },
        })
        .collect())
}

pub(crate) async fn forget_seconds(tx: &Tx, rollout: RolloutId, before: Timestamp) -> Result<()> {
    tx.run(
        "DELETE FROM rollout_second WHERE rollout_id = $1 AND at < $2",
        args![rollout, before],
    )
    .await
    .map(drop)
}

/// Notes what was judged; `false` where the rollout has ended or moved on meanwhile.
pub(crate) async fn judged(
    tx: &Tx,
    r: &Rollout,
    judge: &Judge,
    until: Timestamp,
    first_error: Option<Timestamp>,
) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE rollout SET judge = $2, judged_until = $3, first_error_at = COALESCE(first_error_at, $4)
             WHERE id = $1 AND finished_at IS NULL AND step_at = $5",
            args![r.id, Json(judge), until, first_error, r.step_at],
        )
        .await?;
    Ok(changed == 1)
}

row! {
    /// A slice as it was judged, for the chart.
    #[derive(Clone, Debug)]
    pub(crate) struct Point {
        pub at: Timestamp,
        pub weight: i64,
        pub new_requests: i64,
        pub new_errors: i64,
        pub new_slow: i64,
        pub old_requests: i64,
        pub old_errors: i64,
        pub old_slow: i64,
        pub error_evidence: f64,
        pub slow_evidence: f64,
    }
}

pub(crate) async fn put_point(tx: &Tx, r: &Rollout, slice: &ClosedSlice, judge: &Judge) -> Result<()> {
    let (new, old) = (&slice.pair.new, &slice.pair.old);
    tx.run(
        "INSERT INTO rollout_point (rollout_id, at, weight, new_requests, new_errors, new_slow, old_requests, old_errors,
                old_slow, error_evidence, slow_evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (rollout_id, at) DO NOTHING",
        args![
            r.id,
            slice.at,
            r.weight,
            signed(new.requests),
            signed(new.errors),
            signed(new.slow),
            signed(old.requests),
            signed(old.errors),
            signed(old.slow),
            judge.error_evidence(),
            judge.slow_evidence()
        ],
    )
    .await
    .map(drop)
}

/// The newest points, oldest first.
pub(crate) async fn points(db: &impl Query, rollout: RolloutId, limit: i64) -> Result<Vec<Point>> {
    let mut points: Vec<Point> = db
        .all(
            "SELECT at, weight, new_requests, new_errors, new_slow, old_requests, old_errors, old_slow, error_evidence,
                    slow_evidence FROM rollout_point WHERE rollout_id = $1 ORDER BY at DESC LIMIT $2",
            args![rollout, limit],
        )
        .await?;
    points.reverse();
    Ok(points)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
