//! The server's side of edges: what they should serve, where they serve it, what they counted.

use super::{
    Channel, EDGE_WAIT, Edge, SEEN_EVERY,
    agents::{new_token, token_hash},
    store,
};
use crate::{
    Delivery,
    deployment::{
        desired,
        instances::{self, Wanted},
        parse_state,
    },
    environment::{self, Environment},
    judge::Counts,
    preview,
    product::Slo,
    rollout,
};
use bascule_core::{DeploymentId, EnvironmentId, Problem, Result};
use bascule_store::{Backend as Engine, Query as _};
use bascule_wire::{
    agent::InstanceState,
    edge::{Backend, EdgeConfig, ListenerReport, Route, Slice},
    fleet::MemberKind,
};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Environments that one edge serves, at most.
const ENVIRONMENTS: i64 = 100_000;
/// Slices in one call, at most.
const SLICES: usize = 20_000;

impl Delivery {
    /// Makes an edge known and returns its token, which is shown this once. For a name that is known the token
    /// is replaced.
    ///
    /// # Errors
    /// The database refused.
    pub async fn enrol_edge(&self, name: &str) -> Result<String> {
        let token = new_token("bedg");
        let tx = self.db.begin().await?;
        store::set_edge(&tx, name, &token_hash(&token), self.now()).await?;
        super::certificate_store::forget(&tx, MemberKind::Edge, name).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// The edge that a token stands for.
    pub(crate) async fn edge_of(&self, token: &str) -> Result<Edge> {
        let edge = store::edge_by_token(&self.db, &token_hash(token)).await?;
        edge.ok_or_else(|| {
            Problem::new(401, "edge_unknown", "The token is no edge's.")
                .why("Each edge has a token of its own; a new one replaces the old.")
                .next("Give the edge its present token.")
        })
    }

    /// What an edge should serve, as soon as it is not of revision `known`. Asking is acknowledging: the edge
    /// has `known` in force.
    pub(crate) async fn edge_config(&self, edge: &Edge, known: i64, wait: Duration) -> Result<EdgeConfig> {
        let now = self.now();
        let stale = edge.seen_at.is_none_or(|at| now.since(at) >= SEEN_EVERY);
        if edge.acked != known || stale {
            let tx = self.db.begin().await?;
            store::edge_acked(&tx, &edge.name, known, now).await?;
            tx.commit().await?;
            if edge.acked != known {
                self.wake();
            }
        }
        let revision = self.wait_for(known, wait.min(EDGE_WAIT)).await?;
        Ok(EdgeConfig {
            revision,
            routes: self.routes_now().await?,
        })
    }

    /// The present revision of what edges are told, as soon as it is not `known`, or after `wait`.
    async fn wait_for(&self, known: i64, wait: Duration) -> Result<i64> {
        let mut changes = self.signals.edge.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        // Another replica's changes are not heard here, only seen.
        let look = match self.db.engine() {
            Engine::Sqlite => wait,
            Engine::Postgres => Duration::from_millis(500),
        };
        loop {
            changes.mark_unchanged();
            let revision = store::revision(&self.db, Channel::Edge).await?;
            let now = tokio::time::Instant::now();
            if revision != known || now >= deadline || self.signals.stop.is_cancelled() {
                return Ok(revision);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.signals.stop.cancelled() => {}
                () = tokio::time::sleep_until(deadline.min(now + look)) => {}
            }
        }
    }

    async fn routes_now(&self) -> Result<Vec<Route>> {
        let mut environments = environment::store::all(&self.db, "", ENVIRONMENTS).await?;
        environments.extend(preview::store::routed_environments(&self.db).await?);
        let mut by_environment: HashMap<EnvironmentId, Vec<Wanted>> = HashMap::new();
        for wanted in instances::wanted(&self.db).await? {
            by_environment
                .entry(wanted.environment_id)
                .or_default()
                .push(wanted);
        }
        Ok(environments
            .iter()
            .map(|environment| {
                route(
                    environment,
                    by_environment.get(&environment.id).map_or(&[], Vec::as_slice),
                )
            })
            .collect())
    }

    /// Takes down where an edge serves what.
    pub(crate) async fn take_listeners(&self, reports: &[ListenerReport]) -> Result<()> {
        if reports.len() > SLICES {
            return Err(Problem::too_large(format!(
                "More than {SLICES} listeners in one call."
            )));
        }
        let tx = self.db.begin().await?;
        for report in reports {
            if !report.url.starts_with("http://") && !report.url.starts_with("https://") {
                return Err(Problem::invalid(
                    "bad_url",
                    "A listener's address must begin with http:// or https://.",
                ));
            }
            let url = instances::cut(&report.url, 300);
            environment::store::set_listener(&tx, report.environment, i64::from(report.port), &url).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Takes what an edge counted: for the rollouts under way, and for telemetry.
    pub(crate) async fn take_counts(&self, edge: &Edge, slices: &[Slice]) -> Result<()> {
        if slices.len() > SLICES {
            return Err(
                Problem::too_large(format!("More than {SLICES} slices in one call."))
                    .next("Send them in several calls."),
            );
        }
        let rollouts = rollout::store::open(&self.db).await?;
        let judged: Vec<_> = slices
            .iter()
            .filter_map(|slice| {
                // Which side an instance is on is read from its deployment, when the seconds are.
                let rollout = rollouts.iter().find(|r| r.environment_id == slice.environment)?;
                Some((rollout.id, slice))
            })
            .collect();
        if !judged.is_empty() {
            let tx = self.db.begin().await?;
            for (rollout, slice) in judged {
                let counts = Counts {
                    requests: slice.requests,
                    errors: slice.errors,
                    slow: slice.slow,
                }
                .bounded();
                rollout::store::put_second(&tx, rollout, &edge.name, slice.instance, slice.at, counts)
                    .await?;
            }
            tx.commit().await?;
            self.wake();
        }
        self.take_measured(slices).await
    }
}

impl Delivery {
    /// Telemetry measures what serves people; of previews it is only noted that they are used.
    async fn take_measured(&self, slices: &[Slice]) -> Result<()> {
        let ids: BTreeSet<EnvironmentId> = slices.iter().map(|slice| slice.environment).collect();
        let ids: Vec<EnvironmentId> = ids.into_iter().collect();
        let previews = preview::store::among(&self.db, &ids).await?;
        if previews.is_empty() {
            return self.ports.traffic.record(slices).await;
        }
        let now = self.now();
        let since = now.minus(Duration::from_secs(60));
        let due = previews
            .iter()
            .filter(|preview| preview.used_at.is_none_or(|at| at < since));
        let due: Vec<EnvironmentId> = due.map(|preview| preview.environment_id).collect();
        if !due.is_empty() {
            let tx = self.db.begin().await?;
            preview::store::used(&tx, &due, now, since).await?;
            tx.commit().await?;
        }
        let measured: Vec<Slice> = slices
            .iter()
            .filter(|slice| {
                previews
                    .iter()
                    .all(|preview| preview.environment_id != slice.environment)
            })
            .cloned()
            .collect();
        if measured.is_empty() {
            return Ok(());
        }
        self.ports.traffic.record(&measured).await
    }
}

fn route(environment: &Environment, wanted: &[Wanted]) -> Route {
    let usable = |states: &[InstanceState]| -> Vec<Backend> {
        let all: Vec<&Wanted> = wanted
            .iter()
            .filter(|w| {
                w.retired_at.is_none()
                    && w.desired == desired::RUN
                    && w.address.is_some()
                    && states.contains(&parse_state(&w.state))
            })
            .collect();
        spread(&all)
    };
    let mut backends = usable(&[InstanceState::Healthy]);
    if backends.iter().all(|backend| backend.weight == 0) {
        // An instance that fails its check may still answer; nobody else would.
        backends = usable(&[InstanceState::Healthy, InstanceState::Unhealthy]);
    }
    let serving = wanted
        .iter()
        .find(|w| Some(w.deployment_id) == environment.serving_id)
        .or_else(|| wanted.first());
    Route {
        environment: environment.id,
        project: environment.project_id,
        host: environment.host(),
        port: environment.port.and_then(|port| u16::try_from(port).ok()),
        slow_ms: serving.map_or_else(|| Slo::default().latency_ms, |w| w.product.0.slo.latency_ms),
        backends,
    }
}

/// Each side's share over its instances, in whole numbers: shares are multiplied by the least common multiple of
/// the sides' sizes.
fn spread(usable: &[&Wanted]) -> Vec<Backend> {
    let mut sizes: HashMap<(DeploymentId, bool), u64> = HashMap::new();
    for wanted in usable.iter().filter(|wanted| wanted.weight > 0) {
        *sizes.entry((wanted.deployment_id, wanted.baseline)).or_default() += 1;
    }
    let multiple = sizes.values().copied().fold(1, least_common_multiple);
    let each = |wanted: &Wanted| {
        let size = sizes.get(&(wanted.deployment_id, wanted.baseline)).copied();
        let share = u64::try_from(wanted.weight).unwrap_or(0).min(100);
        u32::try_from(share * (multiple / size.unwrap_or(1).max(1))).unwrap_or(u32::MAX)
    };
    usable
        .iter()
        .filter_map(|wanted| backend(wanted, each(wanted)))
        .collect()
}

/// Bounded, so that no odd number of sides can overflow a weight; shares are then a little off.
fn least_common_multiple(a: u64, b: u64) -> u64 {
    const MOST: u64 = 1_000_000;
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b).clamp(1, MOST)
}

fn backend(wanted: &Wanted, weight: u32) -> Option<Backend> {
    Some(Backend {
        instance: wanted.id,
        deployment: wanted.deployment_id,
        release: wanted.release_id,
        version: wanted.version.clone(),
        address: wanted.address.clone()?,
        weight,
    })
}

#[cfg(test)]
mod tests {
    use super::least_common_multiple;

    #[test]
    fn shares_of_sides_of_any_size_come_out_whole() {
        assert_eq!(least_common_multiple(3, 4), 12);
        assert_eq!(least_common_multiple(1, 1), 1);
        assert_eq!(least_common_multiple(6, 4), 12);
        assert_eq!(least_common_multiple(999_999, 999_998), 1_000_000);
    }
}
