//! Drills: times in which something is made to fail on purpose, and nothing else changes.

use bascule_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drill {
    /// Its number within the instance.
    pub number: i64,
    /// The environment.
    pub environment: String,
    /// What is practised.
    pub reason: String,
    /// `running` or `over`.
    pub state: String,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended: by whom, or that its time was over.
    pub ended_by: Option<String>,
}

/// Some drills, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillPage {
    /// The drills.
    pub items: Vec<Drill>,
    /// Give this as `before` to go on; absent at the end.
    pub next: Option<i64>,
}

/// A drill to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewDrill {
    /// The environment.
    pub environment: String,
    /// What is practised.
    pub reason: String,
    /// For how many minutes, 1 to 1440; 30 where nothing is said.
    #[serde(default)]
    pub minutes: Option<u32>,
}
