//! What there is of a product's dependencies now, for its `product-dependencies.lock`.

use super::store;
use crate::{Delivery, product, product::STABLE_CHANNEL};
use bascule_core::{Caller, Problem, ProjectId, Result};
use bascule_planner::{Matcher, Version};
use bascule_wire::environments as dto;
use std::collections::{HashMap, HashSet};

impl Delivery {
    /// Looks up the dependencies of a `bascule.yaml`: the newest releases that fit, of products that the caller may
    /// read.
    ///
    /// # Errors
    /// The file is wrong.
    pub async fn product_lock(&self, caller: &Caller, file: &str) -> Result<dto::Lock> {
        let product = product::parse(file.as_bytes()).map_err(|bad| {
            Problem::invalid("bad_product", format!("{bad}.")).next("Correct bascule.yaml.")
        })?;
        let visible: Option<HashSet<ProjectId>> = self
            .ports
            .projects
            .visible(caller)
            .await?
            .map(|all| all.into_iter().collect());
        let mut projects: HashMap<String, ProjectId> = HashMap::new();
        // As many as one file may name.
        for dependency in &product.relations.dependencies {
            if let Some(id) = self.ports.projects.find(&dependency.product).await?
                && visible.as_ref().is_none_or(|all| all.contains(&id))
            {
                projects.insert(dependency.product.clone(), id);
            }
        }
        let ids: Vec<ProjectId> = projects.values().copied().collect();
        let releases = store::fit_to_lock(&self.db, &ids, STABLE_CHANNEL).await?;
        let mut dependencies: Vec<dto::LockedDependency> = product
            .relations
            .dependencies
            .into_iter()
            .map(|dependency| {
                let minimum = dependency.minimum.parse::<Version>().ok();
                let maximum = dependency.maximum.parse::<Matcher>().unwrap_or(Matcher::any());
                let id = projects.get(&dependency.product);
                let newest = |stable: bool| {
                    releases
                        .iter()
                        .filter(|release| Some(&release.project_id) == id && (release.stable || !stable))
                        .filter_map(|release| release.version.parse::<Version>().ok())
                        .filter(|version| !version.is_prerelease())
                        .filter(|version| minimum.as_ref().is_none_or(|least| version >= least))
                        .filter(|version| maximum.admits_up_to(version))
                        .max()
                        .map(|version| version.to_string())
                        .unwrap_or_default()
                };
                dto::LockedDependency {
                    newest: newest(false),
                    stable: newest(true),
                    readable: id.is_some(),
                    product: dependency.product,
                    minimum: dependency.minimum,
                    maximum: dependency.maximum,
                    recommended: dependency.recommended,
                    optional: dependency.optional,
                }
            })
            .collect();
        dependencies.sort_by(|a, b| a.product.cmp(&b.product));
        Ok(dto::Lock { dependencies })
    }
}
