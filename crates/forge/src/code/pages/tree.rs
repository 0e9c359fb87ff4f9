//! A project's first page, and directories.

use super::{Line, Place, base, crumbs, line};
use crate::{
    Forge, ProjectInfo,
    code::{
        cache::LastChanges,
        history,
        paths::{shown, to_url},
        read::{self, Entry, Found, NameKind},
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result, Visibility, limits};
use bascule_web::{
    Answer, Crumb, InProject, Markup, PathOf, Tab, Ui, Who, highlight, icon, markdown, url_encode, url_path,
};
use gix::{ObjectId, objs::tree::EntryKind};
use std::{sync::Arc, time::Duration};

/// How long a page may look for what changed last; the rest is found in the background.
const NOW: Duration = Duration::from_millis(25);
const LATER: Duration = Duration::from_secs(10);

pub(super) struct Row {
    icon: Markup,
    name: String,
    href: String,
    note: &'static str,
    change: Option<Line>,
}

#[derive(Template)]
#[template(path = "code/pages/tree.html")]
struct Page {
    head: Option<Head>,
    name: String,
    kind: &'static str,
    commits: String,
    branches: String,
    tags: String,
    archive: String,
    last: Option<Line>,
    up: Option<String>,
    rows: Vec<Row>,
    more: bool,
    readme: Option<(String, Markup)>,
    icons: [Markup; 5],
}

struct Head {
    title: String,
    description: String,
    internal: bool,
    clone_url: String,
    ssh_url: Option<String>,
    copy: Markup,
    /// Where it is forked, with its icon.
    fork: (Markup, String),
    /// What it is a fork of, where the reader may see that.
    parent: Option<String>,
    /// Where a merge request there begins.
    request: String,
    /// What stands against the default branch as it is, with its icon.
    notice: Option<(Markup, String)>,
}

#[derive(Template)]
#[template(path = "code/pages/empty.html")]
struct Empty {
    head: Head,
    default_branch: String,
    name: String,
    may_push: bool,
    icon: Markup,
}

#[derive(Template)]
#[template(path = "code/pages/no_code.html")]
struct NoCode {
    head: Head,
}

async fn head(forge: &Forge, caller: &Caller, project: &ProjectInfo) -> Result<Head> {
    let path = project.path();
    let mut parent = forge.parent_of(project.id).await?;
    if let Some(found) = &parent {
        let role = forge.sight().role(caller, found).await?;
        parent = parent.filter(|_| role.is_some_and(|role| role.holds(Permission::CodeRead)));
    }
    let parent = parent.map(|parent| parent.path());
    Ok(Head {
        description: project.description.clone(),
        internal: project.visibility == Visibility::Internal,
        clone_url: forge.clone_url(project),
        ssh_url: forge.ssh_url(project),
        copy: icon("copy"),
        fork: (icon("git-fork"), format!("/{path}/-/fork")),
        request: parent
            .as_ref()
            .map(|parent| format!("/{parent}/-/merge-requests/new?from={}", url_encode(&path)))
            .unwrap_or_default(),
        parent,
        title: path,
        notice: None,
    })
}

/// The same with what its keeper has to say of the code, for who may read it.
async fn head_with_notice(forge: &Forge, caller: &Caller, project: &ProjectInfo) -> Result<Head> {
    let notice = match forge.keeper() {
        Some(keeper) => keeper.notice(project.id).await?,
        None => None,
    };
    Ok(Head {
        notice: notice.map(|notice| (icon("alert-triangle"), notice)),
        ..head(forge, caller, project).await?
    })
}

pub(super) async fn home(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, written)): PathOf<(String, String)>,
    ui: Ui,
) -> Answer {
    if written != scope.name {
        // A clone address, put into a browser.
        return Ok(Redirect::to(&base(&scope)).into_response());
    }
    let project = forge.project_of(&scope).await?;
    let here = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::here(&scope.name),
    ];
    if !scope.holds(Permission::CodeRead) {
        return ui.project_page(
            Tab::Code,
            &project.path(),
            &here,
            &NoCode {
                head: head(&forge, &caller, &project).await?,
            },
        );
    }
    let name = project.default_branch.clone();
    let found = forge
        .repositories()
        .read(scope.id, move |repo| {
            let found = read::resolve(repo, &name)?.filter(|found| found.kind == NameKind::Branch);
            // Without its default branch a project shows the first branch that there is.
            Ok(match found {
                Some(found) => Some((name, found)),
                None => match history::heads(repo)?.into_iter().next() {
                    Some(first) => read::resolve(repo, &first)?.map(|found| (first, found)),
                    None => None,
                },
            })
        })
        .await?;
    let Some((name, found)) = found else {
        let page = Empty {
            head: head(&forge, &caller, &project).await?,
            default_branch: project.default_branch.clone(),
            name: project.name.clone(),
            may_push: scope.holds(Permission::CodePush),
            icon: icon("brand-git"),
        };
        return ui.project_page(Tab::Code, &project.path(), &here, &page);
    };
    let place = Place {
        found,
        name,
        path: Vec::new(),
    };
    let mut page = page(&forge, &scope, &place).await?;
    let title = project.path();
    page.head = Some(head_with_notice(&forge, &caller, &project).await?);
    ui.project_page(Tab::Code, &title, &here, &page)
}

