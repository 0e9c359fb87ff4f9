//! The form that starts a pipeline: the branch, and the variables that the file describes.

use super::{Ask, Start, Text, api::ListQuery, guard::Buttons};
use crate::{
    Ci,
    config::{Inputs, JobInput, asked},
    fault::CI_FILE,
    job::InputField,
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Actor, Permission, Problem, ProjectId, ProjectScope, Result};
use bascule_web::{Answer, Crumb, FormBody, InProject, Params, Tab, Ui, Who};
use bascule_wire::ci::RunPipeline;
use std::collections::BTreeMap;

/// Rows for variables that the file does not describe.
const ROWS: usize = 3;

/// A variable that the file describes.
struct Described {
    key: String,
    value: String,
    description: String,
    options: Vec<String>,
}

#[derive(Template)]
#[template(path = "pipeline/run.html")]
struct RunPage {
    base: String,
    reference: String,
    inputs: Vec<InputField>,
    described: Vec<Described>,
    rows: std::ops::Range<usize>,
    /// Branches to choose from.
    branches: Vec<String>,
    buttons: Buttons,
    /// Why the file says nothing.
    silent: String,
}

impl Ci {
    /// The branch or tag that is named, or the default branch where none is.
    pub(crate) async fn named_or_default(&self, project: ProjectId, named: &str) -> Result<String> {
        if !named.is_empty() {
            return Ok(named.to_owned());
        }
        let info = self.code.project(project).await?;
        Ok(info.map(|info| info.default_branch).unwrap_or_default())
    }

    /// The branches that a caller may run, to choose from.
    pub(crate) async fn offered(&self, scope: &ProjectScope) -> Result<Vec<String>> {
        let all = self
            .runs_protected(scope.id, scope.holds(Permission::ProtectedPush))
            .await?;
        self.code.branches(scope.id, all).await
    }

    /// Inputs of the file at a branch or tag, and the variables that it describes, for who runs a pipeline by hand.
    async fn described(
        &self,
        scope: &ProjectScope,
        reference: &str,
        actor: &Actor,
    ) -> Result<(Vec<JobInput>, Vec<Described>)> {
        let project = scope.id;
        let info = self
            .code
            .project(project)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let commit = self.code.resolve(project, reference).await?.ok_or_else(|| {
            Problem::invalid("no_such_ref", format!("There is no branch or tag `{reference}`."))
        })?;
        let bytes = self
            .code
            .read_file(project, &commit.sha, CI_FILE)
            .await?
            .ok_or_else(|| {
                Problem::invalid("no_ci_file", format!("There is no {CI_FILE} at `{reference}`."))
            })?;
        let asked = asked(&String::from_utf8_lossy(&bytes));
        let start = Start::of(project, commit, "web", actor.clone());
        let mut draft = self.draft(&start, String::new()).await?;
        let ask = Ask {
            info: &info,
            text: Text::File(&bytes),
            actor,
            secrets: false,
            inputs: &Inputs::new(),
            input_texts: false,
            since: None,
        };
        let prepared = match self.prepare(&mut draft, &ask).await? {
            Ok(prepared) => prepared,
            // What it lacks may be just what the form asks for.
            Err(_) if !asked.is_empty() => return Ok((asked, Vec::new())),
            Err(faults) => return Err(Problem::invalid("bad_ci_file", faults.first().to_string())),
        };
        let variables = prepared.config.variables;
        let described = variables
            .into_iter()
            .filter(|variable| !variable.description.is_empty() || !variable.options.is_empty())
            .map(|variable| Described {
                key: variable.key,
                value: variable.value,
                description: variable.description,
                options: variable.options,
            })
            .collect();
        Ok((asked, described))
    }
}

