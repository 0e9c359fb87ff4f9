//! Blocks of code in Markdown, coloured as the pages of code are.

use crate::{Kept, Markup, diagram::unescape, highlight};
use std::sync::LazyLock;

/// As comrak writes a fenced block with a language, and the cleaner leaves it.
const OPEN: &str = "<pre><code class=\"language-";
const CLOSE: &str = "</code></pre>";
/// Most code coloured in one text, in bytes: comments are rendered each time they are looked at.
const CODE: usize = 64 * 1024;

/// Blocks by language and source.
static COLOURED: LazyLock<Kept<(String, String), Option<Markup>>> =
    LazyLock::new(|| Kept::new(8 * 1024 * 1024));

/// Colours the blocks of rendered, cleaned Markdown that say their language; others stay as they are.
pub(crate) fn colour(html: String) -> String {
    if !html.contains(OPEN) {
        return html;
    }
    let mut left = CODE;
    let mut parts = html.split(OPEN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(OPEN);
        let coloured = part.split_once("\">").and_then(|(language, rest)| {
            let (code, after) = rest.split_once(CLOSE)?;
            left = left.checked_sub(code.len())?;
            Some((language, one(language, code)?, after))
        });
        match coloured {
            Some((language, code, after)) => {
                out.push_str(&format!("{language}\">{code}{CLOSE}{after}"));
            }
            None => out.push_str(part),
        }
    }
    out
}

fn one(language: &str, code: &str) -> Option<Markup> {
    // After the name come remarks, as in `rust,ignore` or `js {1,3}`.
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '#' | '-' | '_' | '.');
    let name: String = language.chars().take_while(|c| named(*c)).collect();
    let key = (name, code.to_owned());
    COLOURED.get(&key).unwrap_or_else(|| {
        let made = highlight::fenced(&key.0, &unescape(code));
        let weight = code.len() + made.as_ref().map_or(0, |made| made.as_str().len());
        COLOURED.put(key, made.clone(), weight);
        made
    })
}

#[cfg(test)]
mod tests {
    use crate::markdown;

    fn html(fence: &str) -> String {
        markdown::render(fence, None).to_string()
    }

    #[test]
    fn a_block_that_says_its_language_is_coloured() {
        let code = html("```rust,ignore\nfn main() { let a = \"<b>\"; } // & so on\n```");
        assert!(
            code.contains("hl-comment") && code.contains("hl-keyword"),
            "{code}"
        );
        assert!(code.contains("so on") && !code.contains("<b>"), "{code}");
        let bare = code.replace("</span>", "");
        assert!(!bare.contains("&amp;lt;") && !bare.contains("&amp;#"), "{code}");
        for known in [
            "python\nx = 1",
            "toml\na = 1",
            "typescript\nlet a = 1",
            "yaml\na: 1",
            "shell\necho hi",
        ] {
            let code = html(&format!("```{known}\n```"));
            assert!(code.contains("hl-"), "{known}: {code}");
        }
    }

    #[test]
    fn others_stay_as_they_are() {
        let plain = html("```\n<b>\n```\n\n```no-such-language\n<i>\n```\n\n    indented");
        assert!(
            plain.contains("&lt;b&gt;") && plain.contains("&lt;i&gt;"),
            "{plain}"
        );
        assert!(!plain.contains("hl-"), "{plain}");
        let long = format!("```rust\n{}\n```\n\nafter", "let a = 1;\n".repeat(7_000));
        assert!(!html(&long).contains("hl-") && html(&long).contains("after"));
    }
}
