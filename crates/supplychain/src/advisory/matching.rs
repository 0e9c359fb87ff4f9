//! Matching, both ways: an advisory with the releases that have its packages, a release with the advisories of its
//! components. Each transaction is short; one that was cut off is done again and comes to the same.

use super::{
    Advisories,
    osv::Advisory,
    store::{self, Component, ReleaseRow, Row},
};
use async_trait::async_trait;
use bascule_core::{Actor, Digest, Problem, ProjectId, ReleaseId, Result, Timestamp};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        advisories::{FindingClosed, FindingOpened},
        supplychain::{ReleaseImported, ReleasePublished},
    },
};
use bascule_store::{Json, Tx};
use bascule_wire::advisory::Severity;
use std::collections::BTreeSet;

/// Releases matched in one transaction.
const PAGE: i64 = 50;

/// What matching came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) opened: i64,
    pub(super) closed: i64,
}

/// A release was published or came with a bundle: it is matched with all advisories.
pub struct OnReleases(pub Advisories);

#[async_trait]
impl Subscriber for OnReleases {
    fn name(&self) -> &'static str {
        "supplychain.findings"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![ReleasePublished::KIND, ReleaseImported::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let release = if entry.kind == ReleasePublished::KIND {
            decode::<ReleasePublished>(entry)?.release
        } else {
            decode::<ReleaseImported>(entry)?.release
        };
        self.0.match_release(release).await.map_err(BoxError::from)
    }
}

