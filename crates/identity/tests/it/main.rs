//! Identity through its routes, behind the real gate, on SQLite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests; clippy's own exception knows only #[test] functions"
)]

mod access;
mod app;
mod members;
mod pages;
mod partners;
mod sign_in;
mod tokens;
