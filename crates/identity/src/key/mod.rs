//! SSH public keys of people.

mod api;
mod pages;
mod parse;
mod service;
pub(crate) mod store;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;
pub use parse::{PublicSshKey, parse};

use bascule_wire::identity as wire;
use store::Key;

/// Most keys of one account.
const MOST: i64 = 50;

impl From<Key> for wire::Key {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            title: key.title,
            algorithm: key.algorithm,
            fingerprint: key.fingerprint,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
        }
    }
}
