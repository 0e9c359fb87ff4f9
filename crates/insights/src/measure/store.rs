//! The queries. Every measure is a set of rows in the projection's tables; the facts behind it are a query of
//! the same conditions that yields the facts' numbers.

use super::Period;
use crate::Scope;
use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Query, Result, ToSql as _, Value, args, bind_all, row};

row! {
    /// An incident as far as mean times need it.
    #[derive(Clone, Debug)]
    pub(crate) struct IncidentRow {
        pub(crate) began_at: Timestamp,
        pub(crate) detected_at: Timestamp,
        pub(crate) acknowledged_at: Option<Timestamp>,
        pub(crate) identified_at: Option<Timestamp>,
        pub(crate) restored_at: Option<Timestamp>,
        pub(crate) since_last: Option<i64>,
    }
}
row! { struct Two { a: Option<i64>, b: Option<i64> } }
row! { struct Number { n: i64 } }
row! {
    /// What a set of deployments counts.
    pub(crate) struct Exposed { pub(crate) exposed: i64, pub(crate) failed: i64 }
}
row! {
    pub(crate) struct EnvironmentTraffic {
        pub(crate) total: i64,
        pub(crate) good: i64,
        pub(crate) objective: Option<f64>,
    }
}
row! {
    /// One point of a chart.
    #[derive(Clone, Debug)]
    pub(crate) struct Point { pub(crate) day: i64, pub(crate) a: i64, pub(crate) b: i64 }
}

/// A measure, or another number that people may ask the facts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    DeploymentFrequency,
    LeadTime,
    ChangeFailureRate,
    TimeToRestore,
    Reliability,
    Mttx,
    Rci,
}

impl Measure {
    pub(crate) const ALL: [Self; 7] = [
        Self::DeploymentFrequency,
        Self::LeadTime,
        Self::ChangeFailureRate,
        Self::TimeToRestore,
        Self::Reliability,
        Self::Mttx,
        Self::Rci,
    ];

    /// As it stands in addresses.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DeploymentFrequency => "deployment_frequency",
            Self::LeadTime => "lead_time",
            Self::ChangeFailureRate => "change_failure_rate",
            Self::TimeToRestore => "time_to_restore",
            Self::Reliability => "reliability",
            Self::Mttx => "mttx",
            Self::Rci => "rci",
        }
    }

    /// As people read it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::DeploymentFrequency => "deployment frequency",
            Self::LeadTime => "lead time for changes",
            Self::ChangeFailureRate => "change failure rate",
            Self::TimeToRestore => "time to restore",
            Self::Reliability => "reliability",
            Self::Mttx => "mean times",
            Self::Rci => "resilient collaboration index",
        }
    }
}

/// Conditions with their values; `$n` are numbered as they are bound.
pub(crate) struct Where {
    values: Vec<Value>,
    /// ` AND project_id IN (…)`, or nothing.
    scope: String,
}

impl Where {
    /// `$1` and `$2` are the period.
    pub(crate) fn new(scope: &Scope, from: i64, to: i64) -> Self {
        let mut values = args![from, to];
        let scope = match scope {
            Scope::All => String::new(),
            Scope::Projects(ids) => {
                let places = bind_all(&mut values, ids.get(..30_000).unwrap_or(ids));
                format!(" AND project_id IN ({places})")
            }
        };
        Self { values, scope }
    }

    /// ` AND project_id IN (…)`, or nothing.
    pub(crate) fn scope(&self) -> String {
        self.scope.clone()
    }

    /// The values, for a query built elsewhere.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }

    fn bind(&mut self, value: i64) -> usize {
        self.values.push(value.to_sql());
        self.values.len()
    }
}

const DELIVERED: &str = "FROM insight_deployment WHERE tier = 'production' AND result = 'succeeded'
    AND cause <> 'rollback' AND finished_at >= $1 AND finished_at < $2";
const EXPOSED: &str = "FROM insight_deployment WHERE tier = 'production' AND exposed AND cause <> 'rollback'
    AND finished_at >= $1 AND finished_at < $2";
