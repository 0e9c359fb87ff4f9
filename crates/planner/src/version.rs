//! Versions and what matches them. Never compared as text.
//!
//! # Order
//! Semantic versioning's precedence (SemVer 2.0.0, section 11): numbers as numbers, a pre-release before its
//! release, its parts compared one by one. Where precedence is equal, build metadata decides, part by part, so
//! that the order is total and two different versions are never equal.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A semantic version. A leading `v` is taken off, as tags often carry one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

/// Why a text is no version or matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}")]
pub struct BadVersion {
    text: String,
    what: &'static str,
}

fn bad(text: &str, what: &'static str) -> BadVersion {
    BadVersion {
        text: text.chars().take(60).collect(),
        what,
    }
}

impl Version {
    /// A plain release.
    #[must_use]
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }

    /// Whether it is a pre-release, such as `2.0.0-rc.1`.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    const fn parts(&self) -> [u64; 3] {
        [self.0.major, self.0.minor, self.0.patch]
    }
}

impl FromStr for Version {
    type Err = BadVersion;
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let plain = text.trim();
        let plain = plain.strip_prefix('v').unwrap_or(plain);
        semver::Version::parse(plain)
            .map(Self)
            .map_err(|_| bad(text, "semantic version such as 1.4.0 or 2.0.0-rc.1"))
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;
    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which versions are meant: `*`, `2.x.x` (or `2.x`, `2`), `9.6.x`, or one version. Pre-releases match by
/// their numbers: `2.0.0-rc.1` is a `2.x.x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Matcher {
    /// All versions that begin with these numbers; none given is all.
    Family(Vec<u64>),
    /// This one.
    Exactly(Version),
}

impl Matcher {
    /// All versions.
    #[must_use]
    pub const fn any() -> Self {
        Self::Family(Vec::new())
    }

    /// Whether a version is meant.
    #[must_use]
    pub fn admits(&self, version: &Version) -> bool {
        match self {
            Self::Family(numbers) => numbers.iter().zip(version.parts()).all(|(a, b)| *a == b),
            Self::Exactly(exact) => exact == version,
        }
    }

    /// Whether a version is meant or lies below those that are: the matcher as an upper bound.
    #[must_use]
    pub fn admits_up_to(&self, version: &Version) -> bool {
        match self {
            Self::Family(numbers) => {
                let parts = version.parts();
                parts
                    .iter()
                    .zip(numbers)
                    .map(|(a, b)| a.cmp(b))
                    .find(|o| o.is_ne())
                    != Some(std::cmp::Ordering::Greater)
            }
            Self::Exactly(exact) => version <= exact,
        }
    }
}

impl FromStr for Matcher {
    type Err = BadVersion;
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let what = "matcher such as 2.x.x, 9.6.x, * or 1.2.3";
        let plain = text.trim();
        let plain = plain.strip_prefix('v').unwrap_or(plain);
        if let Ok(exact) = plain.parse() {
            return Ok(Self::Exactly(exact));
        }
        let mut numbers = Vec::new();
        let mut open = false;
        let parts: Vec<&str> = plain.split('.').collect();
        if parts.len() > 3 {
            return Err(bad(text, what));
        }
        for part in parts {
            let wild = matches!(part, "x" | "X" | "*");
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            match part.parse::<u64>() {
                _ if wild => open = true,
                Ok(number) if digits && !open => numbers.push(number),
                _ => return Err(bad(text, what)),
            }
        }
        Ok(Self::Family(numbers))
    }
}

impl TryFrom<String> for Matcher {
    type Error = BadVersion;
    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> Self {
        matcher.to_string()
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(version) => version.fmt(f),
            Self::Family(numbers) if numbers.is_empty() => f.write_str("*"),
            Self::Family(numbers) => {
                let mut parts: Vec<String> = numbers.iter().map(u64::to_string).collect();
                parts.resize(3, "x".to_owned());
                f.write_str(&parts.join("."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn m(text: &str) -> Matcher {
        text.parse().unwrap()
    }

    #[test]
    fn versions_order_as_numbers_and_never_as_text() {
        let rising = [
            "0.9.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1.0.0",
            "1.0.0+build.2",
            "1.0.0+build.10",
            "1.9.0",
            "1.10.0",
            "v2.0.0",
        ];
        for pair in rising.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn matchers_mean_families_and_bound_from_above() {
        assert!(m("9.6.x").admits(&v("9.6.24")) && !m("9.6.x").admits(&v("9.7.0")));
        for same in ["2", "2.x", "2.x.x", "2.*"] {
            assert_eq!(m(same).to_string(), "2.x.x");
        }
        assert!(m("2.x.x").admits_up_to(&v("1.99.0")) && m("2.x.x").admits_up_to(&v("2.99.0")));
        assert!(!m("2.x.x").admits_up_to(&v("3.0.0")) && !m("2.1.x").admits_up_to(&v("2.2.0")));
        assert!(
            m("2.1.x").admits_up_to(&v("1.9.9")),
            "a lower first number decides"
        );
        assert!(m("1.2.3").admits_up_to(&v("1.2.3")) && !m("1.2.3").admits_up_to(&v("1.2.4")));
        assert!(m("*").admits(&v("7.0.0-rc.1")) && m("*").admits_up_to(&v("99.0.0")));
    }

    #[test]
    fn what_is_none_is_refused_with_what_would_be_one() {
        for text in ["", "1", "one", "1.2", "1.2.3.4", "-1.0.0", "1.2.3 "] {
            if text.trim() != "1.2.3" {
                assert!(text.parse::<Version>().is_err(), "{text}");
            }
        }
        for text in [
            "",
            "x.2",
            "1.x.3",
            "1.2.3.4",
            "a.b.c",
            "1..2",
            "99999999999999999999.x",
        ] {
            let error = text.parse::<Matcher>().unwrap_err().to_string();
            assert!(error.contains("2.x.x"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in ".{0,40}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
            }
            if let Ok(matcher) = text.parse::<Matcher>() {
                prop_assert_eq!(matcher.to_string().parse::<Matcher>().unwrap(), matcher);
            }
        }

        /// As an upper bound a matcher is downward closed, and holds whatever it admits.
        #[test]
        fn bounds_are_downward_closed(a in 0_u64..4, b in 0_u64..4, c in 0_u64..4, family in prop::collection::vec(0_u64..4, 0..4)) {
            let version = Version::new(a, b, c);
            let matcher = Matcher::Family(family.into_iter().take(3).collect());
            if matcher.admits(&version) {
                prop_assert!(matcher.admits_up_to(&version));
            }
            if matcher.admits_up_to(&version) {
                prop_assert!(matcher.admits_up_to(&Version::new(a, b, 0)));
                prop_assert!(matcher.admits_up_to(&Version::new(a, 0, 0)));
            }
        }
    }
}
