//! A site tells what runs there; its hub hears it.

use super::{
    Carry, OBSERVED_FORMAT, Way,
    apply::{expect, unusable},
    expiry,
    import::Place,
    number, store,
};
use crate::{Delivery, plan};
use bascule_bundle::{EntryKind, Export, Inventory, Kind, Ready};
use bascule_core::{Actor, Name, Problem, Result};
use bascule_ledger::facts::bundles::SiteReported;
use bascule_store::Json;
use bascule_wire::bundle::{
    AppliedBundle, BundleApplied, BundleExport, CarriedSite, NewBundleReport, ObservedInstall, ObservedSite,
};
use std::collections::{BTreeMap, HashMap};

/// Most products that a report may name.
const INSTALLS: usize = 5_000;

impl Carry {
    /// Makes a report for the hub: what runs at this site, which bundle is in force, and which blobs are here.
    ///
    /// # Errors
    /// This instance is no hub's site.
    pub async fn report(&self, actor: &Actor, wanted: &NewBundleReport) -> Result<BundleExport> {
        let trusted = self.trusted().await?;
        let Some((site, _)) = trusted.here else {
            return Err(Problem::conflict("no_site", "This instance is no hub's site.")
                .why("A report goes to the hub whose bundles are applied here, and none is named.")
                .next("Name the hub's key and what this site is called: `bascule bundle trust hub.pem --as SITE`."));
        };
        let now = self.now();
        let expires = expiry(now, wanted.days)?;
        let observed = self.observe(&site).await?;
        let inventory: Inventory = self.freight.inventory().await?.into_iter().collect();
        let sequence = self.next_number(Way::From, &site).await?;
        let mut export = Export::new(Kind::Report, site.clone(), sequence, now, expires);
        let observed = self.document(&observed).await?;
        export.document(EntryKind::ObservedState, site.as_str(), observed)?;
        self.blobs.put_bytes(inventory.to_bytes()).await?;
        export.inventory(&inventory)?;
        self.keep(actor, Way::From, export, BTreeMap::new(), wanted.chunk, 0)
            .await
    }

    async fn observe(&self, site: &Name) -> Result<ObservedSite> {
        let db = &self.delivery.db;
        let most = super::count(INSTALLS);
        let installs = plan::store::entries(db, Some(site.as_str()), ("", ""), most)
            .await?
            .into_iter()
            .filter(|entry| entry.place.declared)
            .map(|entry| ObservedInstall {
                product: entry.place.project_path,
                version: entry.place.serving_version.unwrap_or_default(),
                health: entry.place.instance_state.unwrap_or_default(),
                plan: entry.plan.state,
                why: entry.plan.why,
            })
            .collect();
        let applied = store::last_applied(db, Way::To, site.as_str()).await?;
        Ok(ObservedSite {
            format: OBSERVED_FORMAT.to_owned(),
            site: site.to_string(),
            at: self.now(),
            bascule: env!("CARGO_PKG_VERSION").to_owned(),
            applied: applied.map(|applied| AppliedBundle {
                sequence: u64::try_from(applied.sequence).unwrap_or(0),
                id: applied.set_id,
            }),
            installs,
        })
    }

