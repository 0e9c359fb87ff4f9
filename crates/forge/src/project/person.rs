//! What only a person decides: the rules by which a project's code is let in.

use bascule_core::{Caller, Problem, Result};

/// Refuses programs what would take the need for a person's word away. Programs do not approve, so they must not be
/// able to say either that nobody has to. `what` completes "Only a person …".
pub(crate) fn only_a_person(caller: &Caller, what: &str) -> Result<()> {
    if caller.person().is_some() {
        return Ok(());
    }
    Err(
        Problem::new(403, "not_a_person", format!("Only a person {what}."))
            .why("Programs do not approve: one that could change the rules of merging could do without the people who approve. No account stands behind this token.")
            .next("A person with the role maintainer does this, signed in or with a personal token with the scope `api`."),
    )
}
