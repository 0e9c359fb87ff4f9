//! Two branches, tags or commits beside each other.

use super::{
    Line, base,
    changes::{Changes, View},
    commits::trail,
    line,
};
use crate::{
    Forge,
    code::{api, branches, diff},
    told::told,
};
use askama::Template;
use axum::extract::State;
use bascule_core::limits;
use bascule_web::{Answer, InProject, Markup, Params, Tab, Ui, icon, url_encode};
use http::StatusCode;
use serde::Deserialize;

/// Commits on one page.
const PAGE: usize = limits::PAGE_ENTRIES as usize;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    /// Page of commits, from 1.
    page: Option<usize>,
    /// File to show the changes from.
    file: Option<usize>,
}

#[derive(Template)]
#[template(path = "code/pages/compare.html")]
struct Page {
    old: String,
    new: String,
    turned: String,
    /// Said where a name leads nowhere.
    unknown: Option<Markup>,
    found: Option<Found>,
    icons: [Markup; 3],
}

struct Found {
    related: bool,
    ahead: usize,
    behind: usize,
    commits: Vec<Line>,
    newer: Option<String>,
    older: Option<String>,
    changes: Changes,
}

pub(super) async fn compare(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Asked>,
    view: View,
    ui: Ui,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    let or_default = |text: &str| match text.trim() {
        "" => project.default_branch.clone(),
        text => text.to_owned(),
    };
    let (old_name, new_name) = (or_default(&asked.from), or_default(&asked.to));
    let address = |from: &str, to: &str| {
        format!(
            "{}/-/compare?from={}&to={}",
            base(&scope),
            url_encode(from),
            url_encode(to)
        )
    };
    let (mut found, mut unknown, mut ends) = (None, None, Vec::new());
    if !forge.is_empty(scope.id).await? && old_name != new_name {
        for name in [&old_name, &new_name] {
            match api::start(&forge, scope.id, Some(name.clone())).await {
                Ok(id) => ends.push(id),
                Err(problem) if problem.status < 500 => {
                    let name = crate::code::shown(name.as_bytes());
                    let text = format!("There is no branch or tag `{name}`, nor a commit of that name.");
                    unknown = unknown.or(Some(told(&text, &base(&scope))));
                }
                Err(problem) => return Err(problem.into()),
            }
        }
    }
    if let [old, new] = *ends.as_slice() {
        let (page, from) = (asked.page.unwrap_or(1).max(1), asked.file.unwrap_or(0));
        let kept = forge.clone();
        let (between, files, next) = forge
            .repositories()
            .read(scope.id, move |repo| {
                let between = branches::between(repo, old, new, (page - 1) * PAGE, PAGE)?;
                let (files, next) = diff::show(
                    repo,
                    &between.changes,
                    from,
                    limits::SHOWN_DIFF_LINES,
                    Some(&kept.cache().lines),
                )?;
                Ok((between, files, next))
            })
            .await?;
        let here = address(&old_name, &new_name);
        let sha = new.to_string();
        let to = |view: View, at: usize| format!("{here}&view={}&file={at}", view.word());
        let changes = Changes::new(&scope, &sha, &between.changes, (files, from, next), view, to)
            .or_else(between.instead);
        let ahead = between.distance.ahead;
        found = Some(Found {
            related: between.base.is_some(),
            ahead,
            behind: between.distance.behind,
            commits: between
                .commits
                .iter()
                .map(|commit| line(&scope, commit))
                .collect(),
            newer: (page > 1).then(|| format!("{here}&page={}", page - 1)),
            older: (page * PAGE < ahead).then(|| format!("{here}&page={}", page + 1)),
            changes,
        });
    }
    let missing = unknown.is_some();
    let page = Page {
        turned: address(&new_name, &old_name),
        old: old_name,
        new: new_name,
        unknown,
        found,
        icons: [icon("git-compare"), icon("arrows-exchange"), icon("git-commit")],
    };
    let mut answer = ui.project_page(
        Tab::Code,
        &format!("Compare · {}", scope.path()),
        &trail(&scope, "Compare"),
        &page,
    )?;
    if missing {
        *answer.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(view.remember(answer))
}
