//! What people name in text, made into links: people (`@name`), issues (`#4`, `group/project#4`), merge requests
//! (`!3`, `group/project!3`) and commits. Pure.

use crate::{Markup, markdown, url_encode};

/// A piece of plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Names nothing.
    Plain(&'a str),
    /// `@name`
    Person(&'a str),
    /// `!3`, or `group/project!3`
    Request(Option<&'a str>, &'a str),
    /// `#4`, or `group/project#4`
    Issue(Option<&'a str>, &'a str),
    /// 7 to 40 hexadecimal digits, at least one of them a digit and one a letter.
    Commit(&'a str),
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '@' | '#' | '!' | '&' | '.' | '=')
}

/// Cuts a text at what names something.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token<'_>> {
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

/// The first bytes of a text that all are of a kind.
fn run(text: &str, take: fn(u8) -> bool) -> &str {
    let length = text.bytes().take_while(|b| take(*b)).count();
    text.get(..length).unwrap_or_default()
}

fn in_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

/// What a text begins with, and how long that is.
fn token(text: &str) -> Option<(Token<'_>, usize)> {
    let (token, length) = match text.bytes().next()? {
        b'@' => {
            // A full stop or a dash at the end belongs to the sentence.
            let name = run(text.get(1..)?, in_name).trim_end_matches(['.', '-', '_']);
            let known = !name.is_empty() && name.len() <= 63;
            (known.then_some(Token::Person(name))?, name.len() + 1)
        }
        b'!' | b'#' => numbered(None, text)?,
        c if c.is_ascii_alphanumeric() => {
            let path = run(text, |b| in_name(b) || b == b'/');
            let good = |part: &str| (1..=63).contains(&part.len()) && part.bytes().all(in_name);
            let in_other = path
                .split_once('/')
                .filter(|(group, name)| good(group) && good(name))
                .and_then(|_| numbered(Some(path), text.get(path.len()..)?))
                .map(|(token, length)| (token, path.len() + length));
            match in_other {
                Some(found) => found,
                None => commit(text)?,
            }
        }
        _ => return None,
    };
    let next = text.get(length..).and_then(|rest| rest.chars().next());
    let ends = next.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '/' | '@'));
    ends.then_some((token, length))
}

fn numbered<'a>(project: Option<&'a str>, text: &'a str) -> Option<(Token<'a>, usize)> {
    let mark = text.bytes().next()?;
    let digits = run(text.get(1..)?, |b| b.is_ascii_digit());
    if !(1..=9).contains(&digits.len()) || digits.starts_with('0') {
        return None;
    }
    let token = match mark {
        b'!' => Token::Request(project, digits),
        b'#' => Token::Issue(project, digits),
        _ => return None,
    };
    Some((token, digits.len() + 1))
}

