//! Taking counts in, reading signals out, and letting old ones go.

use super::{Counts, FINE, HOUR, MINUTE, Range, floor, fold, store};
use crate::{Telemetry, ports::Environment};
use bascule_core::{EnvironmentId, ProjectId, Result, Timestamp};
use bascule_store::Result as StoreResult;
use bascule_wire::{
    edge::Slice,
    telemetry::{EnvironmentSignals, SignalPoint, Signals, VersionSignals},
};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Counts older than this are refused, because whether they were counted before is remembered no longer. An
/// edge keeps ten minutes while the server is away.
const OLDEST: Duration = Duration::from_secs(3600);
/// An edge's clock may be ahead by this much.
const AHEAD: Duration = Duration::from_secs(300);
/// How long seconds are remembered: longer than they are accepted.
const REMEMBERED: Duration = Duration::from_secs(2 * 3600);
/// How often old buckets are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

impl Telemetry {
    /// Takes what the edge counted. Comes to the same when a batch is given twice: each instance counts in
    /// each second once.
    ///
    /// # Errors
    /// The database refused; nothing of the batch was counted.
    pub async fn record(&self, slices: &[Slice]) -> Result<()> {
        self.record_from("edge", slices).await
    }

    /// Takes what one of several edges counted; each has its own word on the same instance and second.
    ///
    /// # Errors
    /// As [`Telemetry::record`].
    pub async fn record_from(&self, edge: &str, slices: &[Slice]) -> Result<()> {
        let now = self.clock.now();
        let timely: Vec<&Slice> = slices
            .iter()
            .filter(|s| s.at >= now.minus(OLDEST) && s.at <= now.plus(AHEAD))
            .collect();
        if timely.len() < slices.len() {
            tracing::warn!(
                edge,
                dropped = slices.len() - timely.len(),
                "counts of too long ago, or of the future"
            );
        }
        if timely.is_empty() {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        store::lock(&tx).await?;
        let mut fresh = store::claim(&tx, edge, &timely).await?;
        // `remove`, because one batch may hold a second twice, too.
        let new: Vec<&Slice> = timely
            .into_iter()
            .filter(|s| fresh.remove(&(s.instance, s.at)))
            .collect();
        for (key, counts) in fold(new) {
            store::add(&tx, &key, &counts).await?;
        }
        let news = self.news.clone();
        tx.after_commit(move || news.notify_one());
        Ok(tx.commit().await?)
    }

    /// The span that a range covers now: whole buckets, the present one included.
    #[must_use]
    pub fn span(&self, range: Range) -> (Timestamp, Timestamp) {
        let to = floor(self.clock.now(), range.step).plus(seconds(range.step));
        (to.minus(range.length), to)
    }

    /// A project's environments, production first: what people look at when something is wrong.
    ///
    /// # Errors
    /// Delivery refused.
    pub(crate) async fn environments(&self, project: ProjectId) -> Result<Vec<Environment>> {
        let mut all = self.objectives.environments(project).await?;
        all.sort_by_key(|environment| environment.tier != "production");
        Ok(all)
    }

    /// The golden signals of a project's environments.
    ///
    /// # Errors
    /// The database or delivery refused.
    pub async fn signals(&self, project: ProjectId, range: Range) -> Result<Vec<EnvironmentSignals>> {
        let mut all = Vec::new();
        for environment in self.environments(project).await? {
            all.push(self.environment_signals(&environment, range).await?);
        }
        Ok(all)
    }

    /// The golden signals of one environment.
    ///
    /// # Errors
    /// The database refused.
    pub async fn environment_signals(
        &self,
        environment: &Environment,
        range: Range,
    ) -> Result<EnvironmentSignals> {
        let (from, to) = self.span(range);
        let (total, versions) = self.read(environment.id, range.step, from, to).await?;
        Ok(EnvironmentSignals {
            environment: environment.id,
            name: environment.name.clone(),
            tier: environment.tier.clone(),
            total,
            versions,
            slo: self.slo_status(environment).await?,
        })
    }

    async fn read(
        &self,
        environment: EnvironmentId,
        step: i64,
        from: Timestamp,
        to: Timestamp,
    ) -> StoreResult<(Signals, Vec<VersionSignals>)> {
        let buckets = store::series(&self.db, environment, step, from, to).await?;
        let span = to.since(from).as_secs_f64();
        let mut total: Option<Counts> = None;
        let mut versions: BTreeMap<_, (Counts, Vec<SignalPoint>)> = BTreeMap::new();
        for bucket in buckets {
            let point = SignalPoint {
                at: bucket.at,
                signals: bucket.counts.signals(seconds(step).as_secs_f64()),
            };
            match &mut total {
                Some(sum) => sum.add(&bucket.counts),
                None => total = Some(bucket.counts.clone()),
            }
            match versions.get_mut(&bucket.deployment) {
                Some((sum, points)) => {
                    sum.add(&bucket.counts);
                    points.push(point);
                }
                None => drop(versions.insert(bucket.deployment, (bucket.counts, vec![point]))),
            }
        }
        // Deployment ids sort by creation: the newest version comes last.
        let versions = versions
            .into_iter()
            .map(|(deployment, (sum, points))| VersionSignals {
                deployment,
                version: sum.version.clone(),
                signals: sum.signals(span),
                points,
            })
            .collect();
        Ok((total.map(|sum| sum.signals(span)).unwrap_or_default(), versions))
    }

    /// Removes old buckets now; returns how many rows went.
    ///
    /// # Errors
    /// The database refused.
    pub async fn prune(&self) -> Result<u64> {
        let now = self.clock.now();
        let mut gone = 0;
        let kept = [
            (FINE, self.config.keep_fine),
            (MINUTE, self.config.keep_minutes),
            (HOUR, self.config.keep_hours),
        ];
        for (step, keep) in kept {
            loop {
                let tx = self.db.begin().await?;
                let portion = store::prune(&tx, step, now.minus(keep)).await?;
                tx.commit().await?;
                gone += portion;
                if portion == 0 {
                    break;
                }
            }
        }
        let tx = self.db.begin().await?;
        store::forget(&tx, now.minus(REMEMBERED)).await?;
        tx.commit().await?;
        Ok(gone)
    }

    /// Lets old buckets go, until `stop`.
    pub async fn run_retention(self, stop: CancellationToken) {
        loop {
            if let Err(problem) = self.prune().await {
                tracing::error!(%problem, "old telemetry stays for now");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PRUNE_EVERY) => {}
            }
        }
    }
}

