//! Watching budgets burn, and telling of it.

use super::{AVAILABILITY, Advice, BurnRule, Window, advise, began, budget, burn_rate, fires, rules, store};
use crate::{
    Telemetry,
    ports::{Environment, Objective},
    signals::{FINE, HOUR, floor},
};
use bascule_core::{Actor, EnvironmentId, ProjectId, Result, Timestamp};
use bascule_ledger::facts::telemetry::{AlertClosed, AlertOpened};
use bascule_store::Result as StoreResult;
use bascule_wire::telemetry::{Alert, BurnWindow, SloStatus};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The evaluator rests at least this long.
const REST: Duration = Duration::from_secs(1);
/// With unscaled windows, looking more often than this shows nothing new.
const REST_AT_MOST: Duration = Duration::from_secs(10);
/// A pause in the failing that is still one failing, unscaled.
const GAP: Duration = Duration::from_secs(600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

impl From<store::AlertRow> for Alert {
    fn from(row: store::AlertRow) -> Self {
        Self {
            key: row.key,
            environment: row.environment_id,
            slo: row.slo,
            burn_rate: row.burn_rate,
            version: row.version,
            began_at: row.began_at,
            opened_at: row.opened_at,
            closed_at: row.closed_at,
        }
    }
}

/// What the finest buckets say about an objective now.
struct Reading {
    burn: Vec<BurnWindow>,
    /// The rule that fires, if one.
    firing: Option<BurnRule>,
    buckets: Vec<(Timestamp, Window)>,
}

impl Telemetry {
    /// How an environment's objective stands; `None` where none is set.
    ///
    /// # Errors
    /// The database refused.
    pub async fn slo_status(&self, environment: &Environment) -> StoreResult<Option<SloStatus>> {
        let Some(objective) = environment.objective else {
            return Ok(None);
        };
        let now = self.clock.now();
        let window = Duration::from_secs(objective.window_seconds);
        let to = floor(now, HOUR).plus(Duration::from_secs(3600));
        let counted = store::hours(&self.db, environment.id, to.minus(window), to).await?;
        let reading = self.read_burn(environment.id, objective, now).await?;
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let availability = (counted.requests > 0).then(|| {
            100.0 * (counted.requests - counted.errors.min(counted.requests)) as f64 / counted.requests as f64
        });
        Ok(Some(SloStatus {
            slo: AVAILABILITY.to_owned(),
            objective: objective.availability,
            window_seconds: objective.window_seconds,
            requests: counted.requests,
            errors: counted.errors,
            availability,
            budget: budget(objective.availability, window, counted.requests, counted.errors),
            burn: reading.burn,
            alert: store::open(&self.db, environment.id, AVAILABILITY)
                .await?
                .map(Alert::from),
        }))
    }

    /// A project's newest alerts.
    ///
    /// # Errors
    /// The database refused.
    pub async fn alerts(&self, project: ProjectId, limit: i64) -> StoreResult<Vec<Alert>> {
        Ok(store::newest(&self.db, project, limit)
            .await?
            .into_iter()
            .map(Alert::from)
            .collect())
    }

    /// What the last three weeks advise about risk.
    ///
    /// # Errors
    /// The database refused.
    pub async fn advice(&self, environment: &Environment) -> StoreResult<Advice> {
        let Some(objective) = environment.objective else {
            return Ok(Advice::Keep);
        };
        let end = floor(self.clock.now(), HOUR);
        let mut used = Vec::new();
        for week in 0..3 {
            let to = end.minus(WEEK * week);
            let counted = store::hours(&self.db, environment.id, to.minus(WEEK), to).await?;
            if counted.requests > 0 {
                used.push(burn_rate(objective.availability, counted));
            }
        }
        Ok(advise(&used))
    }

    async fn read_burn(
        &self,
        environment: EnvironmentId,
        objective: Objective,
        now: Timestamp,
    ) -> StoreResult<Reading> {
        let rules = rules(self.config.alert_time_scale);
        let longest = rules.iter().map(|rule| rule.long).max().unwrap_or_default();
        let buckets = store::fine(&self.db, environment, floor(now.minus(longest), FINE)).await?;
        let sum = |length: Duration| {
            let since = floor(now.minus(length), FINE);
            buckets
                .iter()
                .filter(|(at, _)| *at >= since)
                .fold(Window::default(), |sum, (_, window)| Window {
                    requests: sum.requests + window.requests,
                    errors: sum.errors + window.errors,
                })
        };
        let mut burn = Vec::new();
        let mut firing = None;
        for rule in rules {
            let (long, short) = (sum(rule.long), sum(rule.short));
            let fires = fires(rule, objective.availability, long, short, &self.config);
            if fires && firing.is_none() {
                firing = Some(rule);
            }
            burn.push(BurnWindow {
                threshold: rule.threshold,
                long_seconds: rule.long.as_secs(),
                long_rate: burn_rate(objective.availability, long),
                short_seconds: rule.short.as_secs(),
                short_rate: burn_rate(objective.availability, short),
                firing: fires,
            });
        }
        Ok(Reading {
            burn,
            firing,
            buckets,
        })
    }

    /// Looks at every environment that answers requests or has an open alert; opens and closes alerts.
    ///
    /// # Errors
    /// The database or delivery refused. One environment's failure does not keep the others from being
    /// looked at; the first failure is returned.
    pub async fn evaluate(&self) -> Result<()> {
        let longest = rules(self.config.alert_time_scale)
            .iter()
            .map(|rule| rule.long)
            .max()
            .unwrap_or_default();
        let since = floor(self.clock.now().minus(longest), FINE);
        let mut failure = None;
        for environment in store::touched(&self.db, since).await? {
            if let Err(problem) = self.evaluate_one(environment).await {
                failure.get_or_insert(problem);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn evaluate_one(&self, id: EnvironmentId) -> Result<()> {
        let now = self.clock.now();
        let open = store::open(&self.db, id, AVAILABILITY).await?;
        let environment = self.objectives.for_environment(id).await?;
        let Some((environment, objective)) = environment.and_then(|e| e.objective.map(|o| (e, o))) else {
            return match open {
                // The promise or the environment is gone: nothing can burn.
                Some(alert) => self.close(&alert, String::new(), now).await,
                None => Ok(()),
            };
        };
        let reading = self.read_burn(id, objective, now).await?;
        match (reading.firing, open) {
            (Some(rule), None) => self.open(&environment, objective, rule, &reading, now).await,
            (Some(_), Some(alert)) => {
                let tx = self.db.begin().await?;
                store::fired(&tx, &alert.key, now).await?;
                Ok(tx.commit().await?)
            }
            // It stays open for a short window after it last fired, so that it does not flap.
            (None, Some(alert)) => {
                let quiet = rules(self.config.alert_time_scale)[0].short;
                if now.since(alert.fired_at) >= quiet {
                    self.close(&alert, environment.name, now).await
                } else {
                    Ok(())
                }
            }
            (None, None) => Ok(()),
        }
    }

    async fn open(
        &self,
        environment: &Environment,
        objective: Objective,
        rule: BurnRule,
        reading: &Reading,
        now: Timestamp,
    ) -> Result<()> {
        let gap = GAP
            .mul_f64(self.config.alert_time_scale.clamp(0.0, 100.0))
            .max(Duration::from_secs(30));
        let began_at = began(&reading.buckets, objective.availability, gap).unwrap_or(now);
        let version = store::worst(&self.db, environment.id, began_at).await?;
        let burn_rate = reading
            .burn
            .iter()
            .filter(|window| (window.threshold - rule.threshold).abs() < f64::EPSILON)
            .fold(0.0, |most: f64, window| most.max(window.long_rate));
        let tx = self.db.begin().await?;
        let alert = store::AlertRow {
            key: format!("alert-{}", tx.next_number("alert").await?),
            environment_id: environment.id,
            project_id: environment.project,
            slo: AVAILABILITY.to_owned(),
            burn_rate,
            version: version.clone(),
            began_at,
            opened_at: now,
            fired_at: now,
            closed_at: None,
        };
        if store::insert(&tx, &alert).await? {
            let fact = AlertOpened {
                project: environment.project,
                environment: environment.id,
                environment_name: environment.name.clone(),
                alert: alert.key,
                slo: alert.slo,
                burn_rate,
                began_at,
                at: now,
                version,
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn close(&self, alert: &store::AlertRow, environment_name: String, now: Timestamp) -> Result<()> {
        let tx = self.db.begin().await?;
        if store::close(&tx, &alert.key, now).await? {
            let fact = AlertClosed {
                project: alert.project_id,
                environment: alert.environment_id,
                environment_name,
                alert: alert.key.clone(),
                slo: alert.slo.clone(),
                at: now,
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Evaluates whenever counts arrived, and while an alert may have to be closed, until `stop`.
    pub async fn run_evaluator(self, stop: CancellationToken) {
        let short = rules(self.config.alert_time_scale)[0].short;
        let rest = (short / 30).clamp(REST, REST_AT_MOST);
        loop {
            if let Err(problem) = self.evaluate().await {
                tracing::error!(%problem, "alerts could not be evaluated");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.news.notified() => {}
                // Silence, too, changes windows.
                () = tokio::time::sleep(rest * 5) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use bascule_ledger::{Filter, Page};

    async fn facts(world: &World, kind: &str) -> Vec<bascule_ledger::Entry> {
        let filter = Filter {
            kinds: vec![kind.to_owned()],
            ..Filter::default()
        };
        world
            .ledger
            .read(&filter, Page::After { after: 0, limit: 100 })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_fast_burn_opens_one_alert_and_silence_closes_it() {
        let world = World::demo().await;
        let start = world.clock_now();
        for second in 0..30 {
            world.serve(100, if second >= 10 { 8 } else { 0 }).await;
        }
        world.telemetry.evaluate().await.unwrap();
        world.telemetry.evaluate().await.unwrap();
        let opened = facts(&world, "alert.opened").await;
        assert_eq!(opened.len(), 1, "one open alert per objective");
        let fact: AlertOpened = opened[0].fact().unwrap();
        assert_eq!(fact.began_at, floor(start.plus(Duration::from_secs(10)), FINE));
        assert_eq!(fact.version.as_deref(), Some("1.0.0"));
        assert!(
            opened[0].summary.contains("times too fast in production"),
            "{}",
            opened[0].summary
        );

        for _ in 0..60 {
            world.serve(100, 0).await;
        }
        world.telemetry.evaluate().await.unwrap();
        assert_eq!(facts(&world, "alert.closed").await.len(), 1);
        assert!(
            world.telemetry.alerts(world.project, 9).await.unwrap()[0]
                .closed_at
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_few_failed_requests_open_nothing() {
        let world = World::demo().await;
        world.serve(2, 1).await;
        world.serve(20, 4).await;
        world.telemetry.evaluate().await.unwrap();
        assert!(facts(&world, "alert.opened").await.is_empty());
    }

    #[tokio::test]
    async fn the_status_shows_budget_and_burn() {
        let world = World::demo().await;
        for _ in 0..10 {
            world.serve(100, 1).await;
        }
        let status = world
            .telemetry
            .slo_status(&world.environment())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((status.requests, status.errors), (1000, 10));
        assert!((status.availability.unwrap() - 99.0).abs() < 1e-9);
        assert!(
            (status.budget.left_share + 9.0).abs() < 1e-6,
            "ten times the budget is gone: {:?}",
            status.budget
        );
        assert_eq!(status.burn.len(), 2);
    }
}
