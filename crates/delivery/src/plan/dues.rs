//! When time alone may change an environment's plan next.

use bascule_core::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// A moment for each environment that waits for one.
#[derive(Debug, Default)]
pub(super) struct Dues {
    order: BTreeSet<(Timestamp, String)>,
    of: HashMap<String, Timestamp>,
}

impl Dues {
    /// An environment is planned again at a moment, or only when something changes.
    pub fn set(&mut self, name: &str, at: Option<Timestamp>) {
        if let Some(before) = self.of.remove(name) {
            self.order.remove(&(before, name.to_owned()));
        }
        if let Some(at) = at {
            self.of.insert(name.to_owned(), at);
            self.order.insert((at, name.to_owned()));
        }
    }

    /// Whether any has come.
    pub fn any(&self, now: Timestamp) -> bool {
        self.order.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Those that have come.
    pub fn at(&self, now: Timestamp) -> Vec<String> {
        self.order
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, name)| name.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_moment_and_the_last_that_was_set_counts() {
        let at = Timestamp::from_seconds;
        let mut dues = Dues::default();
        dues.set("a", Some(at(10)));
        dues.set("b", Some(at(20)));
        assert!(!dues.any(at(9)) && dues.any(at(10)));
        dues.set("a", Some(at(30)));
        assert_eq!(dues.at(at(25)), ["b"]);
        dues.set("b", None);
        assert!(dues.at(at(25)).is_empty());
        assert_eq!(dues.at(at(30)), ["a"]);
    }
}
