//! Issues named in text: `#3`, `group/project#3`, `Closes #3`, and the number that a branch carries. Pure. There is
//! one grammar, here, so that what a page links, what a rule asks for and what a merge closes are the same.
//!
//! What closes an issue follows GitLab: a form of *close*, *fix*, *resolve* or *implement*, then one or more
//! references, as in `Fixes #3, #4 and health/clinic#5`.

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

/// The issues that a text names, as `#3` or `group/project#3`, in its order.
#[must_use]
pub fn issues_in(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('#') {
        let before = text.get(..at).unwrap_or_default();
        let path: usize = before
            .bytes()
            .rev()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
            .count();
        let from = at - path;
        let rest = text.get(at + 1..).unwrap_or_default();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let to = at + 1 + digits;
        let ends = text
            .get(to..)
            .and_then(|after| after.chars().next())
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        // `&#35;` is an entity, not an issue.
        let begins = text
            .get(..from)
            .and_then(|before| before.chars().next_back())
            .is_none_or(|c| !c.is_alphanumeric() && c != '&');
        if let Some(reference) = text.get(from..to).and_then(parse).filter(|_| ends && begins) {
            found.push(reference);
        }
    }
    found
}

/// The number that a branch carries: `12-short-title`, `feature/12-short-title`, `12`.
#[must_use]
pub fn of_branch(branch: &str) -> Option<i64> {
    let last = branch.rsplit('/').next().unwrap_or(branch);
    let digits: String = last.chars().take_while(char::is_ascii_digit).take(18).collect();
    let rest = last.get(digits.len()..).unwrap_or_default();
    let alone = rest.is_empty() || rest.starts_with(['-', '_']);
    digits.parse().ok().filter(|number| *number > 0 && alone)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
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
    fn issues_are_found_where_people_write_them() {
        let numbers = |text: &str| -> Vec<i64> {
            let found = issues_in(text).into_iter();
            found.map(|reference| reference.number).collect()
        };
        for (text, expected) in [
            ("Mend the gate (#12)", vec![12]),
            (
                "#7 and acme/web#9, not &#38; nor http://x/#3 nor #12ab nor C# nor x#4",
                vec![7, 9],
            ),
            ("Closes #3.", vec![3]),
            ("#0 #99999999999999999999", vec![]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
        for (branch, expected) in [
            ("12-login", Some(12)),
            ("feature/12-login", Some(12)),
            ("12", Some(12)),
            ("12login", None),
            ("login-12", None),
            ("0-x", None),
        ] {
            assert_eq!(of_branch(branch), expected, "{branch}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,200}") {
            let _ = (closes(&text), issues_in(&text), of_branch(&text));
        }

        #[test]
        fn a_reference_reads_back(number in 1_i64..1_000_000_000) {
            let text = format!("#{number}");
            prop_assert_eq!(parse(&text), Some(here(number)));
            prop_assert_eq!(closes(&format!("closes {text}")), vec![here(number)]);
        }
    }
}
