//! What people write: cleaned on the way in, and read for whom it names.

use crate::{Forge, ProjectInfo};
use bascule_core::{Problem, Result, Role, UserId};
use bascule_web::reference::{Token, tokens};
use comrak::{Arena, Options, nodes::NodeValue, parse_document};
use std::collections::BTreeSet;

/// Longest comment, in characters.
pub(crate) const BODY: usize = 20_000;
/// Most people that one comment mentions.
const MENTIONS: usize = 30;

/// A comment as it may be kept.
pub(crate) fn body(text: &str) -> Result<String> {
    let text: String = text
        .replace("\r\n", "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let text = text.trim_end().to_owned();
    if text.trim().is_empty() {
        return Err(Problem::invalid("empty_comment", "The comment is empty.").next("Write something first."));
    }
    if text.chars().count() > BODY {
        return Err(
            Problem::invalid("too_long", format!("A comment has at most {BODY} characters."))
                .next("Put long texts into a file and link to it."),
        );
    }
    Ok(text)
}

/// Names that are mentioned as `@name` in plain text; not in code.
pub(crate) fn mentioned(text: &str) -> Vec<String> {
    let arena = Arena::new();
    let root = parse_document(&arena, text, &Options::default());
    let mut names = BTreeSet::new();
    for node in root.descendants() {
        let data = node.data.borrow();
        let NodeValue::Text(plain) = &data.value else {
            continue;
        };
        for word in tokens(plain) {
            if let Token::Person(name) = word
                && names.len() < MENTIONS
            {
                names.insert(name.to_owned());
            }
        }
    }
    names.into_iter().collect()
}

impl Forge {
    /// The accounts that a text mentions and that may read it.
    pub(crate) async fn mentions(&self, project: &ProjectInfo, text: &str) -> Result<Vec<UserId>> {
        let mut ids = BTreeSet::new();
        for name in mentioned(text) {
            if let Some(known) = self.people()?.by_name(&name).await?
                && self
                    .people()?
                    .role(known.id, project)
                    .await?
                    .is_some_and(|role| role >= Role::Reporter)
            {
                ids.insert(known.id);
            }
        }
        Ok(ids.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_found_outside_code() {
        assert_eq!(
            mentioned("`@code` @me\n\n```\n@block\n```\n@you @me, not a@b.c"),
            ["me", "you"]
        );
    }

    #[test]
    fn what_cannot_be_kept_is_cleaned_or_refused() {
        assert_eq!(body("a\r\nb\0\u{1b}c \n").unwrap(), "a\nbc");
        assert!(body(" \n").is_err());
        assert!(body(&"x".repeat(BODY + 1)).is_err());
    }
}
