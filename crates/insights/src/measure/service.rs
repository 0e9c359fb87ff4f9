//! Putting the measures together.

use super::{
    EDITION, MONTH_DAYS, Period, failure_class, frequency_class, lead_time_class, rci, restore_class, spread,
    store::{self, IncidentRow, Measure},
    trend,
};
use crate::{Insights, Scope};
use bascule_core::{ProjectScope, Result, Timestamp};
use bascule_store::Result as StoreResult;
use bascule_web::url_encode;
use bascule_wire::insights::{
    ChangeFailureRate, DeploymentFrequency, Dora, FactsBehind, Insights as Dto, LeadTime, MttxMonth, Rci,
    Reliability, TimeToRestore,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Numbers of facts that an answer carries itself; the rest is behind the link.
const SEQS: i64 = 100;
/// Quarters of the RCI shown.
const QUARTERS: usize = 3;
/// Answers kept.
const KEPT: usize = 64;
/// How long an answer holds while no fact comes: days pass also without facts.
const HOLDS: Duration = Duration::from_secs(60);

type Key = (Scope, Period, Option<String>);

/// Answers that still hold: while no new fact was applied, the same question has the same answer.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, Kept>>);

/// The cursor and the time at which an answer was computed, and the answer.
type Kept = (i64, Timestamp, Arc<Dto>);

impl Cache {
    fn get(&self, key: &Key, cursor: i64, now: Timestamp) -> Option<Arc<Dto>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, when, answer) = kept.get(key)?;
        (*at == cursor && now.since(*when) < HOLDS).then(|| answer.clone())
    }

    /// Forgets all answers.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn put(&self, key: Key, cursor: i64, now: Timestamp, answer: Arc<Dto>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.retain(|_, (at, ..)| *at == cursor);
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, (cursor, now, answer));
    }
}

/// A question: about what, when, and where its links lead.
struct Ask<'a> {
    insights: &'a Insights,
    scope: &'a Scope,
    period: Period,
    now: Timestamp,
    base: String,
}

impl Insights {
    /// All measures of one project.
    ///
    /// # Errors
    /// The database refused.
    pub async fn of_project(&self, project: &ProjectScope, period: Period) -> Result<Arc<Dto>> {
        let scope = Scope::Projects(vec![project.id]);
        self.measures(scope, period, Some(project.path())).await
    }

