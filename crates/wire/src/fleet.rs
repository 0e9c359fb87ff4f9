//! Taking agents and edges of other machines under an instance's care, and seeing how they are.

use crate::agent::{Driver, MachineFacts};
use bascule_core::{Digest, Timestamp};
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
    /// The address that it is used at, where agents have one of their own; empty for the server's.
    #[serde(default)]
    pub server: String,
}

/// What stands between a code and the fingerprint of the authority that the one who uses it must meet.
const PIN: char = '.';

/// Adds to a code the fingerprint of the instance's authority, so that the first connection is sure already.
#[must_use]
pub fn pinned_code(code: &str, authority: &Digest) -> String {
    format!("{code}{PIN}{}", authority.hex())
}

/// A code without its fingerprint, and the fingerprint. What cannot be read as one makes a code that is unknown.
#[must_use]
pub fn split_code(code: &str) -> (&str, Option<Digest>) {
    let code = code.trim();
    let Some((plain, pin)) = code.split_once(PIN) else {
        return (code, None);
    };
    match format!("sha256:{pin}").parse() {
        Ok(pin) => (plain, Some(pin)),
        Err(_) => (code, None),
    }
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
    /// A request for a certificate (PKCS#10, PEM) for a key that was made on the machine; empty where its token
    /// alone is to count.
    #[serde(default)]
    pub csr: String,
}

/// What a code was exchanged for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// What it is called.
    pub name: String,
    /// Its token, for all its calls from now on.
    pub token: String,
    /// Its certificate, where it asked for one.
    #[serde(default)]
    pub certificate: Option<Certified>,
}

/// A certificate, and what it is good for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Certified {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The authority that issued it and the server's own, in PEM.
    pub authority: String,
    /// How long it is good, in seconds from now: the machine's clock may be another.
    pub life_seconds: u64,
}

/// Asks for the certificate that follows the one that the call is made with.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Renew {
    /// What asks.
    #[serde(default)]
    pub kind: MemberKind,
    /// A request for a certificate (PKCS#10, PEM) for a new key.
    pub csr: String,
}

/// Who a token and certificate stand for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Myself {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: String,
    /// Whether the call came with its certificate.
    pub certified: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_carries_a_fingerprint_or_none() {
        let pin = Digest::of(b"authority");
        let code = pinned_code("benr-12", &pin);
        assert_eq!(split_code(&format!(" {code}\n")), ("benr-12", Some(pin)));
        assert_eq!(split_code("benr-12"), ("benr-12", None));
        assert_eq!(split_code("benr-12.34"), ("benr-12.34", None));
        assert_eq!(split_code(""), ("", None));
    }
}
