//! Source code with colours, as classes that the stylesheet gives a light and a dark meaning.

use crate::{Markup, convert::escape};
use std::sync::LazyLock;
use syntect::{
    highlighting::ThemeSet,
    html::{ClassStyle, ClassedHTMLGenerator, css_for_theme_with_class_style},
    parsing::SyntaxSet,
    util::LinesWithEndings,
};

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);
const STYLE: ClassStyle = ClassStyle::SpacedPrefixed { prefix: "hl-" };
/// Longest line that is highlighted; longer ones (minified files) are shown plain.
const LINE_BYTES: usize = 2_000;
/// Longest text that is highlighted, in bytes.
const TEXT_BYTES: usize = 256 * 1024;

/// Each line of `text` as HTML, highlighted by the file name's ending, or plain where there is no syntax for
/// it or it is too long.
#[must_use]
pub fn lines(file_name: &str, text: &str) -> Vec<Markup> {
    let name = file_name.rsplit('/').next().unwrap_or(file_name);
    let ending = name.rsplit('.').next().unwrap_or(name);
    let plain = || text.lines().map(Markup::text).collect();
    if text.len() > TEXT_BYTES || text.lines().any(|line| line.len() > LINE_BYTES) {
        return plain();
    }
    let ending = match ending {
        "toml" | "lock" => "ini",
        "ts" | "tsx" | "mjs" | "cjs" | "jsx" => "js",
        other => other,
    };
    let Some(syntax) = SYNTAXES
        .find_syntax_by_extension(ending)
        .or_else(|| SYNTAXES.find_syntax_by_extension(name))
    else {
        return plain();
    };
    // A generator per line would lose state over lines; one for all must be cut into lines with open spans
    // closed and opened again.
    let mut generator = ClassedHTMLGenerator::new_with_class_style(syntax, &SYNTAXES, STYLE);
    for line in LinesWithEndings::from(text) {
        if generator
            .parse_html_for_line_which_includes_newline(line)
            .is_err()
        {
            return plain();
        }
    }
    split(&generator.finalize())
}

/// Cuts HTML with nested spans into lines that each are well-formed.
fn split(html: &str) -> Vec<Markup> {
    let mut lines = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut line = String::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '\n']) {
        let (before, tail) = rest.split_at(at);
        line.push_str(before);
        if let Some(after) = tail.strip_prefix('\n') {
            line.push_str(&"</span>".repeat(open.len()));
            lines.push(Markup::trusted(std::mem::take(&mut line)));
            line.extend(open.iter().copied());
            rest = after;
        } else {
            let end = tail.find('>').map_or(tail.len(), |end| end + 1);
            let (tag, after) = tail.split_at(end);
            if tag == "</span>" {
                open.pop();
            } else {
                open.push(tag);
            }
            line.push_str(tag);
            rest = after;
        }
    }
    line.push_str(rest);
    if line.contains(|c: char| !c.is_whitespace()) && strip_tags(&line) {
        line.push_str(&"</span>".repeat(open.len()));
        lines.push(Markup::trusted(line));
    }
    lines
}

/// Whether anything but tags is left.
fn strip_tags(html: &str) -> bool {
    let mut inside = false;
    html.chars().any(|c| match c {
        '<' => {
            inside = true;
            false
        }
        '>' => {
            inside = false;
            false
        }
        c => !inside && !c.is_whitespace(),
    })
}

/// The stylesheet for both modes.
pub(crate) fn stylesheet() -> String {
    let themes = ThemeSet::load_defaults();
    let css = |name: &str| {
        themes
            .themes
            .get(name)
            .and_then(|theme| css_for_theme_with_class_style(theme, STYLE).ok())
            .unwrap_or_default()
    };
    // The theme's own page colours are left out: the page has its own.
    let scoped = |css: &str, scope: &str| {
        css.split('}')
            .filter_map(|rule| rule.split_once('{'))
            .filter(|(selector, _)| selector.contains(".hl-") && !selector.trim_end().ends_with(".hl-code"))
            .map(|(selector, body)| {
                let selector = selector.rsplit("*/").next().unwrap_or(selector);
                let selectors: Vec<String> = selector
                    .split(',')
                    .map(|s| format!("{scope} {}", s.trim()))
                    .collect();
                format!("{}{{{}}}\n", selectors.join(","), body.trim())
            })
            .collect::<String>()
    };
    scoped(&css("InspiredGitHub"), "[data-bs-theme=light]")
        + &scoped(&css("base16-ocean.dark"), "[data-bs-theme=dark]")
}

/// A block of code as one piece of HTML.
#[must_use]
pub fn block(file_name: &str, text: &str) -> Markup {
    let body = lines(file_name, text)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    Markup::trusted(format!(
        "<pre class=\"code\" data-name=\"{}\">{body}</pre>",
        escape(file_name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_lines_out_as_in_and_nothing_unescaped() {
        let source = "fn main() {\n    /* a\n    b */ let x = \"<script>\";\n}\n";
        let lines = lines("src/main.rs", source);
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|l| !l.as_str().contains("<script>")));
        for line in &lines {
            assert_eq!(
                line.as_str().matches("<span").count(),
                line.as_str().matches("</span>").count()
            );
        }
        assert_eq!(
            super::lines("x.unknown-ending", "a\n<b>\n")[1].as_str(),
            "&#60;b&#62;"
        );
    }

    #[test]
    fn the_stylesheet_speaks_of_both_modes() {
        let css = stylesheet();
        assert!(
            css.contains("[data-bs-theme=dark] .hl-"),
            "{}",
            &css[..300.min(css.len())]
        );
        assert!(css.contains("[data-bs-theme=light] .hl-"));
    }
}
