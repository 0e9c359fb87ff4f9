//! Advisories, findings and what people decide on them, as the JSON API tells of them.

use bascule_core::{ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// How bad it is, ordered: CVSS's words, and one for what nobody has rated.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nobody said.
    #[default]
    Unknown,
    /// CVSS 0.1 to 3.9.
    Low,
    /// CVSS 4.0 to 6.9.
    Medium,
    /// CVSS 7.0 to 8.9.
    High,
    /// CVSS 9.0 to 10.0, and packages that are malicious by themselves.
    Critical,
}

impl Severity {
    /// All of them, worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Unknown];

    /// As facts, files and pages name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// A number that sorts as it does.
    #[must_use]
    pub const fn rank(self) -> i64 {
        match self {
            Self::Unknown => 0,
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
            Self::Critical => 4,
        }
    }

    /// The severity of a rank; what is no rank is unknown.
    #[must_use]
    pub const fn of_rank(rank: i64) -> Self {
        match rank {
            1 => Self::Low,
            2 => Self::Medium,
            3 => Self::High,
            4 => Self::Critical,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no severity: use critical, high, medium, low or unknown"))
    }
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdvisoryImport {
    /// Records read.
    pub read: i64,
    /// Advisories that were not here.
    pub added: i64,
    /// Advisories that replaced an older state of theirs.
    pub changed: i64,
    /// Records that were here already, or older than what is.
    pub unchanged: i64,
    /// Of those added and changed: withdrawn by their makers.
    pub withdrawn: i64,
    /// Of those added and changed: about packages that no SBOM here can list; kept, and matched with nothing.
    pub unmatched: i64,
    /// The ecosystems of those.
    pub unmatched_ecosystems: Vec<String>,
    /// Records that could not be read.
    pub refused: i64,
    /// Why, of the first hundred.
    pub errors: Vec<AdvisoryError>,
    /// Findings that were opened.
    pub opened: i64,
    /// Findings that were closed.
    pub closed: i64,
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdvisoryError {
    /// Which record of the body, from 1 on.
    pub record: i64,
    /// Its `id`, where it has one.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// An advisory in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdvisorySummary {
    /// Its name, such as `GHSA-jfh8-c2jp-5v3q`.
    pub id: String,
    /// Other names of the same.
    pub aliases: Vec<String>,
    /// What it is about, in a line.
    pub summary: String,
    /// How bad it is.
    pub severity: Severity,
    /// The CVSS score, where there is a vector.
    pub score: Option<f64>,
    /// When it was last changed by its maker.
    pub modified: Timestamp,
    /// When its maker took it back.
    pub withdrawn: Option<Timestamp>,
    /// Its ecosystems that are matched with nothing here.
    pub unmatched: Vec<String>,
    /// Releases here with an open finding of it.
    pub releases: i64,
}

/// Some advisories, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdvisoryPage {
    /// The advisories.
    pub items: Vec<AdvisorySummary>,
    /// Give this as `after` to go on; absent at the end.
    pub next: Option<String>,
}

/// One advisory, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdvisoryDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: AdvisorySummary,
    /// When it was imported, in its present state.
    pub imported_at: Timestamp,
    /// The record as its maker wrote it: OSV.
    #[schema(value_type = Object)]
    pub record: serde_json::Value,
}

/// A vulnerability in a package that a project uses: one for all of the project's releases that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Names it within its project, the same from release to release.
    pub key: String,
    /// `group/project`.
    pub project: String,
    /// `cargo:openssl`, `npm:@scope/name`.
    pub package: String,
    /// The advisory.
    pub advisory: String,
    /// Other names of the same.
    pub aliases: Vec<String>,
    /// What it is about, in a line.
    pub summary: String,
    /// How bad it is.
    pub severity: Severity,
    /// `open`, `waived`, `not_affected`, `closed`.
    pub state: String,
    /// Versions of the package that mend it, the nearest first; none known where empty.
    pub fixed: Vec<String>,
    /// Whether it is needed for development alone.
    pub development: bool,
    /// Releases that have it.
    pub releases: i64,
    /// The newest of them, up to twenty versions.
    pub versions: Vec<String>,
    /// Environments that run one of them.
    pub environments: Vec<String>,
    /// Since when.
    pub opened_at: Timestamp,
    /// What was decided.
    pub triage: Option<Triage>,
}

/// What a person decided on a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Triage {
    /// `waived` or `not_affected`.
    pub verdict: String,
    /// For `not_affected`: why, in VEX's words.
    pub justification: String,
    /// Why, in one's own.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// Until when; `not_affected` may have none.
    pub until: Option<Timestamp>,
}

/// How many of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeverityCounts {
    /// Critical.
    pub critical: i64,
    /// High.
    pub high: i64,
    /// Medium.
    pub medium: i64,
    /// Low.
    pub low: i64,
    /// Not rated.
    pub unknown: i64,
}

impl SeverityCounts {
    /// Of one severity.
    #[must_use]
    pub const fn of(&self, severity: Severity) -> i64 {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
            Severity::Unknown => self.unknown,
        }
    }
}

/// Some findings, worst first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingPage {
    /// The findings.
    pub items: Vec<Finding>,
    /// Give this as `after` to go on; absent at the end.
    pub next: Option<String>,
    /// Open ones of each severity, over all pages, whatever severity is asked for.
    pub counts: SeverityCounts,
}

/// One finding with the releases that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub finding: Finding,
    /// The releases, newest first, up to two hundred.
    pub affected: Vec<AffectedRelease>,
}

/// A release that has a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AffectedRelease {
    /// The release.
    pub release: ReleaseId,
    /// Its tag.
    pub tag: String,
    /// Its version.
    pub version: String,
    /// The component, as a package URL.
    pub purl: String,
    /// Versions of the package that mend it.
    pub fixed: Vec<String>,
    /// Since when.
    pub opened_at: Timestamp,
    /// Since when no longer.
    pub closed_at: Option<Timestamp>,
    /// Why no longer.
    pub closed_reason: String,
    /// Environments that run it.
    pub environments: Vec<String>,
}

/// A decision on a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewTriage {
    /// `waived` (known, and lived with for a time) or `not_affected` (the product is not exposed to it).
    pub verdict: String,
    /// For `not_affected`: `component_not_present`, `vulnerable_code_not_present`,
    /// `vulnerable_code_not_in_execute_path`, `vulnerable_code_cannot_be_controlled_by_adversary` or
    /// `inline_mitigations_already_exist`.
    #[serde(default)]
    pub justification: String,
    /// Why.
    pub reason: String,
    /// For how many days, 1 to 365. A waiver has 30 unless it says; `not_affected` holds on without it.
    #[serde(default)]
    pub days: Option<u32>,
}

/// The words of VEX by which a product is not affected.
pub const JUSTIFICATIONS: [&str; 5] = [
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
];
