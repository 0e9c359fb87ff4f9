//! Bundles, as the JSON API tells of them and the command line reads them; and what a site reports of itself.

use bascule_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Another instance's key, to be believed from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBundleKey {
    /// The public key in PEM.
    pub pem: String,
    /// `hub`: its bundles are applied here; `site`: its reports are.
    pub role: String,
    /// Of a hub: the site that this instance is. Of a site: its name.
    pub site: String,
}

/// A key that is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleKey {
    /// Its name, as signatures give it.
    pub id: String,
    /// `hub` or `site`.
    pub role: String,
    /// Of a hub: the site that this instance is. Of a site: its name.
    pub site: String,
    /// Since when it is believed.
    pub at: Timestamp,
}

/// A bundle to be made for a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBundleExport {
    /// The site.
    pub site: String,
    /// `auto` (incremental to what the site reported last, else a snapshot), `full`, `checkpoint`.
    #[serde(default)]
    pub kind: String,
    /// Builds upon the export of this number, whatever the site reported.
    #[serde(default)]
    pub since: Option<u64>,
    /// No file is larger than this, in bytes.
    #[serde(default)]
    pub chunk: Option<u64>,
    /// For how many days it may be imported; 90 if not given.
    #[serde(default)]
    pub days: Option<u32>,
}

/// A report to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBundleReport {
    /// No file is larger than this, in bytes.
    #[serde(default)]
    pub chunk: Option<u64>,
    /// For how many days it may be imported; 90 if not given.
    #[serde(default)]
    pub days: Option<u32>,
}

/// A bundle that was made, and can be fetched file by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleExport {
    /// The site.
    pub site: String,
    /// Its sequence number.
    pub sequence: i64,
    /// Its name.
    pub id: Digest,
    /// `snapshot`, `incremental`, `checkpoint`, `report`.
    pub kind: String,
    /// The sequence number that it builds upon.
    pub base: Option<i64>,
    /// From when on it is stale.
    pub expires_at: Timestamp,
    /// `group/project@version` of each release in it.
    pub releases: Vec<String>,
    /// Blobs that are named and not carried: the site has them.
    pub held: usize,
    /// The files.
    pub files: Vec<BundleFile>,
    /// What a reader should know, such as a product that the site installs and that is not here.
    pub notes: Vec<String>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleFile {
    /// The name that says what it is.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is fetched.
    pub path: String,
}

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleImport {
    /// The site.
    pub site: String,
    /// The set's sequence number.
    pub sequence: u64,
    /// The set's name.
    pub id: Digest,
    /// `snapshot`, `incremental`, `checkpoint`, `report`.
    pub kind: String,
    /// Which chunk the file was.
    pub chunk: u32,
    /// Of how many.
    pub chunks: u32,
    /// Whether it had been taken before.
    pub already: bool,
    /// What was applied by it, in order: this set, and others that waited for it.
    pub applied: Vec<BundleApplied>,
    /// What its set waits for; empty if it was applied.
    pub waits: String,
}

/// A set that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleApplied {
    /// Its sequence number.
    pub sequence: u64,
    /// What it was for.
    pub kind: String,
    /// `group/project@version` of the releases that are new here.
    pub releases: Vec<String>,
    /// `group/project@version` of the releases that it recalled.
    pub recalls: Vec<String>,
}

/// A site without a network, as its hub knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CarriedSite {
    /// Its name.
    pub site: String,
    /// The last bundle that was made for it.
    pub exported: Option<i64>,
    /// When.
    pub exported_at: Option<Timestamp>,
    /// The last bundle that it said to have applied.
    pub applied: Option<i64>,
    /// When its last report came.
    pub reported_at: Option<Timestamp>,
    /// What it said.
    pub observed: Option<ObservedSite>,
}

/// What a site says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObservedSite {
    /// Always `bascule.observed/1`.
    pub format: String,
    /// The site.
    pub site: String,
    /// When, by its own clock.
    pub at: Timestamp,
    /// The version of Bascule there.
    pub bascule: String,
    /// The bundle that is in force.
    pub applied: Option<AppliedBundle>,
    /// The products.
    pub installs: Vec<ObservedInstall>,
}

/// Which bundle is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedBundle {
    /// Its sequence number.
    pub sequence: u64,
    /// Its name.
    pub id: Digest,
}

/// A product at a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObservedInstall {
    /// `group/project`.
    pub product: String,
    /// What runs; empty: nothing.
    pub version: String,
    /// How it is: `healthy`, `crashed`, …; empty where nothing runs.
    pub health: String,
    /// What is planned there: `up_to_date`, `held`, …
    pub plan: String,
    /// Why, in plain words.
    pub why: String,
}

/// A set of files that is being gathered here, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatheredSet {
    /// `to` this site, or `from` a site.
    pub way: String,
    /// The site.
    pub site: String,
    /// Its number.
    pub sequence: u64,
    /// Its name.
    pub id: Digest,
    /// `snapshot`, `incremental`, `checkpoint`, `report`.
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Files that are here, by number.
    pub here: Vec<u32>,
    /// Files that are missing, by number.
    pub missing: Vec<u32>,
    /// What it waits for, in plain words.
    pub waits: String,
}
