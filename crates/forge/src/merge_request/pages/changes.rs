//! What a request changes, file by file.

use super::{Head, base, crumbs};
use crate::{
    Forge,
    code::{
        diff::FileDiff,
        pages::changes::{Changes, View},
    },
    merge_request::{api::Place, read, store},
    ports::Missed,
    review::pages::notes::Notes,
};
use askama::Template;
use axum::extract::State;
use bascule_core::{Permission, ProjectId, ProjectScope, Result, limits};
use bascule_web::{Answer, InProject, Params, PathOf, Tab, Ui, Who};
use serde::Deserialize;

/// Rows on one page: as many as a browser draws at once without a wait.
const ROWS: usize = 2_000;

#[derive(Deserialize)]
pub(super) struct Asked {
    from: Option<usize>,
    version: Option<i64>,
    /// An earlier version to compare with, instead of the target branch.
    against: Option<i64>,
}

#[derive(Template)]
#[template(path = "merge_request/pages/changes.html")]
struct Page {
    head: Head,
    sha: String,
    versions: Vec<(String, i64, bool)>,
    /// The first thread, and how many wait.
    first: Option<String>,
    waiting: usize,
    changes: Changes,
}

impl Forge {
    /// Lines that no test reached, for those who may read pipelines.
    async fn missed(
        &self,
        scope: &ProjectScope,
        source: ProjectId,
        sha: &str,
        files: &[FileDiff],
    ) -> Result<Missed> {
        let Some(pipelines) = self.pipelines().filter(|_| scope.holds(Permission::PipelineRead)) else {
            return Ok(Missed::new());
        };
        let files: Vec<String> = files
            .iter()
            .filter(|file| file.added > 0)
            .filter_map(|file| String::from_utf8(file.path.clone()).ok())
            .collect();
        pipelines.missed(source, sha, &files).await
    }
}

pub(super) async fn changes(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Params(asked): Params<Asked>,
    view: View,
    ui: Ui,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let version = match asked.version {
        None => None,
        Some(number) => Some(forge.version(&request, number).await?),
    };
    let against = match asked.against {
        None => None,
        Some(number) => Some(forge.version(&request, number).await?),
    };
    let (old, new) = version.as_ref().map_or_else(
        || (request.base.clone(), request.head.clone()),
        |version| (version.base.clone(), version.head.clone()),
    );
    let old = against.map_or(old, |against| against.head);
    let from = asked.from.unwrap_or(0);
    let sha = new.clone();
    let kept = forge.clone();
    let found = forge
        .repositories()
        .read(scope.id, move |repo| {
            read::changes(
                repo,
                &old,
                &new,
                from,
                ROWS.min(limits::SHOWN_DIFF_LINES),
                Some(&kept.cache().lines),
            )
        })
        .await?;
    let notes = if version.is_none() {
        let files = found
            .files
            .iter()
            .map(|file| (file.path.as_slice(), file.rows.as_slice()));
        forge.notes(&caller, &scope, &request, from, files).await?
    } else {
        Notes::default()
    };
    let missed = forge
        .missed(&scope, request.source_project_id, &sha, &found.files)
        .await?;
    let here = base(&scope, iid);
    let to = |view: View, from: usize| {
        let mut href = format!("{here}/changes?view={}", view.word());
        if from > 0 {
            href.push_str(&format!("&from={from}"));
        }
        if let Some(number) = asked.version {
            href.push_str(&format!("&version={number}"));
        }
        if let Some(number) = asked.against {
            href.push_str(&format!("&against={number}"));
        }
        href
    };
    let count = store::versions(forge.db(), request.id, 50).await?;
    let page = Page {
        head: forge.head(&scope, &request, 2).await?,
        versions: count
            .iter()
            .map(|known| {
                let current = asked.version.unwrap_or(request.version) == known.number;
                (
                    format!("{here}/changes?version={}", known.number),
                    known.number,
                    current,
                )
            })
            .collect(),
        first: notes.first.clone(),
        waiting: notes.waiting,
        changes: Changes::new(
            &scope,
            &sha,
            &found.changes,
            (found.files, from, found.next),
            view,
            to,
        )
        .or_else(found.instead)
        .with_missed(&missed)
        .with_notes(notes),
        sha,
    };
    let title = format!("Changes of !{iid} · {}", scope.path());
    Ok(view.remember(ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &page)?))
}
