//! What is done to the catalogue: releases enter it and its channels, are approved, are recalled.

use super::{
    Listed,
    earn::{by_release, soaks, waits_for},
    store,
    store::Approved,
};
use crate::{Delivery, plan::Change, site};
use bascule_core::{Actor, Caller, Permission, Problem, ProjectId, Result, Scope};
use bascule_ledger::facts::delivery::{ApprovalGiven, ReleasePromoted};
use bascule_planner::constraint::Wait;
use bascule_store::Json;
use std::collections::{HashMap, HashSet};

impl Delivery {
    /// Approves a version in a team's name, for an environment or a channel.
    ///
    /// # Errors
    /// The caller does not belong to the team, or there is no such release.
    pub async fn approve(
        &self,
        caller: &Caller,
        project: ProjectId,
        version: &str,
        scope: &str,
        team: &str,
    ) -> Result<()> {
        self.speaks_for(caller, team).await?;
        let known = store::of_project(&self.db, project).await?;
        let version = version.trim().trim_start_matches('v');
        let Some(listed) = known.iter().find(|listed| listed.version == version) else {
            return Err(
                Problem::invalid("unknown_release", format!("There is no release {version}."))
                    .next("`bascule release list` shows the project's releases."),
            );
        };
        match scope.split_once(':') {
            Some(("environment", name)) if !name.is_empty() => {
                if !self.site_exists(name).await? {
                    return Err(site::service::unknown_site(name));
                }
            }
            Some(("channel", name)) if !name.is_empty() => {
                let channels = &listed.relations.0.channels;
                if channels.iter().all(|channel| channel.name != name) {
                    let known: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
                    return Err(Problem::invalid(
                        "unknown_channel",
                        format!("{version} has no channel `{name}`."),
                    )
                    .why("A product's bascule.yaml names the channels that its releases go through.")
                    .next(format!("Choose one of {}.", known.join(", "))));
                }
            }
            _ => {
                return Err(
                    Problem::invalid("bad_scope", format!("`{scope}` is nothing to approve for."))
                        .next("Write environment:NAME or channel:NAME."),
                );
            }
        }
        let given = Approved {
            project_id: project,
            version: listed.version.clone(),
            scope: scope.to_owned(),
            team: team.to_owned(),
        };
        let tx = self.db.begin().await?;
        if store::approve(&tx, &given, &caller.actor.name, self.now()).await? {
            let fact = ApprovalGiven {
                project,
                version: given.version,
                scope: given.scope,
                team: given.team,
            };
            self.ledger.append(&tx, &caller.actor, &fact).await?;
            let change = match scope.split_once(':') {
                Some(("environment", name)) => Change::Site(name),
                _ => Change::Product(project),
            };
            self.replan_for(&tx, change).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Refuses who may not approve in a team's name.
    pub(crate) async fn speaks_for(&self, caller: &Caller, team: &str) -> Result<()> {
        // Whoever reads the project may approve in a team's name, so the permission alone would let a token that
        // only reads do so.
        if caller
            .scopes
            .as_ref()
            .is_some_and(|scopes| !scopes.contains(&Scope::Api))
        {
            return Err(
                Problem::new(403, "scope_missing", "The token used has no scope for this.")
                    .why("An approval changes what may run; a token that only reads does not give one.")
                    .next("Use a personal token with the scope `api`, or sign in."),
            );
        }
        match self.ports.teams.belongs(caller, team).await? {
            Some(true) => {}
            Some(false) => {
                return Err(Problem::new(403, "not_in_team", format!("You do not belong to {team}."))
                    .why("An approval is given in a team's name by one of its members, as developer or above.")
                    .next(format!("Ask a member of the group {team}.")));
            }
            None => {
                return Err(
                    Problem::invalid("unknown_team", format!("There is no team `{team}`."))
                        .why("A team is a group; its developers and above approve in its name.")
                        .next("Name the group that the environment or channel asks for."),
                );
            }
        }
        Ok(())
    }

    /// The permission that a recall needs.
    #[must_use]
    pub const fn recall_permission() -> Permission {
        Permission::DeployProduction
    }

    /// Puts releases into the channels that they have earned: by having served, healthy, for long enough where
    /// the product says, and by approval. Time alone never does: where nothing is seen to be healthy, nothing is
    /// promoted.
    pub(crate) async fn promote(&self, listed: &[Listed], inside: &Channels) -> Result<Promotion> {
        if listed.is_empty() {
            return Ok(Promotion::default());
        }
        let now = self.now();
        let approvals = store::approvals(&self.db).await?;
        let served = store::served(&self.db, &soaks(listed)).await?;
        let served = by_release(&served);
        let (mut earned, mut told) = (Vec::new(), Promotion::default());
        for release in listed.iter().filter(|listed| listed.recall_reason.is_none()) {
            let there = inside.get(&release.release_id);
            for rule in &release.relations.0.channels {
                if there.is_some_and(|channels| channels.contains(&rule.name)) {
                    continue;
                }
                let here = served.get(&release.release_id).map_or(&[][..], Vec::as_slice);
                let waits = waits_for(release, rule, here, &approvals, now);
                // The way goes through the channels in order: what stops at one does not jump over it.
                if !waits.is_empty() {
                    let soaks = waits.iter().any(|wait| matches!(wait, Wait::Soak { .. }));
                    told.waits |= soaks && !here.is_empty();
                    break;
                }
                earned.push((release, rule));
            }
        }
        for (release, rule) in earned {
            let tx = self.db.begin().await?;
            if store::enter(&tx, release.release_id, &rule.name, now).await? {
                let reason = match (rule.soak_in.as_slice(), rule.approval.as_str()) {
                    ([], "") => "it was published".to_owned(),
                    ([], team) => format!("approved by {team}"),
                    (places, "") => format!("served in {}", places.join(", ")),
                    (places, team) => format!("served in {}, approved by {team}", places.join(", ")),
                };
                let fact = ReleasePromoted {
                    project: release.project_id,
                    release: release.release_id,
                    version: release.version.clone(),
                    channel: rule.name.clone(),
                    reason,
                };
                self.ledger.append(&tx, &Actor::system(), &fact).await?;
                self.replan_for(&tx, Change::Product(release.project_id)).await?;
                tx.commit().await?;
            }
            told.any = true;
        }
        Ok(told)
    }

    /// The channels of all releases.
    pub(crate) async fn channels(&self) -> Result<Channels> {
        let mut all = Channels::new();
        for row in store::channels(&self.db).await? {
            all.entry(row.release_id).or_default().insert(row.channel);
        }
        Ok(all)
    }
}

/// What promoting came to.
#[derive(Debug, Default)]
pub(crate) struct Promotion {
    /// Some release entered a channel.
    pub any: bool,
    /// Some release may yet earn a channel by serving on.
    pub waits: bool,
}

/// For each release the channels that it is in.
pub(crate) type Channels = HashMap<bascule_core::ReleaseId, HashSet<String>>;

/// A release's relations, as stored.
pub(crate) fn one_by_one(listed: &Listed) -> bool {
    let Json(relations) = &listed.relations;
    relations.one_by_one
}
