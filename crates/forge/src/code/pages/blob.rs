//! One file.

use super::{Line, base, crumbs, line, raw, tree};
use crate::{
    Forge,
    code::{
        history,
        paths::{base_name, is_misleading, shown, to_url},
        read,
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Problem, limits};
use bascule_web::{Answer, InProject, Markup, Params, PathOf, Tab, Ui, bytes, highlight, icon, url_path};
use gix::objs::tree::EntryKind;
use http::HeaderMap;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// How long the page may look for the file's last change.
const NOW: Duration = Duration::from_millis(25);

#[derive(Template)]
#[template(path = "code/pages/blob.html")]
struct Page {
    name: String,
    size: String,
    lines: usize,
    note: String,
    warning: bool,
    raw: String,
    history: String,
    /// The other way to look at it: address and label.
    other: Option<(String, &'static str)>,
    last: Option<Line>,
    view: View,
    icons: [Markup; 3],
}

enum View {
    Lines(Arc<Vec<Markup>>),
    Rendered(Markup),
    Picture,
    Nothing(&'static str),
}

#[derive(Deserialize)]
pub(super) struct Wish {
    plain: Option<String>,
}

pub(super) async fn blob(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, text)): PathOf<(String, String, String)>,
    Params(wish): Params<Wish>,
    headers: HeaderMap,
    ui: Ui,
) -> Answer {
    let place = forge.place(&scope, text).await?;
    if headers.get("sec-fetch-dest").is_some_and(|dest| dest == "image") {
        // A README's picture, addressed as the README writes it.
        return raw::respond(&forge, scope.id, place.found.id, place.path).await;
    }
    let (tip, path) = (place.found.id, place.path.clone());
    let read = forge
        .repositories()
        .read(scope.id, move |repo| match read::entry(repo, tip, &path)? {
            Some((EntryKind::Tree, _)) => Ok(None),
            Some((kind @ (EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link), id)) => {
                let size = read::size(repo, id)?;
                let bytes = read::bytes(repo, id, limits::SHOWN_FILE_BYTES)?;
                Ok(Some((
                    kind,
                    id,
                    size,
                    bytes,
                    history::last_change(repo, tip, &path, NOW)?,
                )))
            }
            _ => Err(Problem::not_found("file").into()),
        })
        .await?;
    let here = |what: &str| {
        format!(
            "{}/-/{what}/{}/{}",
            base(&scope),
            url_path(&place.name),
            to_url(&place.path)
        )
    };
    let Some((kind, id, size, content, last)) = read else {
        return Ok(Redirect::to(&here("tree")).into_response());
    };
    let name = base_name(&place.path).to_vec();
    let mut page = Page {
        name: shown(&name),
        size: bytes(size),
        lines: 0,
        note: if kind == EntryKind::Link {
            "link".to_owned()
        } else {
            String::new()
        },
        warning: false,
        raw: here("raw"),
        history: format!("{}/-/commits/{}", base(&scope), url_path(&place.name)),
        other: None,
        last: last.as_ref().map(|commit| line(&scope, commit)),
        view: View::Nothing("The file is too large to be shown here."),
        icons: [icon("download"), icon("history"), icon("alert-triangle")],
    };
    if let Some(content) = content {
        if raw::picture(&content).is_some() {
            page.view = View::Picture;
        } else if read::is_binary(&content) {
            page.view = View::Nothing("The file is no text.");
        } else {
            let text = String::from_utf8_lossy(&content).into_owned();
            page.lines = text.lines().count();
            page.warning = text
                .chars()
                .any(|c| is_misleading(c) && !c.is_control() && c != '\u{feff}');
            let markdown = tree::is_markdown(&name);
            if markdown && wish.plain.is_none() {
                let parent = place
                    .path
                    .iter()
                    .rposition(|b| *b == b'/')
                    .and_then(|at| place.path.get(..=at));
                let base = format!(
                    "{}/-/blob/{}/{}",
                    base(&scope),
                    url_path(&place.name),
                    to_url(parent.unwrap_or_default())
                );
                page.other = Some((format!("{}?plain=1", here("blob")), "Source"));
                page.view = View::Rendered(tree::render(&forge, &name, id, &text, &base));
            } else {
                if markdown {
                    page.other = Some((here("blob"), "Rendered"));
                }
                page.view = View::Lines(coloured(&forge, id, &shown(&name), text).await);
            }
        }
    }
    let title = format!("{} · {}", shown(&place.path), scope.path());
    ui.project_page(
        Tab::Code,
        &title,
        &crumbs(&scope, &place.name, &place.path),
        &page,
    )
}

/// Lines with colours; made aside, because long files take their time.
async fn coloured(forge: &Forge, id: gix::ObjectId, name: &str, text: String) -> Arc<Vec<Markup>> {
    let key = (id, name.to_owned());
    if let Some(known) = forge.cache().lines.get(&key) {
        return known;
    }
    let name = name.to_owned();
    let made = tokio::task::spawn_blocking(move || highlight::lines(&name, &text))
        .await
        .unwrap_or_default();
    let made = Arc::new(made);
    let weight = made.iter().map(|line| line.as_str().len() + 32).sum();
    forge.cache().lines.put(key, made.clone(), weight);
    made
}
