//! What the binary tells this crate.

use std::{path::PathBuf, time::Duration};

/// How the forge is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; repositories, hooks and the hook's socket live under it.
    pub data: PathBuf,
    /// The program that git's hooks run, and its first arguments. It must end in [`crate::hook::main`].
    pub hook: Vec<String>,
    /// The git program.
    pub git: String,
    /// Where people reach this instance, such as `https://bascule.example`, for clone addresses.
    pub public_url: String,
    /// Where people reach git over SSH; `None` where it is off.
    pub ssh: Option<crate::ssh::Address>,
    /// Most git processes serving clients at once; further requests wait, then are told to come back.
    pub processes: usize,
    /// How long a clone or push may take.
    pub timeout: Duration,
    /// How long a client may send nothing in the middle of a request.
    pub idle: Duration,
    /// Pushes are refused when fewer bytes than this are free on the disk.
    pub keep_free: u64,
}

impl Config {
    /// The usual set-up over a data directory; `hook` as in [`Config::hook`].
    #[must_use]
    pub fn new(data: PathBuf, public_url: String, hook: Vec<String>) -> Self {
        Self {
            data,
            hook,
            git: "git".to_owned(),
            public_url,
            ssh: None,
            processes: 64,
            timeout: Duration::from_secs(3600),
            idle: Duration::from_secs(120),
            keep_free: 64 * 1024 * 1024,
        }
    }
}

/// Why the forge cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// git is missing or too old.
    #[error("git 2.38 or newer is needed: {0}; install it with your system's package manager")]
    Git(String),
    /// A directory or file cannot be made.
    #[error("{path}: {error}")]
    Io {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] bascule_store::Error),
}
