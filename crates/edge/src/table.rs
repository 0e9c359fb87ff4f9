//! What the workers look up for each request: routes, their backends and whose turn it is. A table never
//! changes; a new configuration makes a new table and swaps it in, so a request sees one or the other whole.

use crate::{
    counts::{Counts, Owner, Registry},
    schedule::Schedule,
    upstream::Pool,
};
use bascule_core::EnvironmentId;
use bascule_wire::edge::{EdgeConfig, Route};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// One instance as a place to send requests to.
#[derive(Debug)]
pub(crate) struct Backend {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) counts: Arc<Counts>,
    pub(crate) pool: Pool,
}

/// One route, ready for use.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) route: Route,
    pub(crate) slow_after: Duration,
    pub(crate) schedule: Schedule,
    pub(crate) backends: Vec<Arc<Backend>>,
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    by_environment: HashMap<EnvironmentId, Arc<Target>>,
    by_host: HashMap<String, Arc<Target>>,
}

impl Table {
    /// The table for a configuration. Backends that stay keep their connections and counts.
    fn new(config: &EdgeConfig, before: &Self, counts: &Registry, workers: usize) -> Self {
        let mut table = Self::default();
        for route in &config.routes {
            let old = before.by_environment.get(&route.environment);
            let target = match old {
                // Not touched: its schedule goes on where it stands.
                Some(old) if old.route == *route => Arc::clone(old),
                _ => Arc::new(Target::new(route, old.map(Arc::as_ref), counts, workers)),
            };
            table
                .by_host
                .insert(route.host.to_ascii_lowercase(), Arc::clone(&target));
            table.by_environment.insert(route.environment, target);
        }
        table
    }

    /// The route of an environment.
    pub(crate) fn environment(&self, environment: EnvironmentId) -> Option<&Arc<Target>> {
        self.by_environment.get(&environment)
    }

    /// The route whose host is the left part of this `Host` header: the longest that fits.
    pub(crate) fn host(&self, header: &str) -> Option<&Arc<Target>> {
        let name = header.rsplit_once(':').map_or(header, |(name, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                name
            } else {
                header
            }
        });
        let lower = name.to_ascii_lowercase();
        let mut left = lower.trim_end_matches('.');
        loop {
            if let Some(target) = self.by_host.get(left) {
                return Some(target);
            }
            left = left.rsplit_once('.')?.0;
        }
    }

    /// All backends, to tidy their pools.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.by_environment.values().flat_map(|target| &target.backends)
    }
}

impl Target {
    fn new(route: &Route, before: Option<&Self>, counts: &Registry, workers: usize) -> Self {
        let backends = route.backends.iter().map(|wanted| {
            let kept = before.and_then(|before| {
                let same = before.route.backends.iter().position(|old| {
                    old.instance == wanted.instance
                        && old.address == wanted.address
                        && old.deployment == wanted.deployment
                        && old.version == wanted.version
                })?;
                before.backends.get(same).cloned()
            });
            kept.unwrap_or_else(|| {
                let owner = Owner {
                    environment: route.environment,
                    project: route.project,
                    deployment: wanted.deployment,
                    instance: wanted.instance,
                    version: wanted.version.clone(),
                };
                let (address, pool) = (wanted.address.clone(), Pool::new(workers));
                Arc::new(Backend {
                    address,
                    counts: counts.of(&owner),
                    pool,
                })
            })
        });
        let backends = backends.collect();
        let weights: Vec<u32> = route.backends.iter().map(|backend| backend.weight).collect();
        Self {
            route: route.clone(),
            slow_after: Duration::from_millis(route.slow_ms),
            schedule: Schedule::new(&weights),
            backends,
        }
    }
}

/// The present table, swapped as a whole.
#[derive(Debug, Default)]
pub(crate) struct Switch(RwLock<Arc<Table>>);

impl Switch {
    /// The present table. Held for the length of a pointer's copy only.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a configuration the present one: all requests that start after this return use it.
    pub(crate) fn set(&self, config: &EdgeConfig, counts: &Registry, workers: usize) {
        let table = Arc::new(Table::new(config, &self.table(), counts, workers));
        let before = {
            let mut present = self.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *present, table)
        };
        // Dropped outside the lock: it may close connections.
        drop(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::ProjectId;

    #[test]
    fn the_shared_listener_finds_routes_by_the_left_part_of_the_host() {
        let route = |host: &str| Route {
            environment: EnvironmentId::new(),
            project: ProjectId::new(),
            host: host.to_owned(),
            port: None,
            slow_ms: 500,
            backends: Vec::new(),
        };
        let routes = vec![route("production.clinic.demo"), route("staging.clinic.demo")];
        let config = EdgeConfig { revision: 1, routes };
        let table = Table::new(&config, &Table::default(), &Registry::new(1), 1);
        for (header, wanted) in [
            (
                "production.clinic.demo.localhost:8081",
                Some("production.clinic.demo"),
            ),
            ("Staging.Clinic.Demo.localhost", Some("staging.clinic.demo")),
            ("production.clinic.demo", Some("production.clinic.demo")),
            ("clinic.demo.localhost", None),
            ("xproduction.clinic.demo.localhost", None),
            ("", None),
        ] {
            let found = table.host(header).map(|target| target.route.host.as_str());
            assert_eq!(found, wanted, "{header}");
        }
    }
}
