//! What people write: cleaned on the way in, shown with links to what it names.

use crate::{Forge, ProjectInfo};
use bascule_core::{Problem, Result, Role, UserId};
use bascule_web::{Markup, markdown, url_encode};
use comrak::{Arena, Options, nodes::NodeValue, parse_document};
use std::collections::BTreeSet;

/// Longest comment, in characters.
pub(crate) const BODY: usize = 20_000;
/// Most people that one comment mentions.
const MENTIONS: usize = 30;

/// A comment as it may be kept.
pub(crate) fn body(text: &str) -> Result<String> {
    let text: String = text
        .replace("\r\n", "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let text = text.trim_end().to_owned();
    if text.trim().is_empty() {
        return Err(Problem::invalid("empty_comment", "The comment is empty.").next("Write something first."));
    }
    if text.chars().count() > BODY {
        return Err(
            Problem::invalid("too_long", format!("A comment has at most {BODY} characters."))
                .next("Put long texts into a file and link to it."),
        );
    }
    Ok(text)
}

/// Names that are mentioned as `@name` in plain text; not in code.
pub(crate) fn mentioned(text: &str) -> Vec<String> {
    let arena = Arena::new();
    let root = parse_document(&arena, text, &Options::default());
    let mut names = BTreeSet::new();
    for node in root.descendants() {
        let data = node.data.borrow();
        let NodeValue::Text(plain) = &data.value else {
            continue;
        };
        for word in tokens(plain) {
            if let Token::Person(name) = word
                && names.len() < MENTIONS
            {
                names.insert(name.to_owned());
            }
        }
    }
    names.into_iter().collect()
}

/// A piece of plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Plain(&'a str),
    /// `@name`
    Person(&'a str),
    /// `!3`
    Request(&'a str),
    /// `#4`
    Issue(&'a str),
    /// 7 to 40 hexadecimal digits, at least one of them a digit and one a letter.
    Commit(&'a str),
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '@' | '#' | '!' | '&' | '.' | '=')
}

/// Cuts a text at what names something.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let (mut plain, mut at) = (0, 0);
    let mut before = ' ';
    while let Some(rest) = text.get(at..) {
        let Some(c) = rest.chars().next() else { break };
        if !is_word(before)
            && let Some((token, length)) = token(rest)
        {
            if plain < at {
                out.extend(text.get(plain..at).map(Token::Plain));
            }
            out.push(token);
            at += length;
            plain = at;
            before = 'x';
            continue;
        }
        before = c;
        at += c.len_utf8();
    }
    if plain < text.len() {
        out.extend(text.get(plain..).map(Token::Plain));
    }
    out
}

/// What a text begins with, and how long that is.
fn token(text: &str) -> Option<(Token<'_>, usize)> {
    let run = |from: usize, take: fn(char) -> bool| {
        let rest = text.get(from..).unwrap_or_default();
        let length = rest.find(|c| !take(c)).unwrap_or(rest.len());
        rest.get(..length).unwrap_or_default()
    };
    let ends = |length: usize| {
        let next = text.get(length..).and_then(|rest| rest.chars().next());
        next.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '/' | '@'))
    };
    let (token, length) = match text.chars().next()? {
        '@' => {
            let name = run(1, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            // A full stop or a dash at the end belongs to the sentence.
            let name = name.trim_end_matches(['.', '-', '_']);
            (
                (!name.is_empty() && name.len() <= 63).then_some(Token::Person(name))?,
                name.len() + 1,
            )
        }
        mark @ ('!' | '#') => {
            let digits = run(1, |c| c.is_ascii_digit());
            if digits.is_empty() || digits.len() > 9 {
                return None;
            }
            let token = if mark == '!' {
                Token::Request(digits)
            } else {
                Token::Issue(digits)
            };
            (token, digits.len() + 1)
        }
        c if c.is_ascii_hexdigit() => {
            let digits = run(0, |c| c.is_ascii_digit() || ('a'..='f').contains(&c));
            let mixed =
                digits.bytes().any(|b| b.is_ascii_digit()) && digits.bytes().any(|b| b.is_ascii_lowercase());
            if !(7..=40).contains(&digits.len()) || !mixed {
                return None;
            }
            (Token::Commit(digits), digits.len())
        }
        _ => return None,
    };
    ends(length).then_some((token, length))
}

/// Shows Markdown of a project, with links to the requests, issues and commits that it names.
pub(crate) fn show(text: &str, project: &str, branch: &str) -> Markup {
    let base = format!("/{project}/-/blob/{}/", bascule_web::url_path(branch));
    // Into text alone, and not within links or code.
    markdown::in_text(&markdown::render(text, Some(&base)), |out, text| {
        for token in tokens(text) {
            write(out, token, project);
        }
    })
}

/// What is put in is made of letters, digits and dashes alone, so that nothing needs to be escaped.
fn write(out: &mut String, token: Token<'_>, project: &str) {
    let href =
        |place: &str, id: &str, text: &str| format!("<a href=\"/{project}/-/{place}/{id}\">{text}</a>");
    match token {
        Token::Plain(text) => out.push_str(text),
        Token::Person(name) => out.push_str(&format!("<strong class=\"mention\">@{name}</strong>")),
        Token::Request(number) => out.push_str(&href("merge-requests", number, &format!("!{number}"))),
        Token::Issue(number) => out.push_str(&href("issues", number, &format!("#{number}"))),
        Token::Commit(sha) if sha.len() == 40 => {
            let short = sha.get(..8).unwrap_or(sha);
            out.push_str(&format!(
                "<a class=\"hash\" href=\"/{project}/-/commit/{}\">{short}</a>",
                url_encode(sha)
            ));
        }
        Token::Commit(sha) => out.push_str(&href("commits", sha, sha)),
    }
}

impl Forge {
    /// The accounts that a text mentions and that may read it.
    pub(crate) async fn mentions(&self, project: &ProjectInfo, text: &str) -> Result<Vec<UserId>> {
        let mut ids = BTreeSet::new();
        for name in mentioned(text) {
            if let Some(known) = self.people()?.by_name(&name).await?
                && self
                    .people()?
                    .role(known.id, project)
                    .await?
                    .is_some_and(|role| role >= Role::Reporter)
            {
                ids.insert(known.id);
            }
        }
        Ok(ids.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_requests_issues_and_commits_are_found_in_text() {
        assert_eq!(
            tokens("ask @dev-1. See !3, #44 and 0a1b2c3d; not a@b.c, x#1, &#39; or deadbeef-ish"),
            [
                Token::Plain("ask "),
                Token::Person("dev-1"),
                Token::Plain(". See "),
                Token::Request("3"),
                Token::Plain(", "),
                Token::Issue("44"),
                Token::Plain(" and "),
                Token::Commit("0a1b2c3d"),
                Token::Plain("; not a@b.c, x#1, &#39; or deadbeef-ish"),
            ]
        );
        assert_eq!(
            mentioned("`@code` @me\n\n```\n@block\n```\n@you @me"),
            ["me", "you"]
        );
    }

    #[test]
    fn links_are_put_into_text_alone() {
        let html = show("!3 `!4` [x !5](https://example.org) <b>@me</b>", "g/p", "main").to_string();
        assert!(
            html.contains("<a href=\"/g/p/-/merge-requests/3\">!3</a>"),
            "{html}"
        );
        assert!(
            html.contains("<code>!4</code>") && html.contains("x !5</a>"),
            "{html}"
        );
        assert!(html.contains("@me"), "{html}");
        assert_eq!(html.matches("/-/merge-requests/").count(), 1, "{html}");
    }

    #[test]
    fn what_stands_in_a_tag_is_no_text() {
        let html = show("![a](b \"x > !3 and <b> #4\")", "g/p", "main").to_string();
        assert!(
            !html.contains("/-/merge-requests/3") && !html.contains("/-/issues/4"),
            "{html}"
        );
    }

    #[test]
    fn hostile_comments_are_shown_without_harm() {
        for hostile in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)> @a",
            "[x](javascript:alert(1)) !3",
            "<svg onload=alert(1)>#4",
            "@<script>",
            "<a href=\"x\">@me</a><iframe src=//x>",
            "```suggestion\n<script>\n```",
            "<form action=/sign-out><button>",
            "@me\"><script>alert(1)</script>",
        ] {
            let html = show(hostile, "g/p", "main").to_string();
            for sign in [
                "<script",
                "onerror=",
                "onload=",
                "javascript:",
                "<iframe",
                "<form",
                "<svg",
            ] {
                assert!(!html.contains(sign), "{hostile}: {html}");
            }
        }
    }

    #[test]
    fn what_cannot_be_kept_is_cleaned_or_refused() {
        assert_eq!(body("a\r\nb\0\u{1b}c \n").unwrap(), "a\nbc");
        assert!(body(" \n").is_err());
        assert!(body(&"x".repeat(BODY + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_lost_in_cutting(text in ".{0,80}") {
            let whole: String = tokens(&text).into_iter().map(|token| match token {
                Token::Plain(text) | Token::Commit(text) => text.to_owned(),
                Token::Person(name) => format!("@{name}"),
                Token::Request(number) => format!("!{number}"),
                Token::Issue(number) => format!("#{number}"),
            }).collect();
            prop_assert_eq!(whole, text);
        }

        #[test]
        fn shown_comments_hold_no_other_tags_than_cleaned_ones(text in "(?s)[<>a-z\"'=@!#/0-9 \n`&;]{0,120}") {
            let plain = markdown::render(&text, Some("/g/p/-/blob/main/")).to_string();
            let html = show(&text, "g/p", "main").to_string();
            prop_assert_eq!(
                html.matches('<').count() - plain.matches('<').count(),
                2 * (html.matches("<a ").count() - plain.matches("<a ").count())
                    + 2 * html.matches("<strong class=\"mention\"").count()
            );
        }
    }
}
