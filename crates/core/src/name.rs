//! Names that appear in addresses: groups, projects, environments, users.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

/// A name safe in a URL, a path and a host name: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`, beginning and
/// ending with a letter or digit. Never `..`, never ending in `.git`, never a word the platform's own
/// addresses use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot be a name: {why}")]
pub struct NameError {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

/// First segments of the platform's own addresses; a group by such a name could never be reached.
const RESERVED: &[&str] = &[
    "admin",
    "agents",
    "api",
    "assets",
    "dashboard",
    "explore",
    "groups",
    "healthz",
    "help",
    "home",
    "incidents",
    "insights",
    "ledger",
    "login",
    "logout",
    "metrics",
    "new",
    "plans",
    "products",
    "profile",
    "readyz",
    "register",
    "rollouts",
    "environments",
    "search",
    "settings",
    "sign-in",
    "sign-out",
    "status",
    "users",
    "v1",
    "v2",
];

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let refuse = |why| {
            Err(NameError {
                text: text.chars().take(80).collect(),
                why,
            })
        };
        if text.is_empty() || text.len() > 63 {
            return refuse("use 1 to 63 characters");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        {
            return refuse("use only a-z, 0-9, '-', '_' and '.'");
        }
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        if !edge(text.bytes().next()) || !edge(text.bytes().last()) {
            return refuse("begin and end with a letter or a digit");
        }
        if text.contains("..") || text.ends_with(".git") {
            return refuse("it may not contain '..' nor end in '.git'");
        }
        if RESERVED.contains(&text) {
            return refuse("the platform's own addresses use this word; choose another");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traversal_and_reserved_words_are_refused() {
        for bad in [
            "", "..", "a..b", "../x", "a/b", "A", "-a", "a-", ".git", "x.git", "api", "a\0b", "é",
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "clinic-1", "web.site", "snake_case", "0"] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
    }
}
