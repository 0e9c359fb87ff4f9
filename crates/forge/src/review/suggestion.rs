//! Suggested changes: fenced blocks in comments, applied to the file as a commit.

use super::position::Lines;
use bascule_core::Problem;
use comrak::{Arena, Options, nodes::NodeValue, parse_document};

/// Most blocks of one comment.
pub(crate) const BLOCKS: usize = 20;
/// Most lines above or below that a block may take in, as GitLab has it.
const REACH: u32 = 100;

/// One block, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suggestion {
    /// Lines above and below the comment's last line; the comment's own lines where not given.
    pub(crate) reach: Option<(u32, u32)>,
    /// What shall stand there, with the ends of lines.
    pub(crate) text: String,
    /// Lines of the comment's source that the block takes, from 1.
    pub(crate) source: (usize, usize),
}

/// A block together with the lines of the file that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) lines: Lines,
    pub(crate) text: String,
}

/// The suggestions in a comment. They are found by the same parser that shows the comment.
pub(crate) fn find(comment: &str) -> Vec<Suggestion> {
    let arena = Arena::new();
    let root = parse_document(&arena, comment, &Options::default());
    let mut found = Vec::new();
    for node in root.children() {
        let data = node.data.borrow();
        let NodeValue::CodeBlock(block) = &data.value else {
            continue;
        };
        if !block.fenced || found.len() >= BLOCKS {
            continue;
        }
        if let Some(reach) = header(&block.info) {
            let place = data.sourcepos;
            found.push(Suggestion {
                reach,
                text: block.literal.clone(),
                source: (place.start.line, place.end.line),
            });
        }
    }
    found
}

/// `suggestion` or `suggestion:-2+1`.
#[allow(
    clippy::option_option,
    reason = "no suggestion, one without numbers, one with them"
)]
fn header(info: &str) -> Option<Option<(u32, u32)>> {
    let word = info.split_whitespace().next()?;
    let rest = word.strip_prefix("suggestion")?;
    if rest.is_empty() {
        return Some(None);
    }
    let (above, below) = rest.strip_prefix(":-")?.split_once('+')?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= REACH);
    Some(Some((number(above)?, number(below)?)))
}

/// The comment without its suggestions, which are shown as changes instead.
pub(crate) fn without(comment: &str, suggestions: &[Suggestion]) -> String {
    let inside = |line: usize| {
        suggestions
            .iter()
            .any(|s| s.source.0 <= line && line <= s.source.1)
    };
    let kept: Vec<&str> = comment
        .lines()
        .enumerate()
        .filter(|(at, _)| !inside(at + 1))
        .map(|(_, line)| line)
        .collect();
    kept.join("\n")
}

impl Suggestion {
    /// The lines that it replaces, for a comment on `lines`; `None` where they would begin above the file.
    pub(crate) fn lines(&self, lines: Lines) -> Option<Lines> {
        match self.reach {
            None => Some(lines),
            Some((above, below)) => Lines::new(lines.end.checked_sub(above)?, lines.end.checked_add(below)?),
        }
    }
}

/// Applies edits to a text, all or none.
pub(crate) fn apply(text: &str, edits: &[Edit]) -> Result<String, Problem> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.lines);
    if edits.windows(2).any(|pair| match pair {
        [one, next] => one.lines.end >= next.lines.start,
        _ => false,
    }) {
        return Err(
            Problem::conflict("suggestions_overlap", "Two suggestions change the same lines.")
                .why("Only one of them can be what stands there afterwards.")
                .next("Apply one, look at the result, then decide about the other."),
        );
    }
    let mut out = String::with_capacity(text.len() + 256);
    let mut at = 0;
    for edit in edits {
        let (Ok(start), Ok(end)) = (
            usize::try_from(edit.lines.start - 1),
            usize::try_from(edit.lines.end),
        ) else {
            return Err(gone());
        };
        let (Some(before), Some(replaced)) = (lines.get(at..start), lines.get(start..end)) else {
            return Err(gone());
        };
        out.extend(before.iter().copied());
        out.push_str(&fitted(&edit.text, replaced, end == lines.len()));
        at = end;
    }
    out.extend(lines.get(at..).unwrap_or_default().iter().copied());
    Ok(out)
}

