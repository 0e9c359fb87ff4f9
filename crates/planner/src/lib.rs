//! What could change in an environment, what holds it, and why. Pure: no I/O, no clock, no randomness; the
//! present is a parameter, and the same input gives the same plan.
//!
//! - [`version`]: versions and matchers, ordered as numbers.
//! - [`model`]: products, releases, what is installed.
//! - [`constraint`]: what may hold a version or a moment, one kind a file.
//! - [`calendar`]: maintenance windows.
//! - [`solve`]: the newest consistent target, and the safe next steps towards it.
//! - [`search`]: the bounded search where ranges fall or what runs is inconsistent.
//! - [`affected`]: which environments one event bears on.
//! - [`explain`]: why a version is not there, as a chain of plain sentences.
//! - [`strand`]: which environments a release would strand.
//! - [`sample`]: seeded instances for tests and measurements.

pub mod affected;
pub mod calendar;
pub mod constraint;
pub mod explain;
mod group;
mod lower;
pub mod model;
pub mod sample;
mod scene;
pub mod search;
pub mod solve;
pub mod strand;
pub mod version;

pub use affected::{Affected, Event};
pub use constraint::{Constraint, Hold, Lift, Scope, Verdict};
pub use explain::{Explainer, Link, Why, against, explain};
pub use model::{Catalogue, Dependency, Environment, Install, Published, Recall, Release};
pub use solve::{Coupled, Plan, Planned, State, Step, plan};
pub use version::{Matcher, Version};
