//! Markdown (CommonMark and GFM) from people we do not trust: rendered, then cleaned.

use crate::Markup;
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

/// Renders Markdown. `base` is put before relative links and images, such as `/group/project/-/blob/main/`.
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
    Markup::trusted(format!("<div class=\"markdown\">{clean}</div>"))
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
