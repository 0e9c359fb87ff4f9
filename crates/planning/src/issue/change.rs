//! Editing issues: texts, labels, people, milestone, day.

use super::{
    Assignee, Issue, relabelled,
    service::{Spot, chosen, named, no_milestone, pairs, people},
    settled, store, urgency,
};
use crate::{
    Planning,
    label::{LabelRow, store as labels, store::Owner},
    milestone,
    ports::Member,
    text,
};
use bascule_core::{Caller, Problem, ProjectScope, Result, UserId};
use bascule_ledger::facts::planning::{IssueAssigned, IssueEdited, IssueLabeled};
use bascule_store::Tx;
use bascule_wire::planning::IssueChange;

impl Planning {
    /// Changes an issue. Its author may change title and description; the rest needs reporters.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        change: &IssueChange,
    ) -> Result<()> {
        let sight = self.sight(caller, project).await?;
        self.ready(project.id, project.group_id).await?;
        let members = self.people.members(project.id, project.group_id).await?;
        let owner = Owner::Project(project.id, project.group_id);
        let tx = self.db.begin().await?;
        let before = self.hold(&tx, project, &sight, number).await?;
        let texts_alone = change.labels.is_none()
            && change.add_labels.is_empty()
            && change.remove_labels.is_empty()
            && change.assignees.is_none()
            && change.milestone.is_none()
            && change.due_on.is_none()
            && change.confidential.is_none();
        let own = sight.me.is_some() && sight.me == before.row.author_id && sight.speaks;
        if !(own && texts_alone) {
            sight.must_manage()?;
        }
        let mut after = before.clone();
        let mut changed = Vec::new();
        let mut mentions = Vec::new();
        if let Some(title) = &change.title {
            after.row.title = text::title(title, "issue")?;
            note(&mut changed, "title", after.row.title != before.row.title);
        }
        if let Some(description) = &change.description {
            after.row.description = text::body(description, "description")?;
            note(
                &mut changed,
                "description",
                after.row.description != before.row.description,
            );
            let known = named(&members, &before.row.description);
            mentions = named(&members, &after.row.description);
            mentions.retain(|user| !known.contains(user));
        }
        if let Some(day) = &change.due_on {
            after.row.due_on = text::day(day)?;
            note(&mut changed, "due_on", after.row.due_on != before.row.due_on);
        }
        if let Some(title) = &change.milestone {
            after.row.milestone_id = match title.trim() {
                "" => None,
                title => Some(
                    milestone::store::named(&tx, owner, title)
                        .await?
                        .ok_or_else(|| no_milestone(title))?
                        .id,
                ),
            };
            note(
                &mut changed,
                "milestone",
                after.row.milestone_id != before.row.milestone_id,
            );
        }
        if let Some(confidential) = change.confidential {
            after.row.confidential = confidential;
            note(
                &mut changed,
                "confidential",
                confidential != before.row.confidential,
            );
        }
        let planned = changed.iter().any(|what| what == "milestone").then(|| self.now());
        let mut any = !changed.is_empty();
        if any {
            store::update(&tx, &after.row, planned).await?;
            let fact = IssueEdited {
                project: project.id,
                issue: before.row.id,
                number,
                changed,
                mentions,
            };
            self.ledger.append(&tx, &caller.actor, &fact).await?;
        }
        let known = labels::list(&tx, owner).await?;
        any |= self.relabel(&tx, caller, &after, change, &known).await?;
        if let Some(names) = &change.assignees {
            // Someone who was given it and has left since may keep it.
            let keep = |name: &&String| before.assignees.iter().any(|had| had.username == **name);
            let (kept, new): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| keep(name));
            let new: Vec<String> = new.into_iter().cloned().collect();
            let mut has = people(&members, &new)?;
            has.extend(
                pairs(&before.assignees)
                    .into_iter()
                    .filter(|(_, name)| kept.contains(&name)),
            );
            any |= self.reassign(&tx, caller, &after, &has).await?;
        }
        if any {
            store::touch(&tx, before.row.id, self.now()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn relabel(
        &self,
        tx: &Tx,
        caller: &Caller,
        issue: &Issue,
        change: &IssueChange,
        known: &[LabelRow],
    ) -> Result<bool> {
        if change.labels.is_none() && change.add_labels.is_empty() && change.remove_labels.is_empty() {
            return Ok(false);
        }
        let exactly = change
            .labels
            .as_deref()
            .map(|names| chosen(known, names))
            .transpose()?;
        let add = chosen(known, &change.add_labels)?;
        let remove = chosen(known, &change.remove_labels)?;
        let labels = relabelled(&issue.labels, exactly.as_deref(), &add, &remove)?;
        let missing = |from: &[LabelRow], of: &[LabelRow]| -> Vec<LabelRow> {
            from.iter()
                .filter(|label| !of.iter().any(|other| other.id == label.id))
                .cloned()
                .collect()
        };
        let (added, removed) = (missing(&labels, &issue.labels), missing(&issue.labels, &labels));
        if added.is_empty() && removed.is_empty() {
            return Ok(false);
        }
        for label in &removed {
            store::take_label(tx, issue.row.id, label.id).await?;
        }
        for label in &added {
            store::put_label(tx, issue.row.id, label.id).await?;
        }
        let names = |labels: &[LabelRow]| -> Vec<String> {
            if issue.row.confidential {
                return Vec::new();
            }
            labels.iter().map(|label| label.name.clone()).collect()
        };
        let fact = IssueLabeled {
            project: issue.row.project_id,
            issue: issue.row.id,
            number: issue.row.number,
            added_names: names(&added),
            removed_names: names(&removed),
            added: added.iter().map(|label| label.id).collect(),
            removed: removed.iter().map(|label| label.id).collect(),
        };
        self.ledger.append(tx, &caller.actor, &fact).await?;
        let urgent = urgency(&labels);
        if urgent.is_some() && urgent != urgency(&issue.labels) {
            let spot = self.spot(tx, issue.row.project_id, issue.row.id, urgent).await?;
            self.place(tx, &caller.actor, issue, spot, false).await?;
        }
        Ok(true)
    }

    async fn reassign(
        &self,
        tx: &Tx,
        caller: &Caller,
        issue: &Issue,
        has: &[(UserId, String)],
    ) -> Result<bool> {
        let had = issue.users();
        let added: Vec<UserId> = has
            .iter()
            .map(|(user, _)| *user)
            .filter(|user| !had.contains(user))
            .collect();
        let removed: Vec<UserId> = had
            .iter()
            .copied()
            .filter(|user| !has.iter().any(|(kept, _)| kept == user))
            .collect();
        if added.is_empty() && removed.is_empty() {
            return Ok(false);
        }
        for user in &removed {
            store::unassign(tx, issue.row.id, *user).await?;
        }
        for (user, name) in has.iter().filter(|(user, _)| added.contains(user)) {
            store::assign(tx, issue.row.id, *user, name).await?;
        }
        let fact = assigned(issue, has, added, removed);
        self.ledger.append(tx, &caller.actor, &fact).await?;
        let from = issue.column();
        let to = settled(from, !had.is_empty(), !has.is_empty());
        if to != from {
            store::set_place(tx, issue.row.id, to).await?;
            self.tell_moved(tx, &caller.actor, issue, to, 0).await?;
        }
        Ok(true)
    }

    /// Gives an issue that nobody has to whoever takes it on the board; it is moved by the one who calls.
    pub(super) async fn give(
        &self,
        tx: &Tx,
        caller: &Caller,
        issue: &mut Issue,
        member: &Member,
    ) -> Result<()> {
        store::assign(tx, issue.row.id, member.user, &member.username).await?;
        let has = [(member.user, member.username.clone())];
        let fact = assigned(issue, &has, vec![member.user], Vec::new());
        self.ledger.append(tx, &caller.actor, &fact).await?;
        issue.assignees.push(Assignee {
            issue_id: issue.row.id,
            user_id: member.user,
            username: member.username.clone(),
        });
        Ok(())
    }

    /// Puts an issue where it was dropped in the order: before or after another of the group.
    pub(super) async fn dropped(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<Option<Spot>> {
        let given = |text: Option<&str>| {
            text.map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (written, spot): (String, fn(_) -> Spot) = match (given(before), given(after)) {
            (None, None) => return Ok(None),
            (Some(before), _) => (before, Spot::Before),
            (None, Some(after)) => (after, Spot::After),
        };
        let (_, other) = self.referred(caller, project, &written).await?;
        if other.row.group_id != project.group_id {
            return Err(
                Problem::invalid("other_group", "That issue belongs to another group.")
                    .why("One order runs through the projects of a group.")
                    .next("Name an issue of this group."),
            );
        }
        Ok(Some(spot(other.row.id)))
    }
}

/// Who has an issue now, and who came and went; nobody is named where it is confidential.
fn assigned(
    issue: &Issue,
    has: &[(UserId, String)],
    added: Vec<UserId>,
    removed: Vec<UserId>,
) -> IssueAssigned {
    IssueAssigned {
        project: issue.row.project_id,
        issue: issue.row.id,
        number: issue.row.number,
        assignees: has.iter().map(|(user, _)| *user).collect(),
        added,
        removed,
        names: if issue.row.confidential {
            Vec::new()
        } else {
            has.iter().map(|(_, name)| name.clone()).collect()
        },
    }
}

fn note(changed: &mut Vec<String>, what: &str, differs: bool) {
    if differs {
        changed.push(what.to_owned());
    }
}
