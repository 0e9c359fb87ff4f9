//! GitLab's language as its documentation promises it: every file of `tests/gitlab-ci` is read and planned, and
//! compared with what it says of itself in its last lines. See `tests/gitlab-ci/README.md` for their form.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod case;
mod keywords;
mod limits;
mod scenario;
mod schema;

use case::Case;
use std::path::PathBuf;

/// Where the files lie.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/gitlab-ci")
}

/// All cases by name, those of known projects' features too.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in [folder(), folder().join("projects")] {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "yml") {
                cases.push(Case::read(&path));
            }
        }
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

#[test]
fn every_file_does_what_it_says() {
    let cases = cases();
    let mut failed = Vec::new();
    for case in &cases {
        if let Err(why) = scenario::run(case) {
            failed.push(format!("{}: {why}", case.name));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} files:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

#[test]
fn there_are_enough_files() {
    let projects = cases()
        .iter()
        .filter(|case| case.name.starts_with("projects/"))
        .count();
    let rest = cases().len() - projects;
    assert!(rest >= 150, "{rest} files");
    assert!(projects >= 10, "{projects} files of projects");
}
