//! The page on which conflicts are solved.

use super::{Head, base, crumbs};
use crate::{
    Forge,
    code::shown,
    merge_request::{
        api::Place,
        conflicts::{Piece, Solution, Take, Unsolved},
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::Permission;
use bascule_web::{Answer, FormBody, InProject, PathOf, Tab, Ui, Who};
use std::collections::HashMap;

struct Hunk {
    number: usize,
    ours: String,
    theirs: String,
}

struct File {
    number: usize,
    path: String,
    kind: String,
    hunks: Vec<Hunk>,
    /// The whole text with both sides one after the other, to be edited.
    text: String,
    ours: bool,
    theirs: bool,
}

#[derive(Template)]
#[template(path = "merge_request/pages/conflicts.html")]
struct Conflicts {
    head: Head,
    ours: String,
    theirs: String,
    target: String,
    source: String,
    files: Vec<File>,
    may: bool,
}

fn file(number: usize, unsolved: Unsolved) -> File {
    let mut hunks = Vec::new();
    let mut text = String::new();
    for piece in unsolved.pieces.into_iter().flatten() {
        match piece {
            Piece::Same(lines) => text.push_str(&lines),
            Piece::Differs { ours, theirs } => {
                text.push_str(&ours);
                text.push_str(&theirs);
                hunks.push(Hunk {
                    number: hunks.len(),
                    ours,
                    theirs,
                });
            }
        }
    }
    File {
        number,
        path: shown(&unsolved.path),
        kind: unsolved.kind,
        hunks,
        text,
        ours: unsolved.ours,
        theirs: unsolved.theirs,
    }
}

pub(super) async fn conflicts(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    ui: Ui,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let found = forge.unsolved(&request).await?;
    let page = Conflicts {
        head: forge.head(&scope, &request, 0).await?,
        target: request.target_branch,
        source: request.source_branch,
        files: found
            .files
            .into_iter()
            .enumerate()
            .map(|(at, unsolved)| file(at, unsolved))
            .collect(),
        ours: found.ours,
        theirs: found.theirs,
        may: scope.holds(Permission::CodePush),
    };
    let title = format!("Conflicts of !{iid} · {}", scope.path());
    ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &page)
}

pub(super) async fn solve(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    FormBody(form): FormBody<HashMap<String, String>>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let solutions = solutions(&form);
    forge
        .solve(
            &caller,
            &scope,
            iid,
            (field("target"), field("source")),
            solutions,
        )
        .await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

/// Reads the form: `how-0=text` with `text-0`, `side-0=ours`, or `hunk-0-0=theirs` and so on.
fn solutions(form: &HashMap<String, String>) -> HashMap<usize, Solution> {
    let mut found = HashMap::new();
    for at in 0..100 {
        let how = form.get(&format!("how-{at}")).map(String::as_str);
        if how == Some("text") {
            if let Some(text) = form.get(&format!("text-{at}")) {
                found.insert(at, Solution::Text(text.replace("\r\n", "\n")));
            }
        } else if let Some(take) = form.get(&format!("side-{at}")).and_then(|side| Take::parse(side)) {
            found.insert(at, Solution::Side(take));
        } else {
            let takes: Vec<Take> = (0..10_000)
                .map_while(|hunk| form.get(&format!("hunk-{at}-{hunk}")))
                .map_while(|take| Take::parse(take))
                .collect();
            if !takes.is_empty() {
                found.insert(at, Solution::Hunks(takes));
            }
        }
    }
    found
}
