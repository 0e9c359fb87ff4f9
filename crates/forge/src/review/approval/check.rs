//! What reviews add to the conditions of merging.

use super::{CHANGES, service::Weighed};
use crate::{
    Forge,
    merge_request::{Check, CheckState, checks::Looked},
    review::{rules::APPROVER, thread},
    told::sentences,
};
use bascule_core::Result;

impl Forge {
    /// Approvals, wishes for changes, threads.
    pub(crate) async fn review_checks(&self, looked: &Looked<'_>, weighed: &Weighed) -> Result<Vec<Check>> {
        let mut checks: Vec<Check> = approvals(weighed).into_iter().collect();
        checks.extend(changes(weighed));
        if weighed.settings.resolve_threads {
            let open = thread::store::unresolved(self.db(), looked.request.id).await?;
            checks.push(threads(open));
        }
        Ok(checks)
    }
}

fn approvals(weighed: &Weighed) -> Option<Check> {
    let needed: Vec<_> = weighed
        .verdict
        .outcomes
        .iter()
        .filter(|outcome| outcome.required > 0 && !outcome.optional)
        .collect();
    if needed.is_empty() {
        return None;
    }
    let missing: Vec<_> = needed.iter().filter(|outcome| !outcome.met()).collect();
    if missing.is_empty() {
        let names = weighed.verdict.approvers.join(", ");
        return Some(Check::passed("approvals", format!("Approved by {names}.")));
    }
    let stale = match weighed.verdict.ignored.len() {
        0 => String::new(),
        count => {
            let said: Vec<String> = weighed
                .verdict
                .ignored
                .iter()
                .take(5)
                .map(|(name, bar)| format!("{name} {}", bar.says()))
                .collect();
            format!(
                " {} not counted: {}.",
                if count == 1 {
                    "An approval is"
                } else {
                    "Some approvals are"
                },
                said.join("; ")
            )
        }
    };
    let names: Vec<&str> = missing.iter().map(|outcome| outcome.name.as_str()).collect();
    let mut whys: Vec<&str> = missing.iter().map(|outcome| outcome.why.as_str()).collect();
    whys.dedup();
    let next: Vec<String> = missing.iter().take(10).map(|outcome| outcome.next()).collect();
    Some(Check::holds(
        "approvals",
        CheckState::Pending,
        format!("Approval is missing: {}.{stale}", names.join(", ")),
        whys.join(" "),
        sentences(next.iter().map(String::as_str)),
    ))
}

/// Whoever may approve and asked for changes holds the merge until they have looked again.
fn changes(weighed: &Weighed) -> Option<Check> {
    let asking: Vec<&str> = weighed
        .involved
        .iter()
        .filter(|person| person.verdict == CHANGES)
        .filter(|person| {
            let role = weighed
                .case
                .people
                .get(&person.user_id)
                .and_then(|person| person.role);
            role.is_some_and(|role| role >= APPROVER)
        })
        .map(|person| person.user_name.as_str())
        .collect();
    if asking.is_empty() {
        return None;
    }
    let names = asking.join(", ");
    Some(Check::holds(
        "changes_requested",
        CheckState::Failed,
        format!("Changes were asked for by {names}."),
        "A reviewer found something that should not be merged as it is.",
        format!("Answer or change it, then ask {names} to look again. A maintainer can set it aside."),
    ))
}

fn threads(open: i64) -> Check {
    if open == 0 {
        return Check::passed("threads", "All threads are resolved.");
    }
    let what = if open == 1 {
        "A thread is not resolved.".to_owned()
    } else {
        format!("{open} threads are not resolved.")
    };
    Check::holds(
        "threads",
        CheckState::Failed,
        what,
        "The project asks that what was raised is settled before the merge.",
        "Answer each thread and resolve it.",
    )
}
