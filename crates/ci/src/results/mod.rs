//! What pipelines found out: tests, coverage, findings, variables for later jobs, and where the time went. A job's
//! reports are read once it has ended, from the fact that says so.

pub(crate) mod analytics;
pub(crate) mod api;
mod badge;
pub mod coverage;
mod lines;
mod pages;
pub mod read;
mod service;
pub(crate) mod store;
mod take;
pub mod timing;
mod widget;

pub use lines::Lines;
pub use service::{Gate, Weighed};
pub(crate) use store::{PLAYED, PLAYED_INPUTS, RESULTS as MIGRATION};
pub use take::Results;
pub use widget::{Asked, Concern};
