//! What others' facts do here.

use crate::{
    Ci,
    pipeline::{Created, More, Start},
};
use async_trait::async_trait;
use bascule_core::Actor;
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        ci::{JobFinished, PipelineCreated, PipelineFinished},
        forge::{BranchUpdated, ProjectDeleted, TagUpdated},
        identity::UserDeactivated,
        merge_request::{MergeRequestOpened, MergeRequestReopened, MergeRequestUpdated},
        pipelines::{PipelineCanceled, PipelineSuperseded},
    },
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Makes pipelines of pushes, cancels those of accounts that are closed, and forgets projects that are gone. One after
/// the other, so that what someone pushed last is cancelled too.
pub struct Pushes(pub(crate) Ci);

#[async_trait]
impl Subscriber for Pushes {
    fn name(&self) -> &'static str {
        "ci.pushes"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            BranchUpdated::KIND,
            TagUpdated::KIND,
            ProjectDeleted::KIND,
            UserDeactivated::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let start = match entry.kind.as_str() {
            BranchUpdated::KIND => {
                let fact: BranchUpdated = decode(entry)?;
                if fact.default {
                    // Before the pipeline of this very push, which it may concern already.
                    self.0.follow_policy(fact.project, &entry.actor).await?;
                }
                let Some(after) = fact.after else {
                    self.0
                        .branch_is_gone(fact.project, &fact.branch, &entry.actor)
                        .await?;
                    return Ok(());
                };
                Start {
                    project: fact.project,
                    reference: fact.branch,
                    tag: false,
                    sha: after,
                    before: fact.before,
                    source: "push",
                    fact: Some(entry.id.to_string()),
                    variables: Vec::new(),
                    actor: entry.actor.clone(),
                    more: More {
                        skip: fact.ci_skip,
                        push_options: fact.ci_options,
                        ..More::default()
                    },
                }
            }
            TagUpdated::KIND => {
                let fact: TagUpdated = decode(entry)?;
                let Some(after) = fact.after else {
                    return Ok(());
                };
                Start {
                    project: fact.project,
                    reference: fact.tag,
                    tag: true,
                    sha: after,
                    before: None,
                    source: "push",
                    fact: Some(entry.id.to_string()),
                    variables: Vec::new(),
                    actor: entry.actor.clone(),
                    more: More {
                        skip: fact.ci_skip,
                        push_options: fact.ci_options,
                        ..More::default()
                    },
                }
            }
            UserDeactivated::KIND => return self.cancel_all_of(&decode(entry)?).await,
            _ => {
                let fact: ProjectDeleted = decode(entry)?;
                self.0.bridges_lose(fact.project).await?;
                let tx = self.0.db.begin().await?;
                crate::pipeline::store::delete_project(&tx, fact.project, self.0.clock.now()).await?;
                return Ok(tx.commit().await?);
            }
        };
        match self.0.create_pipeline(start.clone()).await {
            Ok(Created::Nothing(why)) => tracing::debug!(fact = entry.seq, why, "no pipeline"),
            Ok(_) => {}
            Err(problem) if !problem.is_server_fault() => {
                tracing::warn!(fact = entry.seq, %problem, "no pipeline");
            }
            Err(problem) => {
                if self.0.stuck.again(self.name(), entry.seq) {
                    return Err(problem.into());
                }
                tracing::error!(fact = entry.seq, %problem, "no pipeline can be made of this push");
                self.0.stand_for_fault(&start, &problem).await?;
            }
        }
        Ok(())
    }
}

/// What is looked at again and again because the platform is at fault. A fault that does not pass belongs to one
/// project: a repository that is damaged, say. It must not keep all others back for ever.
#[derive(Debug, Default)]
pub struct Stuck(Mutex<HashMap<&'static str, (i64, u32)>>);

/// How often, with pauses that double up to a minute: about two minutes in all.
const TRIES: u32 = 10;

impl Stuck {
    /// Whether a fact is to be tried again, having failed once more.
    pub(crate) fn again(&self, subscriber: &'static str, seq: i64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, tries) = known.entry(subscriber).or_default();
        if *at != seq {
            (*at, *tries) = (seq, 0);
        }
        *tries += 1;
        *tries < TRIES
    }
}

impl Pushes {
    /// A script that went on would act for someone who has left.
    async fn cancel_all_of(&self, left: &UserDeactivated) -> Result<(), BoxError> {
        self.0
            .stop_schedules_of(&left.user.to_string(), &left.username)
            .await?;
        for pipeline in crate::pipeline::store::open_of(&self.0.db, &left.username).await? {
            self.0
                .cancel_pipeline(pipeline.project_id, pipeline.id, &Actor::system())
                .await?;
        }
        Ok(())
    }
}

/// Lets pipelines follow each other: bridges end as what they made ended, what was made is canceled with what made it,
/// and a newer commit's pipeline takes the place of older ones.
pub struct Families(pub(crate) Ci);

#[async_trait]
impl Subscriber for Families {
    fn name(&self) -> &'static str {
        "ci.families"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            PipelineCreated::KIND,
            PipelineFinished::KIND,
            PipelineCanceled::KIND,
            PipelineSuperseded::KIND,
            JobFinished::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let ci = &self.0;
        match entry.kind.as_str() {
            PipelineCreated::KIND => {
                let fact: PipelineCreated = decode(entry)?;
                ci.supersede_older(fact.pipeline).await?;
            }
            PipelineFinished::KIND => {
                let fact: PipelineFinished = decode(entry)?;
                ci.bridge_follows(fact.pipeline).await?;
            }
            PipelineCanceled::KIND => {
                let fact: PipelineCanceled = decode(entry)?;
                ci.cancel_children(fact.pipeline, &entry.actor).await?;
            }
            PipelineSuperseded::KIND => {
                let fact: PipelineSuperseded = decode(entry)?;
                if fact.whole {
                    ci.cancel_children(fact.pipeline, &entry.actor).await?;
                }
            }
            _ => {
                let fact: JobFinished = decode(entry)?;
                if fact.status == "canceled" {
                    ci.cancel_behind(fact.job, &entry.actor).await?;
                }
            }
        }
        Ok(())
    }
}

/// Makes pipelines for merge requests.
pub struct Requests(pub(crate) Ci);

#[async_trait]
impl Subscriber for Requests {
    fn name(&self) -> &'static str {
        "ci.merge_requests"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            MergeRequestOpened::KIND,
            MergeRequestUpdated::KIND,
            MergeRequestReopened::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let (project, iid) = match entry.kind.as_str() {
            MergeRequestOpened::KIND => {
                let fact: MergeRequestOpened = decode(entry)?;
                (fact.project, fact.iid)
            }
            MergeRequestUpdated::KIND => {
                let fact: MergeRequestUpdated = decode(entry)?;
                (fact.project, fact.iid)
            }
            _ => {
                let fact: MergeRequestReopened = decode(entry)?;
                (fact.project, fact.iid)
            }
        };
        let fact = entry.id.to_string();
        match self.0.request_pipeline(project, iid, &fact, &entry.actor).await {
            Ok(Created::Nothing(why)) => {
                tracing::debug!(fact = entry.seq, why, "no pipeline for the merge request");
            }
            Ok(_) => {}
            Err(problem) if problem.is_server_fault() && self.0.stuck.again(self.name(), entry.seq) => {
                return Err(problem.into());
            }
            Err(problem) => {
                tracing::error!(fact = entry.seq, %problem, "no pipeline can be made for the merge request");
            }
        }
        Ok(())
    }
}
