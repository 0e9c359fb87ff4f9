//! What is read of all releases, kept for as long as none of them changes. It has a revision of its own, raised in
//! the transaction that changes a release, so that what another server changed is seen too.

use super::{names, remarks, store};
use crate::{
    Delivery, carry,
    catalogue::{self, Listed, service::Channels},
};
use bascule_core::{ProjectId, ReleaseId, Result};
use bascule_planner::{Catalogue, Version};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Releases as plans are made of them.
#[derive(Debug)]
pub(crate) struct Shelf {
    revision: i64,
    pub catalogue: Catalogue,
    /// By project and version.
    pub releases: Arc<HashMap<(ProjectId, String), ReleaseId>>,
    /// Those that enter a channel over a time.
    pub ramps: Vec<Listed>,
    /// Those that may yet enter a channel, and the channels that these are in.
    pub promotable: Vec<Listed>,
    pub channels: Channels,
    /// The channels that there are, by product.
    pub named: Arc<names::Channels>,
    /// What releases are best run with.
    pub recommended: Arc<remarks::Recommendations>,
}

/// The releases that were read last.
#[derive(Debug, Default)]
pub(crate) struct Shelves(tokio::sync::Mutex<Option<Arc<Shelf>>>);

impl Delivery {
    /// The releases as they are now.
    pub(super) async fn shelf(&self) -> Result<Arc<Shelf>> {
        let mut kept = self.signals.shelves.0.lock().await;
        // Read first: what changes while the rest is read is read again next time.
        let revision = store::releases_revision(&self.db).await?;
        if let Some(shelf) = kept.as_ref().filter(|shelf| shelf.revision == revision) {
            return Ok(shelf.clone());
        }
        // One of them in memory, not two.
        *kept = None;
        let shelf = Arc::new(self.read_shelf(revision).await?);
        *kept = Some(shelf.clone());
        Ok(shelf)
    }

    /// What was kept lacks something that runs: it is read again when it is needed next.
    pub(super) async fn forget_shelf(&self) {
        *self.signals.shelves.0.lock().await = None;
    }

    async fn read_shelf(&self, revision: i64) -> Result<Shelf> {
        let listed = catalogue::store::all(&self.db).await?;
        let mut channels = self.channels().await?;
        let mut paths: HashMap<ProjectId, String> = store::paths(&self.db)
            .await?
            .into_iter()
            .map(|row| (row.project_id, row.project_path))
            .collect();
        let mut by_product: BTreeMap<String, Vec<bascule_planner::Release>> = BTreeMap::new();
        let mut releases = HashMap::new();
        let mut one_by_one = BTreeMap::new();
        let mut named = names::Channels::new();
        let mut recommended = remarks::Recommendations::new();
        for listed in &listed {
            let path = match paths.get(&listed.project_id) {
                Some(path) => path.clone(),
                None => {
                    let path = self
                        .ports
                        .projects
                        .path(listed.project_id)
                        .await?
                        .unwrap_or_default();
                    paths.insert(listed.project_id, path.clone());
                    path
                }
            };
            let inside = channels
                .get(&listed.release_id)
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            if let Some(release) = listed.to_release(inside) {
                let key = (listed.project_id, listed.version.clone());
                let best = remarks::recommended(listed);
                if !best.is_empty() {
                    recommended.insert(key.clone(), best);
                }
                releases.insert(key, listed.release_id);
                // The newest release says how the product's versions are taken.
                let newest = by_product
                    .get(&path)
                    .into_iter()
                    .flatten()
                    .all(|known| known.version < release.version);
                if newest {
                    one_by_one.insert(path.clone(), catalogue::service::one_by_one(listed));
                    let rules = listed.relations.0.channels.iter();
                    named.insert(listed.project_id, rules.map(|rule| rule.name.clone()).collect());
                }
                by_product.entry(path).or_default().push(release);
            }
        }
        for (path, text) in self.unlisted().await? {
            if let Ok(version) = text.parse::<Version>() {
                let all = by_product.entry(path).or_default();
                if all.iter().all(|release| release.version != version) {
                    all.push(bascule_planner::Release::plain(version));
                }
            }
        }
        let mut catalogue = Catalogue::new();
        catalogue.publish_all(by_product);
        for (path, one_by_one) in one_by_one {
            let product = catalogue.product(&path);
            catalogue.one_by_one(product, one_by_one);
        }
        let ramps = listed.iter().filter(|listed| ramps(listed)).cloned().collect();
        let promotable: Vec<Listed> = listed
            .into_iter()
            .filter(|listed| may_enter(listed, &channels))
            .collect();
        let kept: std::collections::HashSet<ReleaseId> =
            promotable.iter().map(|listed| listed.release_id).collect();
        channels.retain(|release, _| kept.contains(release));
        Ok(Shelf {
            revision,
            catalogue,
            releases: Arc::new(releases),
            ramps,
            promotable,
            channels,
            named: Arc::new(named),
            recommended: Arc::new(recommended),
        })
    }

    /// What runs but was released before there was a catalogue is known by its version alone.
    async fn unlisted(&self) -> Result<Vec<(String, String)>> {
        let rows = store::unlisted(&self.db).await?;
        let mut all: Vec<(String, String)> = rows
            .into_iter()
            .map(|row| (row.project_path, row.version))
            .collect();
        for reported in carry::store::reports(&self.db).await? {
            let installs = reported.body.0.installs.into_iter();
            all.extend(installs.map(|install| (install.product, install.version)));
        }
        Ok(all)
    }
}

fn ramps(listed: &Listed) -> bool {
    listed.relations.0.channels.iter().any(|rule| rule.ramp_ms > 0)
}

fn may_enter(listed: &Listed, channels: &Channels) -> bool {
    let inside = channels.get(&listed.release_id);
    let outside = |name: &String| inside.is_none_or(|inside| !inside.contains(name));
    listed.recall_reason.is_none() && listed.relations.0.channels.iter().any(|rule| outside(&rule.name))
}
