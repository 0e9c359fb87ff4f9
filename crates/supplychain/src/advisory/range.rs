//! Whether a version is affected, by the ecosystem's own order of versions. Pure.
//!
//! Ordered here: semantic versions (Cargo, npm, Go, Hex, Pub, Swift) and PEP 440 (Python). Of other ecosystems the
//! versions that an advisory lists one by one are compared as text; databases list them all for Maven, RubyGems,
//! Packagist and NuGet.

use super::osv::Package;
use std::{cmp::Ordering, str::FromStr as _};

/// How an ecosystem orders its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Semantic versions.
    Semantic,
    /// PEP 440.
    Python,
    /// Not known here: only versions that are listed one by one count.
    Listed,
}

/// Versions between events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Where it begins and ends, in any order.
    pub events: Vec<Event>,
}

/// Where versions begin or end to be affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Affected from this version on; `0` is before all.
    Introduced(String),
    /// Not affected from this version on.
    Fixed(String),
    /// Not affected after this version.
    LastAffected(String),
    /// Nothing is said of this version and those after it.
    Limit(String),
}

/// A version of either order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Semantic(semver::Version),
    Python(Box<pep440_rs::Version>),
}

impl Order {
    fn read(self, text: &str) -> Option<Version> {
        if text.len() > 300 {
            return None;
        }
        match self {
            Self::Semantic => semantic(text).map(Version::Semantic),
            Self::Python => pep440_rs::Version::from_str(text.trim())
                .ok()
                .map(|version| Version::Python(Box::new(version))),
            Self::Listed => None,
        }
    }
}

impl Version {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Metadata after `+` makes no version another one.
            (Self::Semantic(one), Self::Semantic(other)) => one.cmp_precedence(other),
            (Self::Python(one), Self::Python(other)) => one.cmp(other),
            // One package has one order.
            _ => Ordering::Equal,
        }
    }
}

/// A semantic version as people write it: with a `v`, or with numbers missing at the end.
fn semantic(text: &str) -> Option<semver::Version> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    if let Ok(version) = semver::Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let missing = 2_usize.checked_sub(numbers.matches('.').count())?;
    semver::Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

/// What an advisory says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Versions that mend it, the nearest first.
    pub fixed: Vec<String>,
}

/// Most mending versions that are named.
const FIXED: usize = 10;

impl Package {
    /// Whether a version is affected, and what mends it.
    #[must_use]
    pub fn hits(&self, version: &str) -> Option<Hit> {
        let read = self.order.read(version);
        let same = |listed: &String| {
            listed == version
                || read.as_ref().is_some_and(|read| {
                    self.order
                        .read(listed)
                        .is_some_and(|listed| listed.compare(read).is_eq())
                })
        };
        let ranged = read
            .as_ref()
            .is_some_and(|read| self.ranges.iter().any(|range| range.holds(self.order, read)));
        if !ranged && !self.versions.iter().any(same) {
            return None;
        }
        let mut fixed: Vec<(Version, String)> = Vec::new();
        if let Some(read) = &read {
            let events = self.ranges.iter().flat_map(|range| &range.events);
            for event in events {
                if let Event::Fixed(text) = event
                    && let Some(at) = self.order.read(text)
                    && at.compare(read).is_gt()
                    && !self.ranges.iter().any(|range| range.holds(self.order, &at))
                    && fixed.iter().all(|(known, _)| known.compare(&at).is_ne())
                {
                    fixed.push((at, text.clone()));
                }
            }
        }
        fixed.sort_by(|(one, _), (other, _)| one.compare(other));
        Some(Hit {
            fixed: fixed.into_iter().map(|(_, text)| text).take(FIXED).collect(),
        })
    }
}