const CHANGED: &str = "FROM insight_change WHERE deployed_at >= $1 AND deployed_at < $2";
const FAILED: &str =
    "FROM insight_incident WHERE NOT drill AND tier = 'production' AND deployment_id IS NOT NULL
    AND detected_at >= $1 AND detected_at < $2";
const NOTICED: &str = "FROM insight_incident WHERE NOT drill AND tier = 'production' AND detected_at >= $1 AND detected_at < $2";
const SERVED: &str = "FROM insight_traffic WHERE tier = 'production' AND day >= $1 AND day < $2";

/// The values of `$1` and `$2` for a measure: instants, or days where days are kept.
fn bounds(measure: Measure, period: Period) -> (i64, i64) {
    match measure {
        Measure::Reliability => (period.first_day(), period.end_day()),
        _ => (period.from.micros(), period.to.micros()),
    }
}

/// Some of the facts behind a measure: a query that yields their numbers (`s`), each once, ends in its
/// conditions, and may be given more of them on a column.
struct Branch {
    sql: String,
    column: &'static str,
}

impl Branch {
    fn new(column: &'static str, rest: &str) -> Self {
        let sql = format!("SELECT {column} AS s {rest}");
        Self { sql, column }
    }

    /// For a column that may hold a number more than once, or none.
    fn distinct(column: &'static str, rest: &str) -> Self {
        let sql = format!("SELECT DISTINCT {column} AS s {rest} AND {column} IS NOT NULL");
        Self { sql, column }
    }

    /// Changes arrive together, so their numbers stand in the order of time, and an index in that order yields
    /// each once without sorting.
    fn of_changes(columns: &str, within: &str) -> Self {
        let sql = format!(
            "SELECT s FROM (SELECT DISTINCT deployed_at, {columns} AS s {CHANGED}{within}) AS arrived
             WHERE s IS NOT NULL"
        );
        Self { sql, column: "s" }
    }
}

/// The facts behind a measure. Each branch has facts of another kind, so none is in two of them.
fn behind(measure: Measure, scope: &Scope, period: Period) -> (Vec<Branch>, Vec<Value>) {
    let (from, to) = bounds(measure, period);
    let mut conditions = Where::new(scope, from, to);
    let within = conditions.scope();
    let branches = match measure {
        Measure::DeploymentFrequency => vec![Branch::new("finished_seq", &format!("{DELIVERED}{within}"))],
        Measure::LeadTime => vec![
            Branch::of_changes("deployed_seq", &within),
            Branch::of_changes("deployed_seq, release_seq", &within),
        ],
        Measure::ChangeFailureRate => ["finished_seq", "incident_seq"]
            .map(|column| Branch::distinct(column, &format!("{EXPOSED}{within}")))
            .into(),
        Measure::TimeToRestore => ["opened_seq", "resolved_seq"]
            .map(|column| Branch::distinct(column, &format!("{FAILED}{within}")))
            .into(),
        Measure::Reliability => vec![Branch::new(
            "seq",
            &format!(
                "FROM insight_traffic_fact WHERE tier = 'production' AND day >= $1 AND day < $2{within}"
            ),
        )],
        Measure::Mttx => ["opened_seq", "acknowledged_seq", "identified_seq", "resolved_seq"]
            .map(|column| Branch::distinct(column, &format!("{NOTICED}{within}")))
            .into(),
        Measure::Rci => {
            let (first, end) = (
                conditions.bind(period.first_day()),
                conditions.bind(period.end_day()),
            );
            vec![
                Branch::new(
                    "seq",
                    &format!("FROM insight_project WHERE created_at < $2{within}"),
                ),
                // The plus keeps SQLite to the index in the order of the numbers.
                Branch::distinct(
                    "seq",
                    &format!("FROM insight_contributor WHERE +first_at < $2{within}"),
                ),
                Branch::new("finished_seq", &format!("{DELIVERED}{within}")),
                Branch::new(
                    "seq",
                    &format!(
                        "FROM insight_traffic_fact WHERE tier = 'production' AND day >= ${first}
                         AND day < ${end}{within}"
                    ),
                ),
            ]
        }
    };
    (branches, conditions.values)
}

