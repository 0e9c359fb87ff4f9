//! What forms on an issue's page do.

use super::{Pairs, assignees, base, chosen_labels, one};
use crate::{Planning, issue::api::NumberPath};
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::ProjectScope;
use bascule_web::{Answer, FormBody, InProject, PathOf, Who};
use bascule_wire::planning::{IssueChange, LinkIssue, NewIssueComment};
use serde::Deserialize;

fn back(project: &ProjectScope, number: i64) -> Answer {
    Ok(Redirect::to(&format!("{}/issues/{number}", base(project))).into_response())
}

#[derive(Deserialize)]
pub(super) struct EditForm {
    title: String,
    #[serde(default)]
    description: String,
}

pub(super) async fn save(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<EditForm>,
) -> Answer {
    let change = IssueChange {
        title: Some(form.title),
        description: Some(form.description),
        ..IssueChange::default()
    };
    planning.change(&who, &project, path.number()?, &change).await?;
    back(&project, path.number()?)
}

pub(super) async fn plan(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(pairs): FormBody<Pairs>,
) -> Answer {
    let change = IssueChange {
        labels: Some(chosen_labels(&pairs)),
        assignees: Some(assignees(&pairs)),
        milestone: Some(one(&pairs, "milestone")),
        due_on: Some(one(&pairs, "due_on")),
        confidential: Some(!one(&pairs, "confidential").is_empty()),
        ..IssueChange::default()
    };
    planning.change(&who, &project, path.number()?, &change).await?;
    back(&project, path.number()?)
}

pub(super) async fn take(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer {
    let number = path.number()?;
    let sight = planning.sight(&who, &project).await?;
    let found = planning.issue(&project, &sight, number).await?;
    let mut assignees: Vec<String> = found
        .assignees
        .into_iter()
        .map(|someone| someone.username)
        .collect();
    assignees.push(who.actor.name.clone());
    let change = IssueChange {
        assignees: Some(assignees),
        ..IssueChange::default()
    };
    planning.change(&who, &project, number, &change).await?;
    back(&project, number)
}

pub(super) async fn close(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer {
    planning.set_open(&who, &project, path.number()?, false).await?;
    back(&project, path.number()?)
}

pub(super) async fn reopen(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer {
    planning.set_open(&who, &project, path.number()?, true).await?;
    back(&project, path.number()?)
}

#[derive(Deserialize)]
pub(super) struct CommentForm {
    #[serde(default)]
    body: String,
    #[serde(default)]
    close: Option<String>,
}

pub(super) async fn comment(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<CommentForm>,
) -> Answer {
    let number = path.number()?;
    let said = NewIssueComment { body: form.body };
    let comment = planning.comment(&who, &project, number, &said).await?;
    if form.close.is_some() {
        planning.set_open(&who, &project, number, false).await?;
    }
    let to = format!("{}/issues/{number}#comment-{comment}", base(&project));
    Ok(Redirect::to(&to).into_response())
}

#[derive(Deserialize)]
pub(super) struct LinkForm {
    #[serde(default)]
    kind: String,
    to: String,
    #[serde(default)]
    part: Option<String>,
}

pub(super) async fn link(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<LinkForm>,
) -> Answer {
    let wanted = LinkIssue {
        kind: form.kind,
        to: form.to,
    };
    planning
        .link(&who, &project, path.number()?, &wanted, form.part.is_some())
        .await?;
    back(&project, path.number()?)
}
