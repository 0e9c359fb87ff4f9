//! Changed files as pages show them: their list, and a page of their lines, beneath each other or side by side. One
//! for commits, comparisons and merge requests.

use super::base;
use crate::{
    code::{
        diff::{self, FileDiff, Row},
        paths::{shown, to_url},
    },
    ports::Missed,
    review::pages::notes::Notes,
};
use askama::Template;
use axum::{extract::FromRequestParts, response::Response};
use bascule_core::ProjectScope;
use bascule_web::{Failure, Params};
use http::{HeaderValue, header, request::Parts};
use serde::Deserialize;
use std::ops::Range;

/// Files named in the list.
const NAMED: usize = 1_000;
/// A file with more rows than this is folded.
const FOLDED: usize = 600;
/// In which cookie a browser keeps the view that was chosen last, and for how long, in seconds.
const COOKIE: &str = "bascule_diff";
const KEPT_S: u32 = 365 * 24 * 3600;

/// How changed lines are shown. What is chosen on one page holds for all, until another is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    split: bool,
    /// Whether the address says so.
    chosen: bool,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    view: String,
}

impl View {
    fn of(asked: &str, kept: Option<&str>) -> Self {
        let known = |word: &str| matches!(word, "split" | "unified");
        let chosen = known(asked);
        let word = if chosen { asked } else { kept.unwrap_or_default() };
        Self {
            split: word == "split",
            chosen,
        }
    }

    /// The word for it in addresses.
    pub(crate) fn word(self) -> &'static str {
        if self.split { "split" } else { "unified" }
    }

    fn other(self) -> Self {
        Self {
            split: !self.split,
            ..self
        }
    }

    /// Lets the browser keep what was chosen.
    pub(crate) fn remember(self, mut response: Response) -> Response {
        if self.chosen {
            let cookie = format!(
                "{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={KEPT_S}",
                self.word()
            );
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(header::SET_COOKIE, value);
            }
        }
        response
    }
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Params(asked) = Params::<Asked>::from_request_parts(parts, state).await?;
        let kept = parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value);
        Ok(Self::of(&asked.view, kept))
    }
}

/// A changed file in the list above the changes.
struct Named {
    href: String,
    name: String,
    sign: &'static str,
    class: &'static str,
}

/// The list of changed files. Those that are shown on the page are linked within it, others to the page that `to`
/// leads to.
fn named(changes: &[diff::Changed], shown_here: &Range<usize>, to: impl Fn(usize) -> String) -> Vec<Named> {
    let named = changes.iter().take(NAMED).enumerate().map(|(at, change)| {
        let (sign, class) = match (&change.old, &change.new) {
            (None, _) => ("+", "text-green"),
            (_, None) => ("−", "text-red"),
            _ if change.from.is_some() => ("→", "text-blue"),
            _ => ("~", "text-yellow"),
        };
        let page = if shown_here.contains(&at) {
            String::new()
        } else {
            to(at)
        };
        Named {
            href: format!("{page}#file-{at}"),
            name: shown(&change.path),
            sign,
            class,
        }
    });
    named.collect()
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

/// One changed file.
struct Part {
    number: usize,
    href: String,
    folded: bool,
    /// Lines that no test reached, as spans of the first and the last.
    missed: Vec<(u32, u32)>,
    /// New ones of those that are shown.
    untested: usize,
    /// Its rows side by side, where they are wanted so.
    pairs: Vec<Pair>,
    diff: FileDiff,
}

impl Part {
    /// Whether a line is new and no test reached it.
    fn misses(&self, row: &Row) -> bool {
        let number = row.new.parse::<u32>().unwrap_or_default();
        let within = |span: &(u32, u32)| span.0 <= number && number <= span.1;
        row.sign == "+" && self.missed.iter().any(within)
    }

    fn with_missed(mut self, missed: &Missed) -> Self {
        let known = std::str::from_utf8(&self.diff.path)
            .ok()
            .and_then(|path| missed.get(path));
        if let Some(lines) = known {
            self.missed.clone_from(lines);
            let right = self.pairs.iter().filter_map(|pair| pair.right.as_ref());
            self.untested = self
                .diff
                .rows
                .iter()
                .chain(right)
                .filter(|row| self.misses(row))
                .count();
        }
        self
    }
}

/// Changed files: their list, and a page of their changes.
#[derive(Template)]
#[template(path = "code/pages/changes.html")]
pub(crate) struct Changes {
    view: View,
    /// Where the other view is.
    turned: String,
    /// Said where too much differs to be shown.
    instead: Option<String>,
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

impl Changes {
    /// Of all that changed, `files` are shown from number `first` on. `to` leads to the page that begins with another
    /// file or shows another view, `sha` is the commit at which the files are looked at.
    pub(crate) fn new(
        scope: &ProjectScope,
        sha: &str,
        changes: &[diff::Changed],
        (files, first, next): (Vec<FileDiff>, usize, Option<usize>),
        view: View,
        to: impl Fn(View, usize) -> String,
    ) -> Self {
        let last = first + files.len();
        let part = |(at, mut diff): (usize, FileDiff)| Part {
            number: first + at,
            href: format!("{}/-/blob/{sha}/{}", base(scope), to_url(&diff.path)),
            folded: diff.rows.len() > FOLDED,
            missed: Vec::new(),
            untested: 0,
            pairs: if view.split {
                pairs(std::mem::take(&mut diff.rows))
            } else {
                Vec::new()
            },
            diff,
        };
        Self {
            view,
            turned: to(view.other(), first),
            instead: None,
            files: changes.len(),
            named: named(changes, &(first..last), |at| to(view, at)),
            unnamed: changes.len().saturating_sub(NAMED),
            parts: files.into_iter().enumerate().map(part).collect(),
            notes: Notes::default(),
            first,
            last,
            before: (first > 0).then(|| to(view, 0)),
            after: next.map(|next| to(view, next)),
        }
    }

    /// With what is said where too much differs to be shown.
    pub(crate) fn or_else(self, instead: Option<String>) -> Self {
        Self { instead, ..self }
    }

    /// With marks at new lines that no test reached.
    pub(crate) fn with_missed(mut self, missed: &Missed) -> Self {
        if !missed.is_empty() {
            let parts = std::mem::take(&mut self.parts);
            self.parts = parts.into_iter().map(|part| part.with_missed(missed)).collect();
        }
        self
    }

    /// With what reviews put between the lines.
    pub(crate) fn with_notes(self, notes: Notes) -> Self {
        Self { notes, ..self }
    }
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

    #[test]
    fn the_view_is_the_one_asked_for_else_the_one_kept() {
        for (asked, kept, word, chosen) in [
            ("", None, "unified", false),
            ("", Some("split"), "split", false),
            ("split", None, "split", true),
            ("unified", Some("split"), "unified", true),
            ("x; Path=/", Some("split"), "split", false),
            ("", Some("x"), "unified", false),
        ] {
            let view = View::of(asked, kept);
            assert_eq!((view.word(), view.chosen), (word, chosen), "{asked} {kept:?}");
        }
    }

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
