//! What is wrong in a project's CI file, and where: every fault names the line, the column, the offending
//! text and what is allowed there.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in one of the files that make up a configuration. Lines and columns count from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pos {
    /// Index into the list of files; zero is the project's own file.
    pub file: u16,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl Pos {
    /// The place `by` columns further right on the same line.
    #[must_use]
    pub fn right(self, by: usize) -> Self {
        Self {
            column: self.column.saturating_add(u32::try_from(by).unwrap_or(u32::MAX)),
            ..self
        }
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One fault (or warning) in a CI file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where.
    pub pos: Pos,
    /// The file's path in the project; empty for the project's own CI file.
    pub file: String,
    /// What is wrong, with the offending text.
    pub what: String,
    /// What is allowed there.
    pub allowed: String,
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(pos: Pos, what: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self {
            pos,
            file: String::new(),
            what: what.into(),
            allowed: allowed.into(),
        }
    }

    /// The file's path as people know it.
    #[must_use]
    pub fn file_name(&self) -> &str {
        if self.file.is_empty() { CI_FILE } else { &self.file }
    }

    /// What is wrong and what is allowed, in one sentence.
    #[must_use]
    pub fn reason(&self) -> String {
        if self.allowed.is_empty() {
            self.what.clone()
        } else {
            format!("{}; {}", self.what, self.allowed)
        }
    }

    /// `line:column`, after the file's path where it is an included one.
    #[must_use]
    pub fn position(&self) -> String {
        if self.file.is_empty() {
            self.pos.to_string()
        } else {
            format!("{}:{}", self.file, self.pos)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is about no place in the file names none.
        if self.pos == Pos::default() {
            return write!(f, "{}: {}", self.file_name(), self.reason());
        }
        write!(f, "{}:{}: {}", self.file_name(), self.pos, self.reason())
    }
}

/// The project's CI file.
pub const CI_FILE: &str = ".gitlab-ci.yml";
/// Most faults told at once; the rest are likely consequences.
pub const FAULTS: usize = 50;

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// One that says what kept the commit from being read.
    #[must_use]
    pub fn of(problem: &bascule_core::Problem) -> Self {
        let lower = |text: &str| text.trim_end_matches('.').to_owned();
        Self::one(Pos::default(), lower(&problem.what), lower(&problem.next))
    }

    /// Just one.
    #[must_use]
    pub fn one(pos: Pos, what: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self(vec![Fault::new(pos, what, allowed)])
    }

    /// The one to tell first.
    #[must_use]
    pub fn first(&self) -> Fault {
        self.0
            .first()
            .cloned()
            .unwrap_or_else(|| Fault::new(Pos::default(), "the file is wrong", ""))
    }

    /// Writes the files' names into the faults, in order of their place, at most [`FAULTS`].
    #[must_use]
    pub fn named(mut self, files: &[String]) -> Self {
        name_files(&mut self.0, files);
        self
    }
}

/// Fills in the file names of faults or warnings and orders them by place.
pub fn name_files(faults: &mut Vec<Fault>, files: &[String]) {
    for fault in faults.iter_mut().filter(|fault| fault.pos.file > 0) {
        fault.file = files
            .get(usize::from(fault.pos.file))
            .cloned()
            .unwrap_or_default();
    }
    faults.sort_by_key(|fault| fault.pos);
    faults.dedup();
    faults.truncate(FAULTS);
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Text as quoted in a message: one line, at most 60 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut cut: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(60).is_some() {
        cut.push('…');
    }
    cut
}

/// "did you mean …", where one of the allowed words is near the one given.
#[must_use]
pub fn did_you_mean<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 40 {
        return None;
    }
    let reach = if word.chars().count() <= 4 { 1 } else { 2 };
    allowed
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (
        a.to_lowercase().chars().collect(),
        b.to_lowercase().chars().collect(),
    );
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let keys = ["script", "stage", "needs", "rules"];
        assert_eq!(did_you_mean("scirpt", keys), Some("script"));
        assert_eq!(did_you_mean("stages", keys), Some("stage"));
        assert_eq!(did_you_mean("deploy", keys), None);
    }
}
