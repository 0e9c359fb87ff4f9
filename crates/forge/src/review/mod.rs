//! Review of merge requests: threads on lines, suggestions, approvals by count, team and path, and what bots
//! found.

pub(crate) mod approval;
pub(crate) mod findings;
pub(crate) mod owners;
pub(crate) mod pages;
pub(crate) mod ports;
pub(crate) mod position;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod subscriptions;
pub(crate) mod suggestion;
mod text;
pub(crate) mod thread;

pub(crate) use approval::{Memory, Weighed};

use crate::Forge;
use bascule_web::Routes;

/// Everything that this room serves.
pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .merge(thread::api::routes())
        .merge(approval::api::routes())
        .merge(findings::api::routes())
        .merge(owners::api::routes())
        .merge(owners::pages::routes())
        .merge(pages::routes())
}