pub(super) async fn tree(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, text)): PathOf<(String, String, String)>,
    ui: Ui,
) -> Answer {
    let place = forge.place(&scope, text).await?;
    let page = page(&forge, &scope, &place).await?;
    let title = format!("{} · {}", shown(&place.path), scope.path());
    ui.project_page(
        Tab::Code,
        &title,
        &crumbs(&scope, &place.name, &place.path),
        &page,
    )
}

/// What is read of a directory in one go.
struct Directory {
    entries: Vec<Entry>,
    more: bool,
    readme: Option<(Vec<u8>, ObjectId, Option<String>)>,
    last: Option<read::CommitInfo>,
}

async fn page(forge: &Forge, scope: &ProjectScope, place: &Place) -> Result<Page> {
    let (id, path) = (place.found.id, place.path.clone());
    let project = scope.id;
    let directory = forge
        .repositories()
        .read(project, move |repo| {
            let Some((EntryKind::Tree, tree)) = read::entry(repo, id, &path)? else {
                return Err(Problem::not_found("directory").into());
            };
            let (entries, more) = read::list(repo, tree)?;
            let readme = match readme_of(&entries) {
                Some(entry) => {
                    let bytes = read::bytes(repo, entry.id, limits::SHOWN_FILE_BYTES / 2)?;
                    let text = bytes.filter(|bytes| !read::is_binary(bytes));
                    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                    Some((entry.name.clone(), entry.id, text))
                }
                None => None,
            };
            let last = match path.is_empty() {
                true => Some(read::commit(repo, id)?),
                false => history::last_change(repo, id, &path, NOW)?,
            };
            Ok(Directory {
                entries,
                more,
                readme,
                last,
            })
        })
        .await?;
    let changes = last_changes(forge, scope, id, &place.path).await?;
    let here = format!("{}/-/{{}}/{}", base(scope), url_path(&place.name));
    let to = |what: &str, name: &[u8]| {
        let path = [place.path.as_slice(), name]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>();
        format!("{}/{}", here.replace("{}", what), to_url(&path.join(&b'/')))
    };
    let rows = directory
        .entries
        .iter()
        .map(|entry| {
            let (picture, what, note) = match entry.kind {
                EntryKind::Tree => ("folder", "tree", ""),
                EntryKind::Link => ("link", "blob", "link"),
                EntryKind::Commit => ("package", "", "submodule"),
                EntryKind::BlobExecutable => ("file-code", "blob", "executable"),
                EntryKind::Blob => ("file", "blob", ""),
            };
            Row {
                icon: icon(picture),
                name: shown(&entry.name),
                href: if what.is_empty() {
                    String::new()
                } else {
                    to(what, &entry.name)
                },
                note,
                change: changes.get(&entry.name).map(|commit| line(scope, commit)),
            }
        })
        .collect();
    let readme = directory.readme.and_then(|(name, id, text)| {
        let top = format!("{}/", here.replace("{}", "blob"));
        let mut folder = to_url(&place.path);
        if !folder.is_empty() {
            folder.push('/');
        }
        text.map(|text| (shown(&name), render(forge, &name, id, &text, (&top, &folder))))
    });
    let up = (!place.path.is_empty()).then(|| {
        let parent = place
            .path
            .iter()
            .rposition(|b| *b == b'/')
            .and_then(|at| place.path.get(..at))
            .unwrap_or_default();
        format!("{}/{}", here.replace("{}", "tree"), to_url(parent))
            .trim_end_matches('/')
            .to_owned()
    });
    Ok(Page {
        head: None,
        name: place.name.clone(),
        kind: kind_of(&place.found),
        commits: match place.path.is_empty() {
            true => here.replace("{}", "commits"),
            false => format!("{}/{}", here.replace("{}", "commits"), to_url(&place.path)),
        },
        archive: format!("{}/-/archive/{}.zip", base(scope), url_path(&place.name)),
        branches: format!("{}/-/branches", base(scope)),
        tags: format!("{}/-/tags", base(scope)),
        last: directory.last.as_ref().map(|commit| line(scope, commit)),
        up,
        rows,
        more: directory.more,
        readme,
        icons: [
            icon("git-branch"),
            icon("history"),
            icon("tag"),
            icon("book"),
            icon("download"),
        ],
    })
}

