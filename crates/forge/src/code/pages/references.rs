//! Branches and tags.

use super::{Line, base, commits::trail, line};
use crate::{
    Forge,
    code::{paths::shown, read},
};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect};
use bascule_core::{Permission, Problem, ProjectScope, Result, any_covers, limits};
use bascule_web::{
    Answer, FormBody, InProject, Markup, Params, Tab, Ui, Who, icon, url_encode, url_path, when,
};
use semver::Version;
use serde::Deserialize;

const PAGE: usize = limits::PAGE_ENTRIES as usize;

#[derive(Deserialize)]
pub(super) struct Asked {
    page: Option<usize>,
    #[serde(default)]
    search: String,
}

struct Row {
    name: String,
    tree: String,
    commits: String,
    default: bool,
    protected: bool,
    commit: Line,
    /// Ahead and behind of the default branch, and where the two are compared.
    distance: Option<(usize, usize, String)>,
}

/// A branch that can be brought back.
struct Gone {
    name: String,
    shown: String,
    short: String,
    href: String,
    by: String,
    when: Markup,
}

#[derive(Template)]
#[template(path = "code/pages/references.html")]
struct Page {
    heading: &'static str,
    noun: &'static str,
    total: usize,
    search: String,
    rows: Vec<Row>,
    newer: Option<String>,
    older: Option<String>,
    gone: Vec<Gone>,
    /// Where a deleted branch is brought back; empty where the reader may not.
    restore: String,
    icons: [Markup; 3],
}

/// Versions by their order, newest first; then all other names.
pub(crate) fn newest_first(names: &mut [String]) {
    let version = |name: &String| Version::parse(name.strip_prefix('v').unwrap_or(name)).ok();
    names.sort_by(|a, b| version(b).cmp(&version(a)).then_with(|| b.cmp(a)));
}

pub(super) async fn branches(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    let protected = forge.protected_branches(scope.id).await?;
    let default = project.default_branch.clone();
    let (found, total, page) = list(&forge, scope.id, "refs/heads/", &asked, move |names| {
        names.sort_by_key(|name| *name != default);
    })
    .await?;
    let start = forge.resolve_branch(scope.id, &project.default_branch).await?;
    let distances = match start.as_deref().and_then(read::object_id) {
        Some(start) => {
            let tips = found.iter().map(|named| named.commit.id).collect();
            forge.distances(scope.id, start, tips).await?
        }
        None => Vec::new(),
    };
    let rows = found
        .iter()
        .enumerate()
        .map(|(at, named)| Row {
            name: shown(named.name.as_bytes()),
            tree: format!("{}/-/tree/{}", base(&scope), url_path(&named.name)),
            commits: format!("{}/-/commits/{}", base(&scope), url_path(&named.name)),
            default: named.name == project.default_branch,
            protected: any_covers(&protected, &named.name),
            commit: line(&scope, &named.commit),
            distance: distances
                .get(at)
                .filter(|_| named.name != project.default_branch)
                .map(|distance| {
                    let (from, to) = (url_encode(&project.default_branch), url_encode(&named.name));
                    let href = format!("{}/-/compare?from={from}&to={to}", base(&scope));
                    (distance.ahead, distance.behind, href)
                }),
        })
        .collect();
    let gone = match page {
        1 => forge.deleted_branches(scope.id).await?,
        _ => Vec::new(),
    };
    let gone = gone
        .into_iter()
        .filter(|one| asked.search.is_empty() || one.name.contains(asked.search.trim()));
    let gone = gone.map(|one| Gone {
        shown: shown(one.name.as_bytes()),
        short: one.sha.chars().take(8).collect(),
        href: format!("{}/-/commit/{}", base(&scope), one.sha),
        by: shown(one.deleted_by.as_bytes()),
        when: when(one.at),
        name: one.name,
    });
    let mut content = content(
        "Branches",
        "branch",
        rows,
        total,
        page,
        &asked.search,
        &format!("{}/-/branches", base(&scope)),
    );
    content.gone = gone.collect();
    if scope.holds(Permission::CodePush) {
        content.restore = format!("{}/-/branches/restore", base(&scope));
    }
    ui.project_page(
        Tab::Code,
        &format!("Branches · {}", scope.path()),
        &trail(&scope, "Branches"),
        &content,
    )
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    name: String,
}

