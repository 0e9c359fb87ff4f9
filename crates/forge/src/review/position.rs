//! Where a comment stands, and where it stands in a later version of the file.

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, TextDiff};
use std::time::Duration;

/// Most lines that a comment may span.
pub(crate) const LINES: u32 = 500;
/// How long two versions of a file may be compared.
const PATIENCE: Duration = Duration::from_millis(200);

/// Which text of a diff a line belongs to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The text before the change.
    Old,
    /// The text after it.
    New,
}

impl Side {
    /// As stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    /// As read back.
    pub(crate) fn parse(text: &str) -> Self {
        if text == "old" { Self::Old } else { Self::New }
    }
}

/// Lines of one text, from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lines {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Lines {
    /// The lines, the right way round; `None` where there are none, or too many.
    pub(crate) fn new(one: u32, other: u32) -> Option<Self> {
        let (start, end) = (one.min(other), one.max(other));
        (start > 0 && end - start < LINES).then_some(Self { start, end })
    }

    /// How many.
    pub(crate) const fn count(self) -> u32 {
        self.end - self.start + 1
    }

    /// Whether a line is among them.
    pub(crate) const fn holds(self, line: u32) -> bool {
        self.start <= line && line <= self.end
    }
}

/// What became of lines in another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// They are unchanged and stand here now.
    At(Lines),
    /// At least one of them changed or went.
    Outdated,
}

/// How the lines of one text are found in another; made once for all comments on a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carrier {
    /// Runs of equal lines: old start, new start, length, all from 0.
    equal: Vec<(usize, usize, usize)>,
}

impl Carrier {
    /// Compares two versions of a text.
    pub(crate) fn between(old: &str, new: &str) -> Self {
        let diff = TextDiff::configure()
            .algorithm(Algorithm::Myers)
            .timeout(PATIENCE)
            .diff_lines(old, new);
        let mut equal: Vec<(usize, usize, usize)> = Vec::new();
        for op in diff.ops() {
            let DiffOp::Equal {
                old_index,
                new_index,
                len,
            } = *op
            else {
                continue;
            };
            match equal.last_mut() {
                Some((old, new, run)) if *old + *run == old_index && *new + *run == new_index => *run += len,
                _ => equal.push((old_index, new_index, len)),
            }
        }
        Self { equal }
    }

    /// Whether none of these lines of the old text changed.
    pub(crate) fn is_unchanged(&self, lines: Lines) -> bool {
        let (Ok(start), Ok(end)) = (usize::try_from(lines.start - 1), usize::try_from(lines.end)) else {
            return true;
        };
        (start..end).all(|line| {
            self.equal
                .iter()
                .any(|(old, _, len)| *old <= line && line < old + len)
        })
    }

    /// Where lines of the old text stand in the new one.
    pub(crate) fn carry(&self, lines: Lines) -> Carried {
        let (Ok(start), Ok(end)) = (usize::try_from(lines.start - 1), usize::try_from(lines.end)) else {
            return Carried::Outdated;
        };
        let run = self
            .equal
            .iter()
            .find(|(old, _, len)| *old <= start && end <= old + len);
        let Some((old, new, _)) = run else {
            return Carried::Outdated;
        };
        let Ok(first) = u32::try_from(new + (start - old) + 1) else {
            return Carried::Outdated;
        };
        Carried::At(Lines {
            start: first,
            end: first + lines.count() - 1,
        })
    }
}

/// The text of some lines, with their ends; `None` where there are not so many.
pub(crate) fn text_of(text: &str, lines: Lines) -> Option<String> {
    let (skip, take) = (
        usize::try_from(lines.start - 1).ok()?,
        usize::try_from(lines.count()).ok()?,
    );
    let found: Vec<&str> = text.split_inclusive('\n').skip(skip).take(take).collect();
    (found.len() == take).then(|| found.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(start: u32, end: u32) -> Lines {
        Lines { start, end }
    }

    #[test]
    fn lines_move_with_what_is_put_before_them_and_are_outdated_when_they_change() {
        let old = "a\nb\nc\nd\n";
        let carry = |new: &str, at| Carrier::between(old, new).carry(at);
        assert_eq!(carry("x\ny\na\nb\nc\nd\n", lines(2, 3)), Carried::At(lines(4, 5)));
        assert_eq!(carry("a\nb!\nc\nd\n", lines(2, 2)), Carried::Outdated);
        assert_eq!(carry("a\nb!\nc\nd\n", lines(3, 4)), Carried::At(lines(3, 4)));
        // Something came between the two lines: what was said of both together may not hold any more.
        assert_eq!(carry("a\nb\nnew\nc\nd\n", lines(2, 3)), Carried::Outdated);
        assert_eq!(carry("", lines(1, 1)), Carried::Outdated);
        assert_eq!(carry(old, lines(4, 9)), Carried::Outdated);
    }

    #[test]
    fn lines_are_kept_in_order_and_in_bounds() {
        assert_eq!(Lines::new(5, 2), Some(lines(2, 5)));
        assert_eq!(Lines::new(0, 2), None);
        assert_eq!(Lines::new(1, LINES + 1), None);
        assert_eq!(text_of("a\nb\nc", lines(2, 3)).as_deref(), Some("b\nc"));
        assert_eq!(text_of("a\nb", lines(2, 3)), None);
    }

    proptest! {
        #[test]
        fn carried_lines_have_the_same_text(
            old in proptest::collection::vec("[abc]{0,1}", 0..25),
            edits in proptest::collection::vec((0usize..25, 0usize..3, "[abcd]{0,1}"), 0..6),
            start in 1u32..26, more in 0u32..4,
        ) {
            let mut new = old.clone();
            for (at, what, text) in edits {
                let at = at.min(new.len());
                match what {
                    0 => new.insert(at, text),
                    1 if at < new.len() => { new.remove(at); }
                    _ if at < new.len() => new[at] = text,
                    _ => {}
                }
            }
            let join = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
            let (old, new) = (join(&old), join(&new));
            let here = lines(start, start + more);
            match Carrier::between(&old, &new).carry(here) {
                Carried::At(there) => {
                    prop_assert_eq!(there.count(), here.count());
                    let (a, b) = (text_of(&old, here), text_of(&new, there));
                    prop_assert!(a.is_some());
                    prop_assert_eq!(a, b);
                }
                Carried::Outdated if old == new => prop_assert!(text_of(&old, here).is_none()),
                Carried::Outdated => {}
            }
        }

        #[test]
        fn lines_put_before_shift_by_their_number(old in proptest::collection::vec("[a-z]{1,5}", 1..20), put in 0u32..5, at in 0u32..20) {
            let text: String = old.iter().map(|l| format!("{l}\n")).collect();
            let new = format!("{}{text}", "#\n".repeat(put as usize));
            let line = at % u32::try_from(old.len()).unwrap() + 1;
            prop_assert_eq!(
                Carrier::between(&text, &new).carry(lines(line, line)),
                Carried::At(lines(line + put, line + put))
            );
        }
    }
}
