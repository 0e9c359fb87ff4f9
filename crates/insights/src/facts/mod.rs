//! The ledger as people read it.

pub(crate) mod api;
pub(crate) mod pages;

use crate::{Insights, Scope, measure::store};
use bascule_core::{Caller, Problem, ProjectId, Result};
use bascule_ledger::{Entry, Filter, Page};
use bascule_store::Result as StoreResult;
use bascule_web::{Markup, icon, url_encode, when};
use bascule_wire::insights::FactEntry;
use serde::Deserialize;
use std::collections::HashMap;

/// A fact, ready to be shown.
pub(crate) struct Line {
    pub(crate) seq: i64,
    pub(crate) at: Markup,
    pub(crate) actor: String,
    pub(crate) icon: Markup,
    pub(crate) text: String,
    pub(crate) href: String,
    pub(crate) project: Option<(String, String)>,
}

/// What a person or program asks of the ledger.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
pub(crate) struct Question {
    /// A kind, such as `deployment.finished`, or all kinds of a noun, such as `deployment.*`.
    #[serde(default)]
    pub(crate) kind: String,
    /// A project, as `group/project`.
    #[serde(default)]
    pub(crate) project: String,
    /// What it is about, as `noun:id`.
    #[serde(default)]
    pub(crate) subject: String,
    /// The name of who did it.
    #[serde(default)]
    pub(crate) actor: String,
    /// A text in the sentence.
    #[serde(default)]
    pub(crate) text: String,
    /// Not before: a date, or an RFC 3339 instant.
    #[serde(default)]
    pub(crate) from: String,
    /// Not after: a date, or before: an RFC 3339 instant.
    #[serde(default)]
    pub(crate) to: String,
    /// Only facts before this number, newest first.
    pub(crate) before: Option<i64>,
    /// Only facts after this number, oldest first.
    pub(crate) after: Option<i64>,
    /// How many at most.
    pub(crate) limit: Option<i64>,
}

impl Question {
    /// The question as an address's query, without its paging.
    pub(crate) fn query(&self) -> String {
        let fields = [
            ("kind", &self.kind),
            ("project", &self.project),
            ("subject", &self.subject),
            ("actor", &self.actor),
            ("text", &self.text),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
        given
            .map(|(name, value)| format!("{name}={}&", url_encode(value)))
            .collect()
    }
}

impl Insights {
    /// What a caller may see of what is asked; `within` limits it to one project that they may see.
    pub(crate) async fn filter(
        &self,
        caller: &Caller,
        asked: &Question,
        within: Option<ProjectId>,
    ) -> Result<Filter> {
        let mut filter = Filter {
            kinds: Some(asked.kind.trim())
                .filter(|kind| !kind.is_empty())
                .map(str::to_owned)
                .into_iter()
                .collect(),
            project: within,
            subject: Some(asked.subject.trim().to_owned()).filter(|text| !text.is_empty()),
            actor: Some(asked.actor.trim().to_owned()).filter(|text| !text.is_empty()),
            text: Some(asked.text.trim().to_owned()).filter(|text| !text.is_empty()),
            ..Filter::default()
        };
        if !asked.from.trim().is_empty() {
            filter.from = Some(crate::measure::instant(asked.from.trim(), false)?);
        }
        if !asked.to.trim().is_empty() {
            filter.to = Some(crate::measure::instant(asked.to.trim(), true)?);
        }
        if within.is_none() {
            let visible = self.scope(caller).await?;
            let path = asked.project.trim();
            if path.is_empty() {
                filter.projects = match visible {
                    Scope::All => None,
                    Scope::Projects(ids) => Some(ids),
                };
            } else {
                self.catch_up().await?;
                let found = store::project_at(&self.db, path).await?;
                filter.project = Some(
                    found
                        .filter(|id| sees(&visible, Some(*id)))
                        .ok_or_else(|| Problem::not_found("project"))?,
                );
            }
        }
        Ok(filter)
    }

    /// Facts that answer a question, and whether there are more.
    pub(crate) async fn ask(
        &self,
        filter: &Filter,
        asked: &Question,
        limit: i64,
    ) -> Result<(Vec<Entry>, bool)> {
        let page = match asked.after {
            Some(after) => Page::After {
                after,
                limit: limit + 1,
            },
            None => Page::Newest {
                before: asked.before,
                limit: limit + 1,
            },
        };
        let mut entries = self.ledger.read(filter, page).await?;
        let more = i64::try_from(entries.len()).unwrap_or(0) > limit;
        entries.truncate(usize::try_from(limit).unwrap_or(0));
        Ok((entries, more))
    }

