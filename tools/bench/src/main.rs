//! `make bench`: measures the release binary beside this one against the goals of the project, on this
//! machine and over loopback only, and writes `bench/RESULTS.md`.
//!
//! `bench` runs every section, `bench edge git` only those; the others keep what an earlier run wrote.
//! `BENCH_COMMITS`, `BENCH_PROJECTS`, `BENCH_FACTS`, `BENCH_SECONDS`, `BENCH_PUSHES`, `BENCH_ROLLOUTS`,
//! `BENCH_SITES`, `BENCH_PRODUCTS`, `BENCH_CLONES`, `BENCH_JOBS`, `BENCH_QUEUE` and `BENCH_LOG_MIB` make a run smaller.

#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program has nothing else to do while it waits"
)]

mod ci;
mod ci_parse;
mod code;
mod edge;
mod facts;
mod git;
mod git_ssh;
mod history;
mod hub;
mod judge;
mod machine;
mod pages;
mod planner;
mod platform;
mod process;
mod pushes;
mod report;
mod requests;
mod start;
mod stats;

use report::Report;
use std::{io::Write as _, path::PathBuf, process::ExitCode};

/// What went wrong, in words.
type Error = Box<dyn std::error::Error + Send + Sync>;
/// What may go wrong.
type Result<T> = std::result::Result<T, Error>;

/// Sections in the order of the report.
const SECTIONS: &[&str] = &[
    "git", "edge", "pushes", "start", "pages", "judge", "planner", "hub", "requests", "code", "ci",
    "ci-parse",
];

#[tokio::main]
async fn main() -> ExitCode {
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut chosen: Vec<String> = std::env::args().skip(1).collect();
    if let Some(strange) = chosen.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        tell(&format!(
            "there is no section `{strange}`; there are {}",
            SECTIONS.join(", ")
        ));
        return ExitCode::from(2);
    }
    if chosen.is_empty() {
        chosen = SECTIONS.iter().map(|name| (*name).to_owned()).collect();
    }
    let path = results();
    let mut good = true;
    for section in SECTIONS
        .iter()
        .filter(|section| chosen.iter().any(|name| name == *section))
    {
        tell(&format!("section {section}"));
        let outcome = match *section {
            "git" => git::measure().await,
            "edge" => edge::measure(),
            "pushes" => pushes::measure().await,
            "start" => start::measure().await,
            "judge" => judge::measure(),
            "planner" => planner::measure(),
            "hub" => hub::measure().await,
            "requests" => requests::measure().await,
            "code" => code::measure().await,
            "ci-parse" => ci_parse::measure(),
            "ci" => ci::measure().await,
            _ => pages::measure().await,
        };
        // Each section is written as soon as it is there: a later one that fails takes nothing away.
        let written = outcome.and_then(|text| {
            let mut report = Report::read(&path, SECTIONS)?;
            report.set(section, &text);
            report.write(&path)
        });
        if let Err(error) = written {
            tell(&format!("section {section} failed: {error}"));
            good = false;
        }
    }
    tell(&format!("results are in {}", path.display()));
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn results() -> PathBuf {
    std::env::var_os("BENCH_RESULTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/RESULTS.md")),
        PathBuf::from,
    )
}

/// Tells the person who waits.
fn tell(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "bench: {text}"));
}

/// A size, smaller if the environment says so.
fn size(name: &str, usual: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.replace('_', "").parse().ok())
        .unwrap_or(usual)
}
