//! CI variables of the instance, of groups and of projects, set by people and given to jobs; and secrets, which only
//! those jobs get that name them under `secrets:`. Values are kept sealed under the instance's key.

pub(crate) mod api;
pub(crate) mod store;

use crate::{Ci, config::variable_name};
use bascule_core::{Actor, Problem, ProjectId, Result};
use bascule_ledger::facts::ci::CiVariableSet;
use bascule_wire::{
    ci::{CiVariable, SetCiVariable},
    runner,
};
use store::{MOST, Row};

pub(crate) use api::routes;
pub use store::SCOPED;

/// Largest value, in bytes.
const VALUE: usize = 64 * 1024;
/// For what values are sealed.
const PURPOSE: &str = "ci variable";
/// The environments of a variable that is for all.
pub(crate) const EVERYWHERE: &str = "*";

/// Whose variables are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Everyone's.
    Instance,
    /// Those of a group's projects.
    Group(String),
    /// A project's.
    Project(ProjectId),
}

impl Place {
    fn scope(&self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Group(_) => "group",
            Self::Project(_) => "project",
        }
    }

    fn target(&self) -> String {
        match self {
            Self::Instance => String::new(),
            Self::Group(name) => name.clone(),
            Self::Project(id) => id.to_string(),
        }
    }

    fn project(&self) -> Option<ProjectId> {
        match self {
            Self::Project(id) => Some(*id),
            _ => None,
        }
    }
}

fn bound(row: &Row) -> String {
    format!("{}\t{}\t{}\t{}", row.scope, row.target, row.name, row.environment)
}

/// Whether a variable for these environments is for this one; `None` is a job without environment.
fn covers(pattern: &str, environment: Option<&str>) -> bool {
    pattern == EVERYWHERE || environment.is_some_and(|environment| bascule_core::covers(pattern, environment))
}

/// All that may reach a project's jobs; see [`Reaching::for_jobs`].
#[derive(Clone, Debug)]
pub(crate) struct Reaching(Vec<Row>);

impl Reaching {
    /// What jobs on a branch or tag get for an environment, in the order in which it counts: instance, group, project,
    /// and of several for one environment the one that names it most closely last.
    pub fn for_jobs(&self, protected: bool, environment: Option<&str>) -> Vec<runner::Variable> {
        let rank = |row: &Row| match row.scope.as_str() {
            "instance" => 0,
            "group" => 1,
            _ => 2,
        };
        let mut rows: Vec<&Row> = self
            .0
            .iter()
            .filter(|row| !row.secret && (protected || !row.protected))
            .filter(|row| covers(&row.environment, environment))
            .collect();
        let close = |row: &Row| row.environment.len() - row.environment.matches('*').count();
        rows.sort_by_key(|row| (rank(row), close(row)));
        rows.into_iter().map(as_variable).collect()
    }

    /// The secret of a name that a job asks for. A job that the group requires gets none of the project's, which could
    /// otherwise give it another credential than the one that it is to scan with.
    pub fn secret(
        &self,
        name: &str,
        protected: bool,
        environment: Option<&str>,
        required: bool,
    ) -> Option<runner::Variable> {
        self.0
            .iter()
            .filter(|row| row.secret && row.name == name && (protected || !row.protected))
            .filter(|row| !required || row.scope != "project")
            .filter(|row| covers(&row.environment, environment))
            .max_by_key(|row| {
                (
                    row.scope == "project",
                    row.scope == "group",
                    row.environment.len(),
                )
            })
            .map(as_variable)
    }
}

fn as_variable(row: &Row) -> runner::Variable {
    runner::Variable {
        key: row.name.clone(),
        value: row.value.clone(),
        public: false,
        file: row.file,
        masked: row.masked || row.secret,
        raw: !row.expand,
    }
}

impl Ci {
    /// What may reach a project's jobs, opened.
    pub(crate) async fn reaching(&self, group: &str, project: ProjectId) -> Result<Reaching> {
        let mut rows = store::reaching(&self.db, group, project).await?;
        for row in &mut rows {
            self.open_value(row)?;
        }
        Ok(Reaching(rows))
    }

    fn open_value(&self, row: &mut Row) -> Result<()> {
        if row.sealed {
            let opened = self.ledger.key().open(PURPOSE, bound(row).as_bytes(), &row.value);
            row.value = opened.ok_or_else(|| {
                Problem::new(
                    500,
                    "variable_sealed",
                    format!("The CI variable {} cannot be opened.", row.name),
                )
                .why("It was sealed under another instance key.")
                .next("Set it again, and give all replicas the same instance.key.")
            })?;
        }
        Ok(())
    }

