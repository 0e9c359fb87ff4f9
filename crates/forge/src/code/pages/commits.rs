//! History, and single commits.

use super::{
    Line, base,
    changes::{Changes, View},
    line,
};
use crate::{
    Forge,
    code::{
        api, diff, history,
        paths::{shown, to_url},
        read,
    },
};
use askama::Template;
use axum::extract::State;
use bascule_core::{Problem, ProjectScope, limits};
use bascule_web::{Answer, Crumb, InProject, Markup, Params, PathOf, Tab, Ui, icon, url_path, when};
use serde::Deserialize;

/// Commits on one page.
const PAGE: usize = limits::PAGE_ENTRIES as usize;

#[derive(Deserialize)]
pub(super) struct Paging {
    page: Option<usize>,
}

#[derive(Deserialize)]
pub(super) struct From {
    from: Option<usize>,
}

#[derive(Template)]
#[template(path = "code/pages/commits.html")]
struct Commits {
    name: String,
    /// Of one file or directory; empty for all.
    path: String,
    branches: String,
    lines: Vec<Line>,
    newer: Option<String>,
    older: Option<String>,
    icons: [Markup; 2],
}

#[derive(Template)]
#[template(path = "code/pages/commit.html")]
struct Commit {
    title: String,
    body: String,
    sha: String,
    author: String,
    email: String,
    authored: Markup,
    /// Who committed it, where that is someone else.
    committer: Option<(String, Markup)>,
    parents: Vec<(String, String)>,
    changes: Changes,
    browse: String,
    icons: [Markup; 3],
}

pub(super) async fn commits(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(paging): Params<Paging>,
    ui: Ui,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    if forge.is_empty(scope.id).await? {
        let page = Commits {
            name: project.default_branch,
            path: String::new(),
            branches: format!("{}/-/branches", base(&scope)),
            lines: Vec::new(),
            newer: None,
            older: None,
            icons: [icon("git-branch"), icon("git-commit")],
        };
        return ui.project_page(
            Tab::Commits,
            &format!("Commits · {}", scope.path()),
            &trail(&scope, "Commits"),
            &page,
        );
    }
    show(&forge, &scope, project.default_branch, paging.page, &ui).await
}

pub(super) async fn commits_of(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, name)): PathOf<(String, String, String)>,
    Params(paging): Params<Paging>,
    ui: Ui,
) -> Answer {
    let place = forge.place(&scope, name).await?;
    if place.path.is_empty() {
        return show(&forge, &scope, place.name, paging.page, &ui).await;
    }
    let page = paging.page.unwrap_or(1).clamp(1, 1_000_000);
    let (steps, more) = forge
        .follow(scope.id, place.found.id, &place.path, (page - 1) * PAGE, PAGE)
        .await?;
    if steps.is_empty() && page == 1 {
        return Err(Problem::not_found("file or directory in this history").into());
    }
    let here = format!(
        "{}/-/commits/{}/{}",
        base(&scope),
        url_path(&place.name),
        to_url(&place.path)
    );
    let lines = steps.iter().map(|step| Line {
        note: (step.path != place.path).then(|| format!("as {}", shown(&step.path))),
        ..line(&scope, &step.commit)
    });
    let title = format!("History of {} · {}", shown(&place.path), scope.path());
    let content = Commits {
        branches: format!("{}/-/branches", base(&scope)),
        lines: lines.collect(),
        newer: (page > 1).then(|| format!("{here}?page={}", page - 1)),
        older: more.then(|| format!("{here}?page={}", page + 1)),
        icons: [icon("git-branch"), icon("git-commit")],
        path: shown(&place.path),
        name: place.name.clone(),
    };
    ui.project_page(
        Tab::Commits,
        &title,
        &super::crumbs(&scope, &place.name, &place.path),
        &content,
    )
}

async fn show(forge: &Forge, scope: &ProjectScope, name: String, page: Option<usize>, ui: &Ui) -> Answer {
    let page = page.unwrap_or(1).clamp(1, 1_000_000);
    let tip = api::start(forge, scope.id, Some(name.clone())).await?;
    let skip = (page - 1) * PAGE;
    let (found, more) = forge
        .repositories()
        .read(scope.id, move |repo| {
            history::page(repo, tip, Vec::new(), skip, PAGE)
        })
        .await?;
    let to = |page: usize| format!("{}/-/commits/{}?page={page}", base(scope), url_path(&name));
    let content = Commits {
        branches: format!("{}/-/branches", base(scope)),
        lines: found.iter().map(|commit| line(scope, commit)).collect(),
        newer: (page > 1).then(|| to(page - 1)),
        older: more.then(|| to(page + 1)),
        icons: [icon("git-branch"), icon("git-commit")],
        path: String::new(),
        name,
    };
    ui.project_page(
        Tab::Commits,
        &format!("Commits · {}", scope.path()),
        &trail(scope, "Commits"),
        &content,
    )
}

/// The way to a page of the project.
pub(super) fn trail(scope: &ProjectScope, here: &str) -> [Crumb; 3] {
    [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, base(scope)),
        Crumb::here(here),
    ]
}

pub(super) async fn commit(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, sha)): PathOf<(String, String, String)>,
    Params(From { from }): Params<From>,
    view: View,
    ui: Ui,
) -> Answer {
    let id = read::object_id(&sha).ok_or_else(|| {
        Problem::not_found("commit").next("A commit is named by its 40 hexadecimal digits.")
    })?;
    let from = from.unwrap_or(0);
    let kept = forge.clone();
    let (commit, (changes, instead), shown_files, next) = forge
        .repositories()
        .read(scope.id, move |repo| {
            if repo
                .try_find_header(id)?
                .is_none_or(|header| header.kind() != gix::objs::Kind::Commit)
            {
                return Err(Problem::not_found("commit").into());
            }
            let commit = read::commit(repo, id)?;
            let (changes, instead) = diff::changes_or_why(repo, commit.parents.first().copied(), id)?;
            let (files, next) = diff::show(
                repo,
                &changes,
                from,
                limits::SHOWN_DIFF_LINES,
                Some(&kept.cache().lines),
            )?;
            Ok((commit, (changes, instead), files, next))
        })
        .await?;
    let here = format!("{}/-/commit/{sha}", base(&scope));
    let shown_files = (shown_files, from, next);
    let changes = Changes::new(&scope, &sha, &changes, shown_files, view, |view, at| {
        format!("{here}?view={}&from={at}", view.word())
    })
    .or_else(instead);
    let other = commit.committer_name != commit.author_name || commit.committed_at != commit.authored_at;
    let page = Commit {
        title: shown(commit.title.as_bytes()),
        body: commit.body.clone(),
        author: shown(commit.author_name.as_bytes()),
        email: shown(commit.author_email.as_bytes()),
        authored: when(commit.authored_at),
        committer: other.then(|| (shown(commit.committer_name.as_bytes()), when(commit.committed_at))),
        parents: commit
            .parents
            .iter()
            .map(|parent| {
                (
                    format!("{}/-/commit/{parent}", base(&scope)),
                    parent.to_string().chars().take(8).collect(),
                )
            })
            .collect(),
        changes,
        browse: format!("{}/-/tree/{sha}", base(&scope)),
        icons: [icon("git-commit"), icon("copy"), icon("folder")],
        sha,
    };
    let title = format!("{} · {}", page.title, scope.path());
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, base(&scope)),
        Crumb::to("Commits", format!("{}/-/commits", base(&scope))),
        Crumb::here(page.sha.chars().take(8).collect::<String>()),
    ];
    Ok(view.remember(ui.project_page(Tab::Commits, &title, &crumbs, &page)?))
}
