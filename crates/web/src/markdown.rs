//! Markdown (CommonMark and GFM) from people we do not trust: rendered, then cleaned.

use crate::{Markup, diagram, reference, url_path};
use ammonia::{Builder, UrlRelative, UrlRelativeEvaluate};
use std::{borrow::Cow, collections::HashSet, sync::LazyLock};

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(cleaner);

fn cleaner() -> Builder<'static> {
    let mut builder = Builder::default();
    builder
        .add_tags(["input", "section"])
        .add_tag_attributes("input", ["type", "checked", "disabled"])
        .add_tag_attributes("code", ["class"])
        .add_tag_attributes("li", ["class"])
        .add_generic_attributes(["id"])
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .id_prefix(Some("md-"))
        .link_rel(Some("noopener noreferrer nofollow"));
    builder
}

/// Renders Markdown; blocks of Mermaid become pictures. `base` is put before relative links and images, such as `/group/project/-/blob/main/`.
#[must_use]
pub fn render(source: &str, base: Option<&str>) -> Markup {
    let mut options = comrak::Options::default();
    options.extension.strikethrough = true;
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.alerts = true;
    let html = comrak::markdown_to_html(source, &options);
    let clean = match base {
        None => CLEANER.clean(&html).to_string(),
        Some(base) => cleaner()
            .url_relative(UrlRelative::Custom(Box::new(Base(base.to_owned()))))
            .clean(&html)
            .to_string(),
    };
    Markup::trusted(format!("<div class=\"markdown\">{}</div>", diagram::draw(clean)))
}

/// Renders Markdown that belongs to a project: relative addresses lead to its files at `branch`, and what it names
/// (people, issues, merge requests, commits) becomes links.
#[must_use]
pub fn of_project(source: &str, project: &str, branch: &str) -> Markup {
    let base = format!("/{project}/-/blob/{}/", url_path(branch));
    reference::link(&render(source, Some(&base)), project)
}

/// Writes text of rendered, cleaned HTML anew, such as to put links into it: `put` is given each run of text that
/// stands in no code and in no link. Tags, and all within them, stay as they are.
#[must_use]
pub fn in_text(html: &Markup, mut put: impl FnMut(&mut String, &str)) -> Markup {
    let mut out = String::with_capacity(html.as_str().len() + 64);
    let mut rest = html.as_str();
    let mut inside = 0_usize;
    while !rest.is_empty() {
        let (text, after) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        if inside == 0 {
            put(&mut out, text);
        } else {
            out.push_str(text);
        }
        let (tag, after) = after.split_at(tag_end(after));
        let name: String = tag
            .trim_start_matches(['<', '/'])
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        if matches!(name.as_str(), "a" | "code" | "pre") {
            if tag.starts_with("</") {
                inside = inside.saturating_sub(1);
            } else {
                inside += 1;
            }
        }
        out.push_str(tag);
        rest = after;
    }
    Markup::trusted(out)
}

/// Where the tag ends that `html` begins with, or has begun with; within quotes `>` ends none.
#[must_use]
pub fn tag_end(html: &str) -> usize {
    let mut quoted = false;
    let end = html.find(|c: char| {
        quoted ^= c == '"';
        c == '>' && !quoted
    });
    end.map_or(html.len(), |at| at + 1)
}

/// Puts a base before relative addresses.
struct Base(String);

impl<'a> UrlRelativeEvaluate<'a> for Base {
    fn evaluate<'url>(&self, url: &'url str) -> Option<Cow<'url, str>> {
        let kept = url.starts_with('/') || url.starts_with('#');
        Some(if kept {
            Cow::Borrowed(url)
        } else {
            Cow::Owned(format!("{}{url}", self.0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_never_come_through() {
        for hostile in [
            "<script>alert(1)</script>",
            "[x](javascript:alert(1))",
            "<img src=x onerror=alert(1)>",
            "<svg/onload=alert(1)>",
            "<a href=\"data:text/html;base64,PHNjcmlwdD4=\">x</a>",
            "<iframe src=//evil></iframe>",
            "<form action=/sign-out><button>x</button></form>",
        ] {
            let html = render(hostile, Some("/g/p/-/blob/main/")).to_string();
            for sign in [
                "<script",
                "javascript:",
                "onerror=",
                "onload=",
                "data:text",
                "<iframe",
                "<form",
            ] {
                assert!(!html.contains(sign) || html.contains("&lt;"), "{hostile}: {html}");
            }
        }
    }

    #[test]
    fn tables_tasks_and_relative_links() {
        let html = render(
            "- [x] done\n\n|a|b|\n|-|-|\n|1|2|\n\n[doc](docs/a.md)",
            Some("/g/p/-/blob/main/"),
        )
        .to_string();
        assert!(html.contains("<table>") && html.contains("checkbox"), "{html}");
        assert!(html.contains("/g/p/-/blob/main/docs/a.md"), "{html}");
    }
}
