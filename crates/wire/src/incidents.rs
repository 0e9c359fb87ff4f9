//! Incidents as the JSON API and the command line carry them.

use bascule_core::{IncidentId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bad an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nobody outside the team is harmed: below production, or cosmetic.
    Minor,
    /// Users were harmed, and the harm is bounded or already stopped.
    Major,
    /// Users are being harmed now, and it goes on until someone acts.
    Critical,
}

/// An incident in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentSummary {
    /// The incident.
    pub id: IncidentId,
    /// Its number within the instance.
    pub number: i64,
    /// `group/project`.
    pub project: String,
    /// Its title.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// `open`, `acknowledged`, `identified`, `resolved`.
    pub status: String,
    /// What opened it: `rollout`, `alert`, `person`.
    pub cause: String,
    /// The environment's name, if it concerns one.
    pub environment: Option<String>,
    /// The version at fault, if known.
    pub version: Option<String>,
    /// Whether it is a drill.
    pub drill: bool,
    /// When the failing began.
    pub began_at: Timestamp,
    /// When it was noticed.
    pub detected_at: Timestamp,
    /// When someone took it.
    pub acknowledged_at: Option<Timestamp>,
    /// When the cause was named.
    pub identified_at: Option<Timestamp>,
    /// When the failing stopped, as far as known.
    pub restored_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
}

/// One incident, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: IncidentSummary,
    /// Who took it.
    pub acknowledged_by: Option<String>,
    /// The cause, as far as named.
    pub root_cause: String,
    /// Who resolved it.
    pub resolved_by: Option<String>,
    /// Where the post-mortem stands, once it is committed.
    pub postmortem: Option<Postmortem>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// Where a post-mortem stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Postmortem {
    /// `group/project` that holds it.
    pub home: String,
    /// Its path there.
    pub path: String,
    /// The commit.
    pub sha: String,
}

/// One line of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// The fact's kind, or `comment`.
    pub kind: String,
    /// The fact's sentence, or the comment in Markdown.
    pub text: String,
    /// The fact's number in the ledger; absent for a comment.
    pub seq: Option<i64>,
}

/// Some incidents, open ones first, then newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentPage {
    /// The incidents.
    pub items: Vec<IncidentSummary>,
    /// Give this as `before` to go on; absent at the end.
    pub next: Option<i64>,
}

/// Declares an incident.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewIncident {
    /// Its title.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The environment's name, if it concerns one.
    #[serde(default)]
    pub environment: Option<String>,
    /// When the failing began; now, if absent.
    #[serde(default)]
    pub began_at: Option<Timestamp>,
    /// Whether it is a drill; drills are measured apart.
    #[serde(default)]
    pub drill: bool,
}

/// Names the cause of an incident.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct IdentifyIncident {
    /// The cause, in plain words or Markdown.
    pub root_cause: String,
}

/// A comment on an incident.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewComment {
    /// Markdown.
    pub body: String,
}

/// Resolves an incident.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ResolveIncident {
    /// When the failing stopped; if absent, the time that the platform knows, else now.
    #[serde(default)]
    pub restored_at: Option<Timestamp>,
    /// A last comment, Markdown; may be empty.
    #[serde(default)]
    pub comment: String,
}

/// Sets an incident's severity.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SetSeverity {
    /// How bad it is.
    pub severity: Severity,
}

impl Severity {
    /// All, worst first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Major, Self::Minor];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }

    /// Reads a stored value; what is unknown is major, so that it is not overlooked.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .unwrap_or(Self::Major)
    }
}
