//! An environment follows a channel: only releases in it may be chosen.

use super::{Candidate, Constraint, Hold, Scope};
use crate::{calendar::moment, version::Version};
use bascule_core::Timestamp;
use std::sync::Arc;

/// The channel that an install follows.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What releases that are not in it wait for, where that is known.
    pub promotions: Arc<Vec<Promotion>>,
    /// The channels that the product's newest release names; empty where that is not known.
    pub named: Arc<[String]>,
}

/// What a release waits for before it enters a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The release's version.
    pub version: Version,
    /// The channel before it that it has not come to yet; empty where it stands before this one.
    pub first: String,
    /// What it waits for there; empty: its promotion is due.
    pub waits: Vec<Wait>,
}

/// One thing that a promotion waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It has to serve, healthy, in an environment.
    Soak {
        /// The environment.
        environment: String,
        /// When it has served there for long enough; `None`: it does not serve there, or is not healthy.
        until: Option<Timestamp>,
    },
    /// A team has to approve it for the channel.
    Approval(String),
    /// Its product file names no such channel, so that it never comes there.
    NotNamed,
}

impl Channel {
    /// A channel of which nothing else is known.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            promotions: Arc::default(),
            named: Arc::default(),
        }
    }
}

/// What is wrong where a product is to follow a channel that it does not have.
#[must_use]
pub fn no_such_channel(name: &str, product: &str, named: &[String]) -> String {
    format!("channel `{name}` is not one of {product}'s: {}", named.join(", "))
}

impl Promotion {
    /// "the soak in site-7 until Friday 27 November 10:00 (UTC) and for approval by security"
    fn words(&self, now: Timestamp) -> String {
        let each: Vec<String> = self
            .waits
            .iter()
            .map(|wait| match wait {
                Wait::Soak {
                    environment,
                    until: Some(until),
                } => format!("its soak in {environment} until {}", moment(*until, now)),
                Wait::Soak {
                    environment,
                    until: None,
                } => format!("its soak in {environment}, where it does not serve in good health yet"),
                Wait::Approval(team) => format!("approval by {team}"),
                Wait::NotNamed => "a bascule.yaml that names this channel".to_owned(),
            })
            .collect();
        each.join(" and for ")
    }
}

impl Constraint for Channel {
    fn kind(&self) -> &'static str {
        "channel"
    }

    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let channel = &self.name;
        if candidate.release.channels.contains(channel) {
            return None;
        }
        if !self.named.is_empty() && !self.named.contains(channel) {
            let product = candidate.product;
            return Some(Hold::when(
                self.kind(),
                format!(
                    "cannot come here: {}",
                    no_such_channel(channel, product, &self.named)
                ),
                format!(
                    "one of these channels in the environment's file, or a release of {product} whose bascule.yaml \
                     names `{channel}`"
                ),
            ));
        }
        let why = format!("is not in the channel {channel}, which is followed here");
        let version = &candidate.release.version;
        let known = self.promotions.iter().find(|known| known.version == *version);
        Some(match known {
            Some(known) if known.waits == [Wait::NotNamed] => Hold::when(
                self.kind(),
                format!("{why}: its bascule.yaml names no such channel"),
                format!("a release whose bascule.yaml names the channel {channel}"),
            ),
            Some(known) if !known.waits.is_empty() => {
                let waits = known.words(candidate.now);
                let (to, lifts) = if known.first.is_empty() {
                    ("its promotion".to_owned(), waits.clone())
                } else {
                    let first = &known.first;
                    (
                        format!("before that comes the channel {first}, and its promotion there"),
                        format!("{waits} (to {first}), then its promotion to {channel}"),
                    )
                };
                Hold::when(self.kind(), format!("{why}: {to} waits for {waits}"), lifts)
            }
            _ => Hold::when(self.kind(), why, format!("its promotion to {channel}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, Release};

    #[test]
    fn what_a_promotion_waits_for_is_said() {
        let version: Version = "1.1.0".parse().unwrap();
        let mut catalogue = Catalogue::new();
        let product = catalogue.product("g/a");
        catalogue.publish(product, Release::plain(version.clone()));
        let told = |first: &str, waits: Vec<Wait>| {
            let channel = Channel {
                name: "stable".into(),
                promotions: Arc::new(vec![Promotion {
                    version: version.clone(),
                    first: first.into(),
                    waits,
                }]),
                named: Arc::default(),
            };
            let candidate = Candidate {
                product: "g/a",
                from: None,
                release: catalogue.at(product, 1).unwrap(),
                now: "2026-11-25T12:00:00Z".parse().unwrap(),
            };
            let hold = channel.judge(&candidate).unwrap();
            let crate::Lift::When(lifts) = hold.lifts else {
                panic!("no time alone")
            };
            (hold.why, lifts)
        };
        let soak = |until: Option<&str>| Wait::Soak {
            environment: "site-7".into(),
            until: until.map(|text| text.parse().unwrap()),
        };
        let own = "is not in the channel stable, which is followed here";
        let waits = "its soak in site-7 until Friday 27 November 10:00 (UTC) and for approval by security";
        assert_eq!(
            told(
                "",
                vec![
                    soak(Some("2026-11-27T10:00:00Z")),
                    Wait::Approval("security".into())
                ]
            ),
            (
                format!("{own}: its promotion waits for {waits}"),
                waits.to_owned()
            )
        );
        assert_eq!(
            told("beta", vec![soak(None)]),
            (
                format!(
                    "{own}: before that comes the channel beta, and its promotion there waits for its soak in site-7, \
                     where it does not serve in good health yet"
                ),
                "its soak in site-7, where it does not serve in good health yet (to beta), then its promotion to stable"
                    .to_owned()
            )
        );
        assert_eq!(
            told("", vec![Wait::NotNamed]).1,
            "a release whose bascule.yaml names the channel stable"
        );
        assert_eq!(told("", Vec::new()).1, "its promotion to stable");
    }

    #[test]
    fn a_channel_that_the_product_does_not_have_is_said_with_those_that_it_has() {
        let mut catalogue = Catalogue::new();
        let product = catalogue.product("g/a");
        catalogue.publish(product, Release::plain("1.1.0".parse().unwrap()));
        let mut channel = Channel::new("stabel");
        let candidate = Candidate {
            product: "g/a",
            from: None,
            release: catalogue.at(product, 1).unwrap(),
            now: Timestamp::default(),
        };
        let vague = channel.judge(&candidate).unwrap().why;
        assert_eq!(vague, "is not in the channel stabel, which is followed here");
        channel.named = ["dev", "stable"].map(str::to_owned).into();
        let hold = channel.judge(&candidate).unwrap();
        assert_eq!(
            hold.why,
            "cannot come here: channel `stabel` is not one of g/a's: dev, stable"
        );
        assert_eq!(
            hold.lifts,
            crate::Lift::When(
                "one of these channels in the environment's file, or a release of g/a whose bascule.yaml names `stabel`"
                    .to_owned()
            )
        );
    }
}
