//! What of a cache is known only for a commit: its key from files, its policy from a variable, and whether
//! it is a protected branch's.

use crate::{
    config::{Config, JobSpec},
    variables::{Lookup, expand},
};
use bascule_wire::runner::CachePolicy;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What caches' keys are made of, by path or pattern (`**/lock`): digests of the content of files, or, where the second
/// is set, the last commits that changed them.
pub type FileKeys = BTreeMap<(String, bool), String>;

impl Config {
    /// Files, or patterns of files, that caches' keys are made of, and whether it is by their last commits.
    #[must_use]
    pub fn key_files(&self) -> BTreeSet<(&str, bool)> {
        let rules = self.jobs.iter().flat_map(|job| &job.spec.cache_rules);
        rules
            .flat_map(|rule| rule.files.iter().map(|file| (file.as_str(), rule.commits)))
            .collect()
    }
}

/// Settles keys and policies of a job's caches. Whether the branch is protected is no question to the variables: the
/// file's own count over the predefined ones, and what an unprotected branch says of itself must not be believed.
pub(super) fn settle(spec: &mut JobSpec, keys: &FileKeys, protected: bool, variables: &dyn Lookup) {
    if spec.cache.is_empty() {
        return;
    }
    let rules = std::mem::take(&mut spec.cache_rules);
    for (cache, rule) in spec.cache.iter_mut().zip(&rules) {
        if !rule.files.is_empty() {
            let key = key_of(&rule.files, rule.commits, keys);
            cache.key = match expand(&rule.prefix, variables).as_str() {
                "" => key,
                prefix => format!("{prefix}-{key}"),
            };
        }
        if let Some(policy) = &rule.policy {
            let word = expand(policy, variables);
            cache.policy = CachePolicy::parse(&word).unwrap_or_default();
        }
        // What an unprotected branch wrote must not run in a protected one.
        let suffix = if protected && !rule.unprotect {
            "protected"
        } else {
            "non_protected"
        };
        cache.key = format!("{}-{suffix}", cache.key);
        for key in &mut cache.fallback_keys {
            *key = format!("{key}-{suffix}");
        }
    }
}

/// One key for the files there are; `default` where there are none.
fn key_of(files: &[String], commits: bool, known: &FileKeys) -> String {
    let mut hash = Sha256::new();
    let mut any = false;
    for file in files {
        if let Some(id) = known.get(&(file.clone(), commits)) {
            any = true;
            hash.update(id.as_bytes());
            hash.update([0]);
        }
    }
    if any {
        hex::encode(hash.finalize())[..40].to_owned()
    } else {
        "default".to_owned()
    }
}
