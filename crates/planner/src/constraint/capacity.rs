//! The new version runs beside the old for a while: there must be room for both.

use super::{Candidate, Constraint, Hold, Scope};

/// What an environment's machine has left, and what an instance may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Free disk, in bytes.
    pub disk_free_bytes: u64,
    /// What the artifact needs on disk, in bytes.
    pub disk_needed_bytes: u64,
}

impl Constraint for Capacity {
    fn kind(&self) -> &'static str {
        "capacity"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        (self.disk_free_bytes < self.disk_needed_bytes).then(|| {
            let why = format!(
                "waits: it needs {} MiB of disk, and less is free",
                mib(self.disk_needed_bytes)
            );
            Hold::when(self.kind(), why, "free disk")
        })
    }
}
