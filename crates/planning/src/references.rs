//! Issues and people named in text: `Closes #3`, `group/project#3`, `@name`. Pure.
//!
//! The grammar of issues' numbers is the platform's one, in `bascule_core::reference`.

pub use bascule_core::reference::{Reference, closes, parse};

use bascule_web::reference::{Token, tokens};
use std::collections::BTreeSet;

/// Most people read out of one text.
const AT_MOST: usize = 100;

/// The user names that a text speaks to, each once. What stands in code speaks to nobody.
#[must_use]
pub fn mentions(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        // Every second part between backticks is code.
        for part in line.split('`').step_by(2) {
            for token in tokens(part) {
                if let Token::Person(name) = token {
                    found.insert(name.to_owned());
                }
                if found.len() >= AT_MOST {
                    return found.into_iter().collect();
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_are_named_outside_code() {
        assert_eq!(
            mentions("@sre and @developer. Not a@b.c, nor `@code`, nor @@x"),
            ["developer", "sre"]
        );
        assert_eq!(mentions("```\n@hidden\n```\n@seen."), ["seen"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,200}") {
            let _ = mentions(&text);
        }
    }
}
