//! What a job's token opens: its own project's code and registry, the artifacts of the jobs that it depends on, and
//! projects that let its project in. Nothing more, and only while the job runs.

use super::{Artifact, Job, artifact, browse, store};
use crate::{
    Ci,
    fault::shown,
    pipeline::{self, Pipeline},
    variables::{expand, resolve},
};
use axum::{Json, extract::State};
use bascule_core::{Actor, JobId, Permission, PipelineId, Problem, ProjectId, Result};
use bascule_ledger::facts::forge::ProjectChanged;
use bascule_store::{Migration, row};
use bascule_web::{Access, Answer, Body, InProject, Params, Routes, Who, routes};
use bascule_wire::{ci::JobTokenAccess, runner as wire};
use http::StatusCode;
use serde::Deserialize;
use std::collections::HashSet;

/// Who lets whose job tokens in.
pub const JOB_TOKENS: Migration = Migration {
    id: "ci-2611-job-tokens",
    sql: "
        CREATE TABLE ci_job_token_access (
            project_id TEXT NOT NULL,
            path TEXT NOT NULL,
            added_at BIGINT NOT NULL,
            PRIMARY KEY (project_id, path)
        );
    ",
};

/// Most entries of a project's list.
pub(super) const ENTRIES: i64 = 200;

row! {
    /// An entry of a project's list.
    pub(crate) struct Entry {
        pub path: String,
        pub added_at: bascule_core::Timestamp,
    }
}

pub(crate) fn routes() -> Routes<Ci> {
    let access = Access::Project(Permission::ProjectManage);
    Routes::new().api(access, routes!(list, add, remove))
}