fn seconds(step: i64) -> Duration {
    Duration::from_secs(u64::try_from(step).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{signals::range, testing::World};

    #[tokio::test]
    async fn a_batch_sent_twice_counts_once() {
        let world = World::new().await;
        let batch = vec![world.slice(0, 10, 1), world.slice(1, 10, 0)];
        world.telemetry.record(&batch).await.unwrap();
        world.telemetry.record(&batch).await.unwrap();
        let more = vec![batch[1].clone(), world.slice(2, 5, 0), world.slice(2, 5, 0)];
        world.telemetry.record(&more).await.unwrap();
        let signals = world
            .telemetry
            .signals(world.project, range("15m"))
            .await
            .unwrap();
        assert_eq!((signals[0].total.requests, signals[0].total.errors), (25, 1));
        assert_eq!(signals[0].versions[0].version, "1.0.0");
        for name in ["1h", "6h", "24h", "28d"] {
            let signals = world.telemetry.signals(world.project, range(name)).await.unwrap();
            assert_eq!(signals[0].total.requests, 25, "{name}");
        }
    }

    #[tokio::test]
    async fn two_edges_in_front_of_one_instance_add_up() {
        let world = World::new().await;
        let batch = vec![world.slice(0, 10, 0)];
        world.telemetry.record_from("a", &batch).await.unwrap();
        world.telemetry.record_from("b", &batch).await.unwrap();
        let signals = world
            .telemetry
            .signals(world.project, range("15m"))
            .await
            .unwrap();
        assert_eq!(signals[0].total.requests, 20);
    }

    #[tokio::test]
    async fn old_counts_are_refused_and_old_buckets_go() {
        let world = World::new().await;
        world
            .telemetry
            .record(&[world.slice(-7200, 10, 0), world.slice(86_400, 9, 0)])
            .await
            .unwrap();
        assert_eq!(
            world
                .telemetry
                .signals(world.project, range("24h"))
                .await
                .unwrap()[0]
                .total
                .requests,
            0
        );
        world.telemetry.record(&[world.slice(0, 10, 0)]).await.unwrap();
        world.clock.advance(Duration::from_secs(3 * 86_400));
        assert_eq!(
            world.telemetry.prune().await.unwrap(),
            0,
            "not told to the ledger yet"
        );
        world.telemetry.flush_summaries().await.unwrap();
        assert_eq!(world.telemetry.prune().await.unwrap(), 1);
        assert_eq!(
            world
                .telemetry
                .signals(world.project, range("28d"))
                .await
                .unwrap()[0]
                .total
                .requests,
            10
        );
    }
}
