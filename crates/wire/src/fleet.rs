//! Taking agents and edges of other machines under an instance's care, and seeing how they are.

use crate::agent::{Driver, MachineFacts};
use bascule_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// What kind of program is enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    /// Runs products.
    #[default]
    Agent,
    /// Carries traffic.
    Edge,
}

impl MemberKind {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Edge => "edge",
        }
    }
}

impl fmt::Display for MemberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MemberKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Agent, Self::Edge]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no kind: use agent or edge"))
    }
}

/// Asks for a code with which a machine enrols once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewMember {
    /// What it will be called.
    pub name: String,
    /// Agent or edge.
    #[serde(default)]
    pub kind: MemberKind,
}

/// A code that was made. It is shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemberCode {
    /// What it will be called.
    pub name: String,
    /// Agent or edge.
    pub kind: MemberKind,
    /// Good for one enrolment.
    pub code: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Exchanges a code for a token, once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Enrol {
    /// The code.
    pub code: String,
    /// What asks. A code of the other kind is refused and stays good.
    #[serde(default)]
    pub kind: MemberKind,
    /// The program's version.
    #[serde(default)]
    pub version: String,
    /// The machine that it runs on.
    #[serde(default)]
    pub machine: MachineFacts,
}

/// What a code was exchanged for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// What it is called.
    pub name: String,
    /// Its token, for all its calls from now on.
    pub token: String,
}

/// An agent or edge as the fleet's list shows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Agent or edge.
    pub kind: MemberKind,
    /// Whether a machine has its token.
    pub enrolled: bool,
    /// Until when a code is good that was made for it and not used yet.
    pub code_expires_at: Option<Timestamp>,
    /// Whether it reports.
    pub online: bool,
    /// Its version; empty until it is known.
    pub version: String,
    /// When it was last heard of.
    pub seen_at: Option<Timestamp>,
    /// Its clock against the server's, in milliseconds; agents alone.
    pub skew_ms: i64,
    /// Whether that is too much.
    pub skewed: bool,
    /// Free space where it unpacks, in bytes.
    pub disk_free_bytes: u64,
    /// All space there, in bytes; 0 where it is not known.
    pub disk_total_bytes: u64,
    /// Memory that products could still get, in bytes.
    pub memory_free_bytes: u64,
    /// All memory, in bytes; 0 where it is not known.
    pub memory_total_bytes: u64,
    /// Load average over one minute.
    pub load: f64,
    /// Its machine.
    pub machine: MachineFacts,
    /// Drivers that work there.
    pub drivers: Vec<Driver>,
    /// Environments that it looks after.
    pub environments: u64,
    /// Instances that it runs or should run.
    pub instances: u64,
}