    /// One fact, if the caller may see it.
    pub(crate) async fn fact(&self, caller: &Caller, seq: i64) -> Result<Entry> {
        let visible = self.scope(caller).await?;
        let entry = self
            .ledger
            .entry(seq)
            .await?
            .filter(|entry| sees(&visible, entry.project));
        entry.ok_or_else(|| Problem::not_found("fact"))
    }

    /// Facts by their numbers, newest first.
    pub(crate) async fn entries(&self, seqs: &[i64]) -> StoreResult<Vec<Entry>> {
        let mut entries = self.ledger.entries(seqs).await?;
        entries.reverse();
        Ok(entries)
    }

    /// Facts as the API carries them.
    pub(crate) async fn entries_as_dto(&self, entries: Vec<Entry>) -> StoreResult<Vec<FactEntry>> {
        let paths = self.paths(&entries).await?;
        let dto = |entry: Entry| FactEntry {
            seq: entry.seq,
            id: entry.id,
            at: entry.at,
            actor: entry.actor,
            kind: entry.kind,
            project: entry.project.and_then(|id| paths.get(&id).cloned()),
            subject: entry.subject,
            summary: entry.summary,
            body: serde_json::from_str(&entry.body).unwrap_or_default(),
            hash: entry.hash,
        };
        Ok(entries.into_iter().map(dto).collect())
    }

    async fn paths(&self, entries: &[Entry]) -> StoreResult<HashMap<ProjectId, String>> {
        let mut ids: Vec<ProjectId> = entries.iter().filter_map(|entry| entry.project).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(store::paths(&self.db, &ids).await?.into_iter().collect())
    }
}

fn sees(visible: &Scope, project: Option<ProjectId>) -> bool {
    match (visible, project) {
        (Scope::All, _) => true,
        (Scope::Projects(ids), Some(id)) => ids.contains(&id),
        (Scope::Projects(_), None) => false,
    }
}

/// Facts, ready to be shown.
pub(crate) async fn lines(insights: &Insights, entries: Vec<Entry>) -> StoreResult<Vec<Line>> {
    let paths = insights.paths(&entries).await?;
    Ok(entries
        .into_iter()
        .map(|entry| {
            let path = entry.project.and_then(|id| paths.get(&id));
            Line {
                seq: entry.seq,
                at: when(entry.at),
                icon: icon(picture(&entry.kind)),
                href: link(&entry, path.map(String::as_str)),
                project: path.map(|path| (format!("/{path}"), path.clone())),
                actor: entry.actor.name,
                text: entry.summary,
            }
        })
        .collect())
}

fn picture(kind: &str) -> &'static str {
    match kind.split('.').next().unwrap_or_default() {
        "branch" => "git-branch",
        "tag" | "release" => "tag",
        "push" => "ban",
        "pipeline" | "job" => "terminal-2",
        "deployment" | "environment" | "product" => "rocket",
        "rollout" => "route",
        "instance" | "agent" => "server",
        "traffic" | "alert" => "activity",
        "incident" => "flame",
        "postmortem" => "file-text",
        "user" | "member" | "session" => "user",
        "token" | "key" => "key",
        "group" | "project" => "folder",
        _ => "circle-dot",
    }
}

/// Where a fact's subject is shown; the fact itself, where it has no page.
pub(crate) fn link(entry: &Entry, path: Option<&str>) -> String {
    let fallback = format!("/ledger/{}", entry.seq);
    let Some(path) = path else { return fallback };
    let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(|value| value.as_str()).map(url_encode);
    let number = |name: &str| body.get(name).and_then(serde_json::Value::as_i64);
    let (noun, _) = entry.kind.split_once('.').unwrap_or((&entry.kind, ""));
    let place = match noun {
        "branch" | "tag" => text("after").map(|sha| format!("commit/{sha}")),
        "job" => number("job").map(|id| format!("jobs/{id}")),
        "pipeline" => number("pipeline").map(|id| format!("pipelines/{id}")),
        "release" => text("tag").map(|tag| format!("releases/{tag}")),
        "deployment" | "instance" => text("deployment").map(|id| format!("deployments/{id}")),
        "rollout" => text("rollout").map(|id| format!("rollouts/{id}")),
        "environment" => Some("environments".to_owned()),
        "traffic" | "alert" => Some("telemetry".to_owned()),
        "incident" | "postmortem" => number("number").map(|number| format!("incidents/{number}")),
        "project" if entry.kind == "project.created" => return format!("/{path}"),
        _ => None,
    };
    place.map_or(fallback, |place| format!("/{path}/-/{place}"))
}
