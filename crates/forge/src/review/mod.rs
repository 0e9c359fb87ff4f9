//! Review of merge requests: threads on lines, suggestions, approvals by count, team and path, and what bots
//! found.

pub(crate) mod findings;
pub(crate) mod owners;
pub(crate) mod position;
pub(crate) mod rules;
pub(crate) mod suggestion;
