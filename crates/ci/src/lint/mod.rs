//! Checking a CI file without running it: what is wrong, or what would run and why.

use crate::{
    Ci,
    config::{SCHEMA, merged_text, variable_name},
    fault::{CI_FILE, Faults},
    pipeline::{Ask, MergeRequest, More, Start, Text, wire_faults},
    plan::PlannedJob,
    ports::ProjectInfo,
};
use askama::Template;
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    response::IntoResponse,
    routing::get,
};
use bascule_core::{Actor, Permission, Problem, ProjectScope, Result, limits};
use bascule_web::{Access, Answer, Body, Crumb, FormBody, InProject, Params, Routes, Tab, Ui, Who, routes};
use bascule_wire::{
    ci::{LintJob, LintRequest, LintResult},
    runner::Variable,
};
use http::header;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    // Reading included files is reading code.
    let code = Access::Project(Permission::CodeRead);
    let room = DefaultBodyLimit::max(4 * limits::CI_FILE_BYTES);
    Routes::new()
        .api(code, routes!(lint))
        .page("GET", "/schemas/gitlab-ci.json", Access::Public, get(schema))
        .page(
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
            None if sha.is_empty() => {
                return Err(Problem::invalid(
                    "no_commit",
                    "The project has no commit yet, and so no CI file.",
                )
                .next("Push first, or give a file to check."));
            }
            None => self
                .code
                .read_file(project, &sha, CI_FILE)
                .await?
                .ok_or_else(|| {
                    Problem::invalid("no_ci_file", format!("There is no {CI_FILE} at `{reference}`."))
                        .next("Add one, or paste a text to check.")
                })?,
        };
        let more = merge_request(request, &reference, &info);
        let start = Start {
            project,
            reference,
            tag,
            sha,
            before: None,
            source: source(&request.source)?,
            fact: None,
            variables: request
                .variables
                .iter()
                .map(|(key, value)| Variable::public(key.clone(), value.clone()))
                .collect(),
            actor: actor.clone(),
            more,
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
            inputs: &request.inputs,
            input_texts: false,
            since: None,
        };
        Ok(match self.prepare(&mut draft, &ask).await? {
            Err(faults) => LintResult {
                faults: wire_faults(&faults.0),
                ..LintResult::default()
            },
            Ok(mut prepared) => {
                let left_out = std::mem::take(&mut prepared.plan.left_out);
                let (none, name) = (prepared.plan.none.clone(), prepared.plan.name.clone());
                if none.is_some() {
                    prepared.plan.jobs.clear();
                }
                // What the group requires runs beside the project's own jobs.
                let mut faults = Faults(Vec::new());
                let required = self.required_for(&start, &info).await?;
                let placed = self
                    .with_required(&draft, &info, prepared.plan, required, &mut faults)
                    .await?;
                LintResult {
                    valid: faults.0.is_empty(),
                    faults: wire_faults(&faults.0),
                    warnings: wire_faults(&prepared.config.warnings),
                    jobs: placed.jobs.iter().map(|placed| to_wire(&placed.job)).collect(),
                    left_out: left_out
                        .into_iter()
                        .map(|(name, reason)| LintJob {
                            name,
                            reason,
                            ..LintJob::default()
                        })
                        .collect(),
                    merged: request.merged.then(|| merged_text(&prepared.merged)),
                    files: prepared.config.files,
                    none: none.filter(|_| placed.jobs.is_empty()),
                    stages: placed.stages,
                    name,
                }
            }
        })
    }
}

/// A merge request of the branch into the default one, where rules are to be judged for one.
fn merge_request(request: &LintRequest, reference: &str, info: &ProjectInfo) -> More {
    More {
        merge_request: (request.source == "merge_request_event").then(|| MergeRequest {
            iid: 1,
            source_branch: reference.to_owned(),
            target_branch: info.default_branch.clone(),
            event: "detached".to_owned(),
            ..MergeRequest::default()
        }),
        ..More::default()
    }
}

/// Words for what starts a pipeline, as `CI_PIPELINE_SOURCE` has them.
const SOURCES: &[&str] = &[
    "push",
    "web",
    "api",
    "schedule",
    "trigger",
    "pipeline",
    "merge_request_event",
];

