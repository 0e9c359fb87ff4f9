//! The timeline writes itself: facts about the project and the environment, from a quarter of an hour before
//! the failing began until the resolution, merged with what people wrote.

use crate::{
    Incidents,
    incident::{Incident, store},
};
use bascule_ledger::{Entry, Filter, Page};
use bascule_store::Result;
use bascule_wire::incidents::TimelineEntry;
use std::{collections::BTreeMap, time::Duration};

/// Changes made shortly before the failing began are the first suspects.
const LOOK_BACK: Duration = Duration::from_secs(900);
/// What resolving itself sets off is told a moment later.
const LOOK_ON: Duration = Duration::from_secs(2);
const AT_MOST: i64 = 500;

const KINDS: &[&str] = &[
    "deployment.*",
    "rollout.*",
    "alert.*",
    "instance.*",
    "release.*",
    "branch.updated",
    "tag.updated",
    "pipeline.finished",
    "project.changed",
];

/// Reads an incident's timeline, oldest first; only facts up to the number `until`, if one is given.
pub(crate) async fn read(
    incidents: &Incidents,
    incident: &Incident,
    until: Option<i64>,
) -> Result<Vec<TimelineEntry>> {
    let facts = facts(incidents, incident, until).await?;
    let mut lines: Vec<TimelineEntry> = facts
        .into_iter()
        // The comment itself says more than the fact that there is one.
        .filter(|entry| entry.kind != "incident.commented")
        .map(|entry| TimelineEntry {
            at: entry.at,
            actor: entry.actor.name,
            kind: entry.kind,
            text: entry.summary,
            seq: Some(entry.seq),
        })
        .collect();
    for comment in store::comments(&incidents.db, incident.id).await? {
        if until.is_some() && incident.resolved_at.is_some_and(|resolved| comment.at > resolved) {
            continue;
        }
        let (at, actor, text) = (comment.at, comment.actor, comment.body);
        lines.push(TimelineEntry {
            at,
            actor,
            kind: "comment".to_owned(),
            text,
            seq: None,
        });
    }
    // Stable: facts of one instant stay in the ledger's order.
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

/// The facts of an incident, in the ledger's order.
pub(crate) async fn facts(
    incidents: &Incidents,
    incident: &Incident,
    until: Option<i64>,
) -> Result<Vec<Entry>> {
    let ledger = &incidents.ledger;
    let from = incident.began_at.minus(LOOK_BACK);
    // Two questions: what happened around it, and what was done about it, at any time.
    let around = Filter {
        kinds: KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
        project: Some(incident.project_id),
        from: Some(from),
        to: incident.resolved_at.map(|at| at.plus(LOOK_ON)),
        ..Filter::default()
    };
    let own = Filter {
        subject: Some(format!("incident:{}", incident.id)),
        ..Filter::default()
    };
    let after = ledger.seq_before(from).await?;
    let mut all = BTreeMap::new();
    for entry in ledger
        .read(
            &around,
            Page::After {
                after,
                limit: AT_MOST,
            },
        )
        .await?
    {
        if concerns(incident, &entry) {
            all.insert(entry.seq, entry);
        }
    }
    for entry in ledger
        .read(
            &own,
            Page::After {
                after: 0,
                limit: AT_MOST,
            },
        )
        .await?
    {
        all.insert(entry.seq, entry);
    }
    Ok(all
        .into_values()
        .filter(|entry| until.is_none_or(|until| entry.seq <= until))
        .collect())
}

/// Whether a fact of the project belongs here: not if it is about another environment, and before the
/// failing only if it changed what runs.
fn concerns(incident: &Incident, entry: &Entry) -> bool {
    let changes = ["deployment.", "rollout."]
        .iter()
        .any(|noun| entry.kind.starts_with(noun));
    if entry.at < incident.began_at && !changes {
        return false;
    }
    let Some(environment) = incident.environment_id else {
        return true;
    };
    let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap_or_default();
    body.get("environment")
        .and_then(|value| value.as_str())
        .is_none_or(|id| id == environment.to_string())
}
