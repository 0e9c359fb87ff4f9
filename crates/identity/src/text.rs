//! Checks of what people type.

use bascule_core::{Problem, Result};

/// A short text for people: trimmed, within its length, without characters that act instead of being shown
/// (control characters, and those that turn the direction of text and so can disguise a name).
pub(crate) fn line(what: &str, text: &str, max: usize) -> Result<String> {
    let text = text.trim();
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().count() > max {
        return Err(
            Problem::invalid("too_long", format!("The {what} is longer than {max} characters."))
                .why("It is shown in lists, where longer ones would push out the rest.")
                .next("Shorten it."),
        );
    }
    if text.chars().any(acts) {
        return Err(Problem::invalid(
            "bad_characters",
            format!("The {what} holds characters that cannot be shown."),
        )
        .why("Control characters can disguise one name as another.")
        .next("Type it anew instead of pasting it."));
    }
    Ok(text.to_owned())
}

/// As [`line`], and not empty.
pub(crate) fn required(what: &str, text: &str, max: usize) -> Result<String> {
    let text = line(what, text, max)?;
    if text.is_empty() {
        return Err(Problem::invalid("missing", format!("The {what} is empty.")).next("Fill it in."));
    }
    Ok(text)
}

/// An address to write to, or nothing. Only writing to it would tell whether it is right.
pub(crate) fn email(text: &str) -> Result<String> {
    let text = line("email", text, 254)?;
    let shaped = text
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if text.is_empty() || (shaped && !text.contains(char::is_whitespace)) {
        return Ok(text);
    }
    Err(Problem::invalid("bad_email", "The email address is not one.")
        .next("Write it as `name@example.org`, or leave it empty."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_and_overlong_texts_are_refused() {
        assert!(line("name", "an\u{202e}nimda", 50).is_err());
        assert!(line("name", "a\nb", 50).is_err());
        assert!(line("name", &"x".repeat(51), 50).is_err());
        assert_eq!(line("name", " Ännchen ", 50).unwrap(), "Ännchen");
        assert!(required("name", "  ", 5).is_err());
        assert!(email("").is_ok() && email("a@b").is_ok());
        assert!(email("a@b@c").is_err() && email("a b@c").is_err() && email("@").is_err());
    }
}
