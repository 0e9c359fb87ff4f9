//! Making a pipeline: read the file at the commit, plan, store.

use super::{Ask, MergeRequest, Pipeline, Settings, Text, guard, store};
use crate::{
    Ci,
    config::{Include, Inputs, JobSpec, When},
    fault::{CI_FILE, Faults, Pos},
    job::{self, Job},
    plan::{Dependencies, Plan, PlannedJob},
    ports::{Commit, CommitStamp},
    request,
    required::Placed,
    status::{JobStatus, PipelineStatus},
};
use bascule_core::{Actor, Digest, JobId, PipelineId, Problem, ProjectId, Result, limits};
use bascule_ledger::facts::ci::{PipelineCreated, PipelineRefused};
use bascule_store::Json;
use bascule_wire::runner::Variable;
use std::collections::BTreeMap;

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
    /// What few pipelines have.
    pub more: More,
}

impl Start {
    /// One of a commit, with nothing else given.
    #[must_use]
    pub fn of(project: ProjectId, commit: Commit, source: &'static str, actor: Actor) -> Self {
        Self {
            project,
            reference: commit.reference,
            tag: commit.tag,
            sha: commit.sha,
            before: None,
            source,
            fact: None,
            variables: Vec::new(),
            actor,
            more: More::default(),
        }
    }
}

/// What few pipelines have: those that others made, and those for merge requests and schedules.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// What it is made of in place of the project's CI file.
    pub child: Option<Child>,
    /// Values for the file's `spec:inputs`.
    pub inputs: Inputs,
    /// Whether these came as texts, to be read by the inputs' types.
    pub input_texts: bool,
    /// The first letters of the trigger token that starts it.
    pub trigger_hint: Option<String>,
    /// What made it.
    pub upstream: Option<Upstream>,
    /// The merge request that it is for.
    pub merge_request: Option<MergeRequest>,
    /// For a merged result: the request's own commit.
    pub head_sha: Option<String>,
    /// The schedule that starts it.
    pub schedule: Option<i64>,
    /// Under which name the code keeps what who pushed gave the pipeline.
    pub push_options: Option<String>,
    /// What that schedule is for.
    pub schedule_description: Option<String>,
    /// Whether who pushed asked for no pipeline. What the group requires runs all the same.
    pub skip: bool,
}

/// What a child pipeline is made of.
#[derive(Clone, Debug, Default)]
pub struct Child {
    /// What its faults are told by.
    pub name: String,
    /// The files.
    pub includes: Vec<Include>,
    /// Those of them that jobs of its parent left, by job and path.
    pub artifacts: BTreeMap<(String, String), String>,
}

/// What the project's own jobs are read from.
enum Own<'a> {
    File(Vec<u8>),
    Child(&'a Child),
    /// It is there and cannot be had.
    Refused(Faults),
}

