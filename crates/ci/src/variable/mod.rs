//! A project's CI variables, set on its settings page and given to its jobs.

mod pages;

use crate::{Ci, config::variable_name};
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{Permission, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::facts::forge::ProjectChanged;
use bascule_store::{Query, args, row};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::{
    ci::{CiVariable, SetCiVariable},
    runner,
};
use http::StatusCode;
use serde::Deserialize;

row! {
    struct Row {
        name: String,
        value: String,
        masked: bool,
        protected: bool,
        file: bool,
        expand: bool,
        updated_at: Timestamp,
    }
}

const COLUMNS: &str = "name, value, masked, protected, file, expand, updated_at";
/// Largest value, in bytes.
const VALUE: usize = 64 * 1024;
/// Most variables of a project.
const MOST: i64 = 500;

async fn all(on: &impl Query, project: ProjectId) -> Result<Vec<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_variable WHERE project_id = $1 ORDER BY name LIMIT {MOST}");
    Ok(on.all(&sql, args![project]).await?)
}

/// The project's variables as jobs get them.
pub(crate) async fn for_jobs(
    on: &impl Query,
    project: ProjectId,
    protected: bool,
) -> Result<Vec<runner::Variable>> {
    Ok(all(on, project)
        .await?
        .into_iter()
        .filter(|row| protected || !row.protected)
        .map(|row| runner::Variable {
            key: row.name,
            value: row.value,
            public: false,
            file: row.file,
            masked: row.masked,
            raw: !row.expand,
        })
        .collect())
}

impl Ci {
    /// A project's variables; masked ones without value.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn variables(&self, project: ProjectId) -> Result<Vec<CiVariable>> {
        let rows = all(&self.db, project).await?;
        Ok(rows
            .into_iter()
            .map(|row| CiVariable {
                name: row.name,
                value: (!row.masked).then_some(row.value),
                masked: row.masked,
                protected: row.protected,
                file: row.file,
                expand: row.expand,
                updated_at: row.updated_at,
            })
            .collect())
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// The name or the value breaks a rule.
    pub async fn set_variable(
        &self,
        project: ProjectId,
        name: &str,
        set: &SetCiVariable,
        actor: &bascule_core::Actor,
    ) -> Result<()> {
        if !variable_name(name) {
            return Err(
                Problem::invalid("bad_variable", "This cannot be a variable's name.")
                    .why("Shells take letters, digits and `_`, not beginning with a digit.")
                    .next("Choose such a name."),
            );
        }
        if set.value.len() > VALUE {
            return Err(Problem::too_large(format!(
                "The value is larger than {VALUE} bytes."
            )));
        }
        if set.masked && (set.value.len() < 8 || set.value.contains('\n')) {
            return Err(Problem::invalid("cannot_mask", "This value cannot be masked.")
                .why(
                    "A short value would hide ordinary words in the log, and the log is masked line by line.",
                )
                .next("Mask values of one line and at least 8 characters, or use a file variable."));
        }
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        let count = tx
            .count(
                "SELECT COUNT(*) AS n FROM ci_variable WHERE project_id = $1",
                args![project],
            )
            .await?;
        if count >= MOST {
            return Err(Problem::conflict(
                "too_many",
                format!("A project has at most {MOST} variables."),
            ));
        }
        tx.run(
            "INSERT INTO ci_variable (project_id, name, value, masked, protected, file, expand, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (project_id, name) DO UPDATE SET value = $3, masked = $4, protected = $5, file = $6,
                 expand = $7, updated_at = $8",
            args![
                project,
                name,
                set.value,
                set.masked,
                set.protected,
                set.file,
                set.expand,
                now
            ],
        )
        .await?;
        let fact = ProjectChanged {
            project,
            setting: "ci_variable".to_owned(),
            value: name.to_owned(),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Removes a variable.
    ///
    /// # Errors
    /// There is none by that name.
    pub async fn delete_variable(
        &self,
        project: ProjectId,
        name: &str,
        actor: &bascule_core::Actor,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        let gone = tx
            .run(
                "DELETE FROM ci_variable WHERE project_id = $1 AND name = $2",
                args![project, name],
            )
            .await?;
        if gone == 0 {
            return Err(Problem::not_found("variable"));
        }
        let fact = ProjectChanged {
            project,
            setting: "ci_variable".to_owned(),
            value: format!("-{name}"),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        Ok(tx.commit().await?)
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    name: String,
}

pub(crate) fn routes() -> Routes<Ci> {
    let access = Access::Project(Permission::ProjectManage);
    Routes::new()
        .api(access, routes!(list))
        .api(access, routes!(set, remove))
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/ci",
            access,
            get(pages::list).post(pages::set),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/ci/{name}/delete",
            access,
            post(pages::remove),
        )
}

/// Lists the project's CI variables.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/variables", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<CiVariable>)))]
async fn list(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<CiVariable>>> {
    Ok(Json(ci.variables(project.id).await?))
}

/// Sets a CI variable.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/ci/variables/{name}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)),
    request_body = SetCiVariable, responses((status = 204)))]
async fn set(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
    Body(set): Body<SetCiVariable>,
) -> Answer<StatusCode> {
    ci.set_variable(project.id, &at.name, &set, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a CI variable.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/ci/variables/{name}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)),
    responses((status = 204)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
) -> Answer<StatusCode> {
    ci.delete_variable(project.id, &at.name, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