/// How many facts stand behind a measure.
pub(crate) async fn facts_count(
    db: &impl Query,
    measure: Measure,
    scope: &Scope,
    period: Period,
) -> Result<i64> {
    let (branches, values) = behind(measure, scope, period);
    let counts: Vec<String> = branches
        .iter()
        .map(|branch| format!("(SELECT COUNT(*) FROM ({}) AS facts)", branch.sql))
        .collect();
    db.count(&format!("SELECT {} AS n", counts.join(" + ")), values)
        .await
}

/// The numbers of the facts behind a measure, newest first. Each branch gives no more than are asked for, so
/// that only these are sorted together.
pub(crate) async fn facts(
    db: &impl Query,
    measure: Measure,
    scope: &Scope,
    period: Period,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<i64>> {
    let (branches, mut values) = behind(measure, scope, period);
    values.extend(args![before.unwrap_or(i64::MAX), limit]);
    let (before, limit) = (values.len() - 1, values.len());
    let newest: Vec<String> = branches
        .iter()
        .enumerate()
        .map(|(index, Branch { sql, column })| {
            format!(
                "SELECT s FROM ({sql} AND {column} < ${before} ORDER BY s DESC LIMIT ${limit}) AS branch{index}"
            )
        })
        .collect();
    let sql = format!(
        "SELECT s AS n FROM ({}) AS facts ORDER BY s DESC LIMIT ${limit}",
        newest.join(" UNION ALL ")
    );
    Ok(db
        .all::<Number>(&sql, values)
        .await?
        .into_iter()
        .map(|row| row.n)
        .collect())
}

pub(crate) async fn deployments(db: &impl Query, scope: &Scope, period: Period) -> Result<i64> {
    let conditions = Where::new(scope, period.from.micros(), period.to.micros());
    db.count(
        &format!("SELECT COUNT(*) AS n {DELIVERED}{}", conditions.scope()),
        conditions.values,
    )
    .await
}

pub(crate) async fn exposed(db: &impl Query, scope: &Scope, period: Period) -> Result<Exposed> {
    let conditions = Where::new(scope, period.from.micros(), period.to.micros());
    let sql = format!(
        "SELECT COUNT(*) AS exposed, CAST(COALESCE(SUM(CASE WHEN result IN ('rolled_back', 'failed')
             OR incident_seq IS NOT NULL THEN 1 ELSE 0 END), 0) AS BIGINT) AS failed {EXPOSED}{}",
        conditions.scope()
    );
    Ok(db.one(&sql, conditions.values).await?.unwrap_or(Exposed {
        exposed: 0,
        failed: 0,
    }))
}

/// How many changes reached production, and the given quantiles (by nearest rank; the median as the mean of the
/// middle two) of their lead times, in microseconds. The database sorts, so that no hundred thousand rows
/// travel for two numbers.
pub(crate) async fn lead_times(
    db: &impl Query,
    scope: &Scope,
    period: Period,
) -> Result<(i64, Option<f64>, Option<f64>)> {
    let count = {
        let conditions = Where::new(scope, period.from.micros(), period.to.micros());
        db.count(
            &format!("SELECT COUNT(*) AS n {CHANGED}{}", conditions.scope()),
            conditions.values,
        )
        .await?
    };
    if count == 0 {
        return Ok((0, None, None));
    }
    let index = super::rank(usize::try_from(count).unwrap_or(1), 0.9);
    let (middle, p90) = tokio::try_join!(
        at(db, scope, period, (count - 1) / 2, 1 + i64::from(count % 2 == 0)),
        at(db, scope, period, i64::try_from(index).unwrap_or(0), 1),
    )?;
    #[allow(clippy::cast_precision_loss, reason = "durations stay far below 2^52 µs")]
    let mean = |values: &[i64]| {
        (!values.is_empty()).then(|| values.iter().map(|v| *v as f64).sum::<f64>() / values.len() as f64)
    };
    Ok((count, mean(&middle), mean(&p90)))
}