/// The bridge that makes a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// The bridge.
    pub job: JobId,
    /// The first pipeline of the family.
    pub root: PipelineId,
    /// How many bridges lead to what it makes.
    pub depth: i64,
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
    pub async fn create_pipeline(&self, mut start: Start) -> Result<Created> {
        if let Some(fact) = &start.fact
            && let Some(known) = store::of_fact(&self.db, fact).await?
        {
            return Ok(Created::Pipeline(known.id));
        }
        let Some(info) = self.code.project(start.project).await? else {
            return Ok(Created::Nothing("the project is gone".to_owned()));
        };
        let Some(message) = self.code.commit_message(start.project, &start.sha).await? else {
            return Ok(Created::Nothing("the commit is gone".to_owned()));
        };
        let refused = self.take_push_options(&mut start).await?;
        let required = self.required_for(&start, &info).await?;
        let text = match self.own_text(&start, &message).await? {
            Err(why) if required.is_empty() => return Ok(Created::Nothing(why)),
            text => text,
        };
        let mut pipeline = self.draft(&start, message).await?;
        if !start.tag {
            let open = self.requests().open_from(start.project, &start.reference).await?;
            pipeline.settings.0.open_requests = open;
        }
        pipeline.ci_file_digest = match &text {
            Ok(Own::File(bytes)) => Some(Digest::of(bytes)),
            _ => None,
        };
        let mut faults = Faults(Vec::new());
        let mut none = text.as_ref().err().cloned();
        let mut plan = Plan::default();
        let read = match &text {
            Ok(Own::File(bytes)) => Some(Text::File(bytes)),
            Ok(Own::Child(child)) => Some(Text::Child(&child.includes, &child.artifacts)),
            Ok(Own::Refused(found)) => {
                faults = found.clone();
                None
            }
            Err(_) => None,
        };
        if let Some(problem) = refused {
            let what = format!("{} {}", problem.what, problem.why);
            faults = Faults::one(Pos::default(), what.trim().trim_end_matches('.'), problem.next);
        } else if let Some(text) = read {
            let ask = Ask {
                info: &info,
                text,
                actor: &start.actor,
                secrets: true,
                inputs: &start.more.inputs,
                input_texts: start.more.input_texts,
                since: None,
            };
            let prepared = match self.prepare(&mut pipeline, &ask).await {
                // What the commit holds is more than may be read, say: its author's to mend.
                Err(problem) if !problem.is_server_fault() => Err(Faults::of(&problem)),
                prepared => prepared?,
            };
            match prepared {
                Err(found) => faults = found,
                Ok(prepared) => {
                    pipeline.name.clone_from(&prepared.plan.name);
                    pipeline.warnings = Json(prepared.config.warnings.clone());
                    pipeline.settings.0.auto_cancel = prepared.plan.auto_cancel;
                    none.clone_from(&prepared.plan.none);
                    plan = prepared.plan;
                }
            }
        }
        if let Some(child) = &start.more.child {
            for fault in faults.0.iter_mut().filter(|fault| fault.file.is_empty()) {
                fault.file.clone_from(&child.name);
            }
        }
        if !faults.0.is_empty() || none.is_some() {
            plan.jobs.clear();
        }
        let policy = required.clone();
        let placed = self
            .with_required(&pipeline, &info, plan, required, &mut faults)
            .await?;
        // What is required has run for the push already, save what the policy has for merge requests alone.
        let only_required = placed.jobs.iter().all(|job| job.required.is_some());
        let trial = start.source == request::SOURCE && request::is_trial(start.more.merge_request.as_ref());
        if only_required
            && trial
            && faults.0.is_empty()
            && self.runs_at_push(&start, &info, &policy, &placed.jobs).await?
        {
            return Ok(Created::Nothing(
                none.unwrap_or_else(|| "no job is to run for merge requests".to_owned()),
            ));
        }
        if placed.jobs.is_empty() {
            return match none {
                _ if !faults.0.is_empty() => self.refuse(pipeline, &start, faults).await,
                why => Ok(Created::Nothing(
                    why.unwrap_or_else(|| "no job is to run for this ref".to_owned()),
                )),
            };
        }
        pipeline.stages = Json(placed.stages.clone());
        pipeline.faults = Json(faults.0);
        self.store(pipeline, &start, &placed.jobs).await
    }

    /// Puts what the push gave its pipeline where what people give stands; or why it cannot be given.
    async fn take_push_options(&self, start: &mut Start) -> Result<Option<Problem>> {
        let Some(name) = start.more.push_options.take() else {
            return Ok(None);
        };
        let given = self.code.push_options(start.project, &name).await?;
        if given.variables.is_empty() && given.inputs.is_empty() {
            return Ok(None);
        }
        let protected = self
            .code
            .is_protected(start.project, &start.reference, start.tag)
            .await?;
        let next = "push without the options `ci.variable` and `ci.input`, or ask a maintainer";
        if let Err(problem) = guard::may_give(&start.reference, protected, given.may_protected, next) {
            return Ok(Some(problem));
        }
        start.more.input_texts = true;
        start
            .more
            .inputs
            .extend(given.inputs.into_iter().map(|(name, value)| (name, value.into())));
        match job::manual::given(given.variables) {
            Ok(variables) => start.variables.extend(variables),
            Err(problem) => return Ok(Some(problem)),
        }
        Ok(None)
    }

    /// The text that the project's own jobs are read from, or why there are none.
    async fn own_text<'a>(
        &self,
        start: &'a Start,
        message: &str,
    ) -> Result<std::result::Result<Own<'a>, String>> {
        if start.more.skip {
            return Ok(Err("who pushed asked to skip CI".to_owned()));
        }
        if matches!(start.source, "push" | "merge_request_event") && asks_to_skip(message) {
            return Ok(Err("the commit's message asks to skip CI".to_owned()));
        }
        if let Some(child) = &start.more.child {
            return Ok(Ok(Own::Child(child)));
        }
        let found = match self.code.read_file(start.project, &start.sha, CI_FILE).await {
            Err(problem) if !problem.is_server_fault() => {
                return Ok(Ok(Own::Refused(Faults::of(&problem))));
            }
            found => found?,
        };
        Ok(found
            .map(Own::File)
            .ok_or_else(|| format!("there is no {CI_FILE} at this commit")))
    }

    /// A pipeline as far as it is known before its file was read.
    pub(crate) async fn draft(&self, start: &Start, message: String) -> Result<Pipeline> {
        let protected = self
            .code
            .is_protected(start.project, &start.reference, start.tag)
            .await?;
        let stamp = match start.sha.as_str() {
            "" => None,
            sha => self.code.commit_stamp(start.project, sha).await?,
        };
        let mut pipeline = self.blank(start, &message, protected, stamp.unwrap_or_default());
        let settings = &mut pipeline.settings.0;
        settings.starter = self.reach().person(&start.actor, start.project).await?;
        if start.tag && !start.sha.is_empty() {
            let message = self.code.tag_message(start.project, &start.reference).await?;
            settings.tag_message = message.map(|text| text.chars().take(super::MESSAGE).collect());
        }
        if let Some(upstream) = start.more.upstream {
            let parent = store::find(&self.db, upstream.pipeline).await?;
            settings.upstream_project = parent.map(|parent| parent.project_id);
        }
        if let Some(request) = &mut pipeline.settings.0.merge_request {
            let (source, target) = (&request.source_branch, &request.target_branch);
            request.source_protected = self.code.is_protected(start.project, source, false).await?;
            request.target_protected = self.code.is_protected(start.project, target, false).await?;
        }
        Ok(pipeline)
    }

    fn blank(&self, start: &Start, message: &str, protected: bool, stamp: CommitStamp) -> Pipeline {
        Pipeline {
            id: PipelineId(0),
            project_id: start.project,
            reference: start.reference.clone(),
            tag: start.tag,
            sha: start.sha.clone(),
            before_sha: start.before.clone(),
            source: start.source.to_owned(),
            name: None,
            message: message.chars().take(super::MESSAGE).collect(),
            protected,
            status: PipelineStatus::Created,
            stages: Json(Vec::new()),
            faults: Json(Vec::new()),
            warnings: Json(Vec::new()),
            variables: Json(start.variables.clone()),
            ci_file_digest: None,
            actor_name: start.actor.name.clone(),
            parent_id: start.more.upstream.map(|upstream| upstream.pipeline),
            parent_job_id: start.more.upstream.map(|upstream| upstream.job),
            root_id: start.more.upstream.map(|upstream| upstream.root),
            depth: start.more.upstream.map_or(0, |upstream| upstream.depth),
            head_sha: start.more.head_sha.clone(),
            settings: Json(Settings {
                merge_request: start.more.merge_request.clone(),
                schedule: start.more.schedule,
                schedule_description: start.more.schedule_description.clone(),
                trigger: start.more.trigger_hint.clone(),
                commit_author: stamp.author,
                commit_time: stamp.time,
                ..Settings::default()
            }),
            created_at: self.clock.now(),
            started_at: None,
            finished_at: None,
        }
    }

    /// A failed pipeline says that the platform cannot make the one that was asked for.
    pub(crate) async fn stand_for_fault(&self, start: &Start, problem: &Problem) -> Result<()> {
        let pipeline = self.blank(start, "", false, CommitStamp::default());
        let fault = Faults::one(
            Pos::default(),
            format!("the platform cannot make this pipeline: {}", problem.what),
            "run it again once an administrator has seen to that",
        );
        self.refuse(pipeline, start, fault).await.map(drop)
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
        if let Some(upstream) = start.more.upstream
            && !job::store::set_downstream(&tx, upstream.job, pipeline.id).await?
        {
            // It was canceled while this was planned, and nobody would cancel what it makes.
            return Ok(Created::Nothing(
                "the job that makes it does not run any more".to_owned(),
            ));
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

    async fn store(&self, mut pipeline: Pipeline, start: &Start, jobs: &[Placed]) -> Result<Created> {
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
        if let Some(upstream) = start.more.upstream
            && !job::store::set_downstream(&tx, upstream.job, pipeline.id).await?
        {
            // It was canceled while this was planned, and nobody would cancel what it makes.
            return Ok(Created::Nothing(
                "the job that makes it does not run any more".to_owned(),
            ));
        }
        // The number is asked for once: whoever asks for another waits until this transaction ends.
        let mut id = JobId(tx.next_numbers("job", jobs.len()).await?);
        let mut rows = Vec::with_capacity(jobs.len());
        for (position, placed) in jobs.iter().enumerate() {
            rows.push(new_job(id, &pipeline, position, placed));
            id.0 += 1;
        }
        job::store::insert_all(&tx, &rows).await?;
        let fact = PipelineCreated {
            project: start.project,
            pipeline: pipeline.id,
            reference: start.reference.clone(),
            tag: start.tag,
            sha: start.sha.clone(),
            source: start.source.to_owned(),
            jobs: i64::try_from(jobs.len()).unwrap_or(i64::MAX),
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

fn new_job(id: JobId, pipeline: &Pipeline, position: usize, placed: &Placed) -> Job {
    let planned = &placed.job;
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
        resource_group: placed.resource_group.clone(),
        bridge: spec.is_bridge(),
        downstream_id: None,
        required: placed.required.clone(),
        gate: placed.gate,
        start_in: (planned.when == When::Delayed)
            .then(|| spec.start_in.and_then(|seconds| i64::try_from(seconds).ok()))
            .flatten(),
        run_at: None,
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
