//! Telling the ledger what was served. Each bucket remembers how much of it was told, so that every request
//! is told exactly once, also those whose counts came late.

use crate::{Telemetry, signals::FINE};
use bascule_core::{Actor, EnvironmentId, Result, Timestamp};
use bascule_ledger::facts::telemetry::TrafficSummarised;
use bascule_store::{Query as _, args, row};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

row! {
    struct Untold {
        environment_id: EnvironmentId,
        from_at: Timestamp,
        last_at: Timestamp,
        requests: i64,
        errors: i64,
    }
}
row! { struct Waiting { environment_id: EnvironmentId } }

/// A day in microseconds: no summary spans midnight (UTC), so that measures by day add up.
const DAY_MICROS: i64 = 86_400_000_000;

impl Telemetry {
    /// Tells the ledger of all traffic not told yet; returns how many facts were appended. To be called
    /// before measures are shown and before the platform stops.
    ///
    /// # Errors
    /// The database or delivery refused; what was not told yet will be told the next time.
    pub async fn flush_summaries(&self) -> Result<u64> {
        let sql = "SELECT DISTINCT environment_id FROM telemetry_bucket WHERE step = 10 AND told_requests < requests";
        let waiting: Vec<Waiting> = self.db.all(sql, args![]).await?;
        let mut told = 0;
        for Waiting { environment_id } in waiting {
            told += self.flush_one(environment_id).await?;
        }
        Ok(told)
    }

    async fn flush_one(&self, id: EnvironmentId) -> Result<u64> {
        // Asked before the transaction: a port may use the database itself.
        let environment = self.objectives.for_environment(id).await?;
        let tx = self.db.begin().await?;
        crate::signals::store::lock(&tx).await?;
        let sql = format!(
            "SELECT environment_id, MIN(at) AS from_at, MAX(at) AS last_at,
                    CAST(SUM(requests - told_requests) AS BIGINT) AS requests,
                    CAST(SUM(errors - told_errors) AS BIGINT) AS errors
             FROM telemetry_bucket WHERE environment_id = $1 AND step = 10 AND told_requests < requests
             GROUP BY environment_id, at / {DAY_MICROS} ORDER BY from_at"
        );
        let days: Vec<Untold> = tx.all(&sql, args![id]).await?;
        let mut told = 0;
        for day in days {
            let Some(environment) = &environment else {
                tracing::warn!(environment = %id, requests = day.requests, "traffic of an unknown environment");
                continue;
            };
            let total = u64::try_from(day.requests).unwrap_or(0);
            let fact = TrafficSummarised {
                project: environment.project,
                environment: id,
                environment_name: environment.name.clone(),
                tier: environment.tier.clone(),
                from: day.from_at,
                to: day
                    .last_at
                    .plus(Duration::from_secs(u64::try_from(FINE).unwrap_or(10))),
                total,
                good: total.saturating_sub(u64::try_from(day.errors).unwrap_or(0)),
                objective: environment.objective.map(|objective| objective.availability),
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
            told += 1;
        }
        tx.run(
            "UPDATE telemetry_bucket SET told_requests = requests, told_errors = errors
             WHERE environment_id = $1 AND step = 10 AND told_requests < requests",
            args![id],
        )
        .await?;
        tx.commit().await?;
        Ok(told)
    }

    /// Tells the ledger now and then, and once more at `stop`.
    pub async fn run_summaries(self, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(self.config.summary_every) => false,
            };
            if let Err(problem) = self.flush_summaries().await {
                tracing::error!(%problem, "traffic is not told to the ledger yet");
            }
            if stopped {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use bascule_ledger::{Filter, Page};

    async fn told(world: &World) -> Vec<(u64, u64)> {
        let filter = Filter {
            kinds: vec!["traffic.summarised".to_owned()],
            ..Filter::default()
        };
        let entries = world
            .ledger
            .read(&filter, Page::After { after: 0, limit: 100 })
            .await
            .unwrap();
        entries
            .iter()
            .map(|entry| {
                let fact: TrafficSummarised = entry.fact().unwrap();
                assert!(fact.from < fact.to && fact.objective == Some(99.9));
                (fact.total, fact.good)
            })
            .collect()
    }

    #[tokio::test]
    async fn each_request_is_told_exactly_once_also_late_ones() {
        let world = World::new().await;
        world
            .telemetry
            .record(&[world.slice(0, 10, 1), world.slice(5, 10, 0)])
            .await
            .unwrap();
        assert_eq!(world.telemetry.flush_summaries().await.unwrap(), 1);
        assert_eq!(world.telemetry.flush_summaries().await.unwrap(), 0);
        world.telemetry.record(&[world.slice(1, 7, 2)]).await.unwrap();
        world.telemetry.flush_summaries().await.unwrap();
        assert_eq!(told(&world).await, [(20, 19), (7, 5)]);
    }

    #[tokio::test]
    async fn no_summary_spans_midnight() {
        let world = World::new().await;
        // The world's clock starts at 22:13:20 UTC.
        world.clock.advance(Duration::from_secs(6_399));
        world.serve(3, 0).await;
        for _ in 0..10 {
            world.serve(4, 0).await;
        }
        world.telemetry.flush_summaries().await.unwrap();
        let told = told(&world).await;
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told.iter().map(|t| t.0).sum::<u64>(), 43);
    }
}