async fn at(db: &impl Query, scope: &Scope, period: Period, offset: i64, limit: i64) -> Result<Vec<i64>> {
    let mut conditions = Where::new(scope, period.from.micros(), period.to.micros());
    let within = conditions.scope();
    let (limit, offset) = (conditions.bind(limit), conditions.bind(offset));
    let sql = format!("SELECT lead AS n {CHANGED}{within} ORDER BY lead LIMIT ${limit} OFFSET ${offset}");
    Ok(db
        .all::<Number>(&sql, conditions.values)
        .await?
        .into_iter()
        .map(|row| row.n)
        .collect())
}

/// Most incidents of one period.
const INCIDENTS: i64 = 20_000;

/// How long each failure caused by a change lasted, for those that are over, in microseconds.
pub(crate) async fn restore_times(db: &impl Query, scope: &Scope, period: Period) -> Result<Vec<i64>> {
    let mut conditions = Where::new(scope, period.from.micros(), period.to.micros());
    let within = conditions.scope();
    let limit = conditions.bind(INCIDENTS);
    let sql = format!(
        "SELECT restored_at - began_at AS n {FAILED}{within} AND restored_at IS NOT NULL LIMIT ${limit}"
    );
    Ok(db
        .all::<Number>(&sql, conditions.values)
        .await?
        .into_iter()
        .map(|row| row.n.max(0))
        .collect())
}

/// Incidents detected in a period, drills left out.
pub(crate) async fn incidents(db: &impl Query, scope: &Scope, period: Period) -> Result<Vec<IncidentRow>> {
    let mut conditions = Where::new(scope, period.from.micros(), period.to.micros());
    let within = conditions.scope();
    let limit = conditions.bind(INCIDENTS);
    // The failure before the period's first one may lie before the period.
    let sql = format!(
        "SELECT began_at, detected_at, acknowledged_at, identified_at, restored_at, since_last FROM (
             SELECT began_at, detected_at, acknowledged_at, identified_at, restored_at,
                 began_at - LAG(began_at) OVER (PARTITION BY project_id ORDER BY began_at) AS since_last
             FROM insight_incident WHERE NOT drill AND tier = 'production'{within}) AS failures
         WHERE detected_at >= $1 AND detected_at < $2 ORDER BY detected_at LIMIT ${limit}"
    );
    db.all(&sql, conditions.values).await
}

/// Production traffic of each environment in a period, with the strictest objective that stood in it.
pub(crate) async fn traffic(
    db: &impl Query,
    scope: &Scope,
    period: Period,
) -> Result<Vec<EnvironmentTraffic>> {
    let conditions = Where::new(scope, period.first_day(), period.end_day());
    let sql = format!(
        "SELECT CAST(SUM(total) AS BIGINT) AS total, CAST(SUM(good) AS BIGINT) AS good, MAX(objective) AS objective
         {SERVED}{} GROUP BY environment_id LIMIT 20000",
        conditions.scope()
    );
    db.all(&sql, conditions.values).await
}

/// When the oldest project of a scope was created, if before an instant.
pub(crate) async fn created(db: &impl Query, scope: &Scope, before: Timestamp) -> Result<Option<Timestamp>> {
    let conditions = Where::new(scope, 0, before.micros());
    let sql = format!(
        "SELECT MIN(created_at) AS a, COUNT(*) AS b FROM insight_project WHERE created_at >= $1 AND created_at < $2{}",
        conditions.scope()
    );
    Ok(db
        .one::<Two>(&sql, conditions.values)
        .await?
        .and_then(|row| row.a.filter(|_| row.b > Some(0)))
        .map(Timestamp::from_micros))
}

