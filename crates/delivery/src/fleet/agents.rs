//! The server's side of agents: who they are, what they say, what they should run.

use super::{
    AGENT_REST, AGENT_SILENCE, AGENT_WAIT, Agent, Channel, OVERTAKEN, SEEN_EVERY, SKEW,
    signs::{Held, Seen},
    store,
};
use crate::{
    ByteStream, Delivery,
    deployment::{Instance, desired, instances, instances::Wanted, state_name},
    plan::Change,
    preview,
    secret::Opened,
};
use bascule_core::{Actor, ActorKind, AgentId, Digest, InstanceId, Problem, Result, Timestamp};
use bascule_ledger::facts::delivery::{AgentEnrolled, AgentSeen, AgentSkewed, InstanceChanged};
use bascule_store::Json;
use bascule_wire::agent::{
    AgentReport, ArtifactSource, DesiredInstance, DesiredState, InstanceReport, InstanceState,
};
use bascule_wire::fleet::MemberKind;
use std::{collections::HashMap, time::Duration};

/// Instances in one report, at most.
const INSTANCES: usize = 10_000;

/// A fresh token: a prefix that tells its kind, and 256 random bits.
pub(super) fn new_token(prefix: &str) -> String {
    format!("{prefix}-{}", hex::encode(rand::random::<[u8; 32]>()))
}

/// What is kept of a token. It has 256 random bits, so a plain hash is enough.
pub(super) fn token_hash(token: &str) -> String {
    Digest::of(token.as_bytes()).hex().to_owned()
}

impl Delivery {
    /// Takes an agent under this instance's care and returns its token, which is shown this once. For a name
    /// that is known the token is replaced.
    ///
    /// # Errors
    /// The database refused.
    pub async fn enrol_agent(&self, name: &str) -> Result<String> {
        let token = new_token("bagt");
        let hash = token_hash(&token);
        let tx = self.db.begin().await?;
        match store::agent_by_name(&tx, name).await? {
            Some(agent) => {
                store::set_agent_token(&tx, agent.id, &hash).await?;
                super::certificate_store::forget(&tx, MemberKind::Agent, &agent.id.to_string()).await?;
            }
            None => {
                let id = AgentId::new();
                store::insert_agent(&tx, id, name, &hash, self.now()).await?;
                let fact = AgentEnrolled {
                    agent: id,
                    name: name.to_owned(),
                };
                self.ledger.append(&tx, &Actor::system(), &fact).await?;
            }
        }
        tx.commit().await?;
        Ok(token)
    }

    /// All agents.
    ///
    /// # Errors
    /// The database refused.
    pub async fn agents(&self) -> Result<Vec<Agent>> {
        self.write_signs().await?;
        Ok(store::agents(&self.db).await?)
    }

    /// The agent that a token stands for.
    pub(crate) async fn agent_of(&self, token: &str) -> Result<Agent> {
        let agent = store::agent_by_token(&self.db, &token_hash(token)).await?;
        agent.ok_or_else(unknown)
    }

    /// Takes an agent's report, then waits until what it should run is not of revision `known`.
    #[cfg(test)]
    pub(crate) async fn sync_agent(
        &self,
        agent: &Agent,
        report: &AgentReport,
        known: i64,
        wait: Duration,
    ) -> Result<DesiredState> {
        let revision = self.hear_agent(agent, report, known, wait).await?;
        self.desired_of(agent, revision).await
    }

    /// Takes an agent's report, then waits until what it should run is not of revision `known`; the revision that
    /// it is of.
    pub(crate) async fn hear_agent(
        &self,
        agent: &Agent,
        report: &AgentReport,
        known: i64,
        wait: Duration,
    ) -> Result<i64> {
        // Listened to before it is read: what is told in between is heard.
        let bell = self.signals.bells.listen(agent.id);
        let Some(stands) = store::agent_stands(&self.db, agent.id).await? else {
            return Err(unknown());
        };
        let busy = stands.busy > 0;
        self.take_report(agent, report, busy).await?;
        Box::pin(self.take_task_reports(agent, &report.tasks)).await?;
        let wait = wait.min(if busy { AGENT_WAIT } else { rest() });
        let held = (!wait.is_zero()).then(|| Held::new(self, agent.id, wait));
        let revision = self
            .wait_for_agent(agent.id, bell, stands.revision, known, wait)
            .await?;
        drop(held);
        revision.ok_or_else(unknown)
    }

