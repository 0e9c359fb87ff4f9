//! What lists of issues are asked: filters, order, and where a page begins.

use crate::text;
use bascule_core::{IssueId, Problem, Result, limits};
use bascule_wire::planning::Column;
use serde::Deserialize;

/// In what order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Most important first, as on the board.
    #[default]
    Priority,
    /// Newest first.
    Created,
    /// Last changed first.
    Updated,
    /// Due first; without a day last.
    Due,
}

impl Sort {
    pub(crate) const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Priority, "priority", "Priority"),
        (Self::Created, "created", "Newest"),
        (Self::Updated, "updated", "Last changed"),
        (Self::Due, "due", "Due date"),
    ];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, word, _)| *word == text)
            .map(|(sort, ..)| sort)
    }

    /// The column by which it orders, and whether downwards.
    pub(crate) const fn key(self) -> (&'static str, bool) {
        match self {
            Self::Priority => ("issue.rank", false),
            Self::Created => ("issue.created_at", true),
            Self::Updated => ("issue.updated_at", true),
            Self::Due => ("COALESCE(issue.due_on, '9999-12-31')", false),
        }
    }
}

/// Whom or what an issue must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Having {
    /// Whatever.
    #[default]
    Whatever,
    /// None.
    None,
    /// Any.
    Any,
    /// This one.
    This(String),
}

impl Having {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "" => Self::Whatever,
            "none" => Self::None,
            "any" => Self::Any,
            text => Self::This(text.to_owned()),
        }
    }
}

/// Where a page begins: after this issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) key: String,
    pub(crate) id: IssueId,
}

/// Which issues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Open, closed, or both.
    pub(crate) open: Option<bool>,
    pub(crate) column: Option<Column>,
    /// Each of these labels.
    pub(crate) labels: Vec<String>,
    pub(crate) assignee: Having,
    pub(crate) author: String,
    pub(crate) milestone: Having,
    /// Each of these words stands in title or description.
    pub(crate) words: Vec<String>,
    pub(crate) sort: Sort,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: i64,
    /// With descriptions, which lists have no need of.
    pub(crate) whole: bool,
}

/// The same, as an address carries it.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub(crate) struct Asked {
    /// `open` (what is taken where it is left out), `closed` or `all`.
    pub(crate) state: String,
    /// `open`, `todo`, `doing` or `done`.
    pub(crate) column: String,
    /// Words that stand in title or description, or a number.
    pub(crate) search: String,
    /// Names of labels, parted by commas; each must be there.
    pub(crate) labels: String,
    /// A user name, `none` or `any`.
    pub(crate) assignee: String,
    /// A user name.
    pub(crate) author: String,
    /// A milestone's title, `none` or `any`.
    pub(crate) milestone: String,
    /// `priority` (what is taken where it is left out), `created`, `updated` or `due`.
    pub(crate) sort: String,
    /// Where the page before ended.
    pub(crate) after: String,
    /// How many at most.
    pub(crate) limit: Option<i64>,
}

/// Most words and labels that count.
const AT_MOST: usize = 10;

impl Asked {
    /// Reads it.
    ///
    /// # Errors
    /// A word stands for nothing.
    pub(crate) fn filter(&self) -> Result<Filter> {
        let open = match self.state.as_str() {
            "" | "open" | "opened" => Some(true),
            "closed" => Some(false),
            "all" => None,
            other => return Err(unknown("state", other, "open, closed or all")),
        };
        let column = match self.column.as_str() {
            "" => None,
            word => Some(
                Column::parse(word).ok_or_else(|| unknown("column", word, "open, todo, doing or done"))?,
            ),
        };
        let sort = match self.sort.as_str() {
            "" => Sort::default(),
            word => {
                Sort::parse(word).ok_or_else(|| unknown("sort", word, "priority, created, updated or due"))?
            }
        };
        let after = match self.after.as_str() {
            "" => None,
            mark => {
                Some(cursor(mark, sort).ok_or_else(|| unknown("after", mark, "the mark of a page before"))?)
            }
        };
        Ok(Filter {
            // A column says more than a state.
            open: if column.is_some() { None } else { open },
            column,
            labels: text::names(&self.labels).into_iter().take(AT_MOST).collect(),
            assignee: Having::parse(&self.assignee),
            author: self.author.trim().to_owned(),
            milestone: Having::parse(&self.milestone),
            words: self
                .search
                .split_whitespace()
                .take(AT_MOST)
                .map(|word| word.to_lowercase().chars().take(100).collect())
                .collect(),
            sort,
            after,
            limit: self
                .limit
                .unwrap_or(limits::PAGE_ENTRIES)
                .clamp(1, limits::API_PAGE_ENTRIES),
            whole: false,
        })
    }
}

fn unknown(what: &str, given: &str, known: &str) -> Problem {
    Problem::bad_request("bad_filter", format!("`{}` is no {what}.", text::cut(given, 40)))
        .next(format!("Use {known}."))
}

fn cursor(mark: &str, sort: Sort) -> Option<Cursor> {
    let (key, id) = mark.rsplit_once('~')?;
    let good = match sort {
        Sort::Due => key.len() == 10 && key.bytes().all(|b| b.is_ascii_digit() || b == b'-'),
        _ => key.parse::<i64>().is_ok(),
    };
    good.then_some(())?;
    Some(Cursor {
        key: key.to_owned(),
        id: id.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_said() {
        let bad = |asked: Asked| asked.filter().is_err();
        assert!(bad(Asked {
            state: "x".to_owned(),
            ..Asked::default()
        }));
        assert!(bad(Asked {
            sort: "x".to_owned(),
            ..Asked::default()
        }));
        assert!(bad(Asked {
            after: "1~x".to_owned(),
            ..Asked::default()
        }));
        assert!(bad(Asked {
            after: "'; DROP~0190f3e0-0000-7000-8000-000000000000".to_owned(),
            ..Asked::default()
        }));
        let filter = Asked {
            column: "To do".to_owned(),
            limit: Some(100_000),
            ..Asked::default()
        }
        .filter()
        .unwrap();
        assert_eq!(
            (filter.column, filter.open, filter.limit),
            (Some(Column::Todo), None, limits::API_PAGE_ENTRIES)
        );
    }
}
