//! Products that a declaration names and that do not exist: they are said, and installed once they do.

use super::{Site, store};
use crate::{Delivery, environment, plan::Change};
use bascule_core::{Actor, Caller, ProjectId, Result, Timestamp};
use bascule_ledger::facts::sites::SiteIncomplete;
use bascule_store::Tx;
use bascule_wire::delivery::PlanEntry;
use std::collections::{BTreeMap, BTreeSet};

/// The state of an install whose product does not exist.
pub(crate) const STATE: &str = "unknown_product";

impl Delivery {
    /// Notes which declared products do not exist, and says so where that is otherwise than before.
    pub(super) async fn note_unknown(
        &self,
        tx: &Tx,
        home: ProjectId,
        sites: &[Site],
        known: &BTreeMap<String, ProjectId>,
        now: Timestamp,
    ) -> Result<()> {
        let mut before: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in store::unknown(tx).await? {
            before.entry(row.site).or_default().insert(row.product);
        }
        let mut after: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for site in sites {
            for install in &site.installs {
                if !known.contains_key(&install.product) {
                    after
                        .entry(site.name.clone())
                        .or_default()
                        .insert(install.product.clone());
                }
            }
        }
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old == new {
                continue;
            }
            let none = BTreeSet::new();
            for product in old.unwrap_or(&none).difference(new.unwrap_or(&none)) {
                store::unknown_over(tx, name, product).await?;
            }
            for product in new.unwrap_or(&none).difference(old.unwrap_or(&none)) {
                store::put_unknown(tx, name, product, now).await?;
            }
            // A site that is gone is told of by itself.
            if sites.iter().any(|site| site.name == *name) {
                let fact = SiteIncomplete {
                    project: home,
                    site: name.clone(),
                    products: new.into_iter().flatten().cloned().collect(),
                };
                self.ledger.append(tx, &Actor::system(), &fact).await?;
            }
        }
        Ok(())
    }

    /// Installs what was declared before it existed. Idempotent; asks nothing where nothing is missing.
    pub(crate) async fn resolve_unknown(&self) -> Result<()> {
        let missing = store::unknown(&self.db).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let Some(home) = self.ports.projects.find(&self.ports.environments).await? else {
            return Ok(());
        };
        let mut found: BTreeMap<String, ProjectId> = BTreeMap::new();
        let products: BTreeSet<&String> = missing.iter().map(|row| &row.product).collect();
        for product in products {
            if let Some(id) = self.ports.projects.find(product).await? {
                found.insert(product.clone(), id);
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let tx = self.db.begin().await?;
        // Read again: a push may have come in between.
        let missing = store::unknown(&tx).await?;
        let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut touched: BTreeMap<String, Site> = BTreeMap::new();
        for row in missing {
            let Some(id) = found.get(&row.product) else {
                left.entry(row.site).or_default().push(row.product);
                continue;
            };
            store::unknown_over(&tx, &row.site, &row.product).await?;
            let Some(declared) = store::get(&tx, &row.site).await? else {
                continue;
            };
            environment::store::declare(&tx, *id, &row.product, &declared.body.0, now).await?;
            touched.insert(row.site, declared.body.0);
        }
        for (name, site) in &touched {
            store::assign(&tx, site).await?;
            let fact = SiteIncomplete {
                project: home,
                site: name.clone(),
                products: left.remove(name).unwrap_or_default(),
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
        }
        self.bump(&tx, crate::fleet::Channel::Edge).await?;
        for name in touched.keys() {
            self.replan_for(&tx, Change::Site(name)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether the caller may read the environments project, and so what its files name.
    pub(crate) async fn reads_declarations(&self, caller: &Caller) -> Result<Option<ProjectId>> {
        let Some(home) = self.ports.projects.find(&self.ports.environments).await? else {
            return Ok(None);
        };
        let visible = self.ports.projects.visible(caller).await?;
        Ok(visible.is_none_or(|all| all.contains(&home)).then_some(home))
    }

    /// Lines of a plan about products that do not exist, for who may read the files that name them.
    pub(crate) async fn unknown_entries(
        &self,
        caller: &Caller,
        site: Option<&str>,
    ) -> Result<Vec<PlanEntry>> {
        let missing = store::unknown(&self.db).await?;
        if missing.is_empty() || self.reads_declarations(caller).await?.is_none() {
            return Ok(Vec::new());
        }
        let tiers: BTreeMap<String, String> = store::all(&self.db)
            .await?
            .into_iter()
            .map(|declared| (declared.name, declared.body.0.tier))
            .collect();
        Ok(missing
            .into_iter()
            .filter(|row| site.is_none_or(|site| row.site == site))
            .map(|row| entry(&row.site, tiers.get(&row.site), row.product, row.since))
            .collect())
    }
}

/// The line about one of them.
pub(crate) fn entry(site: &str, tier: Option<&String>, product: String, since: Timestamp) -> PlanEntry {
    PlanEntry {
        environment: site.to_owned(),
        tier: crate::environment::parse_tier(tier.map_or("production", String::as_str)),
        why: format!("there is no project {product}; it is installed once there is, without another push"),
        product,
        declared: true,
        state: STATE.to_owned(),
        current: String::new(),
        target: String::new(),
        step: String::new(),
        verdicts: Vec::new(),
        at: since,
    }
}
