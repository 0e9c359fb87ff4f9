//! Findings and advisories, as people and programs read them.

use super::{
    Advisories,
    store::{self, InRelease, State, Wanted},
};
use bascule_core::{Caller, Problem, ProjectId, ReleaseId, Result};
use bascule_wire::advisory::{
    AdvisoryDetails, AdvisoryPage, AdvisorySummary, AffectedRelease, Finding, FindingDetails, FindingPage,
    Severity, SeverityCounts, Triage,
};
use std::collections::{BTreeMap, BTreeSet};

/// Versions that a list names of each finding.
const VERSIONS: usize = 20;
/// Releases read for one page of a list.
const RELEASES: i64 = 5_000;
/// Releases that one finding's page shows.
const SHOWN: i64 = 200;
/// Advisories that one bundle carries.
const CARRIED: usize = 20_000;

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) severity: String,
    pub(super) state: String,
    pub(super) search: String,
    pub(super) after: String,
}

impl Asked {
    /// The filters of the store.
    pub(super) fn wanted(&self) -> Result<Wanted> {
        let least = match self.severity.as_str() {
            "" => Severity::Unknown,
            text => text
                .parse()
                .map_err(|why| Problem::bad_request("bad_severity", format!("{why}.")))?,
        };
        let state = match self.state.as_str() {
            "" | "open" => State::Open,
            "set_aside" => State::SetAside,
            "standing" => State::Standing,
            "closed" => State::Closed,
            "all" => State::All,
            _ => {
                return Err(Problem::bad_request("bad_state", "There is no such state.")
                    .next("Ask for open, set_aside, standing, closed or all."));
            }
        };
        Ok(Wanted {
            least,
            state,
            search: self.search.chars().take(200).collect(),
            ..Wanted::default()
        })
    }
}

impl Advisories {
    /// Findings of all projects that the caller may read.
    pub(super) async fn findings(&self, caller: &Caller, asked: &Asked, limit: i64) -> Result<FindingPage> {
        let wanted = Wanted {
            projects: self.sight.projects(caller).await?,
            ..asked.wanted()?
        };
        self.page(&wanted, &asked.after, limit).await
    }

    /// Findings of a project, or of one release of it.
    pub(super) async fn findings_of(
        &self,
        project: ProjectId,
        release: Option<ReleaseId>,
        asked: &Asked,
        limit: i64,
    ) -> Result<FindingPage> {
        let wanted = Wanted {
            projects: Some(vec![project]),
            release,
            ..asked.wanted()?
        };
        self.page(&wanted, &asked.after, limit).await
    }

    async fn page(&self, wanted: &Wanted, after: &str, limit: i64) -> Result<FindingPage> {
        let now = self.now();
        let after = match after {
            "" => None,
            text => {
                let mark = text.split_once('.');
                let mark = mark.and_then(|(rank, key)| Some((rank.parse::<i64>().ok()?, key)));
                Some(mark.ok_or_else(|| {
                    Problem::bad_request("bad_mark", "`after` is no mark of a page before.")
                        .next("Give the `next` of the page before, as it is.")
                })?)
            }
        };
        let mut groups = store::groups(&self.db, wanted, now, after, limit + 1).await?;
        let more = i64::try_from(groups.len()).is_ok_and(|count| count > limit);
        groups.truncate(usize::try_from(limit).unwrap_or(0));
        let next = more.then(|| {
            groups
                .last()
                .map(|last| format!("{}.{}", last.severity, last.finding_key))
        });
        let keys: Vec<String> = groups.iter().map(|group| group.finding_key.clone()).collect();
        let mut of: BTreeMap<String, Vec<InRelease>> = BTreeMap::new();
        for row in store::in_releases(&self.db, &keys, RELEASES).await? {
            of.entry(row.finding.finding_key.clone()).or_default().push(row);
        }
        let ids: BTreeSet<ReleaseId> = of.values().flatten().map(|row| row.finding.release_id).collect();
        let runs = self.running(ids).await?;
        let mut decided: BTreeMap<String, Triage> = BTreeMap::new();
        for row in store::triages(&self.db, &keys).await? {
            if row.until_at.is_none_or(|until| until > now) {
                decided.insert(row.finding_key.clone(), triage(row));
            }
        }
        let items = groups.into_iter().filter_map(|group| {
            let rows = of.get(&group.finding_key)?;
            // A key stands for the open ones, as long as there are any.
            let standing = group.standing == 1;
            let relevant = || {
                rows.iter()
                    .filter(|row| !standing || row.finding.closed_at.is_none())
                    .filter(|row| wanted.release.is_none_or(|id| row.finding.release_id == id))
            };
            let first = relevant().next().or_else(|| rows.first())?;
            let triage = decided.get(&group.finding_key).cloned();
            let state = match &triage {
                _ if !standing => "closed",
                Some(triage) if triage.verdict == "not_affected" => "not_affected",
                Some(_) => "waived",
                None => "open",
            };
            let mut versions: Vec<String> = Vec::new();
            let mut environments = BTreeSet::new();
            for row in relevant() {
                if versions.len() < VERSIONS && !versions.contains(&row.version) {
                    versions.push(row.version.clone());
                }
                if row.finding.closed_at.is_none() {
                    environments.extend(runs.get(&row.finding.release_id).into_iter().flatten().cloned());
                }
            }
            let names = first.finding.names.0.iter();
            Some(Finding {
                key: group.finding_key,
                project: first.project_path.clone(),
                package: first.finding.package.clone(),
                advisory: first.finding.advisory_id.clone(),
                aliases: names
                    .filter(|name| **name != first.finding.advisory_id)
                    .cloned()
                    .collect(),
                summary: first.finding.summary.clone(),
                severity: Severity::of_rank(group.severity),
                state: state.to_owned(),
                fixed: first.finding.fixed.0.clone(),
                development: relevant().all(|row| row.finding.development),
                releases: group.releases,
                versions,
                environments: environments.into_iter().collect(),
                opened_at: group.opened_at,
                triage,
            })
        });
        let items = items.collect();
        let mut counts = SeverityCounts::default();
        let open = Wanted {
            state: State::Open,
            ..wanted.clone()
        };
        for (severity, count) in store::counts(&self.db, &open, now).await? {
            match severity {
                Severity::Critical => counts.critical = count,
                Severity::High => counts.high = count,
                Severity::Medium => counts.medium = count,
                Severity::Low => counts.low = count,
                Severity::Unknown => counts.unknown = count,
            }
        }
        Ok(FindingPage {
            items,
            next: next.flatten(),
            counts,
        })
    }

