//! Taking reports in, and telling what a request's findings are now.

use super::{Found, Report, fingerprints, store};
use crate::{
    Forge,
    code::commit_id,
    merge_request::{MergeRequest, store as requests},
    review::{
        position::{Lines, Side, text_of},
        thread::{
            Anchor,
            place::{Placed, text_at},
        },
    },
};
use bascule_core::{Actor, Problem, ProjectId, Result};
use bascule_ledger::facts::review::FindingsPosted;
use bascule_wire::review as wire;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Tools that may report about one commit.
const TOOLS: i64 = 50;
/// Findings looked at for one request.
const LOOKED_AT: i64 = 5_000;
/// Versions of a request looked at, newest first.
const VERSIONS: i64 = 50;

/// A finding of a request, as it stands now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) finding: store::Kept,
    /// Where it stands in the present version; nothing for a file as a whole.
    pub(crate) place: Option<Placed>,
    /// The newest run of its tool no longer finds it.
    pub(crate) resolved: bool,
}

impl Forge {
    /// Takes a report about a commit in. A tool's earlier report about the same commit goes.
    ///
    /// # Errors
    /// There is no such commit, or the report cannot be read.
    pub async fn take_findings(
        &self,
        actor: &Actor,
        project: ProjectId,
        sha: &str,
        bytes: Vec<u8>,
        tool: Option<String>,
    ) -> Result<wire::FindingsTaken> {
        let id = commit_id(sha)?;
        let known = self
            .repositories()
            .read(project, move |repo| {
                Ok(repo.has_object(id) && repo.find_commit(id).is_ok())
            })
            .await?;
        if !known {
            return Err(Problem::not_found("commit"));
        }
        let report = tokio::task::spawn_blocking(move || Report::read(&bytes, tool.as_deref()))
            .await
            .map_err(|_| Problem::internal())??;
        let others = store::count_tools(self.db(), project, sha).await?;
        if others + i64::try_from(report.tools.len()).unwrap_or(i64::MAX) > 2 * TOOLS {
            return Err(Problem::conflict(
                "too_many_tools",
                format!("About {TOOLS} tools have reported on this commit already."),
            )
            .why("Each tool's name is kept apart, so a name that changes with each run fills the page.")
            .next("Give the tool one name: `?tool=NAME`."));
        }
        let marks = self.marks(project, sha, report.found.clone()).await?;
        let mut by_tool: BTreeMap<&str, Vec<(&Found, &str)>> = report
            .tools
            .iter()
            .map(|tool| (tool.as_str(), Vec::new()))
            .collect();
        for (found, mark) in report.found.iter().zip(&marks) {
            by_tool.entry(&found.tool).or_default().push((found, mark));
        }
        let now = self.now();
        let tx = self.db().begin().await?;
        for (tool, found) in &by_tool {
            store::put(&tx, project, sha, tool, found, &actor.name, now).await?;
            let errors = found
                .iter()
                .filter(|(one, _)| one.severity == super::Severity::Error)
                .count();
            let fact = FindingsPosted {
                project,
                sha: sha.to_owned(),
                tool: (*tool).to_owned(),
                found: i64::try_from(found.len()).unwrap_or(i64::MAX),
                errors: i64::try_from(errors).unwrap_or(i64::MAX),
            };
            self.ledger().append(&tx, actor, &fact).await?;
        }
        tx.commit().await?;
        Ok(wire::FindingsTaken {
            taken: report.found.len(),
            left_out: report.left_out,
            tools: by_tool.into_keys().map(str::to_owned).collect(),
        })
    }

    /// Fingerprints, with the text of lines as they are at the commit.
    async fn marks(&self, project: ProjectId, sha: &str, found: Vec<Found>) -> Result<Vec<String>> {
        let sha = sha.to_owned();
        self.repositories()
            .read(project, move |repo| {
                let mut texts: HashMap<String, Option<String>> = HashMap::new();
                for one in found.iter().filter(|one| one.start > 0 && one.mark.is_none()) {
                    if !texts.contains_key(&one.path) {
                        texts.insert(one.path.clone(), text_at(repo, &sha, &one.path)?);
                    }
                }
                Ok(fingerprints(&found, |one| {
                    let text = texts.get(&one.path)?.as_deref()?;
                    text_of(text, Lines::new(one.start, one.start)?)
                }))
            })
            .await
    }