impl Ci {
    /// Whether the token of a job of `from` may read `target`: its own project always, others that let it in by its
    /// path or its group's name.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn job_token_opens(&self, from: ProjectId, target: ProjectId) -> Result<bool> {
        if from == target {
            return Ok(true);
        }
        let name = self.name_of(from).await?;
        if name.path.is_empty() {
            return Ok(false);
        }
        Ok(store::lets_in(&self.db, target, &[&name.path, &name.group]).await?)
    }

    /// The groups and projects whose job tokens a project lets in.
    pub(crate) async fn lets_in(&self, project: ProjectId) -> Result<Vec<Entry>> {
        Ok(store::entries(&self.db, project).await?)
    }

    pub(crate) async fn let_in(&self, project: ProjectId, path: &str, actor: &Actor) -> Result<()> {
        let shape = path.len() <= 200 && path.split('/').count() <= 2 && !path.split('/').any(str::is_empty);
        if !shape {
            return Err(
                Problem::invalid("bad_path", "This is neither a group nor a project.")
                    .next("Write `group` or `group/project`."),
            );
        }
        let tx = self.db.begin().await?;
        if store::entries(&tx, project).await?.len() >= usize::try_from(ENTRIES).unwrap_or_default() {
            return Err(Problem::conflict(
                "too_many",
                format!("A project lets in at most {ENTRIES} others one by one."),
            )
            .next("Let in their group instead."));
        }
        store::add_entry(&tx, project, path, self.clock.now()).await?;
        let fact = ProjectChanged {
            project,
            setting: "job_token_access".to_owned(),
            value: path.to_owned(),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn let_in_no_more(&self, project: ProjectId, path: &str, actor: &Actor) -> Result<()> {
        let tx = self.db.begin().await?;
        if !store::remove_entry(&tx, project, path).await? {
            return Err(Problem::not_found("entry"));
        }
        let fact = ProjectChanged {
            project,
            setting: "job_token_access".to_owned(),
            value: format!("-{path}"),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Jobs whose archives the job takes.
    pub(super) async fn dependencies(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        variables: &[wire::Variable],
    ) -> Result<Vec<wire::Dependency>> {
        let mut list = self.dependencies_inside(job).await?;
        if job.spec.0.outside_needs.iter().any(|need| need.artifacts) {
            list.extend(self.dependencies_outside(job, pipeline, variables).await?);
        }
        Ok(list)
    }

    async fn dependencies_inside(&self, job: &Job) -> Result<Vec<wire::Dependency>> {
        let archives = self.archives_of(job.pipeline_id).await?;
        let gone = store::archives_gone(&self.db, job.pipeline_id, self.clock.now()).await?;
        if archives.is_empty() && gone.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Option<HashSet<String>> = match (&job.dependencies, &job.needs) {
            (Some(list), _) => Some(list.0.iter().cloned().collect()),
            (None, Some(needs)) => Some(
                needs
                    .0
                    .iter()
                    .filter(|need| need.artifacts)
                    .map(|need| need.job.clone())
                    .collect(),
            ),
            (None, None) => None,
        };
        let states = store::states(&self.db, job.pipeline_id).await?;
        let mut list = Vec::new();
        for other in states {
            let takes = match &wanted {
                Some(names) => names.contains(&other.name),
                None => {
                    other.stage < job.stage_index
                        && other.track == job.track()
                        && other.required == job.required
                }
            };
            if !takes {
                continue;
            }
            // Without what it builds on, a job would publish something else than was made.
            if gone.contains(&other.id) {
                return Err(missing(
                    format!(
                        "The artifacts of the job `{}` expired or were erased.",
                        other.name
                    ),
                    "Try that job again, or name it under `dependencies` no more; a longer `expire_in` keeps them longer.",
                ));
            }
            if let Some(archive) = archives.iter().find(|artifact| artifact.job_id == other.id) {
                list.push(dependency(other.id, other.name, archive));
            }
        }
        Ok(list)
    }

    /// What `needs:project` and `needs:pipeline` with a job name, as far as whoever started the pipeline may read it.
    async fn dependencies_outside(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        variables: &[wire::Variable],
    ) -> Result<Vec<wire::Dependency>> {
        let values = resolve(variables);
        let told = |text: &Option<String>| text.as_deref().map(|text| expand(text, &values));
        let mut list = Vec::new();
        for need in job.spec.0.outside_needs.iter().filter(|need| need.artifacts) {
            let Some(name) = told(&need.job) else { continue };
            let found = if let Some(path) = told(&need.project) {
                let Some(there) = self.reach().find(&path).await? else {
                    return Err(missing_outside(&name));
                };
                let reference = told(&need.reference).unwrap_or_default();
                self.newest_for(pipeline, there.id, &name, &reference).await?
            } else if let Some(Ok(number)) = told(&need.pipeline).map(|text| text.parse::<i64>()) {
                match pipeline::store::find(&self.db, PipelineId(number)).await? {
                    Some(other) if of_family(&other, pipeline) => {
                        store::of_pipeline_named(&self.db, other.id, &name).await?
                    }
                    _ => None,
                }
            } else {
                None
            };
            let Some(other) = found else {
                return Err(missing_outside(&name));
            };
            let now = self.clock.now();
            let archive = artifact::of_job(&self.db, other.id)
                .await?
                .into_iter()
                .find(|artifact| artifact.kind == wire::ARTIFACT_ARCHIVE && artifact.is_kept(now));
            match archive {
                Some(archive) => list.push(dependency(other.id, other.name, &archive)),
                None if store::archive_is_gone(&self.db, other.id, now).await? => {
                    return Err(missing_outside(&name));
                }
                // It left nothing to take.
                None => {}
            }
        }
        Ok(list)
    }

    /// The newest success of a job in another project, where who started the pipeline may have what it left.
    async fn newest_for(
        &self,
        pipeline: &Pipeline,
        project: ProjectId,
        name: &str,
        reference: &str,
    ) -> Result<Option<Job>> {
        let tag = self.is_tag(project, reference).await?;
        let Some(found) = store::newest_success(&self.db, project, name, (reference, tag)).await? else {
            return Ok(None);
        };
        let actor = pipeline::store::actor(&self.db, pipeline.id).await?;
        let (Some(actor), Some(needed)) = (actor, browse::needed(&found)) else {
            return Ok(None);
        };
        Ok(self.reach().may(&actor, project, needed).await?.then_some(found))
    }

    /// Whether a name means a tag: a branch of the same name comes first, also one that is gone.
    pub(crate) async fn is_tag(&self, project: ProjectId, reference: &str) -> Result<bool> {
        let found = self.code.resolve(project, reference).await?;
        Ok(found.is_some_and(|commit| commit.tag))
    }

    async fn archives_of(&self, pipeline: PipelineId) -> Result<Vec<Artifact>> {
        let now = self.clock.now();
        Ok(artifact::of_pipeline(&self.db, pipeline)
            .await?
            .into_iter()
            .filter(|artifact| artifact.kind == wire::ARTIFACT_ARCHIVE && artifact.is_kept(now))
            .collect())
    }

    /// Whether a running job may take the archive of another: its own, and of those that it depends on.
    pub(crate) async fn may_download(&self, job: &Job, of: JobId) -> Result<bool> {
        if job.id == of {
            return Ok(true);
        }
        let Some(pipeline) = pipeline::store::find(&self.db, job.pipeline_id).await? else {
            return Ok(false);
        };
        let variables = if job.spec.0.outside_needs.is_empty() {
            Vec::new()
        } else {
            let Some(project) = self.code.project(job.project_id).await? else {
                return Ok(false);
            };
            self.job_variables(job, &pipeline, &project).await?
        };
        let list = self.dependencies(job, &pipeline, &variables).await?;
        Ok(list.iter().any(|dependency| dependency.id == of))
    }
}

/// Under what code a job is refused whose artifacts to take are not there.
pub(crate) const MISSING_DEPENDENCY: &str = "missing_dependency";

fn missing(what: impl Into<String>, next: &str) -> Problem {
    Problem::invalid(MISSING_DEPENDENCY, what)
        .why("The job takes them, and would go on without what it builds on.")
        .next(next)
}

/// In the same words whatever the cause, so that nobody learns of projects that they may not read.
fn missing_outside(name: &str) -> Problem {
    missing(
        format!(
            "The artifacts of the job `{}`, which this one needs, are not to be had.",
            shown(name)
        ),
        "It must have succeeded there, its artifacts be kept, and who starts this pipeline be allowed to read them.",
    )
}

/// Whether two pipelines of one project came of the same one.
fn of_family(one: &Pipeline, other: &Pipeline) -> bool {
    let root = |pipeline: &Pipeline| pipeline.root_id.unwrap_or(pipeline.id);
    one.project_id == other.project_id && root(one) == root(other)
}

/// The token is put in by the caller: the job's own opens what it depends on; the other's ended with the other.
fn dependency(id: JobId, name: String, archive: &Artifact) -> wire::Dependency {
    wire::Dependency {
        id,
        token: String::new(),
        name,
        artifacts_file: Some(wire::ArtifactFile {
            filename: archive.file_name.clone(),
            size: u64::try_from(archive.size).unwrap_or_default(),
        }),
    }
}

/// Lists the groups and projects whose job tokens may read this project, besides its own.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/job-token-access", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<JobTokenAccess>)))]
async fn list(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<JobTokenAccess>>> {
    let entries = ci.lets_in(project.id).await?;
    Ok(Json(
        entries
            .into_iter()
            .map(|entry| JobTokenAccess {
                path: entry.path,
                added_at: Some(entry.added_at),
            })
            .collect(),
    ))
}

/// Lets the job tokens of a project, or of all projects of a group, read this one's code and images.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/ci/job-token-access", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = JobTokenAccess, responses((status = 204)))]
async fn add(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(entry): Body<JobTokenAccess>,
) -> Answer<StatusCode> {
    ci.let_in(project.id, entry.path.trim(), &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct Which {
    path: String,
}

/// Ends that.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/ci/job-token-access", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("path" = String, Query)),
    responses((status = 204)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Params(which): Params<Which>,
) -> Answer<StatusCode> {
    ci.let_in_no_more(project.id, &which.path, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
