//! All routes of this crate.

use crate::{Forge, code, fork, git, merge_request, project, queue, review, ssh, storage, upkeep, workflow};
use bascule_web::Routes;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .merge(git::http::routes())
        .merge(project::api::routes())
        .merge(project::pages::routes())
        .merge(code::api::routes())
        .merge(code::pages::routes())
        .merge(merge_request::api::routes())
        .merge(merge_request::pages::routes())
        .merge(ssh::pages::routes())
        .merge(storage::api_routes())
        .merge(storage::page_routes())
        .merge(upkeep::api_routes())
        .merge(merge_request::merge::api::routes())
        .merge(merge_request::api_more::routes())
        .merge(merge_request::conflicts::api::routes())
        .merge(fork::routes())
        .merge(queue::api::routes())
        .merge(queue::pages::routes())
        .merge(review::routes())
        .merge(workflow::api::routes())
        .merge(workflow::pages::routes())
}