    /// Takes a site's report.
    pub(super) async fn hear(&self, actor: &Actor, place: &Place, ready: &Ready) -> Result<BundleApplied> {
        let site = place.site.as_str();
        let one = |kind| {
            let mut entries = ready.entries(kind);
            match (entries.next(), entries.next()) {
                (Some(entry), None) => Ok(entry),
                _ => Err(unusable(
                    site,
                    &format!("it holds not one {kind}, but more or none"),
                )),
            }
        };
        let entry = one(EntryKind::ObservedState)?;
        let observed: ObservedSite = self.read(ready, &entry.digest, &entry.name).await?;
        expect(&observed.format, OBSERVED_FORMAT, &entry.name)?;
        if observed.site != site {
            return Err(unusable(&entry.name, "it tells of another site"));
        }
        if observed.installs.len() > INSTALLS {
            return Err(unusable(
                &entry.name,
                &format!("it names more than {INSTALLS} products"),
            ));
        }
        let entry = one(EntryKind::Inventory)?;
        let inventory = Inventory::from_reader(ready.open(&entry.digest)?)?;
        let inventory = self.blobs.put_bytes(inventory.to_bytes()).await?;
        let set = ready.set();
        let running: Vec<_> = observed
            .installs
            .iter()
            .filter(|install| !install.version.is_empty())
            .collect();
        let fact = SiteReported {
            site: site.to_owned(),
            sequence: number(set.sequence),
            applied: observed
                .applied
                .as_ref()
                .map_or(0, |applied| number(applied.sequence)),
            running: super::count(running.len()),
            unhealthy: super::count(
                running
                    .iter()
                    .filter(|install| install.health != "healthy")
                    .count(),
            ),
            at: observed.at,
        };
        let reported = store::Reported {
            site: site.to_owned(),
            sequence: number(set.sequence),
            applied: fact.applied,
            applied_id: observed.applied.as_ref().map(|applied| applied.id.clone()),
            body: Json(observed),
            inventory: inventory.digest,
            at: self.now(),
        };
        let applied = store::Applied {
            sequence: number(set.sequence),
            set_id: ready.id().clone(),
            checkpoint: false,
        };
        let tx = self.delivery.db.begin().await?;
        if store::put_applied(&tx, place.way, site, &applied, self.now()).await? {
            store::put_report(&tx, &reported).await?;
            self.delivery.ledger.append(&tx, actor, &fact).await?;
            self.delivery.replan(&tx).await?;
            tx.commit().await?;
        }
        Ok(BundleApplied {
            sequence: set.sequence,
            kind: set.kind.to_string(),
            releases: Vec::new(),
            recalls: Vec::new(),
        })
    }

    /// The sites that bundles go to: what was made for them, and what they told.
    ///
    /// # Errors
    /// The database refused.
    pub async fn sites(&self) -> Result<Vec<CarriedSite>> {
        let db = &self.delivery.db;
        let mut all: BTreeMap<String, CarriedSite> = BTreeMap::new();
        let empty = |site: &str| CarriedSite {
            site: site.to_owned(),
            exported: None,
            exported_at: None,
            applied: None,
            reported_at: None,
            observed: None,
        };
        for declared in crate::site::store::all(db).await? {
            if declared.body.0.disconnected {
                all.insert(declared.name.clone(), empty(&declared.name));
            }
        }
        for exported in store::newest_exports(db).await? {
            let line = all
                .entry(exported.site.clone())
                .or_insert_with(|| empty(&exported.site));
            line.exported = Some(exported.sequence);
            line.exported_at = Some(exported.at);
        }
        for reported in store::reports(db).await? {
            let line = all
                .entry(reported.site.clone())
                .or_insert_with(|| empty(&reported.site));
            line.applied = Some(reported.applied);
            line.reported_at = Some(reported.at);
            line.observed = Some(reported.body.0);
        }
        Ok(all.into_values().collect())
    }
}

impl Delivery {
    /// Lets a site that no network reaches stand in the plan as it last told of itself.
    pub(crate) async fn overlay_reports(&self, places: &mut [plan::store::Place]) -> Result<()> {
        let reports: HashMap<String, ObservedSite> = store::reports(&self.db)
            .await?
            .into_iter()
            .map(|reported| (reported.site, reported.body.0))
            .collect();
        for place in places {
            let install = reports
                .get(&place.name)
                .and_then(|site| site.installs.iter().find(|i| i.product == place.project_path));
            // What an agent of ours runs is known better.
            if let (Some(install), None) = (install, place.agent_id)
                && !install.version.is_empty()
            {
                place.serving_version = Some(install.version.clone());
                place.instance_state = Some(install.health.clone()).filter(|health| !health.is_empty());
            }
        }
        Ok(())
    }

    /// What is known of a site by its reports, if it is one that no network reaches.
    pub(crate) async fn reported_site(&self, site: &str) -> Result<Option<ObservedSite>> {
        Ok(store::report(&self.db, site)
            .await?
            .map(|reported| reported.body.0))
    }
}
