//! Facts about drills.

use super::fact;
use bascule_core::Timestamp;
use serde::{Deserialize, Serialize};

/// A drill runs in an environment: nothing else changes there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrillStarted {
    /// Its number within the instance.
    pub number: i64,
    /// The environment.
    pub environment: String,
    /// What is practised.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
    /// When.
    pub at: Timestamp,
}
fact!(
    DrillStarted,
    "drill.started",
    |_| None,
    |f| format!("drill:{}", f.number),
    |f| format!("started drill {} in {}: {}", f.number, f.environment, f.reason)
);

/// A drill is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrillEnded {
    /// Its number.
    pub number: i64,
    /// The environment.
    pub environment: String,
    /// Whether its time was over, rather than a person ended it.
    pub by_itself: bool,
    /// When.
    pub at: Timestamp,
}
fact!(
    DrillEnded,
    "drill.ended",
    |_| None,
    |f| format!("drill:{}", f.number),
    |f| {
        let how = if f.by_itself { ", its time being over" } else { "" };
        format!("ended drill {} in {}{how}", f.number, f.environment)
    }
);
