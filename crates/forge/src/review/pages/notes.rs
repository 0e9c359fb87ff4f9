//! What stands between the lines of a change: threads, what bots found, and a link on each line to comment.

use super::view::{Scene, View, html, lines_text};
use crate::{
    Forge,
    code::{diff::Row, shown},
    merge_request::MergeRequest,
    review::{findings::service::Standing, position::Side},
};
use askama::Template;
use bascule_core::{Caller, Permission, ProjectScope, Result};
use bascule_web::{Markup, icon, url_encode};
use std::collections::{HashMap, HashSet};

/// Threads shown between lines on one page.
const THREADS: i64 = 500;
/// Findings shown on one page.
const FINDINGS: usize = 500;

/// A finding, as shown on its line.
#[derive(Template)]
#[template(path = "review/pages/finding.html")]
pub(super) struct Shown {
    pub(super) tool: String,
    pub(super) rule: String,
    pub(super) severity: String,
    pub(super) class: &'static str,
    pub(super) place: String,
    pub(super) message: String,
    pub(super) url: Option<String>,
    pub(super) resolved: bool,
    pub(super) icon: Markup,
}

impl Shown {
    pub(super) fn of(one: &Standing) -> Self {
        let severity = one.finding.severity();
        let class = match severity.as_str() {
            "error" => "text-red",
            "note" => "text-blue",
            _ => "text-yellow",
        };
        let path = shown(one.finding.path.as_bytes());
        Self {
            tool: one.finding.tool.clone(),
            rule: one.finding.rule.clone(),
            severity: match one.finding.label.as_str() {
                "" => severity.as_str().to_owned(),
                own => own.to_owned(),
            },
            class,
            place: match &one.place {
                Some(place) => format!(
                    "{}, {}",
                    shown(place.path.as_bytes()),
                    lines_text(place.lines, place.side)
                ),
                None => path,
            },
            message: one.finding.message.clone(),
            url: one.finding.url.clone(),
            resolved: one.resolved,
            icon: icon("alert-triangle"),
        }
    }
}

/// All that stands between the lines of one page.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Where a link to comment leads, if the caller may.
    comment: Option<String>,
    lines: HashMap<(String, Side, u32), String>,
    files: HashMap<String, String>,
    /// The first thread, and how many wait.
    pub(crate) first: Option<String>,
    pub(crate) waiting: usize,
}

impl Forge {
    /// Gathers them for the files of a page of the present version.
    pub(crate) async fn notes<'a>(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        from: usize,
        files: impl Iterator<Item = (&'a [u8], &'a [Row])>,
    ) -> Result<Notes> {
        let mut rows: HashSet<(String, Side, u32)> = HashSet::new();
        let mut paths: HashSet<String> = HashSet::new();
        for (path, lines) in files {
            let path = String::from_utf8_lossy(path).into_owned();
            for row in lines {
                if let Ok(number) = row.new.parse() {
                    rows.insert((path.clone(), Side::New, number));
                }
                if let Ok(number) = row.old.parse() {
                    rows.insert((path.clone(), Side::Old, number));
                }
            }
            paths.insert(path);
        }
        let base = crate::merge_request::pages::base(scope, request.iid);
        let mut notes = Notes {
            comment: scope
                .holds(Permission::MergeRequestWrite)
                .then(|| format!("{base}/comment?from={from}&path=")),
            ..Notes::default()
        };
        let mut talks = self.talks(caller, request, None, THREADS).await?;
        talks.retain(|talk| {
            talk.place
                .as_ref()
                .is_some_and(|place| paths.contains(&place.path))
        });
        let scene = Scene {
            caller,
            scope,
            request,
            base,
            back: "changes",
            from,
        };
        let places: HashMap<String, _> = talks
            .iter()
            .filter_map(|talk| Some((talk.thread.id.to_string(), talk.place.clone()?)))
            .collect();
        for view in self.views(&scene, talks).await? {
            let Some(place) = places.get(&view.id) else {
                continue;
            };
            if notes.first.is_none() {
                notes.first = Some(format!("#thread-{}", view.id));
            }
            notes.waiting += usize::from(view.resolved.is_none());
            let html = html(&view)?;
            let key = (place.path.clone(), place.side, place.lines.end);
            if !place.outdated && rows.contains(&key) {
                notes.lines.entry(key).or_default().push_str(&html);
            } else {
                notes
                    .files
                    .entry(place.path.clone())
                    .or_default()
                    .push_str(&folded(&view, &html));
            }
        }
        let found = self.findings_of(request).await?;
        for one in found.iter().filter(|one| !one.resolved).take(FINDINGS) {
            let html = html(&Shown::of(one))?;
            let path = one.place.as_ref().map_or(&one.finding.path, |place| &place.path);
            let line = one
                .place
                .as_ref()
                .filter(|place| !place.outdated)
                .map(|place| (place.path.clone(), place.side, place.lines.end))
                .filter(|key| rows.contains(key));
            match line {
                Some(key) => notes.lines.entry(key).or_default().push_str(&html),
                None if paths.contains(path) => notes.files.entry(path.clone()).or_default().push_str(&html),
                None => {}
            }
        }
        Ok(notes)
    }
}

/// A thread that does not stand on a shown line, folded away.
fn folded(view: &View, html: &str) -> String {
    let what = match &view.place {
        Some((text, _)) => Markup::text(text),
        None => Markup::text("Thread"),
    };
    let state = if view.outdated { ", outdated" } else { "" };
    format!("<details class=\"m-2\"><summary>{what}{state}</summary>{html}</details>")
}

impl Notes {
    /// The number of a line, with a link to comment on it.
    pub(crate) fn number(&self, path: &[u8], side: &str, number: &str) -> Markup {
        let plain = Markup::text(number);
        let Some(comment) = self
            .comment
            .as_ref()
            .filter(|_| number.bytes().all(|b| b.is_ascii_digit()))
        else {
            return plain;
        };
        // A name that is no UTF-8 cannot be asked for again.
        match std::str::from_utf8(path) {
            Ok(path) if !number.is_empty() => Markup::trusted(format!(
                "<a href=\"{}{}&amp;side={side}&amp;line={number}\" aria-label=\"Comment on {side} line {number}\">{number}</a>",
                Markup::text(comment),
                url_encode(path)
            )),
            _ => plain,
        }
    }

    /// What stands below a line, by its numbers in the old and the new text, as a row of the table.
    pub(crate) fn after(&self, path: &[u8], old: &str, new: &str, columns: u8) -> Markup {
        if self.lines.is_empty() {
            return Markup::default();
        }
        let path = String::from_utf8_lossy(path);
        let mut html = String::new();
        for (side, number) in [(Side::Old, old), (Side::New, new)] {
            if let Ok(number) = number.parse()
                && let Some(found) = self.lines.get(&(path.clone().into_owned(), side, number))
            {
                html.push_str(found);
            }
        }
        if html.is_empty() {
            return Markup::default();
        }
        Markup::trusted(format!(
            "<tr hx-boost=\"false\"><td class=\"note\" colspan=\"{columns}\">{html}</td></tr>"
        ))
    }

    /// What stands above a file's lines.
    pub(crate) fn file(&self, path: &[u8]) -> Markup {
        let path = String::from_utf8_lossy(path);
        self.files
            .get(path.as_ref())
            .map(|html| Markup::trusted(format!("<div class=\"note p-2\">{html}</div>")))
            .unwrap_or_default()
    }
}
