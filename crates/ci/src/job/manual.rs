//! Starting a job by hand, also with variables of the moment.

use super::Job;
use crate::{
    Ci,
    config::{Inputs, variable_name},
    pipeline::{guard::may_give, of_person},
    results::store,
    status::JobStatus,
};
use bascule_core::{Actor, JobId, Permission, Problem, ProjectScope, Result};
use bascule_wire::runner::Variable;
use std::collections::BTreeMap;

/// Most variables that a person gives.
const MOST: usize = 50;
/// Longest value, in bytes.
const VALUE: usize = 10_000;

/// A person's variable.
///
/// # Errors
/// Its name is none.
pub(crate) fn variable(key: String, value: String) -> Result<Variable> {
    if !variable_name(&key) {
        return Err(Problem::invalid(
            "bad_variable",
            format!("`{}` cannot be a variable's name.", crate::fault::shown(&key)),
        )
        .next("Use letters, digits and `_`, not beginning with a digit."));
    }
    Ok(Variable {
        public: false,
        ..Variable::public(key, value)
    })
}

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
        if value.len() > VALUE {
            return Err(Problem::invalid(
                "long_variable",
                format!("The value of `{key}` is longer than {VALUE} bytes."),
            )
            .next("Put it into a file of the repository."));
        }
        list.push(variable(key, value)?);
    }
    Ok(list)
}

/// What people may give a job that they start.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Variables that count over all others.
    pub variables: BTreeMap<String, String>,
    /// Values of the job's inputs.
    pub inputs: Inputs,
}

impl Given {
    /// Names and values from a form: those of [`variables`](crate::pipeline::run::variables), and `input:NAME`.
    pub(crate) fn of_form(fields: &[(String, String)], job: &Job) -> Self {
        let inputs = job.spec.0.inputs.iter().filter_map(|input| {
            let field = format!("input:{}", input.name);
            let (_, value) = fields.iter().find(|(name, _)| *name == field)?;
            Some((input.name.clone(), input.read(value)))
        });
        Self {
            inputs: inputs.collect(),
            variables: crate::pipeline::run::variables(fields),
        }
    }
}

impl Ci {
    /// Keeps values of a job's inputs for its next try. Who may run the job may give them: reviewed code says which
    /// there are, and what they may hold.
    ///
    /// # Errors
    /// The job has no such input, or it does not take the value.
    async fn keep_inputs(&self, job: &Job, given: &Inputs) -> Result<()> {
        if given.is_empty() {
            return Ok(());
        }
        let declared = &job.spec.0.inputs;
        for (name, value) in given {
            let Some(input) = declared.iter().find(|input| &input.name == name) else {
                let names: Vec<&str> = declared.iter().map(|input| input.name.as_str()).collect();
                return Err(Problem::invalid(
                    "unknown_input",
                    format!(
                        "The job {} has no input `{}`.",
                        job.name,
                        crate::fault::shown(name)
                    ),
                )
                .why("A job takes the inputs that its file declares, and no others.")
                .next(if names.is_empty() {
                    "It declares none; give variables instead.".to_owned()
                } else {
                    format!("It declares: {}.", names.join(", "))
                }));
            };
            if let Err(why) = input.check(value) {
                return Err(
                    Problem::invalid("bad_input", format!("The input `{name}` {why}."))
                        .next("Give a value that the file's `inputs` allow."),
                );
            }
        }
        let mut all = store::inputs(&self.db, job).await?;
        all.extend(given.clone());
        let tx = self.db.begin().await?;
        store::put_inputs(&tx, job, &all).await?;
        Ok(tx.commit().await?)
    }

    /// Tries an ended job again, with values of its inputs.
    ///
    /// # Errors
    /// It has not ended, or the values are refused.
    pub async fn retry_job_with(
        &self,
        scope: &ProjectScope,
        id: JobId,
        inputs: &Inputs,
        actor: &Actor,
    ) -> Result<Job> {
        let job = self.job(scope.id, id).await?;
        if !job.retried && job.status.is_final() {
            self.keep_inputs(&job, inputs).await?;
        }
        self.retry_job(scope.id, id, actor).await
    }

    /// Starts a job that waits for a person, with what the person gives.
    ///
    /// # Errors
    /// It does not wait for a person, what is given is refused, or its branch is protected from who starts it.
    pub async fn play_job_with(
        &self,
        scope: &ProjectScope,
        id: JobId,
        Given { variables, inputs }: Given,
        actor: &Actor,
    ) -> Result<Job> {
        self.guard_job(scope, id).await?;
        let job = self.job(scope.id, id).await?;
        if !inputs.is_empty() {
            self.keep_inputs(&job, &inputs).await?;
        }
        // As GitLab has it, such a job runs for who started it.
        let person = self.reach().person(actor, scope.id).await?;
        let mut list = person.as_ref().map(of_person).unwrap_or_default();
        if !variables.is_empty() {
            let pipeline = self.pipeline(scope.id, job.pipeline_id).await?;
            let may_push = scope.holds(Permission::ProtectedPush);
            let next = "Start it without variables, or ask a maintainer.";
            may_give(&pipeline.reference, pipeline.protected, may_push, next)?;
            list.extend(given(variables)?);
        }
        if !list.is_empty() && matches!(job.status, JobStatus::Manual | JobStatus::Scheduled) {
            let tx = self.db.begin().await?;
            store::put_played(&tx, &job, &list).await?;
            tx.commit().await?;
        }
        self.play_job(scope.id, id, actor).await
    }
}
