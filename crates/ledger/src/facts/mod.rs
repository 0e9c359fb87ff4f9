//! The vocabulary of facts, one module per publisher. Facts live here and not in the publishing crates, so
//! that siblings can read each other's without a dependency. They carry identifiers, digests and numbers,
//! never documents or secrets.

pub mod advisories;
pub mod bundles;
pub mod ci;
pub mod delivery;
pub mod drills;
pub mod forge;
pub mod identity;
pub mod incidents;
pub mod merge_request;
pub mod notices;
pub mod pipelines;
pub mod planning;
pub mod preview;
pub mod review;
pub mod sites;
pub mod supplychain;
pub mod switch;
pub mod task;
pub mod telemetry;
pub mod workflow;

use bascule_core::ProjectId;
use serde::{Serialize, de::DeserializeOwned};

/// Something that happened. The kind is `noun.past_participle`; the body is the type's own JSON, to which
/// fields may be added (with a default) but never removed.
pub trait Fact: Serialize + DeserializeOwned + Send + Sync {
    /// The kind, as stored.
    const KIND: &'static str;
    /// The project it belongs to, if one.
    fn project(&self) -> Option<ProjectId>;
    /// What it is about, as `noun:id`; all facts with the same subject tell its life.
    fn subject(&self) -> String;
    /// One plain sentence for people, without the actor ("pushed 3 commits to main").
    fn summary(&self) -> String;
}

/// Implements [`Fact`] from a kind and three closures.
macro_rules! fact {
    ($type:ty, $kind:literal, $project:expr, $subject:expr, $summary:expr) => {
        impl $crate::facts::Fact for $type {
            const KIND: &'static str = $kind;
            fn project(&self) -> Option<bascule_core::ProjectId> {
                let f: fn(&Self) -> Option<bascule_core::ProjectId> = $project;
                f(self)
            }
            fn subject(&self) -> String {
                let f: fn(&Self) -> String = $subject;
                f(self)
            }
            fn summary(&self) -> String {
                let f: fn(&Self) -> String = $summary;
                f(self)
            }
        }
    };
}
pub(crate) use fact;

/// The first eight characters of a commit id, for people.
#[must_use]
pub fn short(sha: &str) -> &str {
    sha.get(..8).unwrap_or(sha)
}
