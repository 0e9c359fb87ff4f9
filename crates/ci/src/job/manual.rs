//! Starting a job by hand, also with variables of the moment.

use super::Job;
use crate::{Ci, config::variable_name, results::store};
use bascule_core::{Actor, JobId, Permission, Problem, ProjectScope, Result};
use bascule_wire::runner::Variable;
use std::collections::BTreeMap;

/// Most variables that a person gives.
const MOST: usize = 50;
/// Longest value, in bytes.
const VALUE: usize = 10_000;

/// A person's variables, checked.
///
/// # Errors
/// A name is none, or there is more than is allowed.
pub(crate) fn given(variables: BTreeMap<String, String>) -> Result<Vec<Variable>> {
    if variables.len() > MOST {
        return Err(Problem::invalid(
            "too_many_variables",
            format!("More than {MOST} variables were given."),
        )
        .next("Put what is the same each time into the file."));
    }
    let mut list = Vec::new();
    for (key, value) in variables {
        if !variable_name(&key) {
            return Err(Problem::invalid(
                "bad_variable",
                format!("`{}` cannot be a variable's name.", crate::fault::shown(&key)),
            )
            .next("Use letters, digits and `_`, not beginning with a digit."));
        }
        if value.len() > VALUE {
            return Err(Problem::invalid(
                "long_variable",
                format!("The value of `{key}` is longer than {VALUE} bytes."),
            )
            .next("Put it into a file of the repository."));
        }
        list.push(Variable {
            public: false,
            ..Variable::public(key, value)
        });
    }
    Ok(list)
}

impl Ci {
    /// Starts a job that waits for a person, with variables that count over all others.
    ///
    /// # Errors
    /// It does not wait for a person, or the variables are refused.
    pub async fn play_job_with(
        &self,
        scope: &ProjectScope,
        id: JobId,
        variables: BTreeMap<String, String>,
        actor: &Actor,
    ) -> Result<Job> {
        if !variables.is_empty() {
            let job = self.job(scope.id, id).await?;
            let pipeline = self.pipeline(scope.id, job.pipeline_id).await?;
            // As for whole pipelines: reviewed code alone decides what protected variables are used for.
            if pipeline.protected && !scope.holds(Permission::ProtectedPush) {
                return Err(Problem::forbidden(Permission::ProtectedPush)
                    .why(format!(
                        "`{}` is protected, and its jobs see protected variables.",
                        pipeline.reference
                    ))
                    .next("Start it without variables, or ask a maintainer."));
            }
            let list = given(variables)?;
            let tx = self.db.begin().await?;
            store::put_played(&tx, &job, &list).await?;
            tx.commit().await?;
        }
        self.play_job(scope.id, id, actor).await
    }
}
