//! Solving simple conflicts on the page: hunk by hunk, or as edited text. The result is committed to the source
//! branch in the user's name, as a merge of the target branch, so that the request goes on as after any push.

pub(crate) mod api;
mod service;

pub(crate) use service::{Solution, Unsolved};

/// A piece of a file in conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Both sides agree.
    Same(String),
    /// They do not.
    Differs {
        /// The target branch's lines.
        ours: String,
        /// The source branch's lines.
        theirs: String,
    },
}

/// Which lines to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// The target branch's.
    Ours,
    /// The source branch's.
    Theirs,
    /// The target branch's, then the source branch's.
    Both,
}

impl Take {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "ours" => Some(Self::Ours),
            "theirs" => Some(Self::Theirs),
            "both" => Some(Self::Both),
            _ => None,
        }
    }
}

/// Takes a text with git's marks apart. The marks carry the commits' identifiers, so that a file which itself holds
/// such marks is not misread. `None` where the marks do not fit together.
pub(crate) fn pieces(text: &str, ours: &str, theirs: &str) -> Option<Vec<Piece>> {
    let (begin, end) = (format!("<<<<<<< {ours}"), format!(">>>>>>> {theirs}"));
    let mut pieces = Vec::new();
    let mut same = String::new();
    let mut open: Option<(String, Option<String>)> = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        match &mut open {
            None if bare == begin => {
                if !same.is_empty() {
                    pieces.push(Piece::Same(std::mem::take(&mut same)));
                }
                open = Some((String::new(), None));
            }
            None => same.push_str(line),
            Some((_, Some(_))) if bare == end => {
                if let Some((ours, Some(theirs))) = open.take() {
                    pieces.push(Piece::Differs { ours, theirs });
                }
            }
            Some((_, theirs @ None)) if bare == "=======" => *theirs = Some(String::new()),
            Some((_, Some(theirs))) => theirs.push_str(line),
            Some((ours, None)) => ours.push_str(line),
        }
    }
    if open.is_some() {
        return None;
    }
    if !same.is_empty() {
        pieces.push(Piece::Same(same));
    }
    Some(pieces)
}

/// Puts a text together from what was taken; `None` where choices are missing.
pub(crate) fn assemble(pieces: &[Piece], takes: &[Take]) -> Option<String> {
    let mut takes = takes.iter();
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Same(lines) => text.push_str(lines),
            Piece::Differs { ours, theirs } => match takes.next()? {
                Take::Ours => text.push_str(ours),
                Take::Theirs => text.push_str(theirs),
                Take::Both => {
                    text.push_str(ours);
                    text.push_str(theirs);
                }
            },
        }
    }
    takes.next().is_none().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARKED: &str = "a\n<<<<<<< one\nb\n=======\nB\n>>>>>>> two\nc\n";

    #[test]
    fn hunks_are_taken_as_chosen() {
        let found = pieces(MARKED, "one", "two").unwrap();
        assert_eq!(found.len(), 3);
        for (take, text) in [
            (Take::Ours, "a\nb\nc\n"),
            (Take::Theirs, "a\nB\nc\n"),
            (Take::Both, "a\nb\nB\nc\n"),
        ] {
            assert_eq!(assemble(&found, &[take]).as_deref(), Some(text));
        }
        assert_eq!(assemble(&found, &[]), None);
        assert_eq!(assemble(&found, &[Take::Ours, Take::Ours]), None);
    }

    #[test]
    fn marks_of_the_file_itself_are_text() {
        let text = "<<<<<<< mine\nx\n=======\ny\n>>>>>>> yours\n";
        assert_eq!(
            pieces(text, "one", "two"),
            Some(vec![Piece::Same(text.to_owned())])
        );
        assert_eq!(pieces("<<<<<<< one\nx\n", "one", "two"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_without_panic(text in "(<<<<<<< one|=======|>>>>>>> two|a|\n)*") {
            if let Some(found) = pieces(&text, "one", "two") {
                let count = found.iter().filter(|p| matches!(p, Piece::Differs { .. })).count();
                prop_assert!(assemble(&found, &vec![Take::Both; count]).is_some());
            }
        }

        #[test]
        fn text_without_marks_comes_back(text in "[a-z\n]{0,100}") {
            let found = pieces(&text, "one", "two").unwrap();
            prop_assert_eq!(assemble(&found, &[]).unwrap(), text);
        }
    }
}
