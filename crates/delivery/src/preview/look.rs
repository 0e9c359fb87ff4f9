//! A look at one preview: what should be, and one step towards it.

use super::{
    Pipeline, Policy, Preview, Reason, Want, decide, ends_at, state,
    store::{self, Found},
};
use crate::{
    Delivery, RequestNow,
    deployment::{self, Status, desired, instances},
    fleet::Channel,
    product::{self, FILE, FILE_BYTES},
};
use bascule_core::{Actor, EnvironmentId, Result, Timestamp};
use bascule_ledger::facts::preview::PreviewStopped;
use bascule_store::{Result as StoreResult, Tx};
use std::time::Duration;

/// How often a version that is coming up is looked at.
const STARTING: Duration = Duration::from_secs(10);
/// How often instances that end are looked after.
pub(super) const ENDING: Duration = Duration::from_secs(1);

/// What was read for a look.
pub(super) struct Sight {
    pub row: Preview,
    pub request: Option<RequestNow>,
    pub ends_at: Option<Timestamp>,
}

impl Delivery {
    /// The environment of a preview changed: its preview is looked at.
    pub(crate) async fn look_at_preview_in(&self, tx: &Tx, environment: EnvironmentId) -> StoreResult<()> {
        store::ask_of_environment(tx, environment).await?;
        self.wake_previews(tx);
        Ok(())
    }

    /// Previews are looked at once the transaction is durable.
    pub(super) fn wake_previews(&self, tx: &Tx) {
        let signals = self.signals.clone();
        tx.after_commit(move || signals.previews.notify_one());
    }

    /// Looks at a preview and brings it one step nearer to what it should be.
    pub(super) async fn look_at_preview(&self, mut row: Preview) -> Result<()> {
        let request = self.ports.requests.get(row.project_id, row.iid).await?;
        let (mut policy, mut pipeline) = (Policy::Missing, Pipeline::None);
        if let Some(request) = &request {
            row.head.clone_from(&request.head);
            row.open = request.open;
            row.source_project_id = request.source;
            row.source_branch.clone_from(&request.source_branch);
            row.target_branch.clone_from(&request.target_branch);
            if request.open {
                policy = self.preview_policy(row.project_id, request).await?;
            }
            if matches!(policy, Policy::On(_)) {
                pipeline = self.ports.builds.pipeline(request.source, &request.head).await?;
            }
        }
        let ends = match &policy {
            Policy::On(policy) => Some(ends_at(&row, policy)),
            _ => None,
        };
        let want = decide(&row, request.as_ref(), &policy, pipeline, self.now());
        let sight = Sight {
            row,
            request,
            ends_at: ends,
        };
        match want {
            Want::Nothing(reason) => self.lower_preview(&sight, &reason).await,
            Want::Stay(reason, person) => {
                let stands = if sight.row.routed {
                    self.stands(&sight.row).await?.0
                } else if person {
                    state::HELD
                } else {
                    state::WAITING
                };
                self.note_preview(&sight, stands, &reason).await
            }
            Want::Newest(policy, pipeline) => self.raise_preview(&sight, &policy, pipeline).await,
        }
    }

