//! Source code with colours, as classes that the stylesheet gives a light and a dark meaning.

use crate::{Markup, contrast, convert::escape};
use std::sync::LazyLock;
use syntect::{
    highlighting::ThemeSet,
    html::{ClassStyle, ClassedHTMLGenerator, css_for_theme_with_class_style},
    parsing::{SyntaxReference, SyntaxSet},
    util::LinesWithEndings,
};

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);
const STYLE: ClassStyle = ClassStyle::SpacedPrefixed { prefix: "hl-" };
/// Longest line that is highlighted; longer ones (minified files) are shown plain.
const LINE_BYTES: usize = 2_000;
/// Longest text that is highlighted, in bytes.
pub const TEXT_BYTES: usize = 256 * 1024;

/// Each line of `text` as HTML, highlighted by the file name's ending, or plain where there is no syntax for
/// it or it is too long.
#[must_use]
pub fn lines(file_name: &str, text: &str) -> Vec<Markup> {
    let name = file_name.rsplit('/').next().unwrap_or(file_name);
    let ending = name.rsplit('.').next().unwrap_or(name);
    let syntax = SYNTAXES
        .find_syntax_by_extension(known_as(ending))
        .or_else(|| SYNTAXES.find_syntax_by_extension(name));
    syntax
        .and_then(|syntax| coloured(syntax, text))
        .unwrap_or_else(|| text.lines().map(Markup::text).collect())
}

/// A text as HTML, highlighted by the name of its language, as people write it above a block of code. `None` where
/// there is no syntax for it or it is too long.
#[must_use]
pub fn fenced(language: &str, text: &str) -> Option<Markup> {
    let language = language.to_ascii_lowercase();
    let syntax = SYNTAXES.find_syntax_by_token(known_as(&language))?;
    let body: String = coloured(syntax, text)?
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    Some(Markup::trusted(body))
}

/// The ending by which the syntaxes know what has another name.
fn known_as(ending: &str) -> &str {
    match ending {
        // The nearest there is: comments, keys and values.
        "toml" | "lock" | "ini" | "cfg" | "conf" => "properties",
        "ts" | "tsx" | "mjs" | "cjs" | "jsx" | "typescript" => "js",
        "shell" | "console" | "zsh" | "ksh" => "sh",
        "csharp" => "cs",
        "golang" => "go",
        "jsonc" | "json5" => "json",
        other => other,
    }
}

fn coloured(syntax: &SyntaxReference, text: &str) -> Option<Vec<Markup>> {
    if text.len() > TEXT_BYTES || text.lines().any(|line| line.len() > LINE_BYTES) {
        return None;
    }
    // A generator per line would lose state over lines; one for all must be cut into lines with open spans
    // closed and opened again.
    let mut generator = ClassedHTMLGenerator::new_with_class_style(syntax, &SYNTAXES, STYLE);
    for line in LinesWithEndings::from(text) {
        generator.parse_html_for_line_which_includes_newline(line).ok()?;
    }
    Some(split(&generator.finalize()))
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
    let mut themes = ThemeSet::load_defaults();
    let mut css = |name: &str, grounds: &[[u8; 3]], towards: u8| {
        let theme = themes.themes.get_mut(name).and_then(|theme| {
            contrast::mend(theme, grounds, towards);
            css_for_theme_with_class_style(theme, STYLE).ok()
        });
        theme.unwrap_or_default()
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
    let light = css("InspiredGitHub", &contrast::LIGHT, 0);
    let dark = css("base16-ocean.dark", &contrast::DARK, 255);
    scoped(&light, "[data-bs-theme=light]") + &scoped(&dark, "[data-bs-theme=dark]")
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

    #[test]
    fn every_colour_of_code_can_be_read_on_every_row() {
        let css = stylesheet();
        let colours = |scope: &str| {
            css.split('}')
                .filter(|rule| rule.trim_start().starts_with(scope))
                .filter_map(|rule| {
                    let hex = rule.split_once("{color: #").or(rule.split_once(" color: #"))?.1;
                    let part = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
                    Some(([part(0)?, part(2)?, part(4)?], rule))
                })
                .collect::<Vec<_>>()
        };
        for (scope, grounds) in [
            ("[data-bs-theme=light]", contrast::LIGHT),
            ("[data-bs-theme=dark]", contrast::DARK),
        ] {
            let colours = colours(scope);
            assert!(colours.len() > 15, "{}", colours.len());
            for (colour, rule) in colours {
                for ground in grounds {
                    let ratio = contrast::ratio(colour, ground);
                    assert!(ratio >= 4.5, "{ratio:.2} on {ground:?}: {rule}");
                }
            }
        }
        assert!(!css.contains("background-color"));
    }
}
