//! Checking a CI file without running it: what is wrong, or what would run and why.

use crate::{
    Ci,
    config::Inputs,
    fault::CI_FILE,
    pipeline::{Ask, More, Start, Text, wire_faults},
    plan::PlannedJob,
};
use askama::Template;
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    routing::get,
};
use bascule_core::{Actor, Permission, Problem, ProjectScope, Result, limits};
use bascule_web::{Access, Answer, Body, Crumb, FormBody, InProject, Params, Routes, Tab, Ui, Who, routes};
use bascule_wire::ci::{LintJob, LintRequest, LintResult};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    // Reading included files is reading code.
    let code = Access::Project(Permission::CodeRead);
    let room = DefaultBodyLimit::max(4 * limits::CI_FILE_BYTES);
    Routes::new().api(code, routes!(lint)).page(
        "GET,POST",
        "/{group}/{project}/-/ci/lint",
        read,
        get(page).post(check).layer(room),
    )
}

impl Ci {
    /// Checks a text, or the project's own file, for a branch or tag.
    ///
    /// # Errors
    /// There is no such branch or tag, or no file.
    pub async fn lint(
        &self,
        scope: &ProjectScope,
        request: &LintRequest,
        actor: &Actor,
    ) -> Result<LintResult> {
        let project = scope.id;
        let info = self
            .code
            .project(project)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let reference = if request.reference.is_empty() {
            info.default_branch.clone()
        } else {
            request.reference.clone()
        };
        let commit = self.code.resolve(project, &reference).await?;
        if commit.is_none() && !request.reference.is_empty() {
            return Err(Problem::invalid(
                "no_such_ref",
                format!("There is no branch or tag `{reference}`."),
            ));
        }
        let (sha, tag) = commit.map_or_else(|| (String::new(), false), |commit| (commit.sha, commit.tag));
        let bytes = match &request.content {
            Some(text) => text.clone().into_bytes(),
            None => self
                .code
                .read_file(project, &sha, CI_FILE)
                .await?
                .ok_or_else(|| {
                    Problem::invalid("no_ci_file", format!("There is no {CI_FILE} at `{reference}`."))
                        .next("Add one, or paste a text to check.")
                })?,
        };
        let start = Start {
            project,
            reference,
            tag,
            sha,
            before: None,
            source: "push",
            fact: None,
            variables: Vec::new(),
            actor: actor.clone(),
            more: More::default(),
        };
        let message = match start.sha.as_str() {
            "" => String::new(),
            sha => self.code.commit_message(project, sha).await?.unwrap_or_default(),
        };
        let mut draft = self.draft(&start, message).await?;
        // Who cannot run jobs, or not on protected branches, must not learn variables by asking about rules.
        let secrets = scope.holds(Permission::PipelineRun);
        draft.protected &= scope.holds(Permission::ProtectedPush);
        let ask = Ask {
            info: &info,
            text: Text::File(&bytes),
            actor,
            secrets,
            inputs: &Inputs::new(),
        };
        Ok(match self.prepare(&mut draft, &ask).await? {
            Err(faults) => LintResult {
                faults: wire_faults(&faults.0),
                ..LintResult::default()
            },
            Ok(prepared) => LintResult {
                valid: true,
                faults: Vec::new(),
                warnings: wire_faults(&prepared.config.warnings),
                jobs: prepared.plan.jobs.iter().map(to_wire).collect(),
                left_out: prepared
                    .plan
                    .left_out
                    .iter()
                    .map(|(name, reason)| LintJob {
                        name: name.clone(),
                        reason: reason.clone(),
                        ..LintJob::default()
                    })
                    .collect(),
                stages: prepared.plan.stages,
                none: prepared.plan.none,
            },
        })
    }
}

fn to_wire(job: &PlannedJob) -> LintJob {
    LintJob {
        name: job.name.clone(),
        stage: job.stage.clone(),
        when: job.when.as_str().to_owned(),
        needs: job
            .needs
            .as_ref()
            .map(|needs| needs.iter().map(|need| need.job.clone()).collect()),
        allow_failure: job.allow_failure != crate::config::AllowFailure::No,
        reason: job.reason.clone(),
    }
}

/// Checks a CI file without running it.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/ci/lint", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), request_body = LintRequest,
    responses((status = 200, body = LintResult)))]
async fn lint(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(request): Body<LintRequest>,
) -> Answer<Json<LintResult>> {
    Ok(Json(ci.lint(&project, &request, &who.actor).await?))
}

#[derive(Template)]
#[template(path = "lint/lint.html")]
struct Page {
    href: String,
    content: String,
    reference: String,
    result: Option<LintResult>,
    told: String,
}

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default, rename = "ref")]
    reference: String,
}

#[derive(Debug, Deserialize)]
struct Form {
    #[serde(default)]
    content: String,
    #[serde(default, rename = "ref")]
    reference: String,
}

async fn page(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    Params(query): Params<Query>,
) -> Answer {
    // The project's own file is code; who may not read code starts with an empty field.
    let mut content = String::new();
    if project.holds(Permission::CodeRead)
        && let Some(info) = ci.code.project(project.id).await?
    {
        let reference = if query.reference.is_empty() {
            &info.default_branch
        } else {
            &query.reference
        };
        if let Some(commit) = ci.code.resolve(project.id, reference).await?
            && let Some(bytes) = ci.code.read_file(project.id, &commit.sha, CI_FILE).await?
        {
            content = String::from_utf8_lossy(&bytes).into_owned();
        }
    }
    show(&ci, &project, &who.actor, &ui, content, query.reference).await
}

async fn check(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    FormBody(form): FormBody<Form>,
) -> Answer {
    show(
        &ci,
        &project,
        &who.actor,
        &ui,
        form.content.replace("\r\n", "\n"),
        form.reference.trim().to_owned(),
    )
    .await
}

async fn show(
    ci: &Ci,
    project: &InProject,
    actor: &Actor,
    ui: &Ui,
    content: String,
    reference: String,
) -> Answer {
    let path = project.path();
    let (mut result, mut told) = (None, String::new());
    if !content.trim().is_empty() {
        let request = LintRequest {
            content: Some(content.clone()),
            reference: reference.clone(),
        };
        match ci.lint(project, &request, actor).await {
            Ok(found) => result = Some(found),
            Err(problem) if !problem.is_server_fault() => told = problem.what,
            Err(problem) => return Err(problem.into()),
        }
    }
    let page = Page {
        href: format!("/{path}/-/ci/lint"),
        content,
        reference,
        result,
        told,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
        Crumb::here("CI lint"),
    ];
    ui.project_page(Tab::Pipelines, "CI lint", &crumbs, &page)
}
