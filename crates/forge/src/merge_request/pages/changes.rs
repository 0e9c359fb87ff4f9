//! What a request changes, file by file.

use super::{Head, base, crumbs};
use crate::{
    Forge,
    code::{
        diff::{FileDiff, Row},
        pages::commits::{Named, named},
        paths::to_url,
    },
    merge_request::{api::Place, read, store},
    review::pages::notes::Notes,
};
use askama::Template;
use axum::extract::State;
use bascule_core::limits;
use bascule_web::{Answer, InProject, Params, PathOf, Tab, Ui, Who};
use serde::Deserialize;

/// A file with more rows than this is folded.
const FOLDED: usize = 600;
/// Rows on one page: as many as a browser draws at once without a wait.
const ROWS: usize = 2_000;

#[derive(Deserialize)]
pub(super) struct Asked {
    from: Option<usize>,
    version: Option<i64>,
    /// An earlier version to compare with, instead of the target branch.
    against: Option<i64>,
    #[serde(default)]
    view: String,
}

/// Two rows beside each other.
struct Pair {
    left: Option<Row>,
    right: Option<Row>,
}

impl Pair {
    fn old_number(&self) -> &str {
        self.left.as_ref().map_or("", |row| &row.old)
    }

    fn new_number(&self) -> &str {
        self.right.as_ref().map_or("", |row| &row.new)
    }
}

struct Part {
    number: usize,
    href: String,
    folded: bool,
    pairs: Vec<Pair>,
    diff: FileDiff,
}

#[derive(Template)]
#[template(path = "merge_request/pages/changes.html")]
struct Changes {
    head: Head,
    sha: String,
    split: bool,
    unified_href: String,
    split_href: String,
    versions: Vec<(String, i64, bool)>,
    files: usize,
    named: Vec<Named>,
    unnamed: usize,
    parts: Vec<Part>,
    /// What reviews put between the lines.
    notes: Notes,
    first: usize,
    last: usize,
    before: Option<String>,
    after: Option<String>,
}

pub(super) async fn changes(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Params(asked): Params<Asked>,
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
    let found = forge
        .repositories()
        .read(scope.id, move |repo| {
            read::changes(repo, &old, &new, from, ROWS.min(limits::SHOWN_DIFF_LINES))
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
    let split = asked.view == "split";
    let here = base(&scope, iid);
    let to = |view: &str, from: usize| {
        let mut href = format!("{here}/changes?view={view}");
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
    let view = if split { "split" } else { "unified" };
    let last = from + found.files.len();
    let named = named(&found.changes, from..last, |at| to(view, at));
    let project = super::project_base(&scope);
    let count = store::versions(forge.db(), request.id, 50).await?;
    let page = Changes {
        head: forge.head(&scope, &request, 2).await?,
        split,
        unified_href: to("unified", from),
        split_href: to("split", from),
        versions: count
            .iter()
            .map(|known| {
                let current = asked.version.unwrap_or(request.version) == known.number;
                (
                    format!("{here}/changes?view={view}&version={}", known.number),
                    known.number,
                    current,
                )
            })
            .collect(),
        files: found.changes.len(),
        unnamed: found.changes.len().saturating_sub(named.len()),
        named,
        parts: found
            .files
            .into_iter()
            .enumerate()
            .map(|(at, mut diff)| Part {
                number: from + at,
                href: format!("{project}/-/blob/{sha}/{}", to_url(&diff.path)),
                folded: diff.rows.len() > FOLDED,
                pairs: if split {
                    pairs(std::mem::take(&mut diff.rows))
                } else {
                    Vec::new()
                },
                diff,
            })
            .collect(),
        notes,
        first: from,
        last,
        before: (from > 0).then(|| to(view, 0)),
        after: found.next.map(|next| to(view, next)),
        sha,
    };
    let title = format!("Changes of !{iid} · {}", scope.path());
    ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &page)
}

/// Puts removed lines beside those that came for them.
fn pairs(rows: Vec<Row>) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(rows.len());
    let (mut gone, mut come): (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
    let flush = |pairs: &mut Vec<Pair>, gone: &mut Vec<Row>, come: &mut Vec<Row>| {
        let (mut left, mut right) = (gone.drain(..), come.drain(..));
        loop {
            let pair = Pair {
                left: left.next(),
                right: right.next(),
            };
            if pair.left.is_none() && pair.right.is_none() {
                return;
            }
            pairs.push(pair);
        }
    };
    for row in rows {
        match row.sign {
            "-" => {
                if !come.is_empty() {
                    flush(&mut pairs, &mut gone, &mut come);
                }
                gone.push(row);
            }
            "+" => come.push(row),
            _ => {
                flush(&mut pairs, &mut gone, &mut come);
                pairs.push(Pair {
                    left: Some(row.clone()),
                    right: Some(row),
                });
            }
        }
    }
    flush(&mut pairs, &mut gone, &mut come);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_web::Markup;

    fn row(sign: &'static str, text: &str) -> Row {
        Row {
            class: "",
            sign,
            old: String::new(),
            new: String::new(),
            text: Markup::text(text),
            plain: text.to_owned(),
        }
    }

    #[test]
    fn removed_lines_stand_beside_those_that_came_for_them() {
        let rows = vec![
            row(" ", "a"),
            row("-", "b"),
            row("-", "c"),
            row("+", "B"),
            row(" ", "d"),
            row("+", "e"),
        ];
        let shown: Vec<_> = pairs(rows)
            .into_iter()
            .map(|pair| (pair.left.map(|r| r.plain), pair.right.map(|r| r.plain)))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            shown,
            [
                (some("a"), some("a")),
                (some("b"), some("B")),
                (some("c"), None),
                (some("d"), some("d")),
                (None, some("e")),
            ]
        );
    }
}