impl Range {
    /// Whether a version lies in it. A range with an event that cannot be read holds nothing: half of it would be
    /// wrong both ways.
    fn holds(&self, order: Order, version: &Version) -> bool {
        let mut events: Vec<(Option<Version>, &Event)> = Vec::with_capacity(self.events.len());
        for event in &self.events {
            match event {
                Event::Limit(text) if text == "*" => {}
                Event::Introduced(text) if text == "0" => events.push((None, event)),
                Event::Introduced(text)
                | Event::Fixed(text)
                | Event::LastAffected(text)
                | Event::Limit(text) => match order.read(text) {
                    Some(at) => events.push((Some(at), event)),
                    None => return false,
                },
            }
        }
        // Where one ends at the version at which another begins, it is the beginning that counts.
        events.sort_by(|(one, first), (other, second)| {
            let begins = |event: &Event| matches!(event, Event::Introduced(_));
            match (one, other) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(one), Some(other)) => one
                    .compare(other)
                    .then_with(|| begins(first).cmp(&begins(second))),
            }
        });
        let mut inside = false;
        for (at, event) in events {
            let reached = at.as_ref().map_or(Ordering::Less, |at| at.compare(version));
            match event {
                Event::Introduced(_) if reached.is_le() => inside = true,
                Event::Fixed(_) | Event::Limit(_) if reached.is_le() => inside = false,
                Event::LastAffected(_) if reached.is_lt() => inside = false,
                _ => {}
            }
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn package(order: Order, events: &[Event], versions: &[&str]) -> Package {
        Package {
            ecosystem: "cargo",
            name: "x".to_owned(),
            order,
            ranges: vec![Range {
                events: events.to_vec(),
            }],
            versions: versions.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    fn introduced(at: &str) -> Event {
        Event::Introduced(at.to_owned())
    }

    fn fixed(at: &str) -> Event {
        Event::Fixed(at.to_owned())
    }

    #[test]
    fn several_lines_are_mended_each_by_its_own() {
        let all = package(
            Order::Semantic,
            &[
                fixed("2.1.0"),
                introduced("0"),
                fixed("1.4.2"),
                introduced("2.0.0"),
            ],
            &[],
        );
        for (version, expected) in [
            ("0.1.0", Some(vec!["1.4.2", "2.1.0"])),
            ("1.4.2-rc.1", Some(vec!["1.4.2", "2.1.0"])),
            ("v1.4.1", Some(vec!["1.4.2", "2.1.0"])),
            ("1.4.2", None),
            ("1.9.0", None),
            ("2.0.0", Some(vec!["2.1.0"])),
            ("2.0.5+build", Some(vec!["2.1.0"])),
            ("2.1.0", None),
            ("nonsense", None),
        ] {
            let hit = all.hits(version).map(|hit| hit.fixed);
            assert_eq!(
                hit,
                expected.map(|e| e.into_iter().map(str::to_owned).collect()),
                "{version}"
            );
        }
    }

    #[test]
    fn last_affected_counts_itself_and_limits_do_not() {
        let last = Event::LastAffected("1.2.0".to_owned());
        let all = package(Order::Semantic, &[introduced("1.0.0"), last], &[]);
        assert_eq!(all.hits("1.2.0").unwrap().fixed, Vec::<String>::new());
        assert!(all.hits("1.2.1").is_none() && all.hits("0.9.0").is_none());
        let limit = Event::Limit("1.2.0".to_owned());
        let all = package(Order::Semantic, &[introduced("0"), limit], &[]);
        assert!(all.hits("1.1.9").is_some() && all.hits("1.2.0").is_none());
    }

    #[test]
    fn python_orders_its_own_way() {
        let all = package(Order::Python, &[introduced("0"), fixed("2.0")], &["3.0.post1"]);
        for version in ["1.9", "2.0rc1", "2.0.dev3", "1!0.1"] {
            assert_eq!(all.hits(version).is_some(), version != "1!0.1", "{version}");
        }
        assert!(all.hits("2.0.0").is_none() && all.hits("2.0.post1").is_none());
        assert!(all.hits("3.0-1").is_some(), "another spelling of what is listed");
    }

    #[test]
    fn what_cannot_be_ordered_is_matched_by_what_is_listed() {
        let all = package(Order::Listed, &[introduced("0")], &["4.1.0.Final"]);
        assert!(all.hits("4.1.0.Final").is_some());
        assert!(all.hits("4.0.0.Final").is_none());
    }

    proptest! {
        #[test]
        fn a_range_is_what_lies_between(from in 0_u64..40, length in 1_u64..40, at in 0_u64..100) {
            let version = |n: u64| format!("{}.{}.0", n / 10, n % 10);
            let events = [fixed(&version(from + length)), introduced(&version(from))];
            let hit = package(Order::Semantic, &events, &[]).hits(&version(at));
            prop_assert_eq!(hit.is_some(), (from..from + length).contains(&at));
            if let Some(hit) = hit {
                prop_assert_eq!(hit.fixed, vec![version(from + length)]);
            }
        }

        #[test]
        fn events_in_any_order_and_any_text_never_panic(
            texts in proptest::collection::vec((0_u8..4, ".{0,20}"), 0..12), version in ".{0,20}"
        ) {
            let events: Vec<Event> = texts
                .into_iter()
                .map(|(kind, text)| match kind {
                    0 => Event::Introduced(text),
                    1 => Event::Fixed(text),
                    2 => Event::LastAffected(text),
                    _ => Event::Limit(text),
                })
                .collect();
            let mut turned = events.clone();
            turned.reverse();
            for order in [Order::Semantic, Order::Python, Order::Listed] {
                let one = package(order, &events, &[]).hits(&version).is_some();
                prop_assert_eq!(one, package(order, &turned, &[]).hits(&version).is_some());
            }
        }

        #[test]
        fn what_mends_is_newer_and_not_affected(
            points in proptest::collection::btree_set(0_u64..60, 1..8), at in 0_u64..60
        ) {
            let version = |n: u64| format!("1.{n}.0");
            let events: Vec<Event> = points
                .iter()
                .enumerate()
                .map(|(i, n)| if i % 2 == 0 { introduced(&version(*n)) } else { fixed(&version(*n)) })
                .collect();
            let all = package(Order::Semantic, &events, &[]);
            for fixed in all.hits(&version(at)).into_iter().flat_map(|hit| hit.fixed) {
                prop_assert!(all.hits(&fixed).is_none());
                prop_assert!(semantic(&fixed) > semantic(&version(at)));
            }
        }
    }
}
