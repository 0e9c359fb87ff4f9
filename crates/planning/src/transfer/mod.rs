//! Issues from and to spreadsheets: CSV (RFC 4180) in UTF-8, parted by commas, semicolons or tabs.
//!
//! The first row names the columns, of which `title` must be there: `title`, `description`, `labels`, `assignees`,
//! `milestone`, `due_date`, `confidential`, `state`. What else there is, such as the `number` that an export has, is
//! passed over. Names within a cell are parted by commas or semicolons.

pub(crate) mod api;
pub(crate) mod pages;
mod service;

use crate::text;
use bascule_core::{Problem, Result};
use bascule_wire::planning::ImportError;

/// Most rows of one file.
pub const ROWS: usize = 1_000;

/// A row as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Which, as a spreadsheet counts.
    pub row: i64,
    /// Its cells, by column.
    pub title: String,
    /// Markdown.
    pub description: String,
    /// Names of labels.
    pub labels: Vec<String>,
    /// User names.
    pub assignees: Vec<String>,
    /// A milestone's title.
    pub milestone: String,
    /// A day.
    pub due_on: String,
    /// `yes`, `no`, or nothing.
    pub confidential: String,
    /// `open`, `closed`, or nothing.
    pub state: String,
}

/// The columns that are read, with other names that they go by.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("title", &["summary", "name"]),
    ("description", &["body", "text"]),
    ("labels", &["label", "tags"]),
    ("assignees", &["assignee", "assigned to", "assignee username"]),
    ("milestone", &[]),
    ("due_date", &["due date", "due_on", "due"]),
    ("confidential", &[]),
    ("state", &["status"]),
];

/// Reads a file: its rows, and what is wrong with its shape.
///
/// # Errors
/// It is no CSV in UTF-8, has no column `title`, or more rows than allowed.
pub fn read(bytes: &[u8]) -> Result<(Vec<Row>, Vec<ImportError>)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Problem::invalid("bad_csv", "The file is not in UTF-8.")
            .next("Save it as CSV in UTF-8; spreadsheets offer that when saving.")
    })?;
    if text.contains('\0') {
        return Err(Problem::invalid("bad_csv", "The file is no text.").next("Save it as CSV in UTF-8."));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(true)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| unreadable(&error))?.clone();
    let places: Vec<Option<usize>> = COLUMNS
        .iter()
        .map(|(name, others)| {
            headers.iter().position(|heading| {
                let heading = heading.trim().to_lowercase();
                heading == *name || others.contains(&heading.as_str())
            })
        })
        .collect();
    if places.first().copied().flatten().is_none() {
        let seen: Vec<String> = headers
            .iter()
            .take(10)
            .map(|heading| text::cut(heading, 30))
            .collect();
        return Err(Problem::invalid("no_title_column", "The first row names no column `title`.")
            .why(format!("It names: {}.", seen.join(", ")))
            .next("Put the columns' names into the first row: title, and whichever you have of description, labels, assignees, milestone, due_date, confidential, state."));
    }
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|error| unreadable(&error))?;
        let row = i64::try_from(at + 2).unwrap_or(i64::MAX);
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if rows.len() >= ROWS {
            return Err(Problem::too_large(format!("The file has more than {ROWS} rows."))
                .next("Part it, and import one part after the other."));
        }
        if record.len() > headers.len() {
            errors.push(ImportError {
                row,
                column: String::new(),
                what: format!(
                    "It has {} cells, and the heading {}.",
                    record.len(),
                    headers.len()
                ),
            });
        }
        let cell = |column: usize| {
            let at = places.get(column).copied().flatten();
            at.and_then(|at| record.get(at)).map(bare).unwrap_or_default()
        };
        rows.push(Row {
            row,
            title: cell(0),
            description: cell(1),
            labels: text::names(&cell(2)),
            assignees: text::names(&cell(3)),
            milestone: cell(4).trim().to_owned(),
            due_on: cell(5).trim().to_owned(),
            confidential: cell(6).trim().to_lowercase(),
            state: cell(7).trim().to_lowercase(),
        });
    }
    Ok((rows, errors))
}

fn unreadable(error: &csv::Error) -> Problem {
    Problem::invalid("bad_csv", format!("The file cannot be read as CSV: {error}."))
        .next("Save it as CSV in UTF-8; a cell with commas or line ends stands in double quotes.")
}

/// What parts the cells: whichever stands most often in the first line, outside quotes.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let plain: String = first.split('"').step_by(2).collect();
    let count = |sign: u8| plain.bytes().filter(|b| *b == sign).count();
    let mut best = b',';
    for sign in [b';', b'\t'] {
        if count(sign) > count(best) {
            best = sign;
        }
    }
    best
}

/// Signs by which a spreadsheet takes a cell for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A cell without the mark that keeps spreadsheets from computing it.
fn bare(cell: &str) -> String {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest.to_owned(),
        _ => cell.to_owned(),
    }
}

/// A cell that no spreadsheet takes for a formula.
fn guarded(cell: &str) -> String {
    // What begins with marks and a sign gets one mark more, so that it reads back as it was.
    if cell.trim_start_matches('\'').starts_with(FORMULA) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_of_all_spreadsheets_are_read() {
        let (rows, errors) = read(
            "\u{feff}Title;Labels;Due date\r\n\"a; b\";\"type::bug, x\";2024-02-29\r\n;;\r\n".as_bytes(),
        )
        .unwrap();
        assert!(errors.is_empty());
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].row, rows[0].title.as_str()), (2, "a; b"));
        assert_eq!(rows[0].labels, ["type::bug", "x"]);
        assert_eq!(rows[0].due_on, "2024-02-29");
        let (rows, _) = read(b"title\tdescription\nx\t\"two\nlines\"\n").unwrap();
        assert_eq!(rows[0].description, "two\nlines");
        let (rows, errors) = read(b"number,title\n7,x,y\n").unwrap();
        assert_eq!((rows[0].title.as_str(), errors[0].row), ("x", 2));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert_eq!(
            read(b"name of it,what\n1,2\n").unwrap_err().code,
            "no_title_column"
        );
        assert_eq!(read(b"title\n\xff\n").unwrap_err().code, "bad_csv");
        assert_eq!(read(b"").unwrap_err().code, "no_title_column");
        let many = format!("title\n{}", "x\n".repeat(ROWS + 1));
        assert_eq!(read(many.as_bytes()).unwrap_err().code, "too_large");
    }

    #[test]
    fn formulas_are_disarmed_and_read_back() {
        for hostile in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "'=1"] {
            assert!(guarded(hostile).starts_with('\''), "{hostile}");
            assert_eq!(bare(&guarded(hostile)), hostile);
        }
        assert_eq!(guarded("plain = good"), "plain = good");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_table_is_read_or_refused(text in "title(,labels)?\\n[a-z\"',;=\\n\\t-]{0,200}") {
            let _ = read(text.as_bytes());
        }
    }
}
