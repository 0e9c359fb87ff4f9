//! The pages of releases.

use super::{
    Release, ReleasePart, Releases,
    api::{TagPath, component_page, find, more},
};
use crate::bundle::PartKind;
use askama::Template;
use axum::extract::State;
use bascule_core::{ReleaseId, limits};
use bascule_web::{
    Answer, Crumb, InProject, Markup, Params, PathOf, Tab, Ui, commas, icon, markdown, url_encode,
};
use bascule_wire::release::ComponentPage;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct ListParams {
    before: Option<ReleaseId>,
}

#[derive(Deserialize)]
pub(super) struct ShowParams {
    search: Option<String>,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "release/list.html")]
struct ListPage<'a> {
    base: String,
    releases: &'a [Release],
    next: Option<ReleaseId>,
    first: bool,
}

#[derive(Template)]
#[template(path = "release/show.html")]
struct ShowPage<'a> {
    base: String,
    api: String,
    project: String,
    release: &'a Release,
    description: Markup,
    groups: Vec<Group<'a>>,
    files_hidden: usize,
    commits: String,
    sbom: Components<'a>,
}

/// Parts of one kind under one heading.
struct Group<'a> {
    title: &'static str,
    icon: Markup,
    parts: Vec<&'a ReleasePart>,
}

#[derive(Template)]
#[template(path = "release/components.html")]
struct Components<'a> {
    here: String,
    search: &'a str,
    after: &'a str,
    page: ComponentPage,
}

/// Files shown on the page; the others are in the API's list.
const FILES_SHOWN: usize = 100;

pub(super) async fn list(
    State(releases): State<Releases>,
    project: InProject,
    Params(params): Params<ListParams>,
    ui: Ui,
) -> Answer {
    let mut found = releases
        .list(project.id, params.before, limits::PAGE_ENTRIES + 1)
        .await?;
    let next = more(&mut found, limits::PAGE_ENTRIES)
        .then(|| found.last().map(|release| release.id))
        .flatten();
    let page = ListPage {
        base: base(&project),
        releases: &found,
        next,
        first: params.before.is_none(),
    };
    ui.project_page(
        Tab::Releases,
        &format!("Releases · {}", project.path()),
        &crumbs(&project, None),
        &page,
    )
}

pub(super) async fn show(
    State(releases): State<Releases>,
    project: InProject,
    PathOf(path): PathOf<TagPath>,
    Params(params): Params<ShowParams>,
    ui: Ui,
) -> Answer {
    let release = find(&releases, project.id, &path.tag).await?;
    let here = format!("{}/-/releases/{}", base(&project), url_encode(&release.tag));
    let (search, after) = (
        params.search.unwrap_or_default(),
        params.after.unwrap_or_default(),
    );
    let found = component_page(
        &releases,
        release.id,
        Some(&search),
        Some(&after),
        limits::PAGE_ENTRIES,
    )
    .await?;
    let sbom = Components {
        here,
        search: &search,
        after: &after,
        page: found,
    };
    // Searching and paging in the SBOM asks for its table alone.
    if ui.is_fragment() {
        return ui.fragment(&sbom);
    }
    let parts = releases.parts(release.id).await?;
    let of = |title, picture, kind: PartKind, most: usize| Group {
        title,
        icon: icon(picture),
        parts: parts.iter().filter(|part| part.kind == kind).take(most).collect(),
    };
    let files = parts.iter().filter(|part| part.kind == PartKind::File).count();
    let groups = vec![
        of("Archives", "archive", PartKind::Archive, usize::MAX),
        of("Files in them", "file", PartKind::File, FILES_SHOWN),
        of("Bills of materials", "list-check", PartKind::Sbom, usize::MAX),
        of("Provenance", "signature", PartKind::Provenance, usize::MAX),
    ];
    let page = ShowPage {
        base: base(&project),
        api: format!(
            "/api/v1/projects{}/releases/{}",
            base(&project),
            url_encode(&release.tag)
        ),
        project: project.path(),
        release: &release,
        description: markdown::of_project(&release.description, &project.path(), &release.sha),
        groups: groups
            .into_iter()
            .filter(|group| !group.parts.is_empty())
            .collect(),
        files_hidden: files.saturating_sub(FILES_SHOWN),
        commits: match release.commit_count {
            1 => "1 commit".to_owned(),
            count => format!("{} commits", commas(count)),
        },
        sbom,
    };
    let title = format!("{} · {}", release.name, project.path());
    ui.project_page(Tab::Releases, &title, &crumbs(&project, Some(&release)), &page)
}

fn base(project: &InProject) -> String {
    format!("/{}/{}", url_encode(&project.group), url_encode(&project.name))
}

fn crumbs(project: &InProject, release: Option<&Release>) -> Vec<Crumb> {
    let base = base(project);
    let mut crumbs = vec![Crumb::to(project.path(), base.clone())];
    match release {
        None => crumbs.push(Crumb::here("Releases")),
        Some(release) => {
            crumbs.push(Crumb::to("Releases", format!("{base}/-/releases")));
            crumbs.push(Crumb::here(&release.tag));
        }
    }
    crumbs
}