impl Advisories {
    /// Matches a release with all advisories that speak of its components.
    async fn match_release(&self, id: ReleaseId) -> Result<()> {
        let _turn = self.matching.lock().await;
        let Some(release) = store::release(&self.db, id).await? else {
            return Ok(());
        };
        for advisory in store::advisories_of(&self.db, id).await? {
            let Some(advisory) = self.read(&advisory).await? else {
                continue;
            };
            let components = store::components(&self.db, id, &advisory.id).await?;
            // Most advisories speak of other versions: they cost no transaction.
            if advisory.withdrawn.is_none() && components.iter().any(|c| hit(&advisory, c).is_some()) {
                let tx = self.db.begin().await?;
                self.settle(&tx, &release, &advisory, &components).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Matches all advisories that wait for it.
    pub(super) async fn drain(&self) -> Result<Matched> {
        let _turn = self.matching.lock().await;
        let mut all = Matched::default();
        while let Some(pending) = store::pending(&self.db).await? {
            let id = &pending.advisory_id;
            let releases = store::releases_of(&self.db, id, &pending.after_release, PAGE).await?;
            let advisory = self.read(id).await?;
            let full = i64::try_from(releases.len()).is_ok_and(|count| count == PAGE);
            let last = releases.last().copied().filter(|_| full);
            let tx = self.db.begin().await?;
            for release in releases {
                let (Some(advisory), Some(release)) = (&advisory, store::release(&tx, release).await?) else {
                    continue;
                };
                let components = store::components(&tx, release.id, id).await?;
                let done = self.settle(&tx, &release, advisory, &components).await?;
                all.opened += done.opened;
                all.closed += done.closed;
            }
            store::matched(&tx, id, last).await?;
            tx.commit().await?;
        }
        Ok(all)
    }

    async fn read(&self, id: &str) -> Result<Option<Advisory>> {
        let Some(body) = store::body(&self.db, id).await? else {
            return Ok(None);
        };
        match Advisory::from_json(body.as_bytes()) {
            Ok(advisory) => Ok(Some(advisory)),
            Err(why) => {
                tracing::error!(advisory = id, why, "an advisory that was kept cannot be read");
                Ok(None)
            }
        }
    }

    /// Brings the findings of one release by one advisory to what the advisory says now.
    async fn settle(
        &self,
        tx: &Tx,
        release: &ReleaseRow,
        advisory: &Advisory,
        components: &[Component],
    ) -> Result<Matched> {
        let now = self.now();
        let mut done = Matched::default();
        let mut affected: BTreeSet<&str> = BTreeSet::new();
        if advisory.withdrawn.is_none() {
            for component in components {
                if let Some(fixed) = hit(advisory, component) {
                    affected.insert(&component.purl);
                    done.opened += i64::from(self.open(tx, release, advisory, component, fixed, now).await?);
                }
            }
        }
        for mut row in store::by_advisory(tx, release.id, &advisory.id).await? {
            if affected.contains(row.purl.as_str()) {
                continue;
            }
            row.closed_at = Some(now);
            row.closed_reason = if advisory.withdrawn.is_some() {
                "its advisory was withdrawn".to_owned()
            } else {
                "its advisory speaks of other versions now".to_owned()
            };
            store::put_finding(tx, &row).await?;
            // Another advisory of the same may say otherwise.
            let others = row.names.0.iter().filter(|name| **name != advisory.id).cloned();
            store::mark(tx, &others.collect::<Vec<_>>()).await?;
            let fact = FindingClosed {
                project: row.project_id,
                release: row.release_id,
                version: release.version.clone(),
                key: row.finding_key,
                advisory: row.advisory_id,
                purl: row.purl,
                reason: row.closed_reason,
                at: now,
            };
            self.ledger.append(tx, &Actor::system(), &fact).await?;
            done.closed += 1;
        }
        Ok(done)
    }

    /// Opens a finding, or brings it up to date; whether it was not open before.
    async fn open(
        &self,
        tx: &Tx,
        release: &ReleaseRow,
        advisory: &Advisory,
        component: &Component,
        fixed: Vec<String>,
        now: Timestamp,
    ) -> Result<bool> {
        let package = format!("{}:{}", component.ecosystem, component.name);
        let mut names: BTreeSet<String> = advisory.names().map(str::to_owned).collect();
        let here = store::in_package(tx, release.id, &package).await?;
        let same = here
            .into_iter()
            .find(|row| row.purl == component.purl && !row.names.0.is_disjoint(&names));
        let severity = advisory.severity.rank();
        let development = component.scope == "excluded";
        if let Some(row) = &same {
            names.extend(row.names.0.iter().cloned());
            let open = row.closed_at.is_none();
            if open && row.advisory_id != advisory.id {
                // Another advisory says the same already.
                if names != row.names.0 {
                    let row = Row {
                        names: Json(names),
                        ..row.clone()
                    };
                    store::put_finding(tx, &row).await?;
                }
                return Ok(false);
            }
            let unchanged = open
                && row.severity == severity
                && row.fixed.0 == fixed
                && row.summary == advisory.summary
                && row.names.0 == names;
            if unchanged {
                return Ok(false);
            }
        }
        let key = match &same {
            Some(row) => row.finding_key.clone(),
            None => key_for(tx, release.project_id, &package, &names).await?,
        };
        let was_open = same.as_ref().is_some_and(|row| row.closed_at.is_none());
        let row = Row {
            release_id: release.id,
            purl: component.purl.clone(),
            finding_key: key,
            project_id: release.project_id,
            package,
            component_version: component.version.clone().unwrap_or_default(),
            development,
            advisory_id: advisory.id.clone(),
            names: Json(names),
            severity,
            fixed: Json(fixed),
            summary: advisory.summary.clone(),
            opened_at: same
                .as_ref()
                .filter(|_| was_open)
                .map_or(now, |row| row.opened_at),
            closed_at: None,
            closed_reason: String::new(),
        };
        store::put_finding(tx, &row).await?;
        let decided = store::triage(tx, row.project_id, &row.finding_key).await?;
        let set_aside = decided.is_some_and(|triage| triage.until_at.is_none_or(|until| until > now));
        let fact = FindingOpened {
            project: row.project_id,
            release: row.release_id,
            version: release.version.clone(),
            key: row.finding_key,
            advisory: row.advisory_id,
            severity: Severity::of_rank(row.severity).to_string(),
            purl: row.purl,
            package: row.package,
            component_version: row.component_version,
            fixed: row.fixed.0,
            development,
            set_aside,
            at: now,
        };
        self.ledger.append(tx, &Actor::system(), &fact).await?;
        Ok(!was_open)
    }
}

/// Versions that mend a component, where the advisory speaks of it.
fn hit(advisory: &Advisory, component: &Component) -> Option<Vec<String>> {
    let version = component.version.as_deref()?;
    let mut hits = advisory
        .packages
        .iter()
        .filter(|package| package.ecosystem == component.ecosystem && package.name == component.name)
        .filter_map(|package| package.hits(version));
    let mut first = hits.next()?;
    for more in hits {
        for fixed in more.fixed {
            if !first.fixed.contains(&fixed) {
                first.fixed.push(fixed);
            }
        }
    }
    Some(first.fixed)
}

/// The key of a finding: that of an earlier release, where it is the same by any of its names; else a new one, of the
/// name that most databases give it.
async fn key_for(
    tx: &Tx,
    project: ProjectId,
    package: &str,
    names: &BTreeSet<String>,
) -> Result<String, Problem> {
    let known = store::keys(tx, project, package).await?;
    if let Some(known) = known.into_iter().find(|known| !known.names.0.is_disjoint(names)) {
        return Ok(known.finding_key);
    }
    let name = names
        .iter()
        .find(|name| name.starts_with("CVE-"))
        .or_else(|| names.first());
    let text = format!("{project} {package} {}", name.map_or("", String::as_str));
    let digest = Digest::of(text.as_bytes());
    Ok(digest.hex().chars().take(16).collect())
}
