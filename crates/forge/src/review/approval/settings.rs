//! What a project asks of reviews: changed by maintainers, each change a fact.

use super::{Settings, Team, store};
use crate::Forge;
use bascule_core::{Caller, Problem, ProjectId, Result};
use bascule_wire::review as wire;
use std::collections::BTreeSet;

/// Most approvals that a rule may ask for.
const APPROVALS: u32 = 50;
/// Most teams.
const TEAMS: usize = 20;

impl Forge {
    /// As the API tells it.
    pub(crate) async fn review_settings_wire(&self, project: ProjectId) -> Result<wire::ReviewSettings> {
        let settings = self.review_settings(project).await?;
        let mut teams = Vec::new();
        for team in store::teams(self.db(), project).await? {
            let group = self.people()?.team(team.group_id).await?;
            teams.push(wire::TeamRule {
                name: team.name,
                group: group.map(|group| group.name).unwrap_or_default(),
                required: u32::try_from(team.required).unwrap_or(1),
            });
        }
        Ok(wire::ReviewSettings {
            approvals: u32::try_from(settings.approvals).unwrap_or(0),
            code_owners: settings.code_owners,
            writers_barred: settings.writers_barred,
            reset_on_change: settings.reset_on_change,
            resolve_threads: settings.resolve_threads,
            teams,
        })
    }

    /// Changes what a project asks of reviews.
    pub(crate) async fn change_review_settings(
        &self,
        caller: &Caller,
        project: ProjectId,
        change: &wire::ReviewSettingsChange,
    ) -> Result<()> {
        caller.must_be_person("changes what a project asks of reviews")?;
        let before = self.review_settings(project).await?;
        let mut after = before;
        if let Some(count) = change.approvals {
            after.approvals = i64::from(bounded(count, 0)?);
        }
        after.code_owners = change.code_owners.unwrap_or(after.code_owners);
        after.writers_barred = change.writers_barred.unwrap_or(after.writers_barred);
        after.reset_on_change = change.reset_on_change.unwrap_or(after.reset_on_change);
        after.resolve_threads = change.resolve_threads.unwrap_or(after.resolve_threads);
        let teams = match &change.teams {
            Some(teams) => Some(self.teams_of(teams).await?),
            None => None,
        };
        let mut changes = changes(&before, &after);
        let known = store::teams(self.db(), project).await?;
        if let Some((teams, names)) = &teams
            && *teams != known
        {
            let all = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            changes.push(("approval_teams", all));
        }
        let tx = self.db().begin().await?;
        store::set_settings(&tx, project, &after).await?;
        if let Some((teams, _)) = &teams {
            store::set_teams(&tx, project, teams).await?;
        }
        self.tell_changes(&tx, &caller.actor, project, changes).await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }

    async fn teams_of(&self, rules: &[wire::TeamRule]) -> Result<(Vec<Team>, Vec<String>)> {
        if rules.len() > TEAMS {
            return Err(
                Problem::invalid("too_many", format!("At most {TEAMS} teams may have to approve."))
                    .next("Let one group stand for several."),
            );
        }
        let (mut teams, mut names, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for rule in rules {
            let group = rule.group.trim().trim_start_matches('@');
            let Some(found) = self.people()?.team_named(group).await? else {
                let shown: String = group.chars().take(63).collect();
                return Err(
                    Problem::invalid("no_such_group", format!("There is no group `{shown}`."))
                        .why("A team that approves is a group.")
                        .next("Create the group and add its members first, or check its name."),
                );
            };
            let name: String = match rule.name.split_whitespace().collect::<Vec<_>>().join(" ") {
                name if name.is_empty() => found.name.clone(),
                name => name.chars().filter(|c| !c.is_control()).take(60).collect(),
            };
            if !seen.insert(name.to_lowercase()) {
                return Err(
                    Problem::invalid("same_name", format!("Two rules are called `{name}`."))
                        .next("Give each a name of its own."),
                );
            }
            names.push(format!(
                "{name} ({} of {})",
                bounded(rule.required, 0)?,
                found.name
            ));
            teams.push(Team {
                name,
                group_id: found.id,
                required: i64::from(rule.required),
            });
        }
        teams.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((teams, names))
    }
}

fn bounded(count: u32, least: u32) -> Result<u32> {
    if (least..=APPROVALS).contains(&count) {
        return Ok(count);
    }
    Err(Problem::invalid(
        "bad_count",
        format!("The number of approvals must be {least} to {APPROVALS}."),
    ))
}

fn changes(before: &Settings, after: &Settings) -> Vec<(&'static str, String)> {
    let flag = |on: bool| if on { "on" } else { "off" }.to_owned();
    let mut changes = Vec::new();
    if before.approvals != after.approvals {
        changes.push(("approvals_required", after.approvals.to_string()));
    }
    for (name, old, new) in [
        ("approval_by_code_owners", before.code_owners, after.code_owners),
        (
            "writers_do_not_approve",
            before.writers_barred,
            after.writers_barred,
        ),
        (
            "approvals_reset_on_change",
            before.reset_on_change,
            after.reset_on_change,
        ),
        (
            "threads_must_be_resolved",
            before.resolve_threads,
            after.resolve_threads,
        ),
    ] {
        if old != new {
            changes.push((name, flag(new)));
        }
    }
    changes
}