    /// A project's variables; masked ones and secrets without value.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn variables(&self, project: ProjectId) -> Result<Vec<CiVariable>> {
        self.variables_of(&Place::Project(project)).await
    }

    /// The same of a group or the instance.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn variables_of(&self, place: &Place) -> Result<Vec<CiVariable>> {
        let mut list = Vec::new();
        for mut row in store::of(&self.db, place.scope(), &place.target()).await? {
            let hidden = row.masked || row.secret;
            if !hidden {
                self.open_value(&mut row)?;
            }
            list.push(CiVariable {
                name: row.name,
                environment: row.environment,
                value: (!hidden).then_some(row.value),
                masked: row.masked,
                protected: row.protected,
                file: row.file,
                expand: row.expand,
                secret: row.secret,
                updated_at: row.updated_at,
            });
        }
        Ok(list)
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// The name, the value or the environment breaks a rule.
    pub async fn set_variable(
        &self,
        place: &Place,
        name: &str,
        set: &SetCiVariable,
        actor: &Actor,
    ) -> Result<()> {
        check(name, set)?;
        let mut row = Row {
            scope: place.scope().to_owned(),
            target: place.target(),
            name: name.to_owned(),
            environment: set.environment.clone(),
            value: String::new(),
            sealed: true,
            masked: set.masked || set.secret,
            protected: set.protected,
            file: set.file,
            expand: set.expand && !set.secret,
            secret: set.secret,
            updated_at: self.clock.now(),
        };
        row.value = self
            .ledger
            .key()
            .seal(PURPOSE, bound(&row).as_bytes(), &set.value)?;
        let tx = self.db.begin().await?;
        if store::count(&tx, &row.scope, &row.target).await? >= MOST {
            return Err(Problem::conflict(
                "too_many",
                format!("A {} has at most {MOST} variables.", row.scope),
            )
            .next("Remove some that no job uses."));
        }
        store::set(&tx, &row).await?;
        self.tell_variable(&tx, place, name, &row.environment, false, actor)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn tell_variable(
        &self,
        tx: &bascule_store::Tx,
        place: &Place,
        name: &str,
        environment: &str,
        removed: bool,
        actor: &Actor,
    ) -> Result<()> {
        let fact = CiVariableSet {
            scope: place.scope().to_owned(),
            target: place.target(),
            project: place.project(),
            name: name.to_owned(),
            environment: environment.to_owned(),
            removed,
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Removes a variable.
    ///
    /// # Errors
    /// There is none by that name for these environments.
    pub async fn delete_variable(
        &self,
        place: &Place,
        name: &str,
        environment: &str,
        actor: &Actor,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        if !store::delete(&tx, place.scope(), &place.target(), name, environment).await? {
            return Err(Problem::not_found("variable"));
        }
        self.tell_variable(&tx, place, name, environment, true, actor)
            .await?;
        Ok(tx.commit().await?)
    }
}

fn check(name: &str, set: &SetCiVariable) -> Result<()> {
    if !variable_name(name) {
        return Err(
            Problem::invalid("bad_variable", "This cannot be a variable's name.")
                .why("Shells take letters, digits and `_`, not beginning with a digit.")
                .next("Choose such a name."),
        );
    }
    if set.value.len() > VALUE {
        return Err(
            Problem::too_large(format!("The value is larger than {VALUE} bytes."))
                .next("Keep large files as artifacts or packages, and their address here."),
        );
    }
    let environment = &set.environment;
    if environment.is_empty() || environment.len() > 255 || environment.contains(['\n', '\t']) {
        return Err(Problem::invalid("bad_environment", "These are no environments.")
            .next("Write a name such as `production`, a pattern such as `review/*`, or `*` for all."));
    }
    if set.masked && !set.file && (set.value.len() < 8 || set.value.contains('\n')) {
        return Err(Problem::invalid("cannot_mask", "This value cannot be masked.")
            .why("A short value would hide ordinary words in the log, and the log is masked line by line.")
            .next("Mask values of one line and at least 8 characters, or use a file variable."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::Timestamp;

    #[test]
    fn environments_are_matched_as_people_write_them() {
        for (pattern, environment, expected) in [
            ("*", None, true),
            ("*", Some("production"), true),
            ("production", None, false),
            ("production", Some("production"), true),
            ("production", Some("production/eu"), false),
            ("review/*", Some("review/feature-1"), true),
            ("review/*", Some("review"), false),
            ("*/eu", Some("production/eu"), true),
            ("re*ew/*-1", Some("review/feature-1"), true),
            ("re*ew/*-1", Some("review/feature-2"), false),
        ] {
            assert_eq!(
                covers(pattern, environment),
                expected,
                "{pattern} {environment:?}"
            );
        }
    }

    #[test]
    fn the_closest_counts_and_secrets_come_only_when_asked_for() {
        let row = |scope: &str, environment: &str, value: &str, secret: bool| Row {
            scope: scope.to_owned(),
            target: String::new(),
            name: "KEY".to_owned(),
            environment: environment.to_owned(),
            value: value.to_owned(),
            sealed: false,
            masked: false,
            protected: false,
            file: false,
            expand: true,
            secret,
            updated_at: Timestamp::from_seconds(0),
        };
        let list = Reaching(vec![
            row("project", "*", "project", false),
            row("project", "prod*", "closer", false),
            row("project", "production", "closest", false),
            row("instance", "production", "instance", false),
            row("group", "*", "group", false),
            row("group", "*", "hidden", true),
            row("project", "*", "swapped", true),
        ]);
        let last = |environment| list.for_jobs(false, environment).pop().unwrap().value;
        assert_eq!(last(None), "project");
        assert_eq!(last(Some("prod-2")), "closer");
        assert_eq!(last(Some("production")), "closest");
        assert!(list.for_jobs(true, None).iter().all(|v| v.value != "hidden"));
        let secret = |required| list.secret("KEY", false, None, required).unwrap();
        assert!(secret(false).masked && secret(false).value == "swapped");
        assert_eq!(
            secret(true).value,
            "hidden",
            "what the group requires sees the group's"
        );
    }
}
