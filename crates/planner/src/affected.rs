//! Which environments one event bears on, so that only those are planned anew.
//!
//! A release changes the plan of the environments in which its product belongs, and no other: what is said of a
//! product that does not belong in an environment holds there whatever its releases are. Time changes the plan of an
//! environment when it lifts one of its holds.

use crate::{
    constraint::Lift,
    model::{Environment, ProductIndex},
    solve::Plan,
};
use bascule_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Something that may change plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A release of the product was published, promoted or recalled, or its versions are taken in another way.
    Product(ProductIndex),
    /// Something that bears on one environment: what runs, what is declared, an approval, a window, health.
    Environment(usize),
    /// Something that bears on all.
    Everything,
}

/// Keeps which environments have to be planned anew. Environments are numbers that the caller gives.
#[derive(Clone, Debug, Default)]
pub struct Affected {
    products: BTreeMap<usize, Vec<ProductIndex>>,
    environments: HashMap<ProductIndex, BTreeSet<usize>>,
    dirty: BTreeSet<usize>,
    /// When time alone lifts the next hold.
    due: BTreeSet<(Timestamp, usize)>,
    next: HashMap<usize, Timestamp>,
}

impl Affected {
    /// Knows no environment yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An environment as it is now; it has to be planned.
    pub fn put(&mut self, number: usize, environment: &Environment) {
        self.forget(number);
        let products: Vec<ProductIndex> = environment
            .installs
            .iter()
            .map(|install| install.product)
            .collect();
        for product in &products {
            self.environments.entry(*product).or_default().insert(number);
        }
        self.products.insert(number, products);
        self.dirty.insert(number);
    }

    /// An environment that is no more.
    pub fn forget(&mut self, number: usize) {
        for product in self.products.remove(&number).unwrap_or_default() {
            if let Some(known) = self.environments.get_mut(&product) {
                known.remove(&number);
                if known.is_empty() {
                    self.environments.remove(&product);
                }
            }
        }
        self.dirty.remove(&number);
        self.undue(number);
    }

    /// Something happened.
    pub fn note(&mut self, event: Event) {
        match event {
            Event::Product(product) => {
                self.dirty
                    .extend(self.environments.get(&product).into_iter().flatten());
            }
            Event::Environment(number) => {
                if self.products.contains_key(&number) {
                    self.dirty.insert(number);
                }
            }
            Event::Everything => self.dirty.extend(self.products.keys()),
        }
    }

    /// An environment was planned: what time alone lifts is kept.
    pub fn planned(&mut self, number: usize, plan: &Plan) {
        self.dirty.remove(&number);
        self.undue(number);
        let verdicts = plan.installs.iter().flat_map(|planned| &planned.verdicts);
        let next = verdicts
            .filter_map(|verdict| match verdict.lifts {
                Some(Lift::At(at)) => Some(at),
                _ => None,
            })
            .min();
        if let Some(at) = next {
            self.due.insert((at, number));
            self.next.insert(number, at);
        }
    }

    /// When time alone changes a plan next.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Environments that have to be planned anew, at a time, in their numbers' order. They stay so until
    /// [`Affected::planned`] is said.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Vec<usize> {
        let by_time = self.due.iter().take_while(|(at, _)| *at <= now);
        let mut all = self.dirty.clone();
        all.extend(by_time.map(|(_, number)| *number));
        all.into_iter().collect()
    }

    fn undue(&mut self, number: usize) {
        if let Some(at) = self.next.remove(&number) {
            self.due.remove(&(at, number));
        }
    }
}
