//! Sentences of ours, as pages show them: what stands between backticks is set as code, and pipelines and merge
//! requests that are named are linked. Texts of people have Markdown instead.

use bascule_web::Markup;

/// A sentence about a project (`/group/project`).
pub(crate) fn told(text: &str, project: &str) -> Markup {
    let mut html = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '#', '!']) {
        let (before, mark) = rest.split_at(at);
        put(&mut html, before);
        let after = mark.get(1..).unwrap_or_default();
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = after.get(..digits).filter(|number| !number.is_empty());
        let names = match mark.as_bytes().first() {
            Some(b'#') if before.ends_with("ipeline ") => Some("pipelines"),
            Some(b'!') if before.is_empty() || before.ends_with([' ', '(']) => Some("merge-requests"),
            _ => None,
        };
        let code = mark.starts_with('`').then(|| after.split_once('`')).flatten();
        rest = if let Some((code, end)) = code {
            html.push_str("<code>");
            put(&mut html, code);
            html.push_str("</code>");
            end
        } else if let (Some(names), Some(number)) = (names, number) {
            let shown = mark.get(..=digits).unwrap_or_default();
            html.push_str("<a href=\"");
            put(&mut html, &format!("{project}/-/{names}/{number}"));
            html.push_str("\">");
            put(&mut html, shown);
            html.push_str("</a>");
            after.get(digits..).unwrap_or_default()
        } else {
            put(&mut html, mark.get(..1).unwrap_or_default());
            after
        };
    }
    put(&mut html, rest);
    Markup::trusted(html)
}

fn put(html: &mut String, text: &str) {
    html.push_str(Markup::text(text).as_str());
}

/// Several sentences as one text, each with its end.
pub(crate) fn sentences<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for one in all {
        let one = one.trim();
        if one.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(one);
        if !one.ends_with(['.', '!', '?', ':', '\u{2026}']) {
            text.push('.');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_code_and_numbers_are_links() {
        let shown = told(
            "Its pipeline #7 failed: with !2, `a<b` would be broken; #3 and a!4.",
            "/g/p",
        );
        assert_eq!(
            shown.as_str(),
            "Its pipeline <a href=\"/g/p/-/pipelines/7\">#7</a> failed: with \
             <a href=\"/g/p/-/merge-requests/2\">!2</a>, <code>a&#60;b</code> would be broken; #3 and a!4."
        );
        assert_eq!(told("one ` alone!", "").as_str(), "one ` alone!");
    }

    #[test]
    fn sentences_do_not_run_together() {
        assert_eq!(
            sentences(["Ask ada", "", "Answer it.", "Why?"]),
            "Ask ada. Answer it. Why?"
        );
        assert_eq!(sentences([]), "");
    }

    proptest! {
        #[test]
        fn nothing_that_is_told_becomes_a_tag(text in ".{0,200}") {
            let shown = told(&text, "/g/p");
            let tags = ["<code>", "</code>", "</a>"];
            let mut rest = shown.as_str().to_owned();
            for tag in tags {
                rest = rest.replace(tag, "");
            }
            let rest = rest.replace("<a href=\"/g/p/-/", "");
            prop_assert!(!rest.contains('<'), "{}", shown.as_str());
        }
    }
}