    /// What the file at the tip of the target branch says.
    pub(super) async fn preview_policy(
        &self,
        project: bascule_core::ProjectId,
        request: &RequestNow,
    ) -> Result<Policy> {
        let Some(tip) = &request.target else {
            return Ok(Policy::Missing);
        };
        let bytes = match self.ports.files.read(project, tip, FILE, FILE_BYTES).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Policy::Missing),
            Err(problem) if problem.status == 413 => return Ok(Policy::Wrong(problem.what)),
            Err(problem) => return Err(problem),
        };
        Ok(match product::parse(&bytes) {
            Ok(product) => match product.preview {
                Some(mut policy) if policy.enabled => {
                    policy.limits.get_or_insert(product.limits);
                    Policy::On(policy)
                }
                Some(_) => Policy::Off,
                None => Policy::Missing,
            },
            Err(fault) => Policy::Wrong(fault.to_string()),
        })
    }

    /// How what was put there last stands, and what is to be said of it.
    pub(super) async fn stands(&self, row: &Preview) -> Result<(&'static str, Reason)> {
        let found = match row.deployment_id {
            Some(id) => deployment::store::get(&self.db, id).await?,
            None => None,
        };
        let Some(found) = found else {
            return Ok((state::WAITING, Reason::none()));
        };
        Ok(match found.status() {
            Status::Starting | Status::RollingOut => {
                let place = crate::environment::store::get(&self.db, found.environment_id).await?;
                let online = match &place {
                    Some(place) => self.online(place).await?,
                    None => false,
                };
                let silent = "the agent that runs it is silent";
                let next = "It goes on once the agent is back; if it stays away, ask who looks after it.";
                let reason = if online {
                    Reason::none()
                } else {
                    Reason::of("agent_silent", silent, next)
                };
                (state::STARTING, reason)
            }
            Status::Succeeded => (state::RUNNING, Reason::none()),
            Status::Failed | Status::RolledBack | Status::Superseded | Status::Canceled => {
                let next = "Mend it and push; what ran here before goes on running.";
                let why = found.reason.trim_end_matches('.').to_owned();
                (state::FAILED, Reason::of("does_not_run", why, next))
            }
        })
    }

    /// Writes down how it stands.
    pub(super) async fn note_preview(&self, sight: &Sight, stands: &str, reason: &Reason) -> Result<()> {
        let ends = sight.ends_at.filter(|_| sight.row.open);
        // Whether its agent is there is told by no fact.
        let soon = (stands == state::STARTING).then(|| self.now().plus(STARTING));
        let again = ends.into_iter().chain(soon).min();
        self.note_until(sight, stands, reason, again).await
    }

    pub(super) async fn note_until(
        &self,
        sight: &Sight,
        stands: &str,
        reason: &Reason,
        again: Option<Timestamp>,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        let found = Found {
            state: stands,
            reason,
            ends_at: sight.ends_at.filter(|_| sight.row.routed),
            again,
        };
        store::note(&tx, &sight.row, &found).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Nothing of it is to run: out of traffic first, then its instances end, then its builds are forgotten.
    async fn lower_preview(&self, sight: &Sight, reason: &Reason) -> Result<()> {
        let row = &sight.row;
        if row.routed {
            return self.take_preview_down(sight, reason).await;
        }
        if let Some(environment) = row.environment_id {
            let living = instances::living(&self.db, environment).await?;
            if !living.is_empty() {
                let again = self.now().plus(ENDING);
                return self.note_until(sight, state::STOPPING, reason, Some(again)).await;
            }
        }
        self.ports.builds.forget(row.project_id, row.iid, None).await?;
        // Of a request that ended without one, nothing is to be told.
        if sight.request.is_none() || (!row.open && row.environment_id.is_none()) {
            let tx = self.db.begin().await?;
            store::forget(&tx, row).await?;
            tx.commit().await?;
            return Ok(());
        }
        let stands = if reason.rule == "off" {
            state::OFF
        } else {
            state::STOPPED
        };
        self.note_until(sight, stands, reason, None).await
    }

    async fn take_preview_down(&self, sight: &Sight, reason: &Reason) -> Result<()> {
        let (row, now, actor) = (&sight.row, self.now(), Actor::system());
        let tx = self.db.begin().await?;
        if !store::unroute(&tx, row).await? {
            return Ok(());
        }
        let Some(environment) = row.environment_id else {
            return Ok(());
        };
        if let Some(open) = deployment::store::open_in(&tx, environment).await?
            && let Some(at) = crate::environment::store::get(&tx, environment).await?
        {
            self.end(&tx, &actor, &at, &open, Status::Superseded, &reason.why, now)
                .await?;
        }
        let revision = self.bump(&tx, Channel::Edge).await?;
        let living = instances::living(&tx, environment).await?;
        // What users may meet is drained once the edges know; what they never met ends at once.
        let (met, unmet): (Vec<_>, Vec<_>) = living
            .iter()
            .filter(|i| matches!(i.desired.as_str(), desired::RUN | desired::HELD))
            .partition(|i| i.in_service());
        let ids = |some: &[&deployment::Instance]| some.iter().map(|i| i.id).collect::<Vec<_>>();
        instances::retire(&tx, &ids(&met), now, revision).await?;
        instances::end(&tx, &ids(&unmet)).await?;
        store::empty(&tx, environment).await?;
        self.tell_agent_at(&tx, environment).await?;
        let fact = PreviewStopped {
            project: row.project_id,
            iid: row.iid,
            environment,
            rule: reason.rule.clone(),
            reason: reason.why.clone(),
            at: now,
        };
        self.ledger.append(&tx, &actor, &fact).await?;
        let found = Found {
            state: state::STOPPING,
            reason,
            ends_at: None,
            again: Some(now.plus(ENDING)),
        };
        store::note(&tx, row, &found).await?;
        tx.commit().await?;
        tracing::info!(preview = row.iid, rule = reason.rule, "a preview is taken down");
        Ok(())
    }
}
