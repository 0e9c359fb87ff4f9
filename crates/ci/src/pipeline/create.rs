//! Making a pipeline: read the file at the commit, plan, store.

use super::{Ask, Pipeline, Prepared, Text, store};
use crate::{
    Ci,
    config::{Inputs, JobSpec, When},
    fault::{CI_FILE, Faults},
    job::{self, Job},
    plan::{Dependencies, Plan, PlannedJob},
    status::{JobStatus, PipelineStatus},
};
use bascule_core::{Actor, Digest, JobId, PipelineId, Problem, ProjectId, Result, limits};
use bascule_ledger::facts::ci::{PipelineCreated, PipelineRefused};
use bascule_store::Json;
use bascule_wire::runner::Variable;

/// What a pipeline is to be made for.
#[derive(Clone, Debug)]
pub struct Start {
    /// The project.
    pub project: ProjectId,
    /// Branch or tag name.
    pub reference: String,
    /// Whether it is a tag.
    pub tag: bool,
    /// The commit.
    pub sha: String,
    /// The commit before the push; `None` where there is nothing to compare with.
    pub before: Option<String>,
    /// `push`, `web`, `api`.
    pub source: &'static str,
    /// The fact that caused it: the same fact makes one pipeline.
    pub fact: Option<String>,
    /// Variables given by who starts it.
    pub variables: Vec<Variable>,
    /// Who starts it.
    pub actor: Actor,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// A pipeline.
    Pipeline(PipelineId),
    /// A pipeline that stands for the file's faults.
    Refused(PipelineId, Faults),
    /// None, and why.
    Nothing(String),
}

impl Ci {
    /// Makes a pipeline for a commit, if its file asks for one.
    ///
    /// # Errors
    /// The store or the code cannot be reached.
    pub async fn create_pipeline(&self, start: Start) -> Result<Created> {
        if let Some(fact) = &start.fact
            && let Some(known) = store::of_fact(&self.db, fact).await?
        {
            return Ok(Created::Pipeline(known.id));
        }
        let Some(info) = self.code.project(start.project).await? else {
            return Ok(Created::Nothing("the project is gone".to_owned()));
        };
        let Some(bytes) = self.code.read_file(start.project, &start.sha, CI_FILE).await? else {
            return Ok(Created::Nothing(format!("there is no {CI_FILE} at this commit")));
        };
        let message = self
            .code
            .commit_message(start.project, &start.sha)
            .await?
            .unwrap_or_default();
        if start.source == "push" && asks_to_skip(&message) {
            return Ok(Created::Nothing(
                "the commit's message asks to skip CI".to_owned(),
            ));
        }
        let mut pipeline = self.draft(&start, message).await?;
        pipeline.ci_file_digest = Some(Digest::of(&bytes));
        let ask = Ask {
            info: &info,
            text: Text::File(&bytes),
            actor: &start.actor,
            secrets: true,
            inputs: &Inputs::new(),
        };
        match self.prepare(&mut pipeline, &ask).await? {
            Err(faults) => self.refuse(pipeline, &start, faults).await,
            Ok(Prepared {
                plan: Plan { none: Some(why), .. },
                ..
            }) => Ok(Created::Nothing(why)),
            Ok(prepared) => {
                pipeline.name = prepared.plan.name.clone();
                pipeline.stages = Json(prepared.plan.stages.clone());
                pipeline.warnings = Json(prepared.config.warnings.clone());
                self.store(pipeline, &start, &prepared.plan).await
            }
        }
    }

    /// A pipeline as far as it is known before its file was read.
    pub(crate) async fn draft(&self, start: &Start, message: String) -> Result<Pipeline> {
        let protected = self
            .code
            .is_protected(start.project, &start.reference, start.tag)
            .await?;
        Ok(Pipeline {
            id: PipelineId(0),
            project_id: start.project,
            reference: start.reference.clone(),
            tag: start.tag,
            sha: start.sha.clone(),
            before_sha: start.before.clone(),
            source: start.source.to_owned(),
            name: None,
            message: message.chars().take(10_000).collect(),
            protected,
            status: PipelineStatus::Created,
            stages: Json(Vec::new()),
            faults: Json(Vec::new()),
            warnings: Json(Vec::new()),
            variables: Json(start.variables.clone()),
            ci_file_digest: None,
            actor_name: start.actor.name.clone(),
            created_at: self.clock.now(),
            started_at: None,
            finished_at: None,
        })
    }

