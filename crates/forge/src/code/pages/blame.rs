//! Who wrote each line.

use super::{base, crumbs, cut};
use crate::{
    Forge,
    code::{
        blame::Hunk,
        paths::{base_name, shown, to_url},
    },
};
use askama::Template;
use axum::extract::State;
use bascule_web::{Answer, InProject, Markup, Params, PathOf, Tab, Ui, highlight, icon, url_path, when};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Asked {
    from: Option<usize>,
}

struct Block {
    first: usize,
    href: String,
    short: String,
    title: String,
    author: String,
    when: Markup,
    /// The file as it was before that commit.
    before: Option<String>,
    lines: Vec<Markup>,
}

#[derive(Template)]
#[template(path = "code/pages/blame.html")]
struct Page {
    name: String,
    total: usize,
    note: &'static str,
    blob: String,
    history: String,
    blocks: Vec<Block>,
    earlier: Option<String>,
    later: Option<String>,
    icons: [Markup; 3],
}

pub(super) async fn blame(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, text)): PathOf<(String, String, String)>,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let place = forge.place(&scope, text).await?;
    let from = asked.from.unwrap_or(1).max(1);
    let blamed = forge.blame(scope.id, place.found.id, &place.path, from).await?;
    let here = |what: &str| {
        let path = to_url(&place.path);
        format!("{}/-/{what}/{}/{path}", base(&scope), url_path(&place.name))
    };
    let name = shown(base_name(&place.path));
    let coloured = coloured(&name, &blamed.hunks);
    let mut rest = coloured.as_slice();
    let blocks = blamed.hunks.iter().map(|hunk| {
        let (lines, after) = rest.split_at(hunk.lines.len().min(rest.len()));
        rest = after;
        let sha = hunk.author.commit.to_string();
        let before = hunk
            .author
            .before
            .as_ref()
            .map(|(commit, path)| format!("{}/-/blame/{commit}/{}", base(&scope), to_url(path)));
        Block {
            first: hunk.first,
            href: format!("{}/-/commit/{sha}", base(&scope)),
            short: sha.chars().take(8).collect(),
            title: cut(&shown(hunk.author.title.as_bytes())),
            author: cut(&shown(hunk.author.name.as_bytes())),
            when: when(hunk.author.at),
            before,
            lines: lines.to_vec(),
        }
    });
    let page = Page {
        total: blamed.total,
        note: blamed.note,
        blob: here("blob"),
        history: here("commits"),
        blocks: blocks.collect(),
        earlier: (from > 1).then(|| {
            let at = from.saturating_sub(crate::code::blame::PAGE).max(1);
            format!("{}?from={at}", here("blame"))
        }),
        later: blamed.next.map(|at| format!("{}?from={at}", here("blame"))),
        icons: [icon("file"), icon("history"), icon("git-commit")],
        name,
    };
    let title = format!("Blame of {} · {}", shown(&place.path), scope.path());
    ui.project_page(
        Tab::Code,
        &title,
        &crumbs(&scope, &place.name, &place.path),
        &page,
    )
}

/// Largest page that is coloured, in bytes.
const COLOURED: usize = 128 * 1024;

fn coloured(name: &str, hunks: &[Hunk]) -> Vec<Markup> {
    let lines: Vec<&str> = hunks
        .iter()
        .flat_map(|hunk| &hunk.lines)
        .map(String::as_str)
        .collect();
    let text = lines.join("\n");
    if text.len() <= COLOURED {
        let coloured = highlight::lines(name, &text);
        if coloured.len() == lines.len() {
            return coloured;
        }
    }
    lines.into_iter().map(Markup::text).collect()
}
