//! Identity: users, groups, roles, sessions, access tokens, SSH keys. Answers the two questions before every
//! request: who asks ([`Identity::authenticate`]), and what may they reach ([`Identity::role_in_project`]).
//! Nothing about either is remembered between requests, so what is taken away is gone at once.

mod authenticate;
mod bootstrap;
mod credential;
mod deploy_key;
mod group;
mod key;
mod notice;
mod paging;
mod partner;
mod password;
mod reach;
mod schema;
mod secret;
mod session;
mod text;
mod token;
mod user;

pub use bootstrap::{PASSWORD_FILE, TOKEN_FILE};
pub use credential::{Credential, SESSION_COOKIE};
pub use deploy_key::DeployKeySubscriber;
pub use group::{GroupInfo, Member, Place};
pub use key::{PublicSshKey, parse as parse_ssh_key};
pub use partner::ports;
pub use password::HashCost;
pub use reach::Reach;
pub use schema::MIGRATIONS;
pub use user::Account;

use authenticate::Used;
use bascule_core::Timestamp;
use bascule_ledger::Ledger;
use bascule_store::Db;
use bascule_web::Routes;
use password::Hasher;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock},
};

/// What an instance may set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// What hashing a password costs.
    pub hash_cost: HashCost,
    /// Whether a proxy of our own stands before us, so that `X-Forwarded-For` names the client. Anyone else
    /// could write anything there.
    pub behind_proxy: bool,
}

/// The service, cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    ledger: Ledger,
    config: Config,
    hasher: Hasher,
    touching: Mutex<HashSet<Used>>,
    /// Set once all is built: the forge knows what projects are called.
    projects: OnceLock<Arc<dyn ports::Projects>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// The service over a database. Time comes from the ledger's clock.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, config: Config) -> Self {
        let hasher = Hasher::new(config.hash_cost);
        Self {
            inner: Arc::new(Inner {
                db,
                ledger,
                config,
                hasher,
                touching: Mutex::default(),
                projects: OnceLock::new(),
            }),
        }
    }

    /// Who knows what projects are called.
    pub fn set_projects(&self, projects: Arc<dyn ports::Projects>) {
        // Set once, while the server is put together.
        drop(self.inner.projects.set(projects));
    }

    fn projects(&self) -> bascule_core::Result<&dyn ports::Projects> {
        let projects = self.inner.projects.get();
        projects
            .map(AsRef::as_ref)
            .ok_or_else(bascule_core::Problem::internal)
    }

    fn db(&self) -> &Db {
        &self.inner.db
    }

    fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    fn config(&self) -> &Config {
        &self.inner.config
    }

    fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    fn touching(&self) -> &Mutex<HashSet<Used>> {
        &self.inner.touching
    }

    fn now(&self) -> Timestamp {
        self.inner.ledger.clock().now()
    }
}

/// An instant on a page; templates pass references.
pub(crate) fn when(at: &Timestamp) -> bascule_web::Markup {
    bascule_web::when(*at)
}

/// All routes of this crate: pages and JSON.
#[must_use]
pub fn routes(identity: Identity) -> Routes {
    Routes::new()
        .merge(session::routes())
        .merge(user::page_routes())
        .merge(user::api_routes())
        .merge(group::page_routes())
        .merge(group::api_routes())
        .merge(token::page_routes())
        .merge(token::api_routes())
        .merge(key::page_routes())
        .merge(key::api_routes())
        .merge(deploy_key::page_routes())
        .merge(deploy_key::api_routes())
        .merge(partner::page_routes())
        .merge(partner::api_routes())
        .with_state(identity)
}
