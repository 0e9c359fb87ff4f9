//! What runs where, as the two views (environments and products), the JSON API and the command line carry it.

use bascule_core::{DeploymentId, RolloutId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{agent::Tier, environments::RefusedCommit};

/// How many installs stand so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateCount {
    /// The state of a plan, as in `up_to_date`; `waiting`: what moves there waits for a person.
    pub state: String,
    /// How many.
    pub count: i64,
}

/// A rollout that goes on only when a person says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingRollout {
    /// The rollout.
    pub id: RolloutId,
    /// The version that comes.
    pub version: String,
    /// Its share of the requests, in percent.
    pub weight: i64,
    /// `waiting`, or `paused`.
    pub status: String,
    /// Why, in plain words.
    pub why: String,
    /// The command that lets it go on.
    pub next: String,
    /// Since when it stands at this share.
    pub since: Timestamp,
}

/// What is known of an environment by a report that was carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reported {
    /// When the site told it, by its clock.
    pub at: Timestamp,
    /// The number of the report.
    pub sequence: i64,
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
    /// The rollout under way here, where it waits for a person.
    pub rollout: Option<WaitingRollout>,
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
    /// The commit of the environments project that is not in force because a file in it is wrong, for who may read it.
    pub refused: Option<RefusedCommit>,
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
    /// The rollout under way here, where it waits for a person.
    pub rollout: Option<WaitingRollout>,
    /// The report that tells what runs; none where this instance sees it itself.
    pub reported: Option<Reported>,
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
    /// The report that tells what runs; none where this instance sees it itself.
    pub reported: Option<Reported>,
}

/// An environment on the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentTile {
    /// Its name.
    pub environment: String,
    /// `healthy`, `unhealthy`, `silent` (its agent does not report), `empty`.
    pub health: String,
    /// Whether it is production.
    pub production: bool,
    /// Whether a file declares it.
    pub declared: bool,
    /// Products that belong in it.
    pub installs: i64,
    /// One of them.
    pub first: String,
    /// Products that serve and are not healthy.
    pub ill: i64,
    /// Products whose agent does not report.
    pub silent: i64,
    /// How its products stand.
    pub counts: Vec<StateCount>,
    /// Whether changes are held there.
    pub held: bool,
    /// The report that tells what runs; none where this instance sees it itself.
    pub reported: Option<Reported>,
}

/// A page of the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentPage {
    /// Environments, by name.
    pub items: Vec<EnvironmentTile>,
    /// Asks for the next page; none on the last.
    pub next: Option<String>,
}

/// When changes may happen in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteWindows {
    /// The environment.
    pub environment: String,
    /// Whether no windows are declared, so that changes may happen at any time.
    pub always: bool,
    /// Whether one is open now. Changes that are held go before it.
    pub open: bool,
    /// Why changes are held now, whatever windows are open.
    pub held: Vec<Suppression>,
    /// The next openings, those first that come first.
    pub openings: Vec<WindowOpening>,
}

/// An opening of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowOpening {
    /// What its file calls it.
    pub label: String,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// Changes are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suppression {
    /// The environment; `*` for all.
    pub environment: String,
    /// By what: `hand`, or what opened it by itself.
    pub cause: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; none: until someone lets them go on.
    pub until: Option<Timestamp>,
}

/// What runs in an environment, down to the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteTree {
    /// The environment.
    pub environment: String,
    /// The agents that look after its products.
    pub machines: Vec<TreeMachine>,
    /// Products that are not listed here; the fleet has all of them.
    pub hidden: i64,
}

/// An agent, with what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeMachine {
    /// Its name; empty: no agent of this instance runs these.
    pub agent: String,
    /// Whether it reports.
    pub online: bool,
    /// Whether no network reaches the environment, so that reports are carried.
    pub apart: bool,
    /// The report that tells what runs.
    pub reported: Option<Reported>,
    /// The products.
    pub products: Vec<TreeProduct>,
}

/// A product in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeProduct {
    /// `group/project`.
    pub product: String,
    /// What serves; empty: nothing.
    pub runs: String,
    /// `healthy`, another state of its instance, or `empty`.
    pub health: String,
    /// The deployment that serves.
    pub deployment: Option<DeploymentId>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// A version that is being put there; empty: none.
    pub moving: String,
    /// How far it is; empty: none is.
    pub moving_status: String,
    /// Its deployment.
    pub moving_deployment: Option<DeploymentId>,
    /// Where it is reached; empty: no edge serves it.
    pub url: String,
    /// Its instances.
    pub instances: Vec<TreeInstance>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeInstance {
    /// Its version.
    pub version: String,
    /// Its deployment.
    pub deployment: DeploymentId,
    /// `serves`, `comes` (of the deployment under way), `leaves`.
    pub part: String,
    /// As its agent last told.
    pub state: String,
    /// Its share of the requests, in percent.
    pub weight: i64,
    /// How often it was started again.
    pub restarts: i64,
    /// Its address behind the edge; empty: none.
    pub address: String,
    /// What its agent says of it.
    pub message: String,
}

/// A release that was recalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecalledRelease {
    /// Its version.
    pub version: String,
    /// Why.
    pub reason: String,
    /// The oldest version that may be gone back to; empty: only forward.
    pub floor: String,
}

/// An approval that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GivenApproval {
    /// Of which version.
    pub version: String,
    /// `environment:NAME` or `channel:NAME`.
    pub scope: String,
    /// In the name of which team.
    pub team: String,
    /// By whom.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}