    /// A failed pipeline stands for the faults, so that whoever pushed finds them where they look.
    async fn refuse(&self, mut pipeline: Pipeline, start: &Start, faults: Faults) -> Result<Created> {
        let first = faults.first();
        pipeline.status = PipelineStatus::Failed;
        pipeline.finished_at = Some(pipeline.created_at);
        pipeline.faults = Json(faults.0.clone());
        let tx = self.db.begin().await?;
        pipeline.id = PipelineId(tx.next_number("pipeline").await?);
        let origin = store::Origin {
            actor: &start.actor,
            source_fact: start.fact.clone(),
        };
        if !store::insert(&tx, &pipeline, &origin).await? {
            drop(tx);
            return self.already(start).await;
        }
        let fact = PipelineRefused {
            project: start.project,
            reference: start.reference.clone(),
            sha: start.sha.clone(),
            position: first.position(),
            reason: first.reason(),
        };
        self.ledger.append(&tx, &start.actor, &fact).await?;
        tx.commit().await?;
        Ok(Created::Refused(pipeline.id, faults))
    }

    async fn store(&self, mut pipeline: Pipeline, start: &Start, plan: &Plan) -> Result<Created> {
        let tx = self.db.begin().await?;
        pipeline.id = PipelineId(tx.next_number("pipeline").await?);
        let origin = store::Origin {
            actor: &start.actor,
            source_fact: start.fact.clone(),
        };
        if !store::insert(&tx, &pipeline, &origin).await? {
            drop(tx);
            return self.already(start).await;
        }
        for (position, planned) in plan.jobs.iter().enumerate() {
            let id = JobId(tx.next_number("job").await?);
            job::store::insert(&tx, &new_job(id, &pipeline, position, planned)).await?;
        }
        let fact = PipelineCreated {
            project: start.project,
            pipeline: pipeline.id,
            reference: start.reference.clone(),
            tag: start.tag,
            sha: start.sha.clone(),
            source: start.source.to_owned(),
            jobs: i64::try_from(plan.jobs.len()).unwrap_or(i64::MAX),
        };
        self.ledger.append(&tx, &start.actor, &fact).await?;
        self.settle(&tx, &pipeline, &start.actor).await?;
        tx.commit().await?;
        Ok(Created::Pipeline(pipeline.id))
    }

    /// Another replica handled the same fact first.
    async fn already(&self, start: &Start) -> Result<Created> {
        let fact = start.fact.as_deref().unwrap_or_default();
        let known = store::of_fact(&self.db, fact)
            .await?
            .ok_or_else(Problem::internal)?;
        Ok(Created::Pipeline(known.id))
    }
}

fn asks_to_skip(message: &str) -> bool {
    let lower = message.to_lowercase();
    ["[skip ci]", "[ci skip]", "[no ci]"]
        .iter()
        .any(|sign| lower.contains(sign))
}

fn new_job(id: JobId, pipeline: &Pipeline, position: usize, planned: &PlannedJob) -> Job {
    let spec: &JobSpec = &planned.spec;
    Job {
        id,
        pipeline_id: pipeline.id,
        project_id: pipeline.project_id,
        name: planned.name.clone(),
        stage: planned.stage.clone(),
        stage_index: i64::try_from(planned.stage_index).unwrap_or_default(),
        position: i64::try_from(position).unwrap_or_default(),
        status: JobStatus::Created,
        run_when: Json(planned.when),
        allow_failure: Json(planned.allow_failure.clone()),
        needs: planned.needs.clone().map(Json),
        dependencies: match &planned.dependencies {
            Dependencies::Default => None,
            Dependencies::Only(list) => Some(Json(list.clone())),
        },
        variables: Json(planned.variables.clone()),
        spec: Json(spec.clone()),
        tags: Json(spec.tags.clone()),
        resource_group: spec.resource_group.clone(),
        timeout: spec
            .timeout
            .and_then(|seconds| i64::try_from(seconds).ok())
            .unwrap_or(i64::try_from(limits::JOB_TIMEOUT.as_secs()).unwrap_or(3600)),
        runner_id: None,
        failure_reason: None,
        exit_code: None,
        retried: false,
        attempt: 1,
        created_at: pipeline.created_at,
        queued_at: None,
        started_at: None,
        finished_at: None,
        heard_at: None,
        trace_bytes: 0,
        trace_crc: 0,
    }
}

impl PlannedJob {
    /// Whether a person must start it.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.when == When::Manual
    }
}