/// The new lines, ending as the replaced ones do.
fn fitted(text: &str, replaced: &[&str], last: bool) -> String {
    let windows = replaced.iter().any(|line| line.ends_with("\r\n"));
    let mut text = text.replace("\r\n", "\n");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if last && replaced.last().is_some_and(|line| !line.ends_with('\n')) && text.ends_with('\n') {
        text.pop();
    }
    if windows { text.replace('\n', "\r\n") } else { text }
}

/// Told where the lines are not what they were.
pub(crate) fn gone() -> Problem {
    Problem::conflict(
        "suggestion_outdated",
        "The lines that the suggestion would change have changed since.",
    )
    .why("It was made for what stood there then; put over something else, it could undo it.")
    .next("Make the change by hand, or ask for a new suggestion.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit(start: u32, end: u32, text: &str) -> Edit {
        Edit {
            lines: Lines { start, end },
            text: text.to_owned(),
        }
    }

    #[test]
    fn blocks_are_found_where_they_are_shown() {
        let comment = "Better:\n\n```suggestion:-1+2\nlet x = 1;\n```\n\nand\n\n~~~~ suggestion\n```\n~~~~\n\n```rust\nno\n```\n    ```suggestion\n    in an indented block: none\n";
        let found = find(comment);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].reach, Some((1, 2)));
        assert_eq!(found[0].text, "let x = 1;\n");
        assert_eq!((found[1].reach, found[1].text.as_str()), (None, "```\n"));
        let rest = without(comment, &found);
        assert!(rest.contains("Better") && rest.contains("and") && rest.contains("no"));
        assert!(!rest.contains("let x"));
        for none in [
            "```suggestion:-x+1\na\n```",
            "```suggestions\na\n```",
            "```suggestion:-101+0\na\n```",
        ] {
            assert!(find(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn lines_are_counted_from_the_last_one() {
        let of = |reach, start, end| {
            let one = Suggestion {
                reach,
                text: String::new(),
                source: (1, 1),
            };
            one.lines(Lines { start, end }).map(|l| (l.start, l.end))
        };
        assert_eq!(of(None, 3, 5), Some((3, 5)));
        assert_eq!(of(Some((2, 1)), 5, 5), Some((3, 6)));
        assert_eq!(of(Some((5, 0)), 5, 5), None);
    }

    #[test]
    fn ends_of_lines_stay_as_the_file_has_them() {
        assert_eq!(
            apply("a\r\nb\r\n", &[edit(1, 1, "x\ny\n")]).unwrap(),
            "x\r\ny\r\nb\r\n"
        );
        assert_eq!(apply("a\nb", &[edit(2, 2, "x\n")]).unwrap(), "a\nx");
        assert_eq!(apply("a\nb\nc\n", &[edit(2, 2, "")]).unwrap(), "a\nc\n");
        assert_eq!(
            apply("a\nb\nc\n", &[edit(3, 3, "z\n"), edit(1, 1, "x\n")]).unwrap(),
            "x\nb\nz\n"
        );
        let code = |edits: &[Edit]| apply("a\nb\nc\n", edits).map_err(|p| p.code);
        assert_eq!(
            code(&[edit(1, 2, ""), edit(2, 3, "")]),
            Err("suggestions_overlap".into())
        );
        assert_eq!(code(&[edit(3, 4, "")]), Err("suggestion_outdated".into()));
    }

    proptest! {
        #[test]
        fn other_lines_stay_and_the_replaced_ones_go(
            old in proptest::collection::vec("[a-z]{0,3}", 1..15),
            put in proptest::collection::vec("[A-Z]{1,3}", 0..4),
            start in 0usize..15, more in 0usize..3,
        ) {
            let start = start % old.len();
            let end = (start + more).min(old.len() - 1);
            let join = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
            let one = edit(u32::try_from(start + 1).unwrap(), u32::try_from(end + 1).unwrap(), &join(&put));
            let mut want = old.clone();
            want.splice(start..=end, put.clone());
            prop_assert_eq!(apply(&join(&old), &[one]).unwrap(), join(&want));
        }

        #[test]
        fn any_comment_is_read(text in "(?s)[`~ a-z\n:+0-9-]{0,200}") {
            let found = find(&text);
            let _ = without(&text, &found);
        }
    }
}
