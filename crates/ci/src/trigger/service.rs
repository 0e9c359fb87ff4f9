//! Crossing bridges: from a bridge that began to the pipeline that it makes.

use super::{DEPTH, FAMILY, NESTED, Obstacle, child, name_of, reason};
use crate::{
    Ci,
    config::{Include, Source, Strategy, Trigger},
    fault::shown,
    job::{self, Failure, Job, Outcome},
    pipeline::{self, Child, Created, More, Pipeline, Start, Upstream, guard, state},
    status::{JobStatus, PipelineStatus},
    variables::{expand, resolve},
};
use bascule_core::{Actor, JobId, Permission, PipelineId, Problem, Result};
use bascule_wire::runner::Variable;
use std::collections::BTreeMap;

/// Variables that say which of several equal jobs one is; they mean nothing to another pipeline.
const OF_COPIES: [&str; 2] = ["CI_NODE_INDEX", "CI_NODE_TOTAL"];

/// What a bridge is crossed with.
struct Crossing {
    pipeline: Pipeline,
    actor: Actor,
    values: BTreeMap<String, String>,
    variables: Vec<Variable>,
    upstream: Upstream,
}

impl Ci {
    /// Makes the pipelines of all bridges that have begun. A fault of one does not keep the others back, nor do many.
    pub(crate) async fn cross_bridges(&self) -> Result<()> {
        let mut after = JobId(0);
        loop {
            let page = job::store::bridges_to_cross(&self.db, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for bridge in page {
                match Box::pin(self.cross(&bridge)).await {
                    Err(problem) if problem.is_server_fault() => {
                        tracing::warn!(job = %bridge.id, %problem, "a bridge cannot be crossed now; tried again soon");
                    }
                    Err(problem) => {
                        self.fail_bridge(&bridge, &Obstacle::new(reason::CREATION, problem.to_string()))
                            .await?;
                    }
                    Ok(()) => {}
                }
            }
        }
    }

    async fn cross(&self, bridge: &Job) -> Result<()> {
        let Some(pipeline) = pipeline::store::find(&self.db, bridge.pipeline_id).await? else {
            return Ok(());
        };
        let info = self
            .code
            .project(pipeline.project_id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let listed = self.job_variables(bridge, &pipeline, &info).await?;
        let values = resolve(&listed);
        if let Some(path) = bridge.spec.0.mirrored() {
            return self.mirror_other(bridge, &pipeline, &expand(path, &values)).await;
        }
        let Some(trigger) = bridge.spec.0.trigger.clone() else {
            return self
                .fail_bridge(
                    bridge,
                    &Obstacle::new(reason::INVALID, "this job names no pipeline to make"),
                )
                .await;
        };
        let crossing = Crossing {
            actor: pipeline::store::actor(&self.db, pipeline.id)
                .await?
                .unwrap_or_else(Actor::anonymous),
            variables: forwarded(bridge, &pipeline, &trigger, &values),
            values,
            upstream: Upstream {
                pipeline: pipeline.id,
                job: bridge.id,
                root: pipeline.root_id.unwrap_or(pipeline.id),
                depth: pipeline.depth + 1,
            },
            pipeline,
        };
        let made = match self.room_for(&crossing, &trigger).await? {
            Some(obstacle) => Err(obstacle),
            None if trigger.project.is_some() => self.make_elsewhere(bridge, &crossing, &trigger).await?,
            None => self.make_child(bridge, &crossing, &trigger).await?,
        };
        let start = match made {
            Ok(start) => start,
            Err(obstacle) => return self.fail_bridge(bridge, &obstacle).await,
        };
        match self.create_pipeline(start).await? {
            Created::Pipeline(id) => self.crossed(bridge, &trigger, id).await,
            Created::Refused(id, faults) => {
                let words = format!("the CI file of what it makes is faulty: {}", faults.first());
                self.note_downstream(bridge, id).await?;
                self.fail_bridge(bridge, &Obstacle::new(reason::CREATION, words))
                    .await
            }
            Created::Nothing(why) => {
                let words = format!("no pipeline was made, because {why}");
                self.fail_bridge(bridge, &Obstacle::new(reason::CREATION, words))
                    .await
            }
        }
    }

    /// Whether one more pipeline may come of this one.
    async fn room_for(&self, crossing: &Crossing, trigger: &Trigger) -> Result<Option<Obstacle>> {
        if crossing.upstream.depth > DEPTH {
            return Ok(Some(Obstacle::new(
                reason::DEPTH,
                format!("more than {DEPTH} pipelines would have made each other in a row"),
            )));
        }
        if pipeline::store::family(&self.db, crossing.upstream.root).await? >= FAMILY {
            return Ok(Some(Obstacle::new(
                reason::FAMILY,
                format!(
                    "pipeline {} led to {FAMILY} pipelines already, which is the most allowed",
                    crossing.upstream.root
                ),
            )));
        }
        if trigger.project.is_some() {
            return Ok(None);
        }
        let (mut nested, mut at) = (1, crossing.pipeline.clone());
        while at.source == pipeline::CHILD {
            nested += 1;
            if nested > NESTED {
                let words = format!("child pipelines may be nested {NESTED} deep");
                return Ok(Some(Obstacle::new(reason::DEPTH, words)));
            }
            let Some(parent) = at.parent_id else { break };
            match pipeline::store::find(&self.db, parent).await? {
                Some(parent) => at = parent,
                None => break,
            }
        }
        Ok(None)
    }

    async fn make_child(
        &self,
        bridge: &Job,
        crossing: &Crossing,
        trigger: &Trigger,
    ) -> Result<std::result::Result<Start, Obstacle>> {
        let parent = &crossing.pipeline;
        let includes: Vec<Include> = trigger
            .include
            .iter()
            .map(|include| expanded(include, &crossing.values))
            .collect();
        let mut artifacts = BTreeMap::new();
        for include in &includes {
            if let Source::Artifact { job, file } = &include.source {
                match self.generated(bridge, job, file).await? {
                    Ok(text) => drop(artifacts.insert((job.clone(), file.clone()), text)),
                    Err(words) => return Ok(Err(Obstacle::new(reason::CREATION, words))),
                }
            }
        }
        Ok(Ok(Start {
            project: parent.project_id,
            reference: parent.reference.clone(),
            tag: parent.tag,
            sha: parent.sha.clone(),
            before: parent.before_sha.clone(),
            source: pipeline::CHILD,
            fact: Some(fact_of(bridge)),
            variables: crossing.variables.clone(),
            actor: crossing.actor.clone(),
            more: More {
                child: Some(Child {
                    name: name_of(&includes),
                    includes,
                    artifacts,
                }),
                upstream: Some(crossing.upstream),
                merge_request: parent.settings.0.merge_request.clone(),
                ..More::default()
            },
        }))
    }

    /// The text of a configuration that another job of the pipeline made, or why there is none.
    async fn generated(
        &self,
        bridge: &Job,
        job: &str,
        file: &str,
    ) -> Result<std::result::Result<String, String>> {
        let jobs = job::store::states(&self.db, bridge.pipeline_id).await?;
        let Some(maker) = jobs
            .iter()
            .find(|state| state.name == job && state.track == state::Track::Own)
        else {
            return Ok(Err(format!("there is no job `{}` in this pipeline", shown(job))));
        };
        let artifact = match self
            .artifact(maker.id, bascule_wire::runner::ARTIFACT_ARCHIVE)
            .await
        {
            Ok(artifact) => artifact,
            Err(problem) if problem.is_server_fault() => return Err(problem),
            Err(_) => {
                return Ok(Err(format!(
                    "the job `{}` left no artifacts, or they have expired",
                    shown(job)
                )));
            }
        };
        child::file_of(&self.blobs, &artifact.digest, file).await
    }

    async fn make_elsewhere(
        &self,
        bridge: &Job,
        crossing: &Crossing,
        trigger: &Trigger,
    ) -> Result<std::result::Result<Start, Obstacle>> {
        let path = expand(trigger.project.as_deref().unwrap_or_default(), &crossing.values);
        let unknown = || {
            // Whether it exists is no business of who may not see it.
            Obstacle::new(
                reason::PROJECT,
                format!(
                    "there is no project `{}` in which {} may run pipelines",
                    shown(&path),
                    crossing.actor.name
                ),
            )
        };
        let Some(there) = self.reach().find(&path).await? else {
            return Ok(Err(unknown()));
        };
        let may = |permission| {
            let (reach, actor) = (self.reach(), crossing.actor.clone());
            async move { reach.may(&actor, there.id, permission).await }
        };
        if !may(Permission::PipelineRun).await? {
            return Ok(Err(if may(Permission::ProjectView).await? {
                Obstacle::new(
                    reason::RIGHT,
                    format!(
                        "{} may not run pipelines in {path}; ask for the role developer there",
                        crossing.actor.name
                    ),
                )
            } else {
                unknown()
            }));
        }
        let wanted = match &trigger.branch {
            Some(branch) => expand(branch, &crossing.values),
            None => there.default_branch.clone(),
        };
        let Some(commit) = self.code.resolve(there.id, &wanted).await? else {
            let words = format!("{path} has no branch or tag `{}`", shown(&wanted));
            return Ok(Err(Obstacle::new(reason::CREATION, words)));
        };
        let protected = self
            .code
            .is_protected(there.id, &commit.reference, commit.tag)
            .await?;
        let may_push = !protected || may(Permission::ProtectedPush).await?;
        let refused = |problem: Problem| {
            let words = format!(
                "in {path}, for {}: {}",
                crossing.actor.name,
                guard::in_words(&problem)
            );
            Ok(Err(Obstacle::new(reason::RIGHT, words)))
        };
        match self
            .guard_of(there.id, &commit.reference, protected, may_push)
            .await
        {
            Err(problem) if problem.is_server_fault() => return Err(problem),
            Err(problem) => return refused(problem),
            Ok(()) => {}
        }
        let given = match (crossing.variables.is_empty(), trigger.inputs.is_empty()) {
            (true, true) => None,
            (true, false) => Some("Leave out `trigger:inputs`, or ask a maintainer."),
            (false, _) => Some("Write `trigger:forward:yaml_variables: false`, or ask a maintainer."),
        };
        if let Some(next) = given
            && let Err(problem) = guard::may_give(&commit.reference, protected, may_push, next)
        {
            return refused(problem);
        }
        Ok(Ok(Start {
            project: there.id,
            reference: commit.reference,
            tag: commit.tag,
            sha: commit.sha,
            before: None,
            source: pipeline::DOWNSTREAM,
            fact: Some(fact_of(bridge)),
            variables: crossing.variables.clone(),
            actor: crossing.actor.clone(),
            more: More {
                inputs: trigger.inputs.clone(),
                upstream: Some(crossing.upstream),
                ..More::default()
            },
        }))
    }

    /// A pipeline is there: a bridge that does not wait for it has done its work.
    async fn crossed(&self, bridge: &Job, trigger: &Trigger, id: PipelineId) -> Result<()> {
        // Found again after a crash, it may be noted nowhere yet, and may have ended.
        self.note_downstream(bridge, id).await?;
        let Some(made) = pipeline::store::find(&self.db, id).await? else {
            return Ok(());
        };
        match trigger.strategy {
            Strategy::None if made.status == PipelineStatus::Failed && made.started_at.is_none() => {
                let words = format!("pipeline {id} could not be made");
                self.fail_bridge(bridge, &Obstacle::new(reason::CREATION, words))
                    .await
            }
            Strategy::None => {
                self.end_job(bridge.id, Outcome::Success, &Actor::system())
                    .await?;
                Ok(())
            }
            Strategy::Depend | Strategy::Mirror if made.status.is_final() => {
                self.mirror_end(bridge.id, made.status).await
            }
            Strategy::Depend | Strategy::Mirror => Ok(()),
        }
    }

    async fn note_downstream(&self, bridge: &Job, id: PipelineId) -> Result<()> {
        let tx = self.db.begin().await?;
        job::store::set_downstream(&tx, bridge.id, id).await?;
        Ok(tx.commit().await?)
    }

    /// `needs:pipeline` without a script: the job ends as the newest pipeline of another project stands.
    async fn mirror_other(&self, bridge: &Job, pipeline: &Pipeline, path: &str) -> Result<()> {
        let actor = pipeline::store::actor(&self.db, pipeline.id)
            .await?
            .unwrap_or_else(Actor::anonymous);
        let unknown = Obstacle::new(
            reason::UPSTREAM,
            format!(
                "there is no project `{}` whose pipelines {} may read",
                shown(path),
                actor.name
            ),
        );
        let Some(there) = self.reach().find(path).await? else {
            return self.fail_bridge(bridge, &unknown).await;
        };
        let may = self
            .reach()
            .may(&actor, there.id, Permission::PipelineRead)
            .await?;
        if !may {
            let obstacle = Obstacle {
                reason: reason::UPSTREAM_RIGHT,
                ..unknown
            };
            return self.fail_bridge(bridge, &obstacle).await;
        }
        let newest =
            pipeline::store::list(&self.db, there.id, Some(there.default_branch.as_str()), None, 1).await?;
        match newest.first() {
            Some(newest) => self.end_with(bridge, newest.id).await,
            None => {
                let words = format!("{path} has no pipeline for {}", there.default_branch);
                self.fail_bridge(bridge, &Obstacle::new(reason::UPSTREAM, words))
                    .await
            }
        }
    }

    /// Lets a bridge end as a pipeline that it did not make does, at once or when that ends.
    async fn end_with(&self, bridge: &Job, other: PipelineId) -> Result<()> {
        let tx = self.db.begin().await?;
        // It may end at this moment: either that is seen here, or its end finds the bridge.
        pipeline::store::lock(&tx, other).await?;
        match pipeline::store::find(&tx, other).await? {
            Some(other) if !other.status.is_final() => {
                job::store::set_downstream(&tx, bridge.id, other.id).await?;
                Ok(tx.commit().await?)
            }
            Some(other) => {
                drop(tx);
                self.mirror_end(bridge.id, other.status).await
            }
            None => Ok(()),
        }
    }

    /// Fails a bridge and says why in its log.
    pub(super) async fn fail_bridge(&self, bridge: &Job, obstacle: &Obstacle) -> Result<()> {
        let line = format!("\u{1b}[31;1mBascule: {}\u{1b}[0m\n", obstacle.words);
        job::log::append_line(&self.db, bridge.id, line.as_bytes()).await?;
        let failure = Failure {
            reason: obstacle.reason.to_owned(),
            exit_code: None,
        };
        self.end_job(bridge.id, Outcome::Failed(failure), &Actor::system())
            .await?;
        Ok(())
    }

    /// Ends a bridge as the pipeline ended that it follows; one that had ended otherwise is opened again first.
    pub(crate) async fn mirror_end(&self, bridge: JobId, status: PipelineStatus) -> Result<()> {
        let Some(job) = job::store::find(&self.db, bridge).await? else {
            return Ok(());
        };
        let wanted = match status {
            PipelineStatus::Success | PipelineStatus::Warning => JobStatus::Success,
            PipelineStatus::Canceled => JobStatus::Canceled,
            _ => JobStatus::Failed,
        };
        if job.status == wanted || job.retried {
            return Ok(());
        }
        if job.status != JobStatus::Running {
            self.reopen(&job, &Actor::system()).await?;
        }
        let outcome = match wanted {
            JobStatus::Success => Outcome::Success,
            JobStatus::Canceled => {
                return match self.cancel_job(job.project_id, job.id, &Actor::system()).await {
                    Err(problem) if problem.is_server_fault() => Err(problem),
                    _ => Ok(()),
                };
            }
            _ => Outcome::Failed(Failure {
                reason: reason::FAILED.to_owned(),
                exit_code: None,
            }),
        };
        self.end_job(job.id, outcome, &Actor::system()).await?;
        Ok(())
    }

    /// Puts an ended bridge back to running, and gives those behind it another chance.
    pub(super) async fn reopen(&self, bridge: &Job, actor: &Actor) -> Result<bool> {
        let Some(parent) = pipeline::store::find(&self.db, bridge.pipeline_id).await? else {
            return Ok(false);
        };
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, parent.id).await?;
        if !job::store::reopen(&tx, bridge.id).await? {
            return Ok(false);
        }
        self.revive(&tx, bridge).await?;
        self.settle(&tx, &parent, actor).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// The same bridge makes one pipeline.
fn fact_of(bridge: &Job) -> String {
    format!("bridge:{}", bridge.id)
}

/// An include with its variables replaced.
fn expanded(include: &Include, values: &BTreeMap<String, String>) -> Include {
    let e = |text: &String| expand(text, values);
    Include {
        source: match &include.source {
            Source::Local(path) => Source::Local(e(path)),
            Source::Project {
                project,
                reference,
                file,
            } => Source::Project {
                project: e(project),
                reference: reference.as_ref().map(e),
                file: e(file),
            },
            Source::Remote { url, integrity } => Source::Remote {
                url: e(url),
                integrity: integrity.clone(),
            },
            Source::Template(name) => Source::Template(e(name)),
            Source::Component(name) => Source::Component(e(name)),
            Source::Artifact { job, file } => Source::Artifact {
                job: e(job),
                file: e(file),
            },
        },
        inputs: include.inputs.clone(),
    }
}

/// The variables that a bridge hands on.
fn forwarded(
    bridge: &Job,
    pipeline: &Pipeline,
    trigger: &Trigger,
    values: &BTreeMap<String, String>,
) -> Vec<Variable> {
    let mut list: Vec<Variable> = Vec::new();
    if trigger.forward.yaml_variables {
        list.extend(
            bridge
                .variables
                .0
                .iter()
                .filter(|variable| !OF_COPIES.contains(&variable.key.as_str()))
                .map(|variable| Variable {
                    value: if variable.raw {
                        variable.value.clone()
                    } else {
                        expand(&variable.value, values)
                    },
                    public: false,
                    raw: true,
                    ..variable.clone()
                }),
        );
    }
    if trigger.forward.pipeline_variables {
        list.extend(pipeline.variables.0.iter().cloned());
    }
    list
}
