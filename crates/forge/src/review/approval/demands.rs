//! What must be approved: so many people, teams, and the owners of files that change.

use super::{Settings, store};
use crate::{
    Forge, ProjectInfo,
    merge_request::MergeRequest,
    review::{
        owners::{CodeOwners, Owner},
        rules::{Demand, Eligible, Person},
    },
};
use bascule_core::{GroupId, Problem, Result, UserId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Paths named in a reason.
const NAMED: usize = 3;

impl Forge {
    /// Everything that must be approved in a request.
    pub(super) async fn demands(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
        settings: &Settings,
        people: &BTreeMap<UserId, Person>,
    ) -> Result<Vec<Demand>> {
        let mut demands = Vec::new();
        if settings.approvals > 0 {
            demands.push(Demand {
                name: "Approvals".to_owned(),
                required: u32::try_from(settings.approvals).unwrap_or(u32::MAX),
                eligible: Eligible::Anyone,
                why: "The project asks that others have looked at each change.".to_owned(),
                optional: false,
            });
        }
        for rule in store::teams(self.db(), project.id).await? {
            // Only named, so that it may own paths.
            if rule.required == 0 {
                continue;
            }
            let team = self.people()?.team(rule.group_id).await?;
            let (group, members) = team.map_or_else(
                || ("a group that is gone".to_owned(), BTreeSet::new()),
                |team| (format!("@{}", team.name), team.members.into_iter().collect()),
            );
            demands.push(Demand {
                name: rule.name,
                required: u32::try_from(rule.required).unwrap_or(u32::MAX),
                eligible: Eligible::These(members),
                why: format!("The project asks for approval by {group}."),
                optional: false,
            });
        }
        if settings.code_owners {
            demands.extend(self.owners_demands(project, request, people).await?);
        }
        Ok(demands)
    }

    async fn owners_demands(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
        people: &BTreeMap<UserId, Person>,
    ) -> Result<Vec<Demand>> {
        // The target's file counts: nobody makes themselves owner in the change that is to be approved.
        let Some(tip) = self.resolve_branch(project.id, &request.target_branch).await? else {
            return Ok(Vec::new());
        };
        let found = match self.code_owners(project.id, &tip).await {
            Ok(found) => found,
            Err(problem) if problem.is_server_fault() => return Err(problem),
            Err(problem) => return Ok(vec![unreadable(&problem)]),
        };
        let Some((file, owners)) = found else {
            return Ok(Vec::new());
        };
        // Of a moved file both paths count.
        let paths = match self
            .changed_paths(project.id, Some(&request.base), &request.head)
            .await
        {
            // Nobody can tell whom it concerns.
            Err(problem) if !problem.is_server_fault() => return Ok(vec![unreadable(&problem)]),
            found => found?,
        };
        let (owners, touched) = tokio::task::spawn_blocking(move || {
            let touched = touched(&owners, paths);
            (owners, touched)
        })
        .await
        .map_err(|_| Problem::internal())?;
        let tied = self.tied(project).await?;
        let mut resolved: HashMap<Owner, BTreeSet<UserId>> = HashMap::new();
        let mut demands = Vec::new();
        for ((section, entry), (paths, count)) in touched {
            let Some(section) = owners.sections.get(section) else {
                continue;
            };
            let Some(entry) = section.entries.get(entry) else {
                continue;
            };
            let mut ids = BTreeSet::new();
            for owner in &entry.owners {
                if !resolved.contains_key(owner) {
                    resolved.insert(owner.clone(), self.accounts_of(owner, &tied, people).await?);
                }
                ids.extend(resolved.get(owner).into_iter().flatten().copied());
            }
            let more = match count.saturating_sub(paths.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            demands.push(Demand {
                name: format!("{}: {}", section.name, entry.text),
                required: section.approvals,
                eligible: Eligible::Owners(ids),
                why: format!(
                    "Line {} of {file} gives {}{more} to {}.",
                    entry.line,
                    paths.join(", "),
                    entry
                        .owners
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" ")
                ),
                optional: section.optional,
            });
        }
        Ok(demands)
    }

    /// The groups that a project's `CODEOWNERS` may name.
    pub(crate) async fn tied(&self, project: &ProjectInfo) -> Result<BTreeSet<GroupId>> {
        let teams = store::teams(self.db(), project.id).await?;
        let groups = teams.into_iter().map(|team| team.group_id);
        Ok(groups.chain([project.group_id]).collect())
    }

    /// The accounts that a name in `CODEOWNERS` means. A name that an account has means the account alone, and a group
    /// counts only where it is tied to the project: it is the project's own, or its settings name it as a team. Anyone
    /// makes groups, and whoever makes one must not become owner of what waits for its name.
    pub(crate) async fn accounts_of(
        &self,
        owner: &Owner,
        tied: &BTreeSet<GroupId>,
        people: &BTreeMap<UserId, Person>,
    ) -> Result<BTreeSet<UserId>> {
        Ok(match owner {
            Owner::Role(least) => people
                .values()
                .filter(|person| person.role.is_some_and(|role| role >= *least))
                .map(|person| person.id)
                .collect(),
            Owner::Name(name) => {
                if let Some(known) = self.people()?.by_name(name).await? {
                    return Ok(BTreeSet::from([known.id]));
                }
                let team = self.people()?.team_named(name).await?;
                let team = team.filter(|team| tied.contains(&team.id));
                team.map(|team| team.members.into_iter().collect())
                    .unwrap_or_default()
            }
            Owner::Email(address) => {
                let known = self.people()?.by_given_email(address).await?;
                known.into_iter().map(|known| known.id).collect()
            }
        })
    }
}

/// Which lines of the file own changed paths: the first few of these, and how many there are.
#[allow(clippy::type_complexity, reason = "one use")]
fn touched(owners: &CodeOwners, paths: Vec<String>) -> BTreeMap<(usize, usize), (Vec<String>, usize)> {
    let mut touched: BTreeMap<(usize, usize), (Vec<String>, usize)> = BTreeMap::new();
    for path in paths {
        for (section, entry) in owners.lines_of(&path) {
            let named = touched.entry((section, entry)).or_default();
            named.1 += 1;
            if named.0.len() < NAMED {
                named.0.push(format!("`{}`", crate::code::shown(path.as_bytes())));
            }
        }
    }
    touched.retain(|(section, entry), _| {
        owners
            .sections
            .get(*section)
            .and_then(|section| section.entries.get(*entry))
            .is_some_and(|entry| !entry.owners.is_empty())
    });
    touched
}

fn unreadable(problem: &Problem) -> Demand {
    Demand {
        name: "CODEOWNERS".to_owned(),
        required: 1,
        eligible: Eligible::These(BTreeSet::new()),
        why: format!(
            "The target branch's CODEOWNERS cannot be applied: {}",
            problem.what
        ),
        optional: false,
    }
}
