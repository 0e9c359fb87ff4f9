//! The CI server over HTTP: what people and runners see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod artifacts;
mod bounds;
mod caches;
mod engine;
mod family;
mod guard;
mod harness;
mod inputs;
mod log;
mod outside;
mod pages;
mod policy;
mod policy_bypass;
mod protocol;
mod queue;
mod reach;
mod results;
mod retention;
mod schedules;
mod service;
mod settings;
mod sites;
mod stuck;
mod town;
mod triggers;
mod variables;
