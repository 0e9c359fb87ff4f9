//! What people write into requests, read: titles, and issues that a merge closes. Templates of messages, filled in.

use bascule_core::{Problem, Result, reference};

/// Longest title, in characters.
pub(crate) const TITLE: usize = 255;
/// Longest description, in characters.
const DESCRIPTION: usize = 100_000;

/// A title on one line; and whether it says that it is a draft.
pub(crate) fn title(text: &str) -> Result<(String, bool)> {
    let text: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let mut rest = text.as_str();
    let mut draft = false;
    for mark in ["Draft:", "[Draft]", "(Draft)", "WIP:"] {
        let head = rest.get(..mark.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(mark)) {
            rest = rest.get(mark.len()..).unwrap_or_default().trim_start();
            draft = true;
        }
    }
    if rest.is_empty() {
        return Err(Problem::invalid("no_title", "A merge request needs a title.")
            .why("It is what others find it by, and it goes into the history.")
            .next("Say in one line what the change is for."));
    }
    if rest.chars().count() > TITLE {
        return Err(Problem::invalid(
            "too_long",
            format!("The title is longer than {TITLE} characters."),
        )
        .next("Put details into the description."));
    }
    Ok((rest.to_owned(), draft))
}

pub(crate) fn description(text: &str) -> Result<String> {
    let text = text.replace("\r\n", "\n");
    if text.chars().count() > DESCRIPTION {
        return Err(Problem::invalid(
            "too_long",
            format!("The description is longer than {DESCRIPTION} characters."),
        )
        .next("Put long material into a file of the project and link to it."));
    }
    Ok(text)
}

/// Numbers of issues of the same project that a text says it closes: `Closes #3`, `fixes #4, #5 and #6`.
pub(crate) fn closes(text: &str) -> Vec<i64> {
    let found = reference::closes(text).into_iter();
    found
        .filter(|reference| reference.project.is_none())
        .map(|reference| reference.number)
        .collect()
}

/// What a template of a message may speak of.
const WORDS: &[&str] = &[
    "title",
    "description",
    "source_branch",
    "target_branch",
    "reference",
    "commits",
    "author",
];

/// Refuses a template with a word that means nothing.
pub(crate) fn check_template(text: &str) -> Result<()> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("%{") {
        let Some((word, after)) = after.split_once('}') else {
            return Err(
                Problem::invalid("bad_template", "A `%{` in the message is not closed.")
                    .next("Close it with `}`."),
            );
        };
        if !WORDS.contains(&word) {
            let shown: String = word.chars().take(40).collect();
            return Err(Problem::invalid(
                "bad_template",
                format!("The message speaks of `%{{{shown}}}`, which is nothing that is known."),
            )
            .next(format!("Use one of {}.", WORDS.join(", "))));
        }
        rest = after;
    }
    Ok(())
}

/// Fills a template in. Words that are put in are not looked at again.
pub(crate) fn fill(template: &str, word: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("%{") {
        text.push_str(before);
        match after.split_once('}') {
            Some((name, after)) if WORDS.contains(&name) => {
                text.push_str(&word(name));
                rest = after;
            }
            _ => {
                text.push_str("%{");
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn titles_are_one_line_and_say_whether_they_are_drafts() {
        assert_eq!(title("  Add \n it ").unwrap(), ("Add it".to_owned(), false));
        assert_eq!(title("draft: Add it").unwrap(), ("Add it".to_owned(), true));
        assert!(title("Draft: ").is_err());
        assert!(title(&"x".repeat(256)).is_err());
    }

    #[test]
    fn issues_that_a_text_closes_are_found() {
        for (text, expected) in [
            ("Closes #3", vec![3]),
            ("fixes #4, #5 and #6.", vec![4, 5, 6]),
            ("Fix: #7", vec![7]),
            ("See #8", vec![]),
            ("Closes the door on #9", vec![]),
            ("(closes #10)", vec![10]),
            ("Resolves #1,#2", vec![1, 2]),
            ("Closes #0 #abc", vec![]),
            ("closes #3. Then #4", vec![3]),
        ] {
            assert_eq!(closes(text), expected, "{text}");
        }
    }

    #[test]
    fn templates_are_checked_and_filled_in_once() {
        assert!(check_template("%{title} (%{reference})").is_ok());
        assert!(check_template("%{secret}").is_err());
        assert!(check_template("%{title").is_err());
        let text = fill("A %{title} B %{nothing}", |_| "%{title}".to_owned());
        assert_eq!(text, "A %{title} B %{nothing}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,300}") {
            drop(closes(&text));
            drop(title(&text));
            drop(fill(&text, ToOwned::to_owned));
        }

        #[test]
        fn whatever_closes_is_named_in_the_text(text in "(closes|fix|and|,|#[0-9]{1,4}| )*") {
            for number in closes(&text) {
                let named = format!("#{number}");
                prop_assert!(text.split(|c: char| c != '#' && !c.is_ascii_digit()).any(|part| part.contains(&named) || part.trim_start_matches('#').trim_start_matches('0') == number.to_string()));
            }
        }
    }
}