    /// One finding of a project with its releases.
    pub(super) async fn finding(&self, project: ProjectId, key: &str) -> Result<FindingDetails> {
        let wanted = Wanted {
            projects: Some(vec![project]),
            key: Some(key.to_owned()),
            state: State::All,
            ..Wanted::default()
        };
        let page = self.page(&wanted, "", 1).await?;
        let finding = page
            .items
            .into_iter()
            .next()
            .ok_or_else(|| Problem::not_found("finding"))?;
        let rows = store::in_releases(&self.db, &[key.to_owned()], SHOWN).await?;
        let runs = self
            .running(rows.iter().map(|row| row.finding.release_id).collect())
            .await?;
        let affected = rows.into_iter().map(|row| AffectedRelease {
            release: row.finding.release_id,
            tag: row.tag,
            version: row.version,
            purl: row.finding.purl,
            fixed: row.finding.fixed.0,
            opened_at: row.finding.opened_at,
            closed_at: row.finding.closed_at,
            closed_reason: row.finding.closed_reason,
            environments: runs.get(&row.finding.release_id).cloned().unwrap_or_default(),
        });
        Ok(FindingDetails {
            finding,
            affected: affected.collect(),
        })
    }

    async fn running(&self, releases: BTreeSet<ReleaseId>) -> Result<BTreeMap<ReleaseId, Vec<String>>> {
        let mut all: BTreeMap<ReleaseId, Vec<String>> = BTreeMap::new();
        if releases.is_empty() {
            return Ok(all);
        }
        let ids: Vec<ReleaseId> = releases.into_iter().collect();
        for (release, environment) in self.places.running(&ids).await? {
            all.entry(release).or_default().push(environment);
        }
        Ok(all)
    }

    /// Advisories by name, those whose name, alias or summary holds `search`.
    pub(super) async fn advisories(&self, search: &str, after: &str, limit: i64) -> Result<AdvisoryPage> {
        let mut found = store::advisories(&self.db, search, after, limit + 1).await?;
        let more = i64::try_from(found.len()).is_ok_and(|count| count > limit);
        found.truncate(usize::try_from(limit).unwrap_or(0));
        let next = more.then(|| found.last().map(|last| last.id.clone())).flatten();
        Ok(AdvisoryPage {
            items: found.into_iter().map(summary).collect(),
            next,
        })
    }

    /// One advisory.
    pub(super) async fn advisory(&self, id: &str) -> Result<AdvisoryDetails> {
        let gone = || Problem::not_found("advisory");
        let kept = store::advisory(&self.db, id).await?.ok_or_else(gone)?;
        let body = store::body(&self.db, id).await?.ok_or_else(gone)?;
        let record = serde_json::from_str(&body).map_err(|error| {
            tracing::error!(%error, id, "an advisory that was kept cannot be read");
            Problem::internal()
        })?;
        Ok(AdvisoryDetails {
            imported_at: kept.imported_at,
            summary: summary(kept),
            record,
        })
    }

    /// The records of the advisories that some releases have or had findings of, for a bundle.
    ///
    /// # Errors
    /// The database refused.
    pub async fn records_for(&self, releases: &[ReleaseId]) -> Result<Vec<(String, serde_json::Value)>> {
        let mut all = Vec::new();
        for id in store::touching(&self.db, releases, CARRIED).await? {
            let body = store::body(&self.db, &id).await?;
            if let Some(record) = body.and_then(|body| serde_json::from_str(&body).ok()) {
                all.push((id, record));
            }
        }
        Ok(all)
    }
}

fn summary(kept: store::Kept) -> AdvisorySummary {
    AdvisorySummary {
        id: kept.id,
        aliases: kept.aliases.0,
        summary: kept.summary,
        severity: Severity::of_rank(kept.severity),
        score: kept.score,
        modified: kept.modified,
        withdrawn: kept.withdrawn,
        unmatched: kept.unmatched.0,
        releases: kept.releases,
    }
}

fn triage(row: store::TriageRow) -> Triage {
    Triage {
        verdict: row.verdict,
        justification: row.justification,
        reason: row.reason,
        actor: row.actor,
        at: row.at,
        until: row.until_at,
    }
}
