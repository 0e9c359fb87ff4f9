//! One file.

use super::{Line, base, crumbs, line, raw, tree};
use crate::{
    Forge,
    code::{
        blame,
        cache::keep_lines,
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
use bascule_web::{
    Answer, InProject, Markup, Params, PathOf, Tab, Ui, bytes, highlight, icon, raw::picture, url_path,
};
use gix::objs::tree::EntryKind;
use http::HeaderMap;
use serde::Deserialize;
use std::time::Duration;

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
    /// Where the drawing that the file is, is shown from.
    drawing: bool,
    raw: String,
    history: String,
    blame: Option<String>,
    /// The other way to look at it: address and label.
    other: Option<(String, &'static str)>,
    last: Option<Line>,
    view: View,
    earlier: Option<String>,
    later: Option<String>,
    icons: [Markup; 4],
}

enum View {
    Lines(Lines),
    Rendered(Markup),
    Table(Table),
    Picture,
    Nothing(&'static str),
}

/// A page of lines.
struct Lines {
    /// The number of the first.
    first: usize,
    lines: Vec<Markup>,
    /// Whether one of them is cut off.
    cut: bool,
}

/// A page of a text: a page's number of lines, and no more than is shown at once.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    text: String,
    lines: usize,
    cut: bool,
}

impl Part {
    fn of(text: &str, from: usize) -> Self {
        let most = usize::try_from(limits::SHOWN_FILE_BYTES).unwrap_or(usize::MAX);
        let mut part = Self {
            text: String::new(),
            lines: 0,
            cut: false,
        };
        for line in text
            .split_inclusive('\n')
            .skip(from.saturating_sub(1))
            .take(blame::PAGE)
        {
            if part.text.len() + line.len() > most {
                if part.lines == 0 {
                    part.text
                        .push_str(line.get(..line.floor_char_boundary(most)).unwrap_or_default());
                    part.lines = 1;
                    part.cut = true;
                }
                break;
            }
            part.text.push_str(line);
            part.lines += 1;
        }
        part
    }
}

/// Rows and columns of a table that are shown.
const ROWS: usize = 2_000;
const COLUMNS: usize = 100;
/// Characters of a cell that are shown.
const CELL: usize = 500;

/// A file of comma- or tab-separated values (RFC 4180).
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    more: bool,
}

impl Table {
    /// Reads a table; `None` where the text is none.
    fn read(name: &[u8], text: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let delimiter = match name.rsplit(|byte| *byte == b'.').next()? {
            b"tsv" => b'\t',
            // Spreadsheets of many countries write semicolons, since their numbers hold commas.
            b"csv" => {
                let first = text.lines().next().unwrap_or_default();
                let count = |c: char| first.matches(c).count();
                if count(';') > count(',') { b';' } else { b',' }
            }
            _ => return None,
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .has_headers(false)
            .from_reader(text.as_bytes());
        let mut rows = Vec::new();
        for record in reader.records().take(ROWS + 2) {
            let cells = record.ok()?;
            let cells = cells.iter().take(COLUMNS);
            rows.push(cells.map(|cell| cell.chars().take(CELL).collect()).collect());
        }
        if rows.is_empty() {
            return None;
        }
        let head = rows.remove(0);
        let more = rows.len() > ROWS;
        rows.truncate(ROWS);
        Some(Self { head, rows, more })
    }
}

#[derive(Deserialize)]
pub(super) struct Wish {
    plain: Option<String>,
    /// The first line that is shown.
    from: Option<usize>,
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
    let asked = raw::Asked::of(&headers);
    if asked == raw::Asked::AsImage {
        // A README's picture, addressed as the README writes it.
        return raw::respond(&forge, scope.id, place.found.id, place.path, asked).await;
    }
    let (tip, path) = (place.found.id, place.path.clone());
    let read = forge
        .repositories()
        .read(scope.id, move |repo| match read::entry(repo, tip, &path)? {
            Some((EntryKind::Tree, _)) => Ok(None),
            Some((kind @ (EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link), id)) => {
                let size = read::size(repo, id)?;
                let bytes = read::bytes(repo, id, blame::LARGEST)?;
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
        drawing: false,
        raw: here("raw"),
        history: here("commits"),
        blame: None,
        other: None,
        last: last.as_ref().map(|commit| line(&scope, commit)),
        view: View::Nothing("The file is too large to be shown here."),
        earlier: None,
        later: None,
        icons: [
            icon("download"),
            icon("history"),
            icon("alert-triangle"),
            icon("user"),
        ],
    };
    if let Some(content) = content {
        if picture(&content).is_some() {
            page.view = View::Picture;
        } else if read::is_binary(&content) {
            page.view = View::Nothing("The file is no text.");
        } else {
            let text = String::from_utf8_lossy(&content).into_owned();
            page.lines = text.lines().count();
            page.blame = Some(here("blame"));
            page.warning = text
                .chars()
                .any(|c| is_misleading(c) && !c.is_control() && c != '\u{feff}');
            page.drawing = raw::is_svg(&content) && size <= raw::HELD;
            // What is not shown line by line is shown as a whole.
            let whole = size <= limits::SHOWN_FILE_BYTES;
            let markdown = whole && tree::is_markdown(&name);
            let table = whole.then(|| Table::read(&name, &text)).flatten();
            let tabular = table.is_some();
            if markdown && wish.plain.is_none() {
                let parent = place
                    .path
                    .iter()
                    .rposition(|b| *b == b'/')
                    .and_then(|at| place.path.get(..=at));
                let top = format!("{}/-/blob/{}/", base(&scope), url_path(&place.name));
                let folder = to_url(parent.unwrap_or_default());
                page.other = Some((format!("{}?plain=1", here("blob")), "Source"));
                page.view = View::Rendered(tree::render(&forge, &name, id, &text, (&top, &folder)));
            } else if let (Some(table), None) = (table, &wish.plain) {
                page.other = Some((format!("{}?plain=1", here("blob")), "Source"));
                page.view = View::Table(table);
            } else {
                if markdown {
                    page.other = Some((here("blob"), "Rendered"));
                } else if tabular {
                    page.other = Some((here("blob"), "Table"));
                }
                let from = wish.from.unwrap_or(1).max(1);
                if from > page.lines.max(1) {
                    let next = format!("The file has {} lines.", page.lines);
                    return Err(Problem::not_found("line").next(next).into());
                }
                let part = Part::of(&text, from);
                let to = |at: usize| {
                    let plain = if wish.plain.is_some() { "&plain=1" } else { "" };
                    format!("{}?from={at}{plain}", here("blob"))
                };
                page.earlier = (from > 1).then(|| to(from.saturating_sub(blame::PAGE).max(1)));
                page.later = (from + part.lines <= page.lines).then(|| to(from + part.lines));
                page.view = View::Lines(Lines {
                    first: from,
                    cut: part.cut,
                    lines: coloured(&forge, id, &shown(&name), text, from, part).await,
                });
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

/// A page's lines with colours; made aside, because long files take their time.
async fn coloured(
    forge: &Forge,
    id: gix::ObjectId,
    name: &str,
    text: String,
    from: usize,
    part: Part,
) -> Vec<Markup> {
    // What began on an earlier page is known on a later one, as long as all of it is coloured.
    let whole = text.len() <= highlight::TEXT_BYTES;
    let key = (
        id,
        if whole {
            name.to_owned()
        } else {
            format!("{name}\n{from}")
        },
    );
    let lines = match forge.cache().lines.get(&key) {
        Some(known) => known,
        None => {
            let name = name.to_owned();
            let text = if whole { text } else { part.text };
            let made = tokio::task::spawn_blocking(move || highlight::lines(&name, &text))
                .await
                .unwrap_or_default();
            keep_lines(&forge.cache().lines, key, made)
        }
    };
    let skipped = if whole { from - 1 } else { 0 };
    lines.iter().skip(skipped).take(part.lines).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_as_spreadsheets_write_them() {
        let table = Table::read(b"a.CSV", "name;share\n\"a;b\";1,5\nshort\n").unwrap();
        assert_eq!(table.head, ["name", "share"]);
        assert_eq!(table.rows, [vec!["a;b", "1,5"], vec!["short"]]);
        assert!(Table::read(b"a.txt", "a,b").is_none() && Table::read(b"a.csv", "").is_none());
        let long = "a,b\n".repeat(ROWS + 5);
        let table = Table::read(b"a.csv", &long).unwrap();
        assert!(table.more && table.rows.len() == ROWS);
    }

    #[test]
    fn a_page_holds_so_many_lines_and_bytes_and_none_is_left_out() {
        let text = "line\n".repeat(blame::PAGE * 2 + 5);
        assert_eq!(Part::of(&text, 1).lines, blame::PAGE);
        assert_eq!(Part::of(&text, blame::PAGE * 2 + 1).lines, 5);
        let half = "x".repeat(600 * 1024);
        let text = format!("{half}\n{half}\n");
        assert_eq!((Part::of(&text, 1).lines, Part::of(&text, 2).lines), (1, 1));
        let long = "ä".repeat(1024 * 1024);
        let part = Part::of(&long, 1);
        assert!(part.cut && part.lines == 1 && part.text.len() <= 1024 * 1024);
        assert_eq!(Part::of("", 1).lines, 0);
    }

    proptest! {
        #[test]
        fn no_table_is_too_odd(text in ".{0,300}") {
            Table::read(b"x.csv", &text);
        }
    }
}