    /// All measures of a scope.
    ///
    /// # Errors
    /// The database refused.
    pub async fn measures(&self, scope: Scope, period: Period, project: Option<String>) -> Result<Arc<Dto>> {
        self.catch_up().await?;
        let (cursor, now) = (self.cursor().await?, self.clock.now());
        let key = (scope, period, project);
        if let Some(answer) = self.cache.get(&key, cursor, now) {
            return Ok(answer);
        }
        let base = match &key.2 {
            Some(path) => format!("/{path}/-/insights/facts"),
            None => "/insights/facts".to_owned(),
        };
        let ask = Ask {
            insights: self,
            scope: &key.0,
            period,
            now,
            base,
        };
        // Side by side: readers do not wait for each other.
        let (dora, mttx, rci) = tokio::try_join!(ask.dora(), ask.mttx(), ask.rci())?;
        let answer = Arc::new(Dto {
            project: key.2.clone(),
            from: period.from,
            to: period.to,
            dora,
            mttx,
            rci,
        });
        self.cache.put(key, cursor, now, answer.clone());
        Ok(answer)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and durations stay far below 2^52"
)]
impl Ask<'_> {
    async fn facts(&self, measure: Measure, period: Period) -> StoreResult<FactsBehind> {
        let db = &self.insights.db;
        let seqs = store::facts(db, measure, self.scope, period, None, SEQS).await?;
        let count = match i64::try_from(seqs.len()).unwrap_or(SEQS) {
            few if few < SEQS => few,
            _ => store::facts_count(db, measure, self.scope, period).await?,
        };
        let href = format!(
            "{}?measure={}&from={}&to={}",
            self.base,
            measure.name(),
            url_encode(&period.from.to_string()),
            url_encode(&period.to.to_string())
        );
        Ok(FactsBehind { count, seqs, href })
    }

    async fn dora(&self) -> StoreResult<Dora> {
        let (db, scope, period) = (&self.insights.db, self.scope, self.period);
        let deployments = store::deployments(db, scope, period).await?;
        let days = self.observed_days().await?;
        let per_day = deployments as f64 / days;
        let ((changes, median, p90), lead_facts, reliability) = tokio::try_join!(
            store::lead_times(db, scope, period),
            self.facts(Measure::LeadTime, period),
            self.reliability(),
        )?;
        let lead = |micros: Option<f64>| micros.map(|micros| micros / 1e6);
        let exposed = store::exposed(db, scope, period).await?;
        let share = (exposed.exposed > 0).then(|| exposed.failed as f64 / exposed.exposed as f64);
        let restored: Vec<f64> = store::restore_times(db, scope, period)
            .await?
            .into_iter()
            .map(|micros| micros as f64 / 1e6)
            .collect();
        let restored = spread(restored);
        Ok(Dora {
            edition: EDITION.to_owned(),
            deployment_frequency: DeploymentFrequency {
                deployments,
                per_day,
                per_month: per_day * MONTH_DAYS,
                class: (deployments > 0).then(|| frequency_class(per_day * MONTH_DAYS).label().to_owned()),
                facts: self.facts(Measure::DeploymentFrequency, period).await?,
            },
            lead_time: LeadTime {
                changes,
                median_seconds: lead(median),
                p90_seconds: lead(p90),
                class: lead(median).map(|seconds| lead_time_class(seconds).label().to_owned()),
                facts: lead_facts,
            },
            change_failure_rate: ChangeFailureRate {
                exposed: exposed.exposed,
                failed: exposed.failed,
                share,
                class: share.map(|share| failure_class(share).label().to_owned()),
                facts: self.facts(Measure::ChangeFailureRate, period).await?,
            },
            time_to_restore: TimeToRestore {
                failures: restored.count,
                median_seconds: restored.median_seconds,
                mean_seconds: restored.mean_seconds,
                class: restored
                    .median_seconds
                    .map(|seconds| restore_class(seconds).label().to_owned()),
                facts: self.facts(Measure::TimeToRestore, period).await?,
            },
            reliability,
        })
    }

    /// The days in which something could be deployed: not before the scope's first project, not after now, and
    /// at least one.
    async fn observed_days(&self) -> StoreResult<f64> {
        let created = store::created(&self.insights.db, self.scope, self.period.to).await?;
        let from = created.map_or(self.period.from, |created| created.max(self.period.from));
        let to = self.period.to.min(self.now);
        Ok((to.since(from).as_secs_f64() / 86_400.0).max(1.0))
    }

    async fn reliability(&self) -> StoreResult<Reliability> {
        let served = store::traffic(&self.insights.db, self.scope, self.period).await?;
        let (requests, good) = served
            .iter()
            .fold((0, 0), |sum, row| (sum.0 + row.total, sum.1 + row.good));
        let promised: Vec<_> = served
            .iter()
            .filter_map(|row| row.objective.map(|objective| (row, objective)))
            .collect();
        let met = promised
            .iter()
            .filter(|(row, objective)| {
                row.total == 0 || 100.0 * row.good as f64 / row.total as f64 >= *objective
            })
            .count();
        let strictest = promised
            .iter()
            .map(|(_, objective)| *objective / 100.0)
            .max_by(f64::total_cmp);
        Ok(Reliability {
            requests,
            good,
            availability: (requests > 0).then(|| good as f64 / requests as f64),
            objective: strictest,
            environments: i64::try_from(promised.len()).unwrap_or(i64::MAX),
            met: i64::try_from(met).unwrap_or(i64::MAX),
            facts: self.facts(Measure::Reliability, self.period).await?,
        })
    }

    async fn mttx(&self) -> StoreResult<Vec<MttxMonth>> {
        let months = self.period.months();
        let (Some(newest), Some(oldest)) = (months.first(), months.last()) else {
            return Ok(Vec::new());
        };
        let whole = Period {
            from: oldest.1.from,
            to: newest.1.to,
        };
        let rows = store::incidents(&self.insights.db, self.scope, whole).await?;
        let mut all = Vec::new();
        for (name, span) in months {
            let detected: Vec<&IncidentRow> = rows
                .iter()
                .filter(|row| row.detected_at >= span.from && row.detected_at < span.to)
                .collect();
            if detected.is_empty() {
                continue;
            }
            let each = |seconds: fn(&IncidentRow) -> Option<f64>| {
                spread(detected.iter().filter_map(|row| seconds(row)).collect())
            };
            all.push(MttxMonth {
                month: name,
                detect: each(|row| Some(gap(row.began_at, row.detected_at))),
                acknowledge: each(|row| row.acknowledged_at.map(|at| gap(row.detected_at, at))),
                identify: each(|row| Some(gap(row.acknowledged_at?, row.identified_at?))),
                repair: each(|row| row.restored_at.map(|at| gap(repair_began(row, at), at))),
                between: each(|row| row.since_last.map(|micros| micros.max(0) as f64 / 1e6)),
                facts: self.facts(Measure::Mttx, span).await?,
            });
        }
        Ok(all)
    }

    async fn rci(&self) -> StoreResult<Vec<Rci>> {
        let db = &self.insights.db;
        let mut all: Vec<Rci> = Vec::new();
        // One more than is shown, for the trend of the last.
        let quarters = self.period.quarters(QUARTERS + 1);
        let ends: Vec<Timestamp> = quarters.iter().map(|(_, span)| span.to.min(self.now)).collect();
        let contributors = store::contributors(db, self.scope, &ends).await?;
        for (((quarter, span), end), contributors) in quarters.into_iter().zip(ends).zip(contributors) {
            let created = store::created(db, self.scope, end).await?;
            let days = created.map_or(0, |created| end.since(created).as_secs() / 86_400);
            let days = i64::try_from(days).unwrap_or(0);
            let deployments = store::deployments(db, self.scope, span).await?;
            let served = store::traffic(db, self.scope, span).await?;
            let (total, good) = served
                .iter()
                .fold((0, 0), |sum, row| (sum.0 + row.total, sum.1 + row.good));
            let availability = (total > 0).then(|| good as f64 / total as f64);
            let value = availability.map(|availability| rci(days, contributors, deployments, availability));
            if let Some(later) = all.last_mut() {
                later.trend = later
                    .value
                    .zip(value)
                    .and_then(|(later, earlier)| trend(earlier, later));
            }
            let shown = all.len() < QUARTERS;
            let facts = if shown {
                self.facts(Measure::Rci, span).await?
            } else {
                FactsBehind::default()
            };
            all.push(Rci {
                quarter,
                days,
                contributors,
                deployments,
                availability,
                value,
                trend: None,
                facts,
            });
        }
        all.truncate(QUARTERS);
        Ok(all)
    }
}

/// Repair begins when someone takes the incident; what the platform mended before anyone could began to be
/// mended when it was noticed.
fn repair_began(row: &IncidentRow, restored: Timestamp) -> Timestamp {
    row.acknowledged_at
        .filter(|at| *at <= restored)
        .unwrap_or(row.detected_at)
}

fn gap(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_secs_f64()
}
