//! Issues and people named in text: `Closes #3`, `group/project#3`, `@name`. Pure.
//!
//! What closes an issue follows GitLab: a form of *close*, *fix*, *resolve* or *implement*, then one or more
//! references, as in `Fixes #3, #4 and health/clinic#5`.

use bascule_web::{Markup, markdown, url_path};
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
            for (_, _, name) in names_in(part) {
                found.insert(name.to_owned());
                if found.len() >= AT_MOST {
                    return found.into_iter().collect();
                }
            }
        }
    }
    found.into_iter().collect()
}

/// Where `@name` stands: from, to, the name.
fn names_in(text: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '/')) {
            continue;
        }
        let rest = text.get(at + 1..).unwrap_or_default();
        let long = rest
            .bytes()
            .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
            .count();
        let name = rest
            .get(..long)
            .unwrap_or_default()
            .trim_end_matches(['.', '-', '_']);
        if !name.is_empty() && name.len() <= 63 {
            found.push((at, at + 1 + name.len(), name));
        }
    }
    found
}

/// Where `#3` or `group/project#3` stands: from, to, what it means.
fn issues_in(text: &str) -> Vec<(usize, usize, Reference)> {
    let mut found: Vec<(usize, usize, Reference)> = Vec::new();
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
            found.push((from, to, reference));
        }
    }
    found
}

/// Turns references in rendered, cleaned HTML into links; `project` is where they are written. Code and what is a
/// link already are left alone.
#[must_use]
pub fn link(html: &Markup, project: &str) -> Markup {
    markdown::in_text(html, |out, text| link_text(text, project, out))
}

fn link_text(text: &str, project: &str, out: &mut String) {
    let mut places: Vec<(usize, usize, String)> = issues_in(text)
        .into_iter()
        .map(|(from, to, reference)| {
            let path = reference.project.as_deref().unwrap_or(project);
            let href = format!("/{}/-/issues/{}", url_path(path), reference.number);
            (from, to, format!("<a href=\"{href}\">"))
        })
        .collect();
    for (from, to, _) in names_in(text) {
        places.push((from, to, "<strong>".to_owned()));
    }
    places.sort();
    let mut at = 0;
    for (from, to, open) in places {
        let (Some(before), Some(word)) = (text.get(at..from), text.get(from..to)) else {
            continue;
        };
        let close = if open == "<strong>" { "</strong>" } else { "</a>" };
        out.push_str(before);
        out.push_str(&open);
        out.push_str(word);
        out.push_str(close);
        at = to;
    }
    out.push_str(text.get(at..).unwrap_or_default());
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

    #[test]
    fn references_become_links_outside_code_and_links() {
        let html = |text: &str| link(&markdown::render(text, None), "g/p").to_string();
        assert!(html("see #3").contains("<a href=\"/g/p/-/issues/3\">#3</a>"));
        assert!(html("a/b#4").contains("<a href=\"/a/b/-/issues/4\">a/b#4</a>"));
        assert!(html("@sre").contains("<strong>@sre</strong>"));
        let quoted = "![a> #3 b](x.png)";
        for plain in ["`#3`", "    #3", "[#3](https://example.org)", "x#3y", quoted] {
            assert!(!html(plain).contains("/-/issues/"), "{plain}: {}", html(plain));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,200}") {
            let _ = closes(&text);
            let _ = mentions(&text);
            let linked = link(&markdown::render(&text, None), "g/p").to_string();
            prop_assert!(!linked.contains("<script") && !linked.contains("javascript:\""));
        }

        #[test]
        fn links_add_tags_and_take_nothing_away(text in "[#@a-z0-9/ <&`\\n.-]{0,120}") {
            let before = markdown::render(&text, None);
            let after = link(&before, "g/p").to_string();
            let bare = |html: &str| {
                let mut out = String::new();
                let mut rest = html;
                while let Some((text, tag)) = rest.split_once('<') {
                    out.push_str(text);
                    rest = &tag[markdown::tag_end(tag)..];
                }
                out + rest
            };
            prop_assert_eq!(bare(before.as_str()), bare(&after));
        }

        #[test]
        fn a_reference_reads_back(number in 1_i64..1_000_000_000) {
            let text = format!("#{number}");
            prop_assert_eq!(parse(&text), Some(here(number)));
            prop_assert_eq!(closes(&format!("closes {text}")), vec![here(number)]);
        }
    }
}
