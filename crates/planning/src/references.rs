//! Issues and people named in text: `Closes #3`, `group/project#3`, `@name`. Pure.
//!
//! What closes an issue follows GitLab: a form of *close*, *fix*, *resolve* or *implement*, then one or more
//! references, as in `Fixes #3, #4 and health/clinic#5`.

use bascule_web::reference::{Token, tokens};
use std::collections::BTreeSet;

/// An issue, as someone wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `group/project`; `None` for the project in which it is written.
    pub project: Option<String>,
    /// The number.
    pub number: i64,
}

/// Most references read out of one text.
const AT_MOST: usize = 100;

const CLOSING: &[&str] = &[
    "close",
    "closes",
    "closed",
    "closing",
    "fix",
    "fixes",
    "fixed",
    "fixing",
    "resolve",
    "resolves",
    "resolved",
    "resolving",
    "implement",
    "implements",
    "implemented",
    "implementing",
];

/// Reads one reference: `3`, `#3` or `group/project#3`.
#[must_use]
pub fn parse(text: &str) -> Option<Reference> {
    let text = text.trim();
    let (project, digits) = match text.rsplit_once('#') {
        Some((project, digits)) => (project, digits),
        None => ("", text),
    };
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    let project = match project {
        "" => None,
        path if is_path(path) => Some(path.to_owned()),
        _ => return None,
    };
    Some(Reference { project, number })
}

fn is_path(text: &str) -> bool {
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    text.split_once('/')
        .is_some_and(|(group, name)| good(group) && good(name))
}

/// The issues that a commit's message or a description closes, each once.
#[must_use]
pub fn closes(text: &str) -> Vec<Reference> {
    let mut found = BTreeSet::new();
    let mut closing = false;
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')')) {
        if word.is_empty() {
            continue;
        }
        let plain = word.trim_end_matches([':', '.', '!', '?', '\'', '"', ']', '*', '`', '_']);
        let plain = plain.trim_start_matches(['\'', '"', '[', '*', '`', '_']);
        let lower = plain.to_ascii_lowercase();
        if CLOSING.contains(&lower.as_str()) {
            closing = true;
            continue;
        }
        if !closing {
            continue;
        }
        match parse(plain).filter(|_| plain.contains('#')) {
            Some(reference) => {
                found.insert(reference);
                if found.len() >= AT_MOST {
                    break;
                }
            }
            // "Closes issues #3 and #4", "fixes: #3".
            None if matches!(lower.as_str(), "and" | "issue" | "issues" | "&" | "") => {}
            None => closing = false,
        }
    }
    found.into_iter().collect()
}

/// The user names that a text speaks to, each once. What stands in code speaks to nobody.
#[must_use]
pub fn mentions(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        // Every second part between backticks is code.
        for part in line.split('`').step_by(2) {
            for token in tokens(part) {
                if let Token::Person(name) = token {
                    found.insert(name.to_owned());
                }
                if found.len() >= AT_MOST {
                    return found.into_iter().collect();
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn here(number: i64) -> Reference {
        Reference {
            project: None,
            number,
        }
    }

    #[test]
    fn what_closes_is_read_and_nothing_else() {
        assert_eq!(closes("Fix the clock\n\nCloses #3"), [here(3)]);
        assert_eq!(
            closes("fixes: #3, #4 and #5. See #6"),
            [here(3), here(4), here(5)]
        );
        assert_eq!(closes("Resolved issues #1 & #2"), [here(1), here(2)]);
        assert_eq!(
            closes("Fixes health/clinic#12"),
            [Reference {
                project: Some("health/clinic".to_owned()),
                number: 12
            }]
        );
        assert_eq!(closes("(closes #7)"), [here(7)]);
        for nothing in [
            "See #3",
            "disclose #3",
            "fix 3",
            "closes nothing of #3",
            "closes ../../etc#3",
            "closes #0",
            "closes #99999999999999999999",
            "closes #3x",
        ] {
            assert_eq!(closes(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn people_are_named_outside_code() {
        assert_eq!(
            mentions("@sre and @developer. Not a@b.c, nor `@code`, nor @@x"),
            ["developer", "sre"]
        );
        assert_eq!(mentions("```\n@hidden\n```\n@seen."), ["seen"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,200}") {
            let _ = closes(&text);
            let _ = mentions(&text);
        }

        #[test]
        fn a_reference_reads_back(number in 1_i64..1_000_000_000) {
            let text = format!("#{number}");
            prop_assert_eq!(parse(&text), Some(here(number)));
            prop_assert_eq!(closes(&format!("closes {text}")), vec![here(number)]);
        }
    }
}
