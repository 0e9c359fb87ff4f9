//! Bundles between a hub and the sites that no network reaches. On the hub: what a site needs is exported, and what
//! it reports is taken. On the site: bundles are gathered, checked and brought into force. The format and its rules
//! are `bascule-bundle`'s; here it meets the database.

mod api;
mod apply;
mod choose;
mod export;
mod files;
mod import;
mod report;
pub(crate) mod store;
mod trust;

use crate::{Delivery, Freight};
use bascule_bundle::{Part, Set};
use bascule_core::{Digest, Name, Problem, Timestamp};
use bascule_store::Blobs;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

/// The format of a release's document in a bundle.
const RELEASE_FORMAT: &str = "bascule.carried-release/1";
/// The format of a recall's document in a bundle.
const RECALL_FORMAT: &str = "bascule.recall/1";
/// The format of what a site tells of itself.
const OBSERVED_FORMAT: &str = "bascule.observed/1";
/// Largest document in a bundle that is read, in bytes.
const DOCUMENT_BYTES: u64 = 16 * 1024 * 1024;
/// For how many days a bundle may be imported unless said otherwise, and at most.
const DAYS: (u32, u32) = (90, 3_650);

/// Bundles, cheap to clone.
#[derive(Clone)]
pub struct Carry {
    delivery: Delivery,
    blobs: Blobs,
    /// Where sets are gathered, a folder for each lane.
    folder: Arc<Path>,
    freight: Arc<dyn Freight>,
    /// One import at a time in this process; another process is refused by the lane's own lock.
    turn: Arc<Mutex<()>>,
}

impl Carry {
    /// Bundles of an instance. `folder` is where sets are gathered; it need not be there yet.
    #[must_use]
    pub fn new(delivery: Delivery, blobs: Blobs, folder: PathBuf, freight: Arc<dyn Freight>) -> Self {
        Self {
            delivery,
            blobs,
            folder: folder.into(),
            freight,
            turn: Arc::default(),
        }
    }

    /// The JSON API.
    #[must_use]
    pub fn routes(&self) -> bascule_web::Routes {
        api::routes().with_state(self.clone())
    }

    fn now(&self) -> Timestamp {
        self.delivery.now()
    }
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A hub's: its bundles are applied here.
    Hub,
    /// A site's: its reports are.
    Site,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Site => "site",
        }
    }
}

/// Which way a set travels, as stored and as in the API's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the hub to a site.
    To,
    /// From a site to its hub.
    From,
}

impl Way {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::From => "from",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::To, Self::From]
            .into_iter()
            .find(|way| way.as_str() == text)
    }
}

/// A release in a bundle, besides its signed manifest and parts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseDocument {
    format: String,
    /// What the release's own keeper says of it.
    release: serde_json::Value,
    /// The channels that it is in.
    channels: BTreeSet<String>,
    /// Its `bascule.yaml`: no repository is carried.
    product: String,
}

/// A recall in a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecallDocument {
    format: String,
    /// `group/project`.
    product: String,
    version: String,
    reason: String,
    floor: String,
    /// Whether it was lifted: environments take the release again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lifted: bool,
}

/// What is kept of an export, so that its files can be written at any time.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    set: Set,
    division: Vec<Vec<Part>>,
    /// Documents that the site has once it has applied this, by what they are about.
    known: BTreeMap<String, Digest>,
}

fn site_name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(Problem::from)
}

/// When a bundle of so many days becomes stale.
fn expiry(now: Timestamp, days: Option<u32>) -> Result<Timestamp, Problem> {
    let (usual, most) = DAYS;
    let days = days.unwrap_or(usual);
    if days == 0 || days > most {
        return Err(
            Problem::invalid("bad_days", format!("A bundle cannot be good for {days} days."))
                .why("What it allows may be recalled, so it is stale one day.")
                .next(format!("Choose 1 to {most} days.")),
        );
    }
    Ok(now.plus(std::time::Duration::from_secs(u64::from(days) * 86_400)))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A task that ended otherwise than by returning.
#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn broken(error: tokio::task::JoinError) -> Problem {
    tracing::error!(%error, "work on a bundle ended");
    Problem::internal()
}

/// A kept document that is none, which only damage explains.
fn damaged(what: &str, error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, what, "a kept document cannot be read");
    Problem::internal()
}
