//! Commands on labels.

use super::{LabelRow, colour, free_colour, store, store::Owner};
use crate::{Planning, board, text};
use bascule_core::{Caller, LabelId, Problem, ProjectScope, Result, UserId};
use bascule_ledger::facts::planning::LabelChanged;
use bascule_wire::planning::{Label, LabelChange, NewLabel};

impl LabelRow {
    pub(crate) fn wire(&self, subscribed: &[LabelId]) -> Label {
        Label {
            id: self.id,
            name: self.name.clone(),
            family: self.family.clone(),
            description: self.description.clone(),
            colour: self.colour.clone(),
            group: self.of_group,
            subscribed: subscribed.contains(&self.id),
        }
    }
}

impl Planning {
    /// Who hears of issues that get one of these labels.
    ///
    /// # Errors
    /// The database refused.
    pub async fn label_subscribers(&self, labels: &[LabelId]) -> Result<Vec<UserId>> {
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        Ok(store::subscribers(&self.db, labels).await?)
    }

    /// Labels that an owner's issues may have.
    pub(crate) async fn labels(&self, caller: &Caller, owner: Owner) -> Result<Vec<Label>> {
        if let Owner::Project(project, group) = owner {
            self.ready(project, group).await?;
        }
        let subscribed = match caller.user {
            None => Vec::new(),
            Some(user) => store::subscriptions(&self.db, user).await?,
        };
        let rows = store::list(&self.db, owner).await?;
        Ok(rows.iter().map(|row| row.wire(&subscribed)).collect())
    }

    /// Refuses whoever may not change an owner's labels and milestones. The project's scope is checked by its role,
    /// which a project that all may read gives to no one.
    pub(crate) async fn must_own(
        &self,
        caller: &Caller,
        owner: Owner,
        scope: Option<&ProjectScope>,
    ) -> Result<()> {
        match (owner, scope) {
            (Owner::Project(..), Some(scope)) => self.sight(caller, scope).await?.must_manage(),
            (Owner::Group(group), _) => self.must_manage_group(caller, group).await,
            (Owner::Project(..), None) => Err(Problem::internal()),
        }
    }

    /// Makes a label.
    pub(crate) async fn create_label(
        &self,
        caller: &Caller,
        owner: Owner,
        scope: Option<&ProjectScope>,
        new: &NewLabel,
    ) -> Result<Label> {
        self.must_own(caller, owner, scope).await?;
        if let Owner::Project(project, group) = owner {
            self.ready(project, group).await?;
        }
        let name = text::label(&new.name)?;
        let description = text::body(&new.description, "description")?;
        let tx = self.db.begin().await?;
        let known = store::list(&tx, owner).await?;
        let own: Vec<&LabelRow> = known
            .iter()
            .filter(|label| label.of_group == owner.group().is_some())
            .collect();
        if own.iter().any(|label| label.name == name) {
            return Err(taken(&name));
        }
        if own.len() as i64 >= store::AT_MOST {
            return Err(Problem::invalid(
                "too_many_labels",
                format!("There are {} labels already.", store::AT_MOST),
            )
            .why("Nobody chooses well among so many.")
            .next("Remove some that no issue has."));
        }
        let family = text::family(&name);
        let colour = match new
            .colour
            .as_deref()
            .map(str::trim)
            .filter(|given| !given.is_empty())
        {
            Some(given) => colour(given)?,
            None => free_colour(&known).to_owned(),
        };
        let row = LabelRow {
            id: LabelId::new(),
            family: family.to_owned(),
            place: place(&known, family),
            name,
            description,
            colour,
            of_group: owner.group().is_some(),
        };
        store::insert(&tx, owner, &row)
            .await
            .map_err(|error| clash(error, &row.name))?;
        self.tell(&tx, caller, owner, &row, "created").await?;
        tx.commit().await?;
        Ok(row.wire(&[]))
    }

