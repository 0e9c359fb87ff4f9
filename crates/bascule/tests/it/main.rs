//! Black-box tests: the real binary, stock git, real sandboxes, both databases. One file a concern.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod advisories;
mod agents;
mod air_gap;
mod authorisation;
mod ci_across;
mod ci_containers;
mod ci_includes;
mod ci_runners;
mod containers;
mod contracts;
mod disk_full;
mod fleet;
mod hostile;
mod kills;
mod merge_queue;
mod mr_cli;
mod network_cut;
mod notices;
mod own_history;
mod partners;
mod planning;
mod previews;
mod product;
mod push_options;
mod refused_push;
mod registry;
mod required;
mod review_threads;
mod reviews;
mod rolling;
mod ssh;
mod storage;
mod survive;
mod tasks;
mod tls;
mod upgrade;
mod way;
mod workflow;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_bascule");