pub(super) async fn form(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    Params(query): Params<ListQuery>,
) -> Answer {
    let path = project.path();
    let named = query.reference.as_deref().unwrap_or_default();
    let reference = ci.named_or_default(project.id, named).await?;
    let protected = match ci.code.resolve(project.id, &reference).await? {
        Some(commit) => {
            ci.code
                .is_protected(project.id, &commit.reference, commit.tag)
                .await?
        }
        None => false,
    };
    let buttons = ci.buttons(&project, &reference, protected).await?;
    let branches = ci.offered(&project).await?;
    let found = ci.described(&project, &reference, &ui.caller().actor).await;
    let ((inputs, described), silent) = match found {
        Ok(found) => (found, String::new()),
        // The form still stands, so that another branch can be named.
        Err(problem) if problem.status < 500 => (Default::default(), problem.what),
        Err(problem) => return Err(problem.into()),
    };
    let page = RunPage {
        base: format!("/{path}/-/pipelines"),
        reference,
        inputs: inputs
            .iter()
            .map(|input| InputField::new(input, &input.default))
            .collect(),
        described,
        rows: 0..ROWS,
        branches,
        buttons,
        silent,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", page.base.clone()),
        Crumb::here("Run pipeline"),
    ];
    ui.project_page(Tab::Pipelines, "Run pipeline", &crumbs, &page)
}

/// Names and values from a form: `var:NAME` with `was:NAME`, what the file says, and rows of `key-N` and `value-N`.
/// What is as the file says is left to the file.
pub(crate) fn variables(fields: &[(String, String)]) -> BTreeMap<String, String> {
    let value = |name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.replace("\r\n", "\n"))
    };
    let mut found = BTreeMap::new();
    for (field, _) in fields {
        if let Some(name) = field.strip_prefix("var:") {
            let given = value(field).unwrap_or_default();
            if value(&format!("was:{name}")).as_ref() != Some(&given) {
                found.insert(name.to_owned(), given);
            }
        } else if let Some(row) = field.strip_prefix("key-") {
            let name = value(field).unwrap_or_default().trim().to_owned();
            if !name.is_empty() {
                found.insert(name, value(&format!("value-{row}")).unwrap_or_default());
            }
        }
    }
    found
}

/// Values of the file's inputs from a form: `input:NAME` with `was:input:NAME`, which says what the file would take.
pub(crate) fn inputs(fields: &[(String, String)]) -> Inputs {
    let value = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value)
    };
    let mut found = Inputs::new();
    for (field, given) in fields {
        let Some(name) = field.strip_prefix("input:") else {
            continue;
        };
        if value(&format!("was:{field}")) == Some(given) {
            continue;
        }
        let kind = value(&format!("kind:{name}")).cloned().unwrap_or_default();
        let input = JobInput {
            kind,
            ..JobInput::default()
        };
        found.insert(name.to_owned(), input.read(&given.replace("\r\n", "\n")));
    }
    found
}

pub(super) async fn start(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let reference = fields.iter().find(|(name, _)| name == "ref");
    let request = RunPipeline {
        reference: reference
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default(),
        variables: variables(&fields),
        inputs: inputs(&fields),
    };
    let pipeline = ci.run_pipeline(&project, request, "web", &who.actor).await?;
    Ok(Redirect::to(&format!("/{}/-/pipelines/{}", project.path(), pipeline.id)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_differ_from_the_file_are_given_by_their_types() {
        let fields: Vec<(String, String)> = [
            ("input:env", "production"),
            ("was:input:env", "staging"),
            ("kind:env", "string"),
            ("input:count", "3"),
            ("was:input:count", "2"),
            ("kind:count", "number"),
            ("input:same", "x"),
            ("was:input:same", "x"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let expected: Inputs = [
            ("count".to_owned(), 3.into()),
            ("env".to_owned(), "production".into()),
        ]
        .into();
        assert_eq!(inputs(&fields), expected);
    }

    #[test]
    fn what_the_file_says_is_left_to_the_file() {
        let fields: Vec<(String, String)> = [
            ("ref", "main"),
            ("var:A", "1"),
            ("was:A", "1"),
            ("var:B", "new"),
            ("was:B", "old"),
            ("key-0", " C "),
            ("value-0", "x\r\ny"),
            ("key-1", ""),
            ("value-1", "lost"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let found: Vec<(String, String)> = variables(&fields).into_iter().collect();
        assert_eq!(
            found,
            [
                ("B".to_owned(), "new".to_owned()),
                ("C".to_owned(), "x\ny".to_owned())
            ]
        );
    }
}