fn readme_of(entries: &[Entry]) -> Option<&Entry> {
    let rank = |entry: &&Entry| {
        let name = entry.name.to_ascii_lowercase();
        [&b"readme.md"[..], b"readme.markdown", b"readme", b"readme.txt"]
            .iter()
            .position(|known| name == *known)
    };
    let files = entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::Blob | EntryKind::BlobExecutable));
    files.filter(|entry| rank(entry).is_some()).min_by_key(rank)
}

/// Text as people read it: Markdown rendered, anything else as it stands. `place` is the address of the repository's
/// top, and the folder under it.
pub(super) fn render(
    forge: &Forge,
    name: &[u8],
    id: ObjectId,
    text: &str,
    (top, folder): (&str, &str),
) -> Markup {
    if !is_markdown(name) {
        return highlight::block(&shown(name), text);
    }
    let key = (id, format!("{top}\n{folder}"));
    forge.cache().markdown.get(&key).unwrap_or_else(|| {
        let rendered = markdown::of_file(text, top, folder);
        forge
            .cache()
            .markdown
            .put(key, rendered.clone(), rendered.as_str().len());
        rendered
    })
}

pub(super) fn is_markdown(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(b".md") || name.ends_with(b".markdown")
}

/// What changed each entry last, as far as it is known by now.
async fn last_changes(
    forge: &Forge,
    scope: &ProjectScope,
    tip: ObjectId,
    path: &[u8],
) -> Result<LastChanges> {
    let place = (scope.id, tip, path.to_vec());
    if let Some(known) = forge.cache().last.get(&place) {
        return Ok(known);
    }
    let (path, project) = (path.to_vec(), scope.id);
    let look = path.clone();
    let (found, whole) = forge
        .repositories()
        .read(project, move |repo| history::last_changes(repo, tip, &look, NOW))
        .await?;
    let found = Arc::new(found);
    if whole {
        forge
            .cache()
            .last
            .put(place, found.clone(), found.len() * 400 + 200);
    } else if forge.cache().begin(&place) {
        let forge = forge.clone();
        tokio::spawn(async move {
            let found = forge
                .repositories()
                .read(project, move |repo| {
                    history::last_changes(repo, tip, &path, LATER)
                })
                .await;
            if let Ok((found, _)) = found {
                let weight = found.len() * 400 + 200;
                forge.cache().last.put(place.clone(), Arc::new(found), weight);
            }
            forge.cache().end(&place);
        });
    }
    Ok(found)
}

/// Which name a page is about; for other pages of this module.
pub(super) fn kind_of(found: &Found) -> &'static str {
    match found.kind {
        NameKind::Branch => "branch",
        NameKind::Tag => "tag",
        NameKind::Commit => "commit",
    }
}