    /// What an agent should run. Its revision was read before, so that it is never said to be newer than it is.
    pub(crate) async fn desired_of(&self, agent: &Agent, revision: i64) -> Result<DesiredState> {
        let wanted = instances::wanted_of(&self.db, agent.id).await?;
        let places: Vec<String> = wanted.iter().map(secrets_of).collect();
        let given: Vec<_> = wanted
            .iter()
            .zip(&places)
            .map(|(wanted, place)| (place.as_str(), &wanted.settings.0))
            .collect();
        let secrets = self.open_secrets(&given).await?;
        let instances = wanted
            .into_iter()
            .zip(&places)
            .map(|(wanted, place)| desired_instance(wanted, place, &secrets))
            .collect();
        let tasks = Box::pin(self.desired_tasks(agent)).await?;
        Ok(DesiredState {
            revision,
            instances,
            tasks,
        })
    }

    async fn take_report(&self, agent: &Agent, report: &AgentReport, busy: bool) -> Result<()> {
        if report.instances.len() > INSTANCES || report.tasks.len() > INSTANCES {
            return Err(Problem::too_large(format!(
                "The report names more than {INSTANCES} instances or tasks."
            )));
        }
        let now = self.now();
        let skew = skew_ms(report, now);
        let skewed = is_skewed(skew);
        let content = content(report);
        // What it said before it says again, and it was told nothing since that would make news of it.
        let same = agent.online
            && skewed == agent.skewed
            && !content.is_empty()
            && agent.said == content
            && agent.said_revision == agent.revision
            && agent.seen_at.is_some_and(|at| at >= self.started);
        if same && !busy {
            let seen = Seen {
                at: now,
                said_at: report.at,
                skew_ms: skew,
                disk_free: i64::try_from(report.disk_free_bytes).unwrap_or(i64::MAX),
                resources: report.resources.clone(),
            };
            let signs = &self.signals.signs;
            signs.heard(agent.id, Some(seen), now.plus(AGENT_SILENCE));
            return Ok(());
        }
        // Where something is under way it counts when an instance was named last.
        if same && agent.seen_at.is_some_and(|at| now.since(at) < SEEN_EVERY) {
            self.signals.signs.heard(agent.id, None, now.plus(AGENT_SILENCE));
            return Ok(());
        }
        let said: HashMap<_, _> = report.instances.iter().map(|r| (r.instance, r)).collect();
        let tx = self.db.begin().await?;
        if !store::claim_report(&tx, agent.id, report.at, report.at.plus(OVERTAKEN)).await? {
            return Ok(());
        }
        // Read again under the claim: the agent's other call may have been taken in between.
        let Some(agent) = &store::agent_by_name(&tx, &agent.name).await? else {
            return Err(unknown());
        };
        let was_online = agent.online;
        let known = instances::of_agent(&tx, agent.id).await?;
        let changed = known.iter().filter(|instance| is_news(instance, &said));
        let actor = Actor::new(ActorKind::Agent, agent.id, &agent.name);
        let (mut tell_edges, mut tell_agents) = (false, false);
        let mut replan = !was_online;
        for before in changed {
            let report = said.get(&before.id).copied();
            replan |= report.is_none_or(|report| report.state != before.state());
            tell_edges |= before.desired == desired::RUN;
            match report {
                Some(report) => {
                    instances::report(&tx, before, report, now).await?;
                    tell_agents |= before.desired == desired::DRAIN && instances::ended(report.state);
                }
                None => {
                    instances::missing(&tx, before, now).await?;
                    tell_agents |= before.desired == desired::DRAIN;
                }
            }
            if let Some(fact) = self.worth_knowing(before, report).await? {
                self.ledger.append(&tx, &actor, &fact).await?;
            }
        }
        if !was_online && agent.seen_at.is_some() {
            let fact = AgentSeen {
                agent: agent.id,
                name: agent.name.clone(),
                online: true,
            };
            self.ledger.append(&tx, &actor, &fact).await?;
        }
        if skewed != agent.skewed {
            replan = true;
            let fact = AgentSkewed {
                agent: agent.id,
                name: agent.name.clone(),
                skewed,
                skew_ms: skew,
            };
            self.ledger.append(&tx, &actor, &fact).await?;
        }
        store::agent_seen(
            &tx,
            agent.id,
            &instances::cut(&report.version, 100),
            (skew, skewed),
            report,
            (&content, agent.revision),
            now,
        )
        .await?;
        instances::refresh(&tx, agent.id, now).await?;
        if tell_edges {
            self.bump(&tx, Channel::Edge).await?;
        }
        if tell_agents {
            self.tell_agent(&tx, agent.id).await?;
        }
        if replan {
            self.replan_for(&tx, Change::Agent(agent.id)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// A change of state that people want to read about. A crash loop is told at its beginning and then now
    /// and then, not at every turn.
    async fn worth_knowing(
        &self,
        before: &Instance,
        report: Option<&InstanceReport>,
    ) -> Result<Option<InstanceChanged>> {
        let (state, message, restarts) = match report {
            Some(report) => (report.state, report.message.as_str(), report.restarts),
            None if before.desired == desired::DRAIN => (InstanceState::Stopped, "", 0),
            None => return Ok(None),
        };
        let told = matches!(
            state,
            InstanceState::Healthy | InstanceState::Crashed | InstanceState::Failed | InstanceState::Stopped
        );
        let noise = restarts > 3 && restarts % 20 != 0;
        if !told || noise || state == before.state() {
            return Ok(None);
        }
        // Rare, so a query of its own; it only reads rows that never change.
        let deployment = crate::deployment::store::get(&self.db, before.deployment_id).await?;
        Ok(deployment.map(|deployment| InstanceChanged {
            project: deployment.project_id,
            deployment: deployment.id,
            environment: before.environment_id,
            instance: before.id,
            version: deployment.version,
            state: state_name(state).to_owned(),
            message: instances::cut(message, 500),
        }))
    }

    /// The bytes of an artifact that this agent runs.
    pub(crate) async fn artifact_for(&self, agent: &Agent, digest: &Digest) -> Result<ByteStream> {
        let missing = || Problem::not_found("artifact");
        if !instances::may_fetch(&self.db, agent.id, digest).await? {
            return Err(missing());
        }
        self.ports.releases.open(digest).await?.ok_or_else(missing)
    }
}

/// How long a call hangs at rest. Agents that came back together after a restart do not stay together.
fn rest() -> Duration {
    AGENT_REST - Duration::from_secs(30).mul_f64(rand::random::<f64>())
}

fn unknown() -> Problem {
    Problem::new(401, "agent_unknown", "The token is no agent's.")
        .why("Each agent has a token of its own; a new one replaces the old, and removing the agent ends it.")
        .next("Enrol the agent again.")
}

/// What a report says, but for what changes all the time, in short.
fn content(report: &AgentReport) -> String {
    let what = (
        &report.version,
        &report.machine,
        &report.drivers,
        &report.instances,
    );
    serde_json::to_vec(&what)
        .map(|bytes| Digest::of(&bytes).hex().to_owned())
        .unwrap_or_default()
}

/// An agent's clock against the server's, in milliseconds. The report's way here counts as skew; it is short
/// against what is complained about.
fn skew_ms(report: &AgentReport, now: Timestamp) -> i64 {
    report.at.micros().saturating_sub(now.micros()) / 1_000
}

fn is_skewed(skew_ms: i64) -> bool {
    u128::from(skew_ms.unsigned_abs()) > SKEW.as_millis()
}

/// Whether a report tells something of an instance that is not known yet.
fn is_news(instance: &Instance, said: &HashMap<InstanceId, &InstanceReport>) -> bool {
    match said.get(&instance.id) {
        Some(report) => differs(instance, report),
        None if instance.desired == desired::DRAIN => true,
        None => instance.reported_at.is_some() && !already_missing(instance),
    }
}

fn differs(before: &Instance, report: &InstanceReport) -> bool {
    before.reported_at.is_none()
        || before.state != state_name(report.state)
        || before.address != report.address
        || before.restarts != i64::from(report.restarts)
        || before.message != instances::cut(&report.message, 4_000)
        || before.smoke.as_ref().map(|Json(smoke)| smoke) != report.smoke.as_ref()
        || before.started_at.map(Timestamp::micros) != report.started_at.map(Timestamp::micros)
        || (before.desired == desired::DRAIN && instances::ended(report.state))
}

/// Whether it is known that the agent does not run it.
fn already_missing(before: &Instance) -> bool {
    before.desired == desired::RUN && before.state == "starting" && before.address.is_none()
}

/// Whose secrets an instance may refer to: its environment's, or as a preview those of its project's previews.
fn secrets_of(wanted: &Wanted) -> String {
    if wanted.tier == preview::TIER {
        preview::secrets_of(wanted.project_id)
    } else {
        wanted.environment.clone()
    }
}

fn desired_instance(wanted: Wanted, place: &str, secrets: &Opened) -> DesiredInstance {
    let Json(product) = wanted.product;
    let mut variables = product.variables_in(&wanted.environment);
    secrets.fill(place, &wanted.settings.0, &mut variables);
    let driver = product.driver.unwrap_or_default();
    DesiredInstance {
        instance: wanted.id,
        deployment: wanted.deployment_id,
        environment: wanted.environment_id,
        project: wanted.project_path,
        release: wanted.release_id,
        version: wanted.version,
        artifact: ArtifactSource {
            path: format!("/api/v1/agent/artifacts/{}", wanted.artifact_digest),
            digest: wanted.artifact_digest,
            size: u64::try_from(wanted.artifact_size).unwrap_or(0),
            file_name: wanted.artifact_file,
        },
        driver,
        command: product.command_of(driver).to_owned(),
        variables,
        environment_name: wanted.environment,
        health: product.health,
        smoke: product.smoke,
        limits: product.limits,
        drain_ms: (wanted.desired == desired::DRAIN).then_some(product.drain_ms),
    }
}