/// How many contributors' first commit lies before each of some instants, in the order of these.
pub(crate) async fn contributors(db: &impl Query, scope: &Scope, before: &[Timestamp]) -> Result<Vec<i64>> {
    let Some(last) = before.iter().max() else {
        return Ok(Vec::new());
    };
    let mut conditions = Where::new(scope, i64::MIN, last.micros());
    let within = conditions.scope();
    let passed: Vec<String> = before
        .iter()
        .map(|end| {
            format!(
                "CASE WHEN first >= ${} THEN 1 ELSE 0 END",
                conditions.bind(end.micros())
            )
        })
        .collect();
    // Each author once, and how many of the instants had passed by then. The plus keeps SQLite to the index in
    // the order of authors.
    let sql = format!(
        "SELECT CAST({} AS BIGINT) AS a, COUNT(*) AS b FROM (
             SELECT MIN(first_at) AS first FROM insight_contributor
             WHERE +first_at >= $1 AND +first_at < $2{within} GROUP BY author) AS authors
         GROUP BY 1 LIMIT 1000",
        passed.join(" + ")
    );
    let groups = db.all::<Two>(&sql, conditions.values).await?;
    Ok(before
        .iter()
        .map(|end| {
            let earlier = i64::try_from(before.iter().filter(|other| *other < end).count()).unwrap_or(0);
            let came = groups.iter().filter(|group| group.a.unwrap_or(0) <= earlier);
            came.filter_map(|group| group.b).sum()
        })
        .collect())
}

/// Per day: deployments that users met, and of these the failed.
pub(crate) async fn deployments_by_day(db: &impl Query, scope: &Scope, period: Period) -> Result<Vec<Point>> {
    let conditions = Where::new(scope, period.from.micros(), period.to.micros());
    let sql = format!(
        "SELECT finished_at / {day} AS day,
             CAST(SUM(CASE WHEN result = 'succeeded' THEN 1 ELSE 0 END) AS BIGINT) AS a,
             CAST(SUM(CASE WHEN result IN ('rolled_back', 'failed') OR incident_seq IS NOT NULL THEN 1 ELSE 0 END)
                 AS BIGINT) AS b
         FROM insight_deployment WHERE tier = 'production' AND cause <> 'rollback' AND finished_at >= $1
             AND finished_at < $2{within} GROUP BY finished_at / {day} ORDER BY finished_at / {day} LIMIT 2000",
        day = crate::projection::DAY,
        within = conditions.scope()
    );
    db.all(&sql, conditions.values).await
}

/// Per day: production requests, and of these the good.
pub(crate) async fn traffic_by_day(db: &impl Query, scope: &Scope, period: Period) -> Result<Vec<Point>> {
    let conditions = Where::new(scope, period.first_day(), period.end_day());
    let sql = format!(
        "SELECT day, CAST(SUM(total) AS BIGINT) AS a, CAST(SUM(good) AS BIGINT) AS b {SERVED}{}
         GROUP BY day ORDER BY day LIMIT 2000",
        conditions.scope()
    );
    db.all(&sql, conditions.values).await
}

/// Per day: changes that reached production, and their mean lead time in microseconds.
pub(crate) async fn lead_by_day(db: &impl Query, scope: &Scope, period: Period) -> Result<Vec<Point>> {
    let conditions = Where::new(scope, period.from.micros(), period.to.micros());
    let sql = format!(
        "SELECT deployed_at / {day} AS day, COUNT(*) AS a, CAST(AVG(lead) AS BIGINT) AS b {CHANGED}{within}
         GROUP BY deployed_at / {day} ORDER BY deployed_at / {day} LIMIT 2000",
        day = crate::projection::DAY,
        within = conditions.scope()
    );
    db.all(&sql, conditions.values).await
}

row! { struct Path { project_id: ProjectId, path: String } }

/// Paths of projects.
pub(crate) async fn paths(db: &impl Query, ids: &[ProjectId]) -> Result<Vec<(ProjectId, String)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, ids.get(..1000).unwrap_or(ids));
    let sql = format!("SELECT project_id, path FROM insight_project WHERE project_id IN ({places})");
    Ok(db
        .all::<Path>(&sql, values)
        .await?
        .into_iter()
        .map(|row| (row.project_id, row.path))
        .collect())
}

/// The project at a path, the newest if there were several.
pub(crate) async fn project_at(db: &impl Query, path: &str) -> Result<Option<ProjectId>> {
    let sql = "SELECT project_id, path FROM insight_project WHERE path = $1 ORDER BY seq DESC LIMIT 1";
    Ok(db.one::<Path>(sql, args![path]).await?.map(|row| row.project_id))
}
