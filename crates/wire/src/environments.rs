//! Environments in git: dry runs, what is no longer declared, parity, secrets, locks of dependencies.

use crate::delivery::PlanEntry;
use bascule_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be tried: a commit of the environments project, or files that were not pushed yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewDryRun {
    /// The commit, by its 40 hexadecimal digits; empty where files are given.
    #[serde(default)]
    pub revision: String,
    /// The files.
    #[serde(default)]
    pub files: Vec<DryRunFile>,
    /// Whether the files are all that there are. Otherwise what they do not name stays as it is in force.
    #[serde(default)]
    pub complete: bool,
}

/// A file of the environments project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRunFile {
    /// Its path, such as `environments/site-7.yaml`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What would change, and what would be done then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    /// Where a file is wrong; nothing of the commit would come into force. Empty where all are right.
    pub refused: String,
    /// What would be declared otherwise than it is in force.
    pub changes: Vec<DryRunChange>,
    /// Installs whose plan would be another, as it would stand.
    pub plans: Vec<PlanEntry>,
    /// Changes and plans of products that the caller may not read; they are counted, not named.
    pub hidden: u64,
}

/// One change of what is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunChange {
    /// `environment_added`, `environment_removed`, `environment_changed`, `install_added`, `install_removed`,
    /// `install_changed`, `unknown_product`, `unknown_name`, `prune_refused`.
    pub kind: String,
    /// The environment.
    pub environment: String,
    /// `group/project`; empty: the environment itself.
    pub product: String,
    /// In plain words.
    pub text: String,
}

/// A commit of the environments project that is not in force, because a file in it is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedCommit {
    /// The environments project, as `group/project`.
    pub project: String,
    /// The newest commit of its default branch.
    pub commit: String,
    /// When it was refused.
    pub at: Timestamp,
    /// File, line, column, what is wrong there and what is allowed.
    pub reason: String,
    /// The commit that is in force; empty: none.
    pub in_force: String,
    /// All of it in one sentence.
    pub sentence: String,
}

/// What an environment's file no longer declares, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Prune {
    /// The environment.
    pub environment: String,
    /// `none` (there is nothing), `left` (the file does not ask for it), `refused` (more than the limit, so a
    /// person has to confirm), `held` (this moment is held), `due` (it is done within the next pass).
    pub state: String,
    /// Why, in plain words.
    pub reason: String,
    /// Most that is removed at once, in percent.
    pub limit_percent: u8,
    /// What would be removed, as far as the caller may read it.
    pub installs: Vec<PruneInstall>,
    /// Installs that the caller may not read.
    pub hidden: u64,
}

/// An install that is no longer declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneInstall {
    /// `group/project`.
    pub product: String,
    /// The version that serves; empty: none.
    pub version: String,
    /// Why it waits; empty where nothing holds it.
    pub held: String,
}

/// How one product differs between its environments, differences first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Parity {
    /// `group/project`.
    pub product: String,
    /// Its environments; the cells of each line are in this order.
    pub environments: Vec<ParityEnvironment>,
    /// How many lines differ.
    pub differences: u64,
    /// Version, platform services, configuration keys.
    pub lines: Vec<ParityLine>,
}

/// An environment of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParityEnvironment {
    /// Its name.
    pub name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// Whether a file declares it.
    pub declared: bool,
    /// When it told what runs there, where a carried report is all that is known of it.
    pub reported_at: Option<Timestamp>,
}

/// One thing that may differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParityLine {
    /// `version`, `service` or `variable`.
    pub kind: String,
    /// What: `version`, `driver`, or a variable's name.
    pub name: String,
    /// Whether environments differ.
    pub differs: bool,
    /// What stands in each environment. Of a variable never the value: `value A` and `value B` are unlike,
    /// `secret` is a secret's reference, `unset` is none. `not reported`: no network reaches it, and reports do not
    /// tell this.
    pub cells: Vec<String>,
}

/// A page of products.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParityPage {
    /// The products, those with most differences first.
    pub items: Vec<Parity>,
    /// The mark of the next page; none: this is the last.
    pub next: Option<String>,
}

/// A secret that the server keeps for an environment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewSecret {
    /// Its value. It is kept sealed, handed to the environment's agent, and shown nowhere.
    pub value: String,
}

/// What is known of a secret: never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// The name by which `secret:NAME` refers to it.
    pub name: String,
    /// The environment; `*` for all.
    pub environment: String,
    /// Who set it last.
    pub actor: String,
    /// When.
    pub updated_at: Timestamp,
}

/// A `bascule.yaml` whose dependencies are to be looked up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewLock {
    /// The file's text.
    pub file: String,
}

/// The dependencies of a `bascule.yaml`, with what there is of them now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lock {
    /// By product.
    pub dependencies: Vec<LockedDependency>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LockedDependency {
    /// `group/project`.
    pub product: String,
    /// The oldest version that will do; empty for any.
    pub minimum: String,
    /// The newest that will do; empty for any.
    pub maximum: String,
    /// The version it was tested with; empty where none is named.
    pub recommended: String,
    /// Whether it counts only where that product is installed.
    pub optional: bool,
    /// The newest release that fits, was not recalled and is no pre-release; empty: none that the caller may read.
    pub newest: String,
    /// The newest such release in the channel `stable`.
    pub stable: String,
    /// Whether the caller may read its releases; where not, `newest` and `stable` say nothing.
    pub readable: bool,
}
