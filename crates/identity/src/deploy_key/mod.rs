//! SSH public keys that reach one project: for machines that clone or push without a person's account.

mod api;
mod pages;
mod service;
pub(crate) mod store;
mod subscriptions;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;
pub use subscriptions::DeployKeySubscriber;

use bascule_wire::identity as wire;
use store::DeployKey;

/// Most deploy keys of one project.
const MOST: i64 = 50;

impl From<DeployKey> for wire::DeployKey {
    fn from(key: DeployKey) -> Self {
        Self {
            id: key.id,
            title: key.title,
            algorithm: key.algorithm,
            fingerprint: key.fingerprint,
            writes: key.writes,
            created_by: key.created_by,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
        }
    }
}
