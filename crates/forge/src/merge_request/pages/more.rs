//! Comparing versions, and taking a merged change off or elsewhere.

use super::{Head, base, crumbs};
use crate::{
    Forge,
    code::shown,
    merge_request::{api::Place, range, replay::Way},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_web::{Answer, FormBody, InProject, Params, PathOf, Tab, Ui, Who};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Between {
    from: Option<i64>,
    to: Option<i64>,
}

struct Line {
    class: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "merge_request/pages/range.html")]
struct Range {
    head: Head,
    from: i64,
    to: i64,
    numbers: Vec<i64>,
    lines: Vec<Line>,
}

pub(super) async fn range(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    Params(between): Params<Between>,
    ui: Ui,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let to = between.to.unwrap_or(request.version);
    let from = between.from.unwrap_or((to - 1).max(1));
    let text = forge.range_diff(&request, from, to).await?;
    let page = Range {
        head: forge.head(&scope, &request, 0).await?,
        from,
        to,
        numbers: (1..=request.version).rev().take(200).collect(),
        lines: text
            .lines()
            .map(|line| Line {
                class: range::class(line),
                text: shown(line.as_bytes()),
            })
            .collect(),
    };
    let title = format!("Versions of !{iid} · {}", scope.path());
    ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &page)
}

#[derive(Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    target_branch: String,
}

pub(super) async fn revert(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let made = forge.replay(&caller, &scope, iid, Way::Revert, None).await?;
    Ok(Redirect::to(&base(&scope, made.iid)).into_response())
}

pub(super) async fn pick(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    FormBody(form): FormBody<Target>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let made = forge
        .replay(&caller, &scope, iid, Way::CherryPick, Some(&form.target_branch))
        .await?;
    Ok(Redirect::to(&base(&scope, made.iid)).into_response())
}

pub(super) async fn restore(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    forge.restore_source(&caller, &scope, iid).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}