pub(super) async fn restore(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(wanted): FormBody<Wanted>,
) -> Answer {
    may_restore(&forge, &scope, &wanted.name).await?;
    forge
        .restore_branch(scope.id, &wanted.name, &caller.actor)
        .await?;
    Ok(Redirect::to(&format!("{}/-/branches", base(&scope))).into_response())
}

/// Whoever could push a branch may bring it back.
pub(crate) async fn may_restore(forge: &Forge, scope: &ProjectScope, name: &str) -> Result<()> {
    if forge.is_protected(scope.id, name, false).await? && !scope.holds(Permission::ProtectedPush) {
        return Err(Problem::forbidden(Permission::ProtectedPush));
    }
    Ok(())
}

pub(super) async fn tags(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let (found, total, page) = list(&forge, scope.id, "refs/tags/", &asked, newest_first).await?;
    let rows = found
        .iter()
        .map(|named| Row {
            name: shown(named.name.as_bytes()),
            tree: format!("{}/-/tree/{}", base(&scope), url_path(&named.name)),
            commits: format!("{}/-/commits/{}", base(&scope), url_path(&named.name)),
            default: false,
            protected: crate::push::is_version_tag(&named.name),
            commit: line(&scope, &named.commit),
            distance: None,
        })
        .collect();
    let content = content(
        "Tags",
        "tag",
        rows,
        total,
        page,
        &asked.search,
        &format!("{}/-/tags", base(&scope)),
    );
    ui.project_page(
        Tab::Code,
        &format!("Tags · {}", scope.path()),
        &trail(&scope, "Tags"),
        &content,
    )
}

async fn list(
    forge: &Forge,
    project: bascule_core::ProjectId,
    prefix: &'static str,
    asked: &Asked,
    order: impl FnOnce(&mut [String]) + Send + 'static,
) -> Result<(Vec<read::Named>, usize, usize), bascule_core::Problem> {
    let page = asked.page.unwrap_or(1).clamp(1, 100_000);
    let search = asked.search.trim().to_lowercase();
    let (found, total) = forge
        .repositories()
        .read(project, move |repo| {
            let mut names = read::names(repo, prefix)?;
            names.retain(|name| search.is_empty() || name.to_lowercase().contains(&search));
            order(&mut names);
            let some: Vec<String> = names.iter().skip((page - 1) * PAGE).take(PAGE).cloned().collect();
            Ok((read::named(repo, prefix, &some)?, names.len()))
        })
        .await?;
    Ok((found, total, page))
}

fn content(
    heading: &'static str,
    noun: &'static str,
    rows: Vec<Row>,
    total: usize,
    page: usize,
    search: &str,
    address: &str,
) -> Page {
    let to = |page: usize| format!("{address}?page={page}&search={}", bascule_web::url_encode(search));
    Page {
        heading,
        noun,
        total,
        search: search.to_owned(),
        rows,
        newer: (page > 1).then(|| to(page - 1)),
        older: (page * PAGE < total).then(|| to(page + 1)),
        gone: Vec::new(),
        restore: String::new(),
        icons: [
            icon("search"),
            icon(if noun == "tag" { "tag" } else { "git-branch" }),
            icon("lock"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_listed_as_versions_and_not_as_text() {
        let mut names: Vec<String> = ["v1.9.0", "nightly", "v1.10.0", "v1.10.0-rc.1", "0.1.0"]
            .map(str::to_owned)
            .into();
        newest_first(&mut names);
        assert_eq!(names, ["v1.10.0", "v1.10.0-rc.1", "v1.9.0", "0.1.0", "nightly"]);
    }
}
