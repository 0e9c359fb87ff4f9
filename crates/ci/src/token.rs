//! Tokens of runners and jobs: random, shown once, kept as hashes. Looking one up by its hash leaks nothing
//! by time that would help to guess another.

use rand::Rng as _;
use sha2::{Digest as _, Sha256};

/// Beginning of a runner's token (GitLab's, so that scanners for leaked secrets know it).
pub const RUNNER: &str = "glrt-";
/// Beginning of a job's token.
pub const JOB: &str = bascule_wire::runner::JOB_TOKEN_PREFIX;
/// Beginning of a trigger token.
pub const TRIGGER: &str = "glptt-";
/// Beginning of a registration token.
pub const REGISTRATION: &str = "GR1348941";

/// A new token of 200 random bits.
#[must_use]
pub fn new(prefix: &str) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = rand::rng();
    let body: String = (0..36)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect();
    format!("{prefix}{body}")
}

/// The token that a job's script sees (`CI_JOB_TOKEN`), of the one with which its runner reports: a script that could
/// report would pass its own gate. It comes of the other and does not lead back to it.
#[must_use]
pub fn for_script(token: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("for the script of {token}").as_bytes()));
    format!("{JOB}{}", digest.get(..40).unwrap_or_default())
}

/// What is kept of a job's token, by the one with which its runner reports.
#[must_use]
pub fn hash_of_job(reports: &str) -> String {
    hash(&for_script(reports))
}

/// What is kept of a token.
#[must_use]
pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}
