//! Checks of what people type.

use bascule_core::{Problem, Result, Timestamp};

/// Longest title of an issue or milestone, in characters (GitLab's limit).
pub const TITLE_CHARS: usize = 255;
/// Longest description or comment, in bytes.
pub const BODY_BYTES: usize = 256 * 1024;
/// Longest name of a label, in characters.
pub const LABEL_CHARS: usize = 100;

/// Characters that act instead of being shown: control characters, and those that turn the direction of text and
/// so can disguise one word as another.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A title from outside: one line, not empty, not endless, nothing hidden in it.
///
/// # Errors
/// Nothing is left of it, or it is too long.
pub fn title(text: &str, noun: &str) -> Result<String> {
    let line = text
        .split_whitespace()
        .map(|word| word.chars().filter(|c| !acts(*c)).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if line.is_empty() {
        return Err(
            Problem::invalid("title_missing", format!("The {noun} has no title."))
                .why("The title is what people see in lists and on the board.")
                .next("Say in a few words what it is about."),
        );
    }
    if line.chars().count() > TITLE_CHARS {
        return Err(Problem::invalid(
            "title_too_long",
            format!("The title is longer than {TITLE_CHARS} characters."),
        )
        .why("It is shown in lists, where longer ones would push out the rest.")
        .next("Shorten it, and put the rest into the description."));
    }
    Ok(line)
}

/// A description from outside, in Markdown; may be empty.
///
/// # Errors
/// It is too long, or holds a NUL, which no database keeps.
pub fn body(text: &str, noun: &str) -> Result<String> {
    if text.len() > BODY_BYTES {
        return Err(
            Problem::too_large(format!("The {noun} is longer than {BODY_BYTES} bytes."))
                .why("Every text has a limit, so that pages stay quick.")
                .next("Put long output into a file of the project, and link to it."),
        );
    }
    if text.contains('\0') {
        return Err(
            Problem::invalid("bad_characters", format!("The {noun} holds a NUL character."))
                .next("Type it anew instead of pasting it."),
        );
    }
    Ok(text.replace("\r\n", "\n").trim_end().to_owned())
}

/// A comment: as [`body`], and not empty.
///
/// # Errors
/// It is empty or too long.
pub fn comment(text: &str) -> Result<String> {
    let text = body(text, "comment")?;
    if text.trim().is_empty() {
        return Err(
            Problem::invalid("text_missing", "The comment is empty.").next("Write something, then send it.")
        );
    }
    Ok(text)
}

/// A day, `YYYY-MM-DD`; `None` for an empty text.
///
/// # Errors
/// It is no day of the calendar.
pub fn day(text: &str) -> Result<Option<String>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let shaped = text.len() == 10 && text.bytes().filter(|b| *b == b'-').count() == 2;
    let read = shaped
        .then(|| text.parse::<jiff::civil::Date>().ok())
        .flatten()
        .filter(|date| date.year() >= 1900);
    let date = read.ok_or_else(|| {
        let shown: String = text.chars().filter(|c| !acts(*c)).take(20).collect();
        Problem::invalid("bad_day", format!("`{shown}` is no day."))
            .next("Write it as 2026-03-31, or leave it empty.")
    })?;
    Ok(Some(date.to_string()))
}

/// The day of an instant, in UTC.
#[must_use]
pub fn day_of(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%d").to_string()
}

/// A label's name: one line, without commas, which part names in lists.
///
/// # Errors
/// It is empty, too long, or holds what it may not.
pub fn label(text: &str) -> Result<String> {
    let name = text.trim();
    let why = if name.is_empty() {
        "it is empty"
    } else if name.chars().count() > LABEL_CHARS {
        "it is longer than 100 characters"
    } else if name.contains([',', ';']) {
        "a comma or semicolon parts names in lists"
    } else if name.contains(['/', '\\', '?', '#', '%']) {
        "it stands in addresses, where /, \\, ?, # and % mean something else"
    } else if name.chars().any(acts) {
        "it holds characters that cannot be shown"
    } else if name.starts_with("::") || name.ends_with("::") {
        "`::` stands between a family and a value"
    } else if matches!(name, "none" | "any") {
        "`none` and `any` mean something else in filters"
    } else {
        return Ok(name.to_owned());
    };
    let shown: String = name.chars().filter(|c| !acts(*c)).take(40).collect();
    Err(
        Problem::invalid("bad_label", format!("`{shown}` cannot be a label: {why}."))
            .next("Choose another name, such as `type::bug`."),
    )
}

/// The family of a label: what stands before its last `::`; empty for none.
#[must_use]
pub fn family(name: &str) -> &str {
    name.rsplit_once("::").map_or("", |(family, _)| family)
}

/// Names in one field, parted by commas, semicolons or line ends.
#[must_use]
pub fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split([',', ';', '\n']) {
        let name = name.trim();
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The first characters of a text, for messages.
#[must_use]
pub fn cut(text: &str, characters: usize) -> String {
    let plain = text.chars().filter(|c| !acts(*c));
    let mut shown: String = plain.clone().take(characters).collect();
    if plain.count() > characters {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_line_without_hidden_characters() {
        assert_eq!(title(" a\n b\t\u{202e}c\u{7} ", "issue").unwrap(), "a b c");
        assert!(title("\u{202e} \n", "issue").is_err());
        assert!(title(&"é".repeat(TITLE_CHARS), "issue").is_ok());
        assert!(title(&"é".repeat(TITLE_CHARS + 1), "issue").is_err());
    }

    #[test]
    fn days_are_days_of_the_calendar() {
        assert_eq!(day(" 2024-02-29 ").unwrap().as_deref(), Some("2024-02-29"));
        assert_eq!(day("").unwrap(), None);
        for bad in [
            "2023-02-29",
            "29.2.2024",
            "2024-2-9",
            "tomorrow",
            "2024-02-29T00:00",
            "0000-01-01",
            "-2024-1-1",
        ] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn families_are_what_stands_before_the_last_colons() {
        assert_eq!(family("type::bug"), "type");
        assert_eq!(family("team::area::web"), "team::area");
        assert_eq!(family("plain"), "");
        assert!(label("type::bug").is_ok() && label("späť – 1").is_ok());
        for bad in [
            "",
            "a,b",
            "::x",
            "x::",
            "a/b",
            "none",
            "a\u{202e}b",
            &"x".repeat(101),
        ] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