    /// Changes a label of the owner itself.
    pub(crate) async fn change_label(
        &self,
        caller: &Caller,
        owner: Owner,
        scope: Option<&ProjectScope>,
        name: &str,
        change: &LabelChange,
    ) -> Result<Label> {
        self.must_own(caller, owner, scope).await?;
        let tx = self.db.begin().await?;
        let mut row = store::own(&tx, owner, name)
            .await?
            .ok_or_else(|| not_own(owner))?;
        if let Some(new) = change.name.as_deref().filter(|new| *new != name) {
            let new = text::label(new)?;
            let family = text::family(&new).to_owned();
            if family != row.family {
                return Err(
                    Problem::invalid("family_stays", format!("`{name}` cannot leave its family."))
                        .why("Issues could come to have two labels of one family.")
                        .next("Make a new label, and remove this one."),
                );
            }
            if store::own(&tx, owner, &new).await?.is_some() {
                return Err(taken(&new));
            }
            row.name = new;
        }
        if let Some(description) = &change.description {
            row.description = text::body(description, "description")?;
        }
        if let Some(given) = &change.colour {
            row.colour = colour(given)?;
        }
        store::update(&tx, &row)
            .await
            .map_err(|error| clash(error, &row.name))?;
        self.tell(&tx, caller, owner, &row, "changed").await?;
        tx.commit().await?;
        Ok(row.wire(&[]))
    }

    /// Removes a label, also from all issues that have it.
    pub(crate) async fn delete_label(
        &self,
        caller: &Caller,
        owner: Owner,
        scope: Option<&ProjectScope>,
        name: &str,
    ) -> Result<()> {
        self.must_own(caller, owner, scope).await?;
        let tx = self.db.begin().await?;
        let row = store::own(&tx, owner, name)
            .await?
            .ok_or_else(|| not_own(owner))?;
        store::delete(&tx, row.id).await?;
        self.tell(&tx, caller, owner, &row, "deleted").await?;
        Ok(tx.commit().await?)
    }

    /// Lets the caller hear of issues that get a label, or no longer.
    pub(crate) async fn subscribe_label(
        &self,
        caller: &Caller,
        owner: Owner,
        name: &str,
        on: bool,
    ) -> Result<()> {
        let user = caller.user.ok_or_else(not_a_person)?;
        let found = store::list(&self.db, owner).await?;
        let find = |of_group: bool| {
            found
                .iter()
                .find(|label| label.name == name && label.of_group == of_group)
        };
        let label = find(false)
            .or_else(|| find(true))
            .ok_or_else(|| Problem::not_found("label"))?;
        let tx = self.db.begin().await?;
        store::subscribe(&tx, label.id, user, on).await?;
        Ok(tx.commit().await?)
    }

    async fn tell(
        &self,
        tx: &bascule_store::Tx,
        caller: &Caller,
        owner: Owner,
        row: &LabelRow,
        what: &str,
    ) -> Result<()> {
        let group = match owner {
            Owner::Project(_, group) | Owner::Group(group) => group,
        };
        board::store::touch(tx, group).await?;
        let fact = LabelChanged {
            project: owner.project(),
            group: owner.group(),
            label: row.id,
            name: row.name.clone(),
            what: what.to_owned(),
        };
        self.ledger.append(tx, &caller.actor, &fact).await?;
        Ok(())
    }
}

/// Where a new label stands: after the last of its family, or after all.
fn place(known: &[LabelRow], family: &str) -> i64 {
    let last = |labels: &mut dyn Iterator<Item = &LabelRow>| labels.map(|label| label.place).max();
    let of_family = last(
        &mut known
            .iter()
            .filter(|label| !family.is_empty() && label.family == family),
    );
    of_family
        .or_else(|| last(&mut known.iter()).map(|last| last + 1))
        .unwrap_or(0)
}

fn taken(name: &str) -> Problem {
    Problem::conflict("label_taken", format!("There is a label `{name}` already."))
        .next("Choose another name.")
}

fn clash(error: bascule_store::Error, name: &str) -> Problem {
    if error.is_unique_violation() {
        taken(name)
    } else {
        error.into()
    }
}

fn not_own(owner: Owner) -> Problem {
    let problem = Problem::not_found("label");
    match owner {
        Owner::Project(..) => problem.next("A label of the group is changed in the group."),
        Owner::Group(_) => problem,
    }
}

pub(crate) fn not_a_person() -> Problem {
    Problem::new(
        403,
        "not_a_person",
        "This belongs to a person's account, and no account stands behind the request.",
    )
    .why("A project token acts for a program.")
    .next("Sign in, or use a personal token.")
}
