//! Waves: what belongs to a later one moves only after all that belong to earlier ones are where they should be,
//! and serve well.

use super::{Candidate, Constraint, Hold, Scope};

/// Installs of earlier waves that are not done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wave {
    /// The wave that waits.
    pub number: u32,
    /// Keys of those it waits for, each with what it lacks, such as "is not up to date".
    pub before: Vec<(String, String)>,
}

/// Installs that a reason names before it counts the rest.
const NAMED: usize = 3;

impl Constraint for Wave {
    fn kind(&self) -> &'static str {
        "wave"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        if self.before.is_empty() {
            return None;
        }
        let mut named: Vec<String> = self
            .before
            .iter()
            .take(NAMED)
            .map(|(key, lacks)| format!("{key} {lacks}"))
            .collect();
        if self.before.len() > NAMED {
            named.push("others too".to_owned());
        }
        Some(Hold::when(
            self.kind(),
            format!("waits for the waves before {}: {}", self.number, named.join(", ")),
            "the waves before it to be up to date and healthy",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, Release, Version};
    use bascule_core::Timestamp;

    #[test]
    fn a_wave_waits_for_those_before_it_and_names_some() {
        let mut catalogue = Catalogue::new();
        let product = catalogue.product("b");
        catalogue.publish(product, Release::plain("1.0.0".parse::<Version>().unwrap()));
        let candidate = Candidate {
            product: "b",
            from: None,
            release: catalogue.at(product, 1).unwrap(),
            now: Timestamp::default(),
        };
        let mut wave = Wave {
            number: 2,
            before: Vec::new(),
        };
        assert_eq!(wave.judge(&candidate), None);
        for name in ["a", "b", "c", "d"] {
            wave.before.push((name.to_owned(), "is not healthy".to_owned()));
        }
        assert_eq!(
            wave.judge(&candidate).unwrap().why,
            "waits for the waves before 2: a is not healthy, b is not healthy, c is not healthy, others too"
        );
    }
}
