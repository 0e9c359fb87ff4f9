//! The forge as stock git, browsers and API clients see it, over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod api;
mod code;
mod crash;
mod fixture;
mod forks;
mod merge_requests;
mod merging;
mod pages;
mod programs;
mod protocol;
mod push;
mod ssh;
mod storage;
mod workflow;

/// What git's hook runs in these tests: this very program, told to run this one "test".
#[test]
#[ignore = "run by git, not by people"]
fn hook_entry() {
    if std::env::var_os(bascule_forge::hook::SOCKET).is_some() {
        std::process::exit(bascule_forge::hook::main());
    }
}
