//! What runs where, as the two views (environments and products), the JSON API and the command line carry it.

use bascule_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::agent::Tier;

/// How many installs stand so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCount {
    /// The state of a plan, as in `up_to_date`.
    pub state: String,
    /// How many.
    pub count: i64,
}

/// One install of the fleet: a product in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetLine {
    /// The environment's name.
    pub environment: String,
    /// Below production, or production.
    pub tier: Tier,
    /// `group/project`.
    pub product: String,
    /// Whether a file declares it.
    pub declared: bool,
    /// `up_to_date`, `moving`, `ready`, `held`, `blocked`, `coupled`, `drifted`.
    pub state: String,
    /// What runs; empty: nothing.
    pub current: String,
    /// What should; empty: nothing.
    pub target: String,
    /// The next safe step; empty: none.
    pub step: String,
    /// Why, in plain words.
    pub why: String,
    /// Since when it stands so.
    pub at: Timestamp,
}

/// A page of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetPage {
    /// Installs, by environment and product.
    pub items: Vec<FleetLine>,
    /// How many match in each state, whatever state was asked for.
    pub counts: Vec<StateCount>,
    /// How many match in all.
    pub found: i64,
    /// Asks for the next page; none on the last.
    pub next: Option<String>,
}

/// A product and how its installs stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Product {
    /// `group/project`.
    pub project: String,
    /// The release that was published last; empty: none.
    pub newest: String,
    /// Environments it belongs in.
    pub installs: i64,
    /// How they stand.
    pub counts: Vec<StateCount>,
    /// Releases that were recalled.
    pub recalled: i64,
}

/// A page of products.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductPage {
    /// Products, by path.
    pub items: Vec<Product>,
    /// Asks for the next page; none on the last.
    pub next: Option<String>,
}

/// A product: its releases, and where each runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductView {
    /// `group/project`.
    pub project: String,
    /// Releases, newest version first.
    pub releases: Vec<ProductRelease>,
    /// Environments it belongs in; those that need a look first.
    pub places: Vec<ProductPlace>,
    /// Approvals that are waited for.
    pub approvals: Vec<WaitingApproval>,
}

/// A release of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductRelease {
    /// Its version.
    pub version: String,
    /// Its commit.
    pub sha: String,
    /// When it was published.
    pub published_at: Timestamp,
    /// The channels it is in.
    pub channels: Vec<String>,
    /// Why it was recalled; empty: it was not.
    pub recalled: String,
    /// In how many environments it serves.
    pub runs_in: i64,
}

/// An environment that a product belongs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductPlace {
    /// The environment's name.
    pub environment: String,
    /// Below production, or production.
    pub tier: Tier,
    /// Whether a file declares it.
    pub declared: bool,
    /// What serves; empty: nothing.
    pub runs: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// `healthy`, another state of its instance, or `empty`.
    pub health: String,
    /// A version that is being put there; empty: none.
    pub moving: String,
    /// What should run; empty: nothing.
    pub target: String,
    /// The next safe step; empty: none.
    pub step: String,
    /// The plan's state; empty before it was planned for.
    pub state: String,
    /// Why, in plain words.
    pub why: String,
}

/// An approval that a plan waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct WaitingApproval {
    /// For which environment.
    pub environment: String,
    /// Of which version.
    pub version: String,
    /// By which team.
    pub team: String,
}

/// Where a commit is by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhereIs {
    /// `group/project`.
    pub project: String,
    /// The commit.
    pub commit: String,
    /// Its title.
    pub title: String,
    /// All of it in one sentence.
    pub sentence: String,
    /// Releases that contain it, oldest version first.
    pub releases: Vec<ProductRelease>,
    /// All environments of the product: first those in which it runs.
    pub environments: Vec<WherePlace>,
}

/// Whether a commit runs in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WherePlace {
    /// The environment's name.
    pub environment: String,
    /// Whether what serves there contains it.
    pub here: bool,
    /// What serves there; empty: nothing.
    pub runs: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// A version that is being put there; empty: none.
    pub moving: String,
    /// What holds the next version there, in plain words.
    pub why: String,
}