fn source(word: &str) -> Result<&'static str> {
    let word = if word.is_empty() { "push" } else { word };
    SOURCES
        .iter()
        .find(|known| **known == word)
        .copied()
        .ok_or_else(|| {
            Problem::invalid("bad_source", format!("No pipeline is started by `{word}`."))
                .next(format!("Use one of: {}.", SOURCES.join(", ")))
        })
}

/// The schema that editors check a `.gitlab-ci.yml` with.
async fn schema() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "application/schema+json"),
            (header::CACHE_CONTROL, "public, max-age=3600"),
            // Editors in a browser ask from their own address; there is nothing secret in it.
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        ],
        SCHEMA,
    )
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
    asked: Form,
    sources: &'static [(&'static str, &'static str)],
    result: Option<LintResult>,
    faults: Vec<Shown>,
    told: String,
}

/// A fault with the line it stands in.
struct Shown {
    place: String,
    message: String,
    /// The line, where it is one of the text above.
    line: Option<String>,
    /// Blanks up to the column.
    blanks: String,
}

/// What starts a pipeline, in words for people.
const SOURCE_WORDS: &[(&str, &str)] = &[
    ("push", "a push"),
    ("merge_request_event", "a merge request"),
    ("schedule", "a schedule"),
    ("web", "someone on the pages"),
    ("api", "the API"),
    ("trigger", "a trigger token"),
    ("pipeline", "another project's pipeline"),
];

/// Longest line that is shown under a fault, in characters.
const SHOWN_LINE: usize = 200;

fn shown(result: &LintResult, content: &str) -> Vec<Shown> {
    result
        .faults
        .iter()
        .map(|fault| {
            let own = fault.file == CI_FILE;
            let index = usize::try_from(fault.line).unwrap_or_default();
            let column = usize::try_from(fault.column).unwrap_or_default();
            let line = (own && index > 0 && column <= SHOWN_LINE)
                .then(|| content.lines().nth(index - 1))
                .flatten();
            Shown {
                place: format!("{}:{}:{}", fault.file, fault.line, fault.column),
                message: fault.message.clone(),
                line: line.map(|line| line.chars().take(SHOWN_LINE).collect()),
                blanks: " ".repeat(column.saturating_sub(1)),
            }
        })
        .collect()
}

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default, rename = "ref")]
    reference: String,
}

#[derive(Debug, Default, Deserialize)]
struct Form {
    #[serde(default)]
    content: String,
    #[serde(default, rename = "ref")]
    reference: String,
    #[serde(default)]
    source: String,
    /// One `NAME=value` in each line.
    #[serde(default)]
    variables: String,
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
    let form = Form {
        content,
        reference: query.reference,
        ..Form::default()
    };
    show(&ci, &project, &who.actor, &ui, form).await
}

async fn check(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let form = Form {
        content: form.content.replace("\r\n", "\n"),
        reference: form.reference.trim().to_owned(),
        ..form
    };
    show(&ci, &project, &who.actor, &ui, form).await
}

/// Variables as written, one in each line.
fn variables(text: &str) -> std::result::Result<std::collections::BTreeMap<String, String>, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once('=') {
            Some((name, value)) if variable_name(name.trim()) => {
                Ok((name.trim().to_owned(), value.to_owned()))
            }
            _ => Err(format!("`{line}` is no variable; write NAME=value in each line.")),
        })
        .collect()
}

async fn show(ci: &Ci, project: &InProject, actor: &Actor, ui: &Ui, mut form: Form) -> Answer {
    let path = project.path();
    let (mut result, mut told) = (None, String::new());
    let content = std::mem::take(&mut form.content);
    match variables(&form.variables) {
        Err(why) => told = why,
        Ok(_) if content.trim().is_empty() => {}
        Ok(variables) => {
            let request = LintRequest {
                content: Some(content.clone()),
                reference: form.reference.clone(),
                source: form.source.clone(),
                variables,
                merged: true,
                ..LintRequest::default()
            };
            match ci.lint(project, &request, actor).await {
                Ok(found) => result = Some(found),
                Err(problem) if !problem.is_server_fault() => told = problem.what,
                Err(problem) => return Err(problem.into()),
            }
        }
    }
    let page = Page {
        href: format!("/{path}/-/ci/lint"),
        faults: result
            .as_ref()
            .map(|result| shown(result, &content))
            .unwrap_or_default(),
        content,
        asked: form,
        sources: SOURCE_WORDS,
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
