//! Pages that show code.

mod blame;
mod blob;
pub(crate) mod changes;
mod commits;
mod compare;
pub(crate) mod raw;
pub(crate) mod references;
mod tree;

pub(crate) use references::newest_first;

use super::{
    paths::{from_url, shown, to_url},
    read::{self, CommitInfo, Found},
};
use crate::{Forge, ProjectInfo};
use axum::routing::{get, post};
use bascule_core::{Permission, Problem, ProjectScope, Result};
use bascule_web::{Access, Crumb, Markup, Routes, url_path, when};

pub(crate) fn routes() -> Routes<Forge> {
    let read = Access::Project(Permission::CodeRead);
    Routes::new()
        .page(
            "GET",
            "/{group}/{project}",
            Access::Project(Permission::ProjectView),
            get(tree::home),
        )
        .page("GET", "/{group}/{project}/-/tree/{*place}", read, get(tree::tree))
        .page("GET", "/{group}/{project}/-/blob/{*place}", read, get(blob::blob))
        .page("GET", "/{group}/{project}/-/raw/{*place}", read, get(raw::raw))
        .page(
            "GET",
            "/{group}/{project}/-/blame/{*place}",
            read,
            get(blame::blame),
        )
        .page("GET", "/{group}/{project}/-/compare", read, get(compare::compare))
        .page(
            "GET",
            "/{group}/{project}/-/archive/{*file}",
            read,
            get(raw::archive),
        )
        .page("GET", "/{group}/{project}/-/commits", read, get(commits::commits))
        .page(
            "GET",
            "/{group}/{project}/-/commits/{*place}",
            read,
            get(commits::commits_of),
        )
        .page(
            "GET",
            "/{group}/{project}/-/commit/{sha}",
            read,
            get(commits::commit),
        )
        .page(
            "GET",
            "/{group}/{project}/-/branches",
            read,
            get(references::branches),
        )
        .page(
            "POST",
            "/{group}/{project}/-/branches/restore",
            Access::Project(Permission::CodePush),
            post(references::restore),
        )
        .page("GET", "/{group}/{project}/-/tags", read, get(references::tags))
}

/// A place in a project: a name and a path.
pub(crate) struct Place {
    pub(crate) found: Found,
    pub(crate) name: String,
    pub(crate) path: Vec<u8>,
}

/// A commit, as lists show it.
pub(crate) struct Line {
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) sha: String,
    pub(crate) short: String,
    pub(crate) author: String,
    pub(crate) when: Markup,
    /// What a list of a file's history adds: its name then.
    pub(crate) note: Option<String>,
}

/// `/group/project`.
pub(crate) fn base(scope: &ProjectScope) -> String {
    format!("/{}/{}", scope.group, scope.name)
}

pub(crate) fn line(scope: &ProjectScope, commit: &CommitInfo) -> Line {
    let sha = commit.id.to_string();
    Line {
        title: if commit.title.is_empty() {
            "(no message)".to_owned()
        } else {
            cut(&shown(commit.title.as_bytes()))
        },
        href: format!("{}/-/commit/{sha}", base(scope)),
        short: sha.chars().take(8).collect(),
        sha,
        author: cut(&shown(commit.author_name.as_bytes())),
        when: when(commit.committed_at),
        note: None,
    }
}

pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= 200 {
        text.to_owned()
    } else {
        text.chars().take(199).chain(['…']).collect()
    }
}

/// The way to a path: the project, then each directory.
pub(crate) fn crumbs(scope: &ProjectScope, name: &str, path: &[u8]) -> Vec<Crumb> {
    let mut crumbs = vec![
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, base(scope)),
        Crumb::to(name, format!("{}/-/tree/{}", base(scope), url_path(name))),
    ];
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    for (at, part) in parts.iter().enumerate() {
        if at + 1 == parts.len() {
            crumbs.push(Crumb::here(shown(part)));
        } else {
            let to = parts.get(..=at).unwrap_or_default().join(&b'/');
            crumbs.push(Crumb::to(
                shown(part),
                format!("{}/-/tree/{}/{}", base(scope), url_path(name), to_url(&to)),
            ));
        }
    }
    if parts.is_empty() {
        crumbs.pop();
        crumbs.push(Crumb::here(name));
    }
    crumbs
}

impl Forge {
    /// The project behind a scope.
    pub(crate) async fn project_of(&self, scope: &ProjectScope) -> Result<ProjectInfo> {
        self.project_by_id(scope.id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))
    }

    /// Reads `name/of/branch/path` from an address.
    pub(crate) async fn place(&self, scope: &ProjectScope, text: String) -> Result<Place> {
        let found = self
            .repositories()
            .read(scope.id, move |repo| read::resolve_longest(repo, &text))
            .await?;
        let (found, name, path) = found.ok_or_else(|| {
            Problem::not_found("branch, tag or commit")
                .next("Choose one on the project's page; it may have been deleted.")
        })?;
        Ok(Place {
            found,
            name,
            path: from_url(&path),
        })
    }
}
