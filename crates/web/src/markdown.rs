//! Markdown (CommonMark and GFM) from people we do not trust: rendered, then cleaned.

use crate::{Markup, diagram, fence, reference, url_path};
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
        .add_allowed_classes(
            "div",
            [
                "markdown-alert",
                "markdown-alert-note",
                "markdown-alert-tip",
                "markdown-alert-important",
                "markdown-alert-warning",
                "markdown-alert-caution",
            ],
        )
        .add_allowed_classes("p", ["markdown-alert-title"])
        .add_generic_attributes(["id"])
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .id_prefix(Some("md-"))
        .link_rel(Some("noopener noreferrer nofollow"));
    builder
}

/// Renders Markdown; blocks of Mermaid become pictures, blocks of code are coloured. `base` is put before relative
/// links and images, such as `/group/project/-/blob/main/`.
#[must_use]
pub fn render(source: &str, base: Option<&str>) -> Markup {
    rendered(source, base.map(|top| (top, "")))
}

/// Renders a file of a repository: relative links and images lead to what is beside it, those that begin with `/` to
/// the repository's top. `top` is its address, such as `/group/project/-/blob/main/`; `folder` is where the file lies
/// under it, such as `docs/`, or empty.
#[must_use]
pub fn of_file(source: &str, top: &str, folder: &str) -> Markup {
    rendered(source, Some((top, folder)))
}

fn rendered(source: &str, base: Option<(&str, &str)>) -> Markup {
    let mut options = comrak::Options::default();
    options.extension.strikethrough = true;
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.alerts = true;
    let html = comrak::markdown_to_html(&shallow(source), &options);
    let clean = match base {
        None => CLEANER.clean(&html).to_string(),
        Some((top, folder)) => cleaner()
            .url_relative(UrlRelative::Custom(Box::new(Base {
                top: top.to_owned(),
                folder: folder.to_owned(),
            })))
            .clean(&html)
            .to_string(),
    };
    Markup::trusted(format!(
        "<div class=\"markdown\">{}</div>",
        fence::colour(diagram::draw(clean))
    ))
}

/// Deepest that quotes and lists may begin in one line. What they take to render grows with the square of it.
const DEPTH: usize = 100;

/// Whether a character at a line's beginning opens a quote or a list: the marks of lists do before a blank alone, so that
/// a line of dashes stays what it is.
fn opens(mark: char, next: Option<char>) -> bool {
    match mark {
        '>' => true,
        '-' | '*' | '+' => next.is_none_or(char::is_whitespace),
        _ => false,
    }
}

/// Takes out of each line's beginning the marks of quotes and lists that lie deeper than anybody reads.
fn shallow(source: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut all = true;
    for line in source.split_inclusive('\n') {
        let (mut left, mut rest) = (DEPTH, line.chars());
        while let Some(c) = rest.next() {
            let mark = opens(c, rest.clone().next());
            if !mark && !matches!(c, ' ' | '\t') {
                kept.push(c);
                break;
            }
            if mark && left == 0 {
                all = false;
            } else {
                kept.push(c);
                left -= usize::from(mark);
            }
        }
        kept.push_str(rest.as_str());
    }
    if all {
        Cow::Borrowed(source)
    } else {
        Cow::Owned(kept)
    }
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
struct Base {
    top: String,
    folder: String,
}

impl<'a> UrlRelativeEvaluate<'a> for Base {
    fn evaluate<'url>(&self, url: &'url str) -> Option<Cow<'url, str>> {
        if url.starts_with('#') || of_instance(url) {
            return Some(Cow::Borrowed(url));
        }
        Some(Cow::Owned(match url.strip_prefix('/') {
            Some(from_top) => format!("{}{from_top}", self.top),
            None => format!("{}{}{url}", self.top, self.folder),
        }))
    }
}

/// Whether an address that begins with `/` means a page of the instance, or another host, rather than the
/// repository's top: `/-/todos`, `/group/-/board`, `/group/project/-/issues/1`, `//host`.
fn of_instance(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.starts_with("//")
        || (path.starts_with('/') && path.split('/').skip(1).take(3).any(|part| part == "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_lists_deeper_than_anybody_reads_cost_little() {
        let begun = std::time::Instant::now();
        for mark in [">", "> ", "- ", "> - ", "* > "] {
            let html = render(
                &format!("{}end\n\n> quoted", mark.repeat(200_000 / mark.len())),
                None,
            );
            assert!(
                html.as_str().contains("end") && html.as_str().contains("quoted"),
                "{mark}"
            );
        }
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
        assert_eq!(shallow("> a\n- b\n"), "> a\n- b\n");
        assert!(render(&"-".repeat(500), None).as_str().contains("<hr"));
        let ruled = format!("```\n{}\n```\n", "-".repeat(500));
        assert_eq!(shallow(&ruled), ruled, "a line of dashes is no list");
    }

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

    #[test]
    fn links_lead_beside_the_file_to_the_top_or_to_the_instance() {
        let top = "/g/p/-/blob/main/";
        for (written, leads) in [
            ("other.md", "/g/p/-/blob/main/docs/other.md"),
            ("../README.md", "/g/p/-/blob/main/docs/../README.md"),
            ("/docs/other.md#part", "/g/p/-/blob/main/docs/other.md#part"),
            ("/README.md", "/g/p/-/blob/main/README.md"),
            ("#here", "#here"),
            ("/-/todos", "/-/todos"),
            ("/g/-/board", "/g/-/board"),
            ("/g/p/-/issues/1", "/g/p/-/issues/1"),
            ("/a/b/c/-/d.md", "/g/p/-/blob/main/a/b/c/-/d.md"),
            ("https://example.org/x", "https://example.org/x"),
        ] {
            let html = of_file(&format!("[x]({written})"), top, "docs/").to_string();
            assert!(html.contains(&format!("href=\"{leads}\"")), "{written}: {html}");
        }
        let picture = of_file("![](/docs/img/pic.png)", top, "docs/").to_string();
        assert!(
            picture.contains("src=\"/g/p/-/blob/main/docs/img/pic.png\""),
            "{picture}"
        );
        let issue = of_project("[x](/docs/a.md)", "g/p", "HEAD").to_string();
        assert!(issue.contains("href=\"/g/p/-/blob/HEAD/docs/a.md\""), "{issue}");
    }

    #[test]
    fn notes_are_told_apart_and_no_other_class_comes_through() {
        for kind in ["Note", "Tip", "Important", "Warning", "Caution"] {
            let html = render(&format!("> [!{}]\n> Mind this.", kind.to_uppercase()), None).to_string();
            let class = format!("markdown-alert markdown-alert-{}", kind.to_lowercase());
            assert!(html.contains(&class), "{html}");
            assert!(
                html.contains(&format!("<p class=\"markdown-alert-title\">{kind}</p>")),
                "{html}"
            );
        }
        let html = render("<div class=\"modal\">x</div>\n\n<p class=\"btn\">x</p>", None).to_string();
        assert!(!html.contains("modal") && !html.contains("btn"), "{html}");
    }
}