    /// What was found about a request: of each tool its newest run, and what that no longer finds.
    pub(crate) async fn findings_of(&self, request: &MergeRequest) -> Result<Vec<Standing>> {
        let versions = requests::versions(self.db(), request.id, VERSIONS).await?;
        let mut order: Vec<String> = versions.into_iter().map(|version| version.head).collect();
        order.dedup();
        // A commit may come back after a forced push; its newest place counts.
        let age = |sha: &str| order.iter().position(|known| known == sha).unwrap_or(usize::MAX);
        let runs = store::runs(self.db(), request.project_id, &order).await?;
        let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
        for run in &runs {
            let best = newest.entry(&run.tool).or_insert(&run.sha);
            if age(&run.sha) < age(best) {
                *best = &run.sha;
            }
        }
        let kept = store::kept(self.db(), request.project_id, &order, LOOKED_AT).await?;
        let present: BTreeSet<(String, String)> = kept
            .iter()
            .filter(|one| newest.get(one.tool.as_str()) == Some(&one.sha.as_str()))
            .map(|one| (one.tool.clone(), one.fingerprint.clone()))
            .collect();
        let mut seen: HashMap<(String, String), store::Kept> = HashMap::new();
        for one in kept {
            let key = (one.tool.clone(), one.fingerprint.clone());
            match seen.get(&key) {
                Some(known) if age(&known.sha) <= age(&one.sha) => {}
                _ => {
                    seen.insert(key, one);
                }
            }
        }
        let mut all: Vec<(store::Kept, bool)> = seen
            .into_iter()
            .map(|(key, one)| (one, !present.contains(&key)))
            .collect();
        all.sort_by(|(a, gone), (b, other)| {
            (
                gone,
                std::cmp::Reverse(a.severity()),
                &a.path,
                a.start_line,
                &a.fingerprint,
            )
                .cmp(&(
                    other,
                    std::cmp::Reverse(b.severity()),
                    &b.path,
                    b.start_line,
                    &b.fingerprint,
                ))
        });
        let anchors = all.iter().map(|(one, _)| anchor(one)).collect();
        let places = self.place_all(request, anchors).await?;
        Ok(all
            .into_iter()
            .zip(places)
            .map(|((finding, resolved), place)| Standing {
                finding,
                place,
                resolved,
            })
            .collect())
    }
}

fn anchor(one: &store::Kept) -> Option<Anchor> {
    let (start, end) = one.lines();
    // A finding over half a file is shown at its beginning.
    let lines = Lines::new(start, end).or_else(|| Lines::new(start, start))?;
    Some(Anchor {
        path: one.path.clone(),
        side: Side::New,
        lines,
        sha: one.sha.clone(),
    })
}

impl Standing {
    /// As the API tells it.
    pub(crate) fn to_wire(&self, on_changed_line: bool) -> wire::Finding {
        let (start, end) = match &self.place {
            Some(place) => (place.lines.start, place.lines.end),
            None => self.finding.lines(),
        };
        wire::Finding {
            tool: self.finding.tool.clone(),
            rule: self.finding.rule.clone(),
            severity: self.finding.severity.clone(),
            label: self.finding.label.clone(),
            path: self
                .place
                .as_ref()
                .map_or_else(|| self.finding.path.clone(), |place| place.path.clone()),
            start,
            end,
            message: self.finding.message.clone(),
            url: self.finding.url.clone(),
            fingerprint: self.finding.fingerprint.clone(),
            sha: self.finding.sha.clone(),
            resolved: self.resolved,
            on_changed_line,
        }
    }
}
