//! Facts about products that switch together, published by delivery.

use super::fact;
use bascule_core::{DeploymentId, EnvironmentId, ProjectId};
use serde::{Deserialize, Serialize};

/// Someone let products switch together that can only do so; told of each of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwitchAsked {
    /// The product's project.
    pub project: ProjectId,
    /// The product in its environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub site: String,
    /// The group step: the same for each of its products.
    pub switch: DeploymentId,
    /// The product's deployment.
    pub deployment: DeploymentId,
    /// What it goes to.
    pub version: String,
    /// How many products switch together.
    pub products: u32,
    /// Why it was taken.
    pub reason: String,
}
fact!(
    SwitchAsked,
    "switch.asked",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| format!(
        "{} products switch together in {}, this one to {}: {}",
        f.products, f.site, f.version, f.reason
    )
);
