//! What others' facts do here.

use crate::{
    Ci,
    pipeline::{Created, Start},
};
use async_trait::async_trait;
use bascule_core::Actor;
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        forge::{BranchUpdated, ProjectDeleted, TagUpdated},
        identity::UserDeactivated,
    },
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
                let Some(after) = fact.after.filter(|_| !fact.ci_skip) else {
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
                }
            }
            TagUpdated::KIND => {
                let fact: TagUpdated = decode(entry)?;
                let Some(after) = fact.after.filter(|_| !fact.ci_skip) else {
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
                }
            }
            UserDeactivated::KIND => return self.cancel_all_of(&decode(entry)?).await,
            _ => {
                let fact: ProjectDeleted = decode(entry)?;
                let tx = self.0.db.begin().await?;
                crate::pipeline::store::delete_project(&tx, fact.project).await?;
                return Ok(tx.commit().await?);
            }
        };
        if let Created::Nothing(why) = self.0.create_pipeline(start).await? {
            tracing::debug!(fact = entry.seq, why, "no pipeline");
        }
        Ok(())
    }
}

impl Pushes {
    /// A script that went on would act for someone who has left.
    async fn cancel_all_of(&self, left: &UserDeactivated) -> Result<(), BoxError> {
        for pipeline in crate::pipeline::store::open_of(&self.0.db, &left.username).await? {
            self.0
                .cancel_pipeline(pipeline.project_id, pipeline.id, &Actor::system())
                .await?;
        }
        Ok(())
    }
}
