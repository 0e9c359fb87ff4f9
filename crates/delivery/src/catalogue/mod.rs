//! The catalogue: every release that can be deployed, what it asks of others, the channels it is in, and whether
//! it was recalled.

pub(crate) mod auto_recall;
pub(crate) mod earn;
pub(crate) mod findings;
mod lock;
mod recall;
pub(crate) mod service;
pub(crate) mod store;

use crate::product::Relations;
use bascule_core::{ProjectId, ReleaseId, Timestamp};
use bascule_planner::{Dependency, Matcher, Recall, Release, Version};
use bascule_store::{Json, row};

row! {
    /// A release of the catalogue.
    #[derive(Clone, Debug)]
    pub(crate) struct Listed {
        pub release_id: ReleaseId,
        pub project_id: ProjectId,
        pub version: String,
        pub sha: String,
        pub relations: Json<Relations>,
        pub published_at: Timestamp,
        pub recall_reason: Option<String>,
        pub recall_floor: Option<String>,
        /// What it was recalled for: `finding`, or by a person (empty); `lifted` where a person lifted that.
        pub recall_cause: String,
    }
}

impl Listed {
    /// As the planner takes it; `None` where the version is none, and so cannot be ordered.
    pub fn to_release(&self, channels: Vec<String>) -> Option<Release> {
        let Json(relations) = &self.relations;
        let dependencies = relations.dependencies.iter().map(|dependency| Dependency {
            product: dependency.product.clone(),
            minimum: dependency.minimum.parse().ok(),
            maximum: dependency.maximum.parse().unwrap_or(Matcher::any()),
            optional: dependency.optional,
        });
        let incompatible = relations
            .incompatible
            .iter()
            .filter_map(|other| Some((other.product.clone(), other.versions.parse().ok()?)));
        Some(Release {
            version: self.version.parse().ok()?,
            dependencies: dependencies.collect(),
            incompatible: incompatible.collect(),
            channels,
            recalled: self.recall_reason.as_ref().map(|reason| Recall {
                reason: reason.clone(),
                floor: self
                    .recall_floor
                    .as_ref()
                    .and_then(|floor| floor.parse::<Version>().ok()),
            }),
        })
    }
}