fn commit(text: &str) -> Option<(Token<'_>, usize)> {
    let digits = run(text, |b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mixed = digits.bytes().any(|b| b.is_ascii_digit()) && digits.bytes().any(|b| b.is_ascii_lowercase());
    ((7..=40).contains(&digits.len()) && mixed).then_some((Token::Commit(digits), digits.len()))
}

/// Puts links into rendered, cleaned HTML; `project` is where it is written. Code and what is a link already are left
/// alone.
#[must_use]
pub fn link(html: &Markup, project: &str) -> Markup {
    markdown::in_text(html, |out, text| {
        for token in tokens(text) {
            write(out, token, project);
        }
    })
}

/// What is put in is made of letters, digits, dashes, dots and slashes alone, so that nothing needs to be escaped.
fn write(out: &mut String, token: Token<'_>, here: &str) {
    let link = |out: &mut String, project: Option<&str>, place: &str, mark: &str, id: &str| {
        let (path, shown) = (project.unwrap_or(here), project.unwrap_or_default());
        out.push_str(&format!(
            "<a href=\"/{path}/-/{place}/{id}\">{shown}{mark}{id}</a>"
        ));
    };
    match token {
        Token::Plain(text) => out.push_str(text),
        Token::Person(name) => out.push_str(&format!("<strong class=\"mention\">@{name}</strong>")),
        Token::Request(project, number) => link(out, project, "merge-requests", "!", number),
        Token::Issue(project, number) => link(out, project, "issues", "#", number),
        Token::Commit(sha) if sha.len() == 40 => {
            let short = sha.get(..8).unwrap_or(sha);
            out.push_str(&format!(
                "<a class=\"hash\" href=\"/{here}/-/commit/{}\">{short}</a>",
                url_encode(sha)
            ));
        }
        Token::Commit(sha) => link(out, None, "commits", "", sha),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn html(text: &str) -> String {
        markdown::of_project(text, "g/p", "main").to_string()
    }

    #[test]
    fn people_requests_issues_and_commits_are_found_in_text() {
        assert_eq!(
            tokens(
                "ask @dev-1. See !3, #44, a/b#5, a/b!6 and 0a1b2c3d; not a@b.c, x#1, a/b/c#7, &#39;, #0 or deadbeef-ish"
            ),
            [
                Token::Plain("ask "),
                Token::Person("dev-1"),
                Token::Plain(". See "),
                Token::Request(None, "3"),
                Token::Plain(", "),
                Token::Issue(None, "44"),
                Token::Plain(", "),
                Token::Issue(Some("a/b"), "5"),
                Token::Plain(", "),
                Token::Request(Some("a/b"), "6"),
                Token::Plain(" and "),
                Token::Commit("0a1b2c3d"),
                Token::Plain("; not a@b.c, x#1, a/b/c#7, &#39;, #0 or deadbeef-ish"),
            ]
        );
    }

    #[test]
    fn links_lead_to_what_is_named_there_and_in_other_projects() {
        for (text, link) in [
            ("!3", "<a href=\"/g/p/-/merge-requests/3\">!3</a>"),
            ("(#4)", "<a href=\"/g/p/-/issues/4\">#4</a>"),
            ("a/b#5.", "<a href=\"/a/b/-/issues/5\">a/b#5</a>"),
            ("a/b!6", "<a href=\"/a/b/-/merge-requests/6\">a/b!6</a>"),
            ("0a1b2c3d", "<a href=\"/g/p/-/commits/0a1b2c3d\">0a1b2c3d</a>"),
            (
                "0123456789012345678901234567890123456abc",
                "<a class=\"hash\" href=\"/g/p/-/commit/0123456789012345678901234567890123456abc\">01234567</a>",
            ),
            ("@sre", "<strong class=\"mention\">@sre</strong>"),
        ] {
            assert!(html(text).contains(link), "{text}: {}", html(text));
        }
    }

    #[test]
    fn links_are_put_into_text_alone() {
        for plain in [
            "`#3`",
            "    #3",
            "[#3](https://example.org)",
            "x#3y",
            "![a> #3 b](x.png)",
            "![a](b \"x > !3 and <b> #4\")",
            "`!4` [x !5](https://example.org)",
        ] {
            let html = html(plain);
            assert!(
                !html.contains("/-/issues/") && !html.contains("/-/merge-requests/"),
                "{plain}: {html}"
            );
        }
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
            let html = html(hostile);
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

    proptest! {
        #[test]
        fn no_text_is_lost_in_cutting(text in ".{0,80}") {
            let whole: String = tokens(&text).into_iter().map(|token| match token {
                Token::Plain(text) | Token::Commit(text) => text.to_owned(),
                Token::Person(name) => format!("@{name}"),
                Token::Request(project, number) => format!("{}!{number}", project.unwrap_or_default()),
                Token::Issue(project, number) => format!("{}#{number}", project.unwrap_or_default()),
            }).collect();
            prop_assert_eq!(whole, text);
        }

        #[test]
        fn links_add_tags_and_take_nothing_away(text in "[#!@a-z0-9/ <&`\\n.-]{0,120}") {
            let before = markdown::render(&text, None);
            let after = link(&before, "g/p");
            let bare = |html: &Markup| {
                let mut out = String::new();
                let mut rest = html.as_str();
                while let Some((text, tag)) = rest.split_once('<') {
                    out.push_str(text);
                    rest = &tag[markdown::tag_end(tag)..];
                }
                out + rest
            };
            // A whole identifier of a commit is shown cut; it has more digits than this finds letters for.
            prop_assume!(!after.as_str().contains("class=\"hash\""));
            prop_assert_eq!(bare(&before), bare(&after));
        }

        #[test]
        fn shown_comments_hold_no_other_tags_than_cleaned_ones(text in "(?s)[<>a-z\"'=@!#/0-9 \n`&;]{0,120}") {
            let plain = markdown::render(&text, Some("/g/p/-/blob/main/")).to_string();
            let html = html(&text);
            prop_assert_eq!(
                html.matches('<').count() - plain.matches('<').count(),
                2 * (html.matches("<a ").count() - plain.matches("<a ").count())
                    + 2 * html.matches("<strong class=\"mention\"").count()
            );
        }
    }
}
