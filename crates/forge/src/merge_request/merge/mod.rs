//! Merging: trying it, making the commit, moving the branch once.
//!
//! The branch moves as every push moves it: an intent first, then the reference, then the fact. Beside the intent
//! stands a note of what is merged; whoever finds it after a crash looks whether the branch moved, and finishes or
//! forgets the merge. So a request is merged once, and told as merged only when it is.

pub(crate) mod api;
mod auto;
mod build;
mod message;
mod preview;
mod service;
pub(crate) mod store;
mod tree;

pub(crate) use build::{Build, write as build_commit};
pub use preview::MergedCommit;
pub(crate) use service::{Landing, held, in_conflict, unrelated};
pub(crate) use tree::{Conflict, Tried, parse, side};

use bascule_core::UserId;

/// Someone who approved a request, for the commit's message and the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Approver {
    pub(crate) user: UserId,
    pub(crate) name: String,
}
