//! Passwords: argon2id, on threads of its own and never more at once than the machine should spend on it.

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::SaltString,
};
use bascule_core::{Problem, Result};
use rand::RngCore as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What one hash costs. The default is OWASP's: 19 MiB, two passes.
#[derive(Clone, Copy, Debug)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Hashes computed at once.
    pub at_once: usize,
}

impl Default for HashCost {
    fn default() -> Self {
        Self {
            memory_kib: Params::DEFAULT_M_COST,
            passes: Params::DEFAULT_T_COST,
            at_once: 2,
        }
    }
}

impl HashCost {
    /// As cheap as the algorithm allows; for tests only.
    #[must_use]
    pub fn for_tests() -> Self {
        Self {
            memory_kib: Params::MIN_M_COST,
            passes: 1,
            at_once: 4,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    cost: HashCost,
    turn: Arc<Semaphore>,
}

/// How long a sign-in waits for its turn to hash.
const WAIT: Duration = Duration::from_secs(10);
/// Fewest characters of a password.
pub(crate) const MIN_CHARS: usize = 10;
/// Most bytes of a password; more would be a way to make us work.
const MAX_BYTES: usize = 1024;

impl Hasher {
    pub(crate) fn new(cost: HashCost) -> Self {
        Self {
            cost,
            turn: Arc::new(Semaphore::new(cost.at_once.max(1))),
        }
    }

    /// The hash to keep of a new password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String> {
        let password = password.to_owned();
        let cost = self.cost;
        self.run(move || compute(cost, &password).ok_or_else(Problem::internal))
            .await?
    }

    /// Whether the password is the one that `kept` was made of. Where nothing is kept the same work is done
    /// for nothing, so that the time taken does not tell which accounts exist.
    pub(crate) async fn matches(&self, password: &str, kept: Option<String>) -> Result<bool> {
        let password = password.to_owned();
        let cost = self.cost;
        self.run(move || {
            // Too long to be a password here, and expensive: refused after the same work.
            let password = if password.len() > MAX_BYTES {
                ""
            } else {
                password.as_str()
            };
            match kept.as_deref().map(PasswordHash::new) {
                Some(Ok(hash)) => {
                    engine(cost).is_some_and(|e| e.verify_password(password.as_bytes(), &hash).is_ok())
                }
                _ => {
                    drop(compute(cost, password));
                    false
                }
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let busy = || {
            Problem::new(503, "busy", "Too many people are signing in at this moment.")
                .why("Checking a password is costly on purpose, so only a few are checked at once.")
                .next("Try again in a few seconds.")
        };
        let turn = tokio::time::timeout(WAIT, self.turn.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(busy()) };
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "hashing a password");
            Problem::internal()
        })
    }
}

fn engine(cost: HashCost) -> Option<Argon2<'static>> {
    match Params::new(cost.memory_kib, cost.passes, 1, None) {
        Ok(params) => Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params)),
        Err(error) => {
            tracing::error!(%error, "argon2 parameters");
            None
        }
    }
}

fn compute(cost: HashCost, password: &str) -> Option<String> {
    let mut salt = [0_u8; 16];
    rand::rng().fill_bytes(&mut salt);
    let salt = SaltString::encode_b64(&salt).ok()?;
    engine(cost)?
        .hash_password(password.as_bytes(), &salt)
        .ok()
        .map(|hash| hash.to_string())
}

/// Whether a password may be used: long enough to be no guess; no rules about kinds of characters, which
/// only make people choose worse (NIST SP 800-63B).
pub(crate) fn check(password: &str, username: &str) -> Result<()> {
    let refuse = |what: String| {
        Err(Problem::invalid("weak_password", what)
            .why("Length protects a password best; nothing else is asked of it.")
            .next("Use four or more unrelated words, or let a password manager make one."))
    };
    if password.chars().count() < MIN_CHARS {
        return refuse(format!("The password is shorter than {MIN_CHARS} characters."));
    }
    if password.len() > MAX_BYTES {
        return refuse(format!("The password is longer than {MAX_BYTES} bytes."));
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) || password.eq_ignore_ascii_case(username) {
        return refuse("The password is one of the first that anyone would try.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let hasher = Hasher::new(HashCost::for_tests());
        let kept = hasher.hash("correct horse").await.unwrap();
        assert!(kept.starts_with("$argon2id$"));
        assert!(hasher.matches("correct horse", Some(kept.clone())).await.unwrap());
        assert!(!hasher.matches("correct horsf", Some(kept)).await.unwrap());
        assert!(!hasher.matches("correct horse", None).await.unwrap());
        assert!(!hasher.matches("", Some(String::new())).await.unwrap());
    }

    #[test]
    fn short_and_obvious_passwords_are_refused() {
        for bad in ["short", "aaaaaaaaaaaaaa", "administrator"] {
            assert!(check(bad, "administrator").is_err(), "{bad}");
        }
        assert!(check("four unrelated words", "ann").is_ok());
    }
}
