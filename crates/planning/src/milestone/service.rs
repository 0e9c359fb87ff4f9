//! Commands on milestones.

use super::{burn, store, store::MilestoneRow};
use crate::{
    Planning, board,
    issue::{
        list::{Filter, Having},
        store as issues,
    },
    label::store::Owner,
    sight::Among,
    text,
};
use bascule_core::{Caller, GroupScope, MilestoneId, Permission, Problem, ProjectScope, Result};
use bascule_ledger::facts::planning::MilestoneChanged;
use bascule_store::Tx;
use bascule_wire::planning::{Milestone, MilestoneChange, MilestoneDetails, NewMilestone};

/// Whose milestones are spoken of, with what was checked at the door.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Project(&'a ProjectScope),
    Group(&'a GroupScope),
}

impl Place<'_> {
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Project(scope) => Owner::from(*scope),
            Self::Group(scope) => Owner::from(*scope),
        }
    }

    const fn project(&self) -> Option<&ProjectScope> {
        match self {
            Self::Project(scope) => Some(scope),
            Self::Group(_) => None,
        }
    }
}

impl MilestoneRow {
    fn wire(&self, progress: &[store::Progress]) -> Milestone {
        let counted = progress.iter().find(|progress| progress.milestone_id == self.id);
        Milestone {
            id: self.id,
            number: self.number,
            title: self.title.clone(),
            description: self.description.clone(),
            starts_on: self.starts_on.clone(),
            due_on: self.due_on.clone(),
            state: self.state.clone(),
            group: self.group_id.is_some(),
            total: counted.map_or(0, |counted| counted.total),
            closed: counted.map_or(0, |counted| counted.closed),
        }
    }
}

impl Planning {
    /// The projects whose issues are counted at a place, with their names.
    pub(crate) async fn among(
        &self,
        caller: &Caller,
        place: Place<'_>,
    ) -> Result<(Among, Vec<ProjectScope>)> {
        match place {
            Place::Project(scope) => {
                let sight = self.sight(caller, scope).await?;
                Ok((Among::one(scope.id, &sight), vec![scope.clone()]))
            }
            Place::Group(group) => {
                let scopes = self.projects.of_group(caller, group.id).await?;
                let reach = self.people.reach(caller).await?;
                Ok((Among::several(&reach, caller, &scopes), scopes))
            }
        }
    }

    /// Milestones that a place's issues may be in.
    pub(crate) async fn milestones(&self, caller: &Caller, place: Place<'_>) -> Result<Vec<Milestone>> {
        let (among, _) = self.among(caller, place).await?;
        let rows = store::list(&self.db, place.owner()).await?;
        let ids: Vec<MilestoneId> = rows.iter().map(|row| row.id).collect();
        let progress = store::progress(&self.db, &among, &ids).await?;
        Ok(rows.iter().map(|row| row.wire(&progress)).collect())
    }

    /// One milestone of a place itself.
    pub(crate) async fn milestone(
        &self,
        caller: &Caller,
        place: Place<'_>,
        number: i64,
    ) -> Result<MilestoneDetails> {
        let (among, scopes) = self.among(caller, place).await?;
        let row = store::by_number(&self.db, place.owner(), number)
            .await?
            .ok_or_else(|| Problem::not_found("milestone"))?;
        let progress = store::progress(&self.db, &among, &[row.id]).await?;
        let spans = store::spans(&self.db, &among, row.id).await?;
        let filter = Filter {
            milestone: Having::This(row.title.clone()),
            limit: 200,
            ..Filter::default()
        };
        let (found, _) = issues::list(&self.db, &among, &filter).await?;
        let own = found
            .iter()
            .filter(|issue| issue.row.milestone_id == Some(row.id));
        Ok(MilestoneDetails {
            burn_up: burn::up(
                &spans,
                row.starts_on.as_deref(),
                row.created_at,
                row.closed_at,
                self.now(),
            ),
            issues: own
                .map(|issue| issue.summary(&board::path_of(&scopes, issue)))
                .collect(),
            milestone: row.wire(&progress),
        })
    }

