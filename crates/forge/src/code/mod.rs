//! Code: reading repositories in process, committing to them, and the pages and API that show them.

pub(crate) mod api;
mod archive;
mod ask;
mod blame;
mod branches;
pub(crate) mod cache;
mod commit;
pub(crate) mod diff;
mod follow;
pub(crate) mod history;
pub(crate) mod pages;
pub(crate) mod paths;
pub(crate) mod read;
mod repositories;
mod service;
pub(crate) mod store;

pub use commit::{FileToCommit, Signature};
pub(crate) use history::{heads, moves};
pub(crate) use paths::shown;
pub(crate) use repositories::{Repositories, disk, quarantines};
pub use service::Resolved;
pub(crate) use service::commit_id;

use bascule_core::Problem;
use std::fmt;

/// What reading a repository comes to.
pub(crate) type Reading<T> = Result<T, ReadError>;

/// Why a repository could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The person asked for something that is not there, or not allowed.
    Problem(Problem),
    /// The repository itself is at fault.
    Git(String),
}

impl From<gix::Error> for ReadError {
    fn from(error: gix::Error) -> Self {
        Self::git(error)
    }
}

impl From<Problem> for ReadError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl ReadError {
    pub(crate) fn git(error: impl fmt::Display) -> Self {
        Self::Git(error.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Problem(problem) => problem,
            ReadError::Git(error) => {
                tracing::error!(%error, "a repository could not be read");
                Self::new(
                    500,
                    "repository_unreadable",
                    "A part of this project's repository could not be read.",
                )
                .why("An object is missing or damaged on the server's disk. Other projects are not touched by it.")
                .next("Tell an administrator: `bascule project fsck` names what is damaged, and a backup or anybody's clone brings it back.")
            }
        }
    }
}

/// A project without its repository: a restore that went wrong.
pub(crate) fn repository_gone() -> Problem {
    Problem::new(
        500,
        "repository_missing",
        "This project's repository is missing on the server.",
    )
    .why("The project is known, but its files are not where they should be.")
    .next("Tell an administrator; the repository can be restored from a backup.")
}
