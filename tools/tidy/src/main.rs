//! Checks the house rules that a compiler cannot: arrows between crates run to a strictly lower rank, no
//! file grows too long to read in one sitting, no text names a path of some machine.
//!
//! Run by `make lint`. Exits with 1 and one line per fault.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, ExitCode},
};

/// Each crate's rank, as ARCHITECTURE.md says. A crate may use crates of a strictly lower rank only.
const RANKS: &[(&str, u8)] = &[
    ("bascule-core", 0),
    ("bascule-planner", 1),
    ("bascule-wire", 1),
    ("bascule-bundle", 2),
    ("bascule-client", 2),
    ("bascule-sandbox", 2),
    ("bascule-store", 2),
    ("bascule-ledger", 3),
    ("bascule-web", 4),
    ("bascule-identity", 5),
    ("bascule-forge", 6),
    ("bascule-ci", 6),
    ("bascule-supplychain", 6),
    ("bascule-delivery", 6),
    ("bascule-telemetry", 6),
    ("bascule-incidents", 6),
    ("bascule-planning", 6),
    ("bascule-notices", 6),
    ("bascule-insights", 7),
    ("bascule-runner", 8),
    ("bascule-agent", 8),
    ("bascule-edge", 8),
    ("bascule", 9),
    ("bascule-testkit", 10),
    ("bascule-tests", 11),
    ("demo", 11),
    ("bench", 11),
    ("tidy", 0),
];

/// What runs on machines of its own never reaches the server's state.
const OUTSIDE: &[&str] = &["bascule-runner", "bascule-agent", "bascule-edge"];
const OUTSIDE_MAY_USE: &[&str] = &[
    "bascule-core",
    "bascule-wire",
    "bascule-client",
    "bascule-sandbox",
];

/// Longest Rust file, in lines.
const LINES: usize = 800;

fn main() -> ExitCode {
    let mut faults = Vec::new();
    match metadata() {
        Ok(metadata) => arrows(&metadata, &mut faults),
        Err(error) => faults.push(format!("cargo metadata: {error}")),
    }
    match tracked_files() {
        Ok(files) => {
            for file in files {
                text(&file, &mut faults);
            }
        }
        Err(error) => faults.push(format!("git ls-files: {error}")),
    }
    let mut err = std::io::stderr().lock();
    for fault in &faults {
        drop(writeln!(err, "tidy: {fault}"));
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|e| e.to_string())
}

fn metadata() -> Result<serde_json::Value, String> {
    let text = output(
        "cargo",
        &["metadata", "--format-version", "1", "--no-deps", "--offline"],
    )
    .or_else(|_| output("cargo", &["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

fn arrows(metadata: &serde_json::Value, faults: &mut Vec<String>) {
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(rank) = ranks.get(name) else {
            faults.push(format!(
                "{name} has no rank: add it to tools/tidy and ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let Some(to_rank) = ranks.get(to) else { continue };
            let in_tests = dependency["kind"].as_str() == Some("dev");
            if to_rank >= rank && !(in_tests && to == "bascule-testkit") {
                faults.push(format!(
                    "{name} (rank {rank}) uses {to} (rank {to_rank}); arrows run to lower ranks only"
                ));
            }
            if OUTSIDE.contains(&name) && !OUTSIDE_MAY_USE.contains(&to) && !in_tests {
                faults.push(format!(
                    "{name} uses {to}; it may use only {}",
                    OUTSIDE_MAY_USE.join(", ")
                ));
            }
        }
    }
}

fn tracked_files() -> Result<Vec<String>, String> {
    Ok(output("git", &["ls-files", "-z"])?
        .split('\0')
        .filter(|f| !f.is_empty())
        .map(str::to_owned)
        .collect())
}

fn text(file: &str, faults: &mut Vec<String>) {
    let Ok(text) = std::fs::read_to_string(file) else {
        return;
    };
    let rust = Path::new(file).extension().is_some_and(|e| e == "rs");
    if rust && text.lines().count() > LINES {
        faults.push(format!(
            "{file} has {} lines, more than {LINES}: make it two rooms",
            text.lines().count()
        ));
    }
    for sign in [concat!("/work", "/main"), concat!("/root", "/.c")] {
        if text.contains(sign) {
            faults.push(format!("{file} names a path of some machine: {sign}"));
        }
    }
    if rust && !file.starts_with("tools/tidy") {
        for sign in [concat!("todo", "!("), concat!("unimplemented", "!(")] {
            if text.contains(sign) {
                faults.push(format!("{file} holds a {sign}…): finish it or leave it out"));
            }
        }
    }
}
