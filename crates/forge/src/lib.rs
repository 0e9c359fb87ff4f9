//! Git hosting: projects, code, and pushes that explain their refusals.
//!
//! Stock `git` serves the protocol, because it is the protocol's own implementation; pages and other
//! capabilities read objects in process, because a process per page is what makes forges slow. A push is
//! judged while its objects are in quarantine, by our own hook, which asks this crate over a Unix socket.
//!
//! The binary opens a [`Forge`], serves [`Forge::routes`], runs [`Forge::run`] in the background, and lets
//! its hidden `hook` command call [`hook::main`].

mod api;
mod code;
mod config;
mod forge;
mod fork;
mod git;
#[doc(hidden)]
pub mod hostile;
mod merge_request;
pub mod ports;
mod project;
mod push;
mod queue;
mod review;
pub mod ssh;
mod storage;
mod told;
mod upkeep;
mod workflow;

pub use code::{FileToCommit, Resolved, Signature};
pub use config::{Config, OpenError};
pub use forge::Forge;
pub use merge_request::notice::{Commit, Involved};
pub use merge_request::{Check, CheckState, MergeRequest, MergedCommit, Settings, State, Strategy, Version};
pub use project::{MIGRATIONS, ProjectInfo, Visible};
pub use push::{CiOptions, hook};
pub use review::{
    findings::{Found, Report, Severity},
    owners::CodeOwners,
};