    /// Makes a milestone; returns its number.
    pub(crate) async fn create_milestone(
        &self,
        caller: &Caller,
        place: Place<'_>,
        new: &NewMilestone,
    ) -> Result<i64> {
        let owner = place.owner();
        self.must_own(caller, owner, place.project()).await?;
        let title = text::title(&new.title, "milestone")?;
        let tx = self.db.begin().await?;
        let name = match owner {
            Owner::Project(project, _) => format!("milestone:{project}"),
            Owner::Group(group) => format!("milestone:{group}"),
        };
        let row = MilestoneRow {
            id: MilestoneId::new(),
            project_id: owner.project(),
            group_id: owner.group(),
            number: tx.next_number(&name).await?,
            title,
            description: text::body(&new.description, "description")?,
            starts_on: text::day(new.starts_on.as_deref().unwrap_or_default())?,
            due_on: text::day(new.due_on.as_deref().unwrap_or_default())?,
            state: "open".to_owned(),
            created_at: self.now(),
            closed_at: None,
        };
        in_order(&row)?;
        store::insert(&tx, &row)
            .await
            .map_err(|error| clash(error, &row.title))?;
        self.told(&tx, caller, owner, &row, "created").await?;
        tx.commit().await?;
        Ok(row.number)
    }

    /// Changes a milestone of the place itself, closes it, or opens it again.
    pub(crate) async fn change_milestone(
        &self,
        caller: &Caller,
        place: Place<'_>,
        number: i64,
        change: &MilestoneChange,
    ) -> Result<()> {
        let owner = place.owner();
        self.must_own(caller, owner, place.project()).await?;
        let tx = self.db.begin().await?;
        let before = store::by_number(&tx, owner, number)
            .await?
            .ok_or_else(|| Problem::not_found("milestone"))?;
        let mut row = before.clone();
        if let Some(title) = &change.title {
            row.title = text::title(title, "milestone")?;
        }
        if let Some(description) = &change.description {
            row.description = text::body(description, "description")?;
        }
        if let Some(day) = &change.starts_on {
            row.starts_on = text::day(day)?;
        }
        if let Some(day) = &change.due_on {
            row.due_on = text::day(day)?;
        }
        let mut what = "changed";
        match change.state.as_deref() {
            None => {}
            Some(state @ ("open" | "closed")) => {
                if state != before.state {
                    what = if state == "open" { "reopened" } else { "closed" };
                    row.closed_at = (state == "closed").then(|| self.now());
                }
                state.clone_into(&mut row.state);
            }
            Some(other) => {
                return Err(Problem::invalid(
                    "bad_state",
                    format!("`{}` is no state.", text::cut(other, 20)),
                )
                .next("Use open or closed."));
            }
        }
        in_order(&row)?;
        store::update(&tx, &row)
            .await
            .map_err(|error| clash(error, &row.title))?;
        self.told(&tx, caller, owner, &row, what).await?;
        Ok(tx.commit().await?)
    }

    async fn told(
        &self,
        tx: &Tx,
        caller: &Caller,
        owner: Owner,
        row: &MilestoneRow,
        what: &str,
    ) -> Result<()> {
        let (Owner::Project(_, group) | Owner::Group(group)) = owner;
        board::store::touch(tx, group).await?;
        let fact = MilestoneChanged {
            project: owner.project(),
            group: owner.group(),
            milestone: row.id,
            number: row.number,
            what: what.to_owned(),
            due_on: row.due_on.clone(),
        };
        self.ledger.append(tx, &caller.actor, &fact).await?;
        Ok(())
    }

    /// Whether a caller may change what belongs to a place; for buttons.
    pub(crate) async fn may_own(&self, caller: &Caller, place: Place<'_>) -> Result<bool> {
        match self.must_own(caller, place.owner(), place.project()).await {
            Ok(()) => Ok(true),
            Err(problem) if problem.status == Problem::forbidden(Permission::IssueManage).status => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}

fn in_order(row: &MilestoneRow) -> Result<()> {
    match (&row.starts_on, &row.due_on) {
        (Some(starts), Some(due)) if starts > due => Err(Problem::invalid(
            "bad_day",
            "The milestone would be due before it begins.",
        )
        .next("Turn the days round.")),
        _ => Ok(()),
    }
}

fn clash(error: bascule_store::Error, title: &str) -> Problem {
    if error.is_unique_violation() {
        return Problem::conflict(
            "milestone_taken",
            format!("There is a milestone `{}` already.", text::cut(title, 80)),
        )
        .next("Choose another title.");
    }
    error.into()
}
