//! Plans as their readers see them.

use super::{Stored, store, words::entry};
use crate::Delivery;
use bascule_core::{Caller, Problem, ProjectId, Result, limits};
use bascule_wire::delivery as dto;
use std::collections::{HashMap, HashSet};

impl Delivery {
    /// What is planned, for what the caller may read; of one environment or of all.
    ///
    /// # Errors
    /// The database refused.
    pub async fn plans(&self, caller: &Caller, site: Option<&str>) -> Result<Vec<dto::PlanEntry>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = self
                .plans_after(caller, site, &after, limits::API_PAGE_ENTRIES)
                .await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = format!("{}/{}", last.environment, last.product);
            all.extend(page);
        }
    }

    /// A page of what is planned, by environment and product, after `environment/group/project`.
    ///
    /// # Errors
    /// `after` is none, or the database refused.
    pub async fn plans_after(
        &self,
        caller: &Caller,
        site: Option<&str>,
        after: &str,
        limit: i64,
    ) -> Result<Vec<dto::PlanEntry>> {
        let visible = self.visible(caller).await?;
        let Some((name, path)) = after.split_once('/').or(after.is_empty().then_some(("", ""))) else {
            return Err(Problem::invalid("bad_page", "`after` is no entry of a plan.")
                .next("Give the last entry of the page before, as environment/group/project."));
        };
        let (mut name, mut path) = (name.to_owned(), path.to_owned());
        let wanted = usize::try_from(limit).unwrap_or(0);
        let unknown = if after.is_empty() {
            self.unknown_entries(caller, site).await?
        } else {
            Vec::new()
        };
        let mut found: Vec<(store::Place, Stored)> = Vec::new();
        while found.len() < wanted {
            let rows = store::entries(&self.db, site, (&name, &path), limit).await?;
            let Some(last) = rows.last() else { break };
            (name, path) = (last.place.name.clone(), last.place.project_path.clone());
            found.extend(
                rows.into_iter()
                    .filter(|row| {
                        visible
                            .as_ref()
                            .is_none_or(|all| all.contains(&row.place.project_id))
                    })
                    .map(|row| (row.place, row.plan)),
            );
        }
        found.truncate(wanted);
        let mut entries = self.veiled(visible.as_ref(), found).await?;
        self.say_waits(&mut entries).await?;
        self.say_leaving(&mut entries, site).await?;
        // What does not exist comes first: it is in no order of environments and products that are there.
        entries.splice(0..0, unknown);
        Ok(entries)
    }

    /// What was planned for an environment before, newest first.
    ///
    /// # Errors
    /// The database refused.
    pub async fn plan_log(&self, caller: &Caller, site: &str, limit: i64) -> Result<Vec<dto::PlanEntry>> {
        let visible = self.visible(caller).await?;
        let places: HashMap<_, _> = store::places_in(&self.db, site)
            .await?
            .into_iter()
            .filter(|place| visible.as_ref().is_none_or(|all| all.contains(&place.project_id)))
            .map(|place| (place.id, place))
            .collect();
        // Every engine bounds what may be bound; a site has at most some hundreds of products that are shown.
        let ids: Vec<_> = places.keys().take(500).copied().collect();
        let rows = store::log(&self.db, &ids, limit).await?;
        let rows = rows
            .into_iter()
            .filter_map(|row| Some((places.get(&row.environment_id)?.clone(), row)))
            .collect();
        self.veiled(visible.as_ref(), rows).await
    }

    /// Entries without the names that the caller may not read.
    pub(super) async fn veiled(
        &self,
        visible: Option<&HashSet<ProjectId>>,
        rows: Vec<(store::Place, Stored)>,
    ) -> Result<Vec<dto::PlanEntry>> {
        let mut entries: Vec<dto::PlanEntry> = rows
            .into_iter()
            .map(|(place, plan)| entry(&place, plan))
            .collect();
        let mut texts: Vec<&mut String> = Vec::new();
        for entry in &mut entries {
            texts.push(&mut entry.why);
            for verdict in &mut entry.verdicts {
                texts.extend([&mut verdict.why, &mut verdict.lifts]);
            }
        }
        self.veil_texts(visible, texts).await?;
        Ok(entries)
    }

    pub(crate) async fn visible(&self, caller: &Caller) -> Result<Option<HashSet<ProjectId>>> {
        let visible = self.ports.projects.visible(caller).await?;
        Ok(visible.map(|all| all.into_iter().collect()))
    }
}
