//! Hooks: commands of a file around a deployment, run as tasks in the release that comes. Those before it end well
//! before any instance is started; those after it run once it serves.

use super::store;
use crate::{
    Delivery,
    deployment::{Deployment, Status, instances},
    environment::{self, Environment},
    task::{self, Task},
};
use bascule_core::{Actor, Problem, Result, TaskId};
use bascule_ledger::facts::task::TaskRequested;
use bascule_store::{Json, Tx};
use serde::{Deserialize, Serialize};

/// Most commands of one hook, and the longest of them in bytes.
pub(crate) const COMMANDS: usize = 20;
pub(crate) const COMMAND_BYTES: usize = 700;

/// Commands around a deployment, each a line for `/bin/sh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before any instance is started. The first that fails ends the deployment.
    #[serde(default)]
    pub before: Vec<String>,
    /// Once it serves.
    #[serde(default)]
    pub after: Vec<String>,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    After,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

impl Delivery {
    /// Queues the hook that a file gives a deployment; whether there is one.
    pub(crate) async fn queue_hook(
        &self,
        tx: &Tx,
        environment: &Environment,
        deployment: &Deployment,
        phase: Phase,
    ) -> Result<bool> {
        if !environment::store::declared(tx, environment.id).await? {
            return Ok(false);
        }
        let Some(declared) = store::get(tx, &environment.name).await? else {
            return Ok(false);
        };
        let Json(site) = declared.body;
        let Some(install) = site.install(&environment.project_path) else {
            return Ok(false);
        };
        let commands = match phase {
            Phase::Before => &install.hooks.before,
            Phase::After => &install.hooks.after,
        };
        if commands.is_empty() {
            return Ok(false);
        }
        let now = self.now();
        let system = Actor::system();
        let command = vec!["/bin/sh".to_owned(), "-ec".to_owned(), commands.join("\n")];
        let hook = Task {
            id: TaskId::new(),
            project_id: deployment.project_id,
            environment_id: environment.id,
            environment: environment.name.clone(),
            deployment_id: deployment.id,
            version: deployment.version.clone(),
            command: Json(command),
            reason: format!("hook {} {}", phase.as_str(), deployment.version),
            actor: system.name.clone(),
            actor_id: system.id.clone(),
            teams: Json(Vec::new()),
            status: task::status::QUEUED.to_owned(),
            cancelled: false,
            timeout_ms: i64::try_from(task::TIMEOUT.as_millis()).unwrap_or(i64::MAX),
            output_bytes: 0,
            exit_code: None,
            message: String::new(),
            created_at: now,
            queued_at: Some(now),
            started_at: None,
            finished_at: None,
        };
        task::store::insert(tx, &hook).await?;
        store::put_hook(tx, deployment.id, phase, hook.id).await?;
        let fact = TaskRequested {
            project: hook.project_id,
            task: hook.id,
            environment: hook.environment_id,
            environment_name: hook.environment,
            version: hook.version,
            command: instances::cut(&task::quoted(&hook.command.0), 1_000),
            reason: hook.reason,
            teams: Vec::new(),
        };
        self.ledger.append(tx, &system, &fact).await?;
        self.tell_agent_at(tx, hook.environment_id).await?;
        Ok(true)
    }

    /// A deployment that waits for the hook before it: its instance is started, or it has failed.
    pub(crate) async fn advance_hook(
        &self,
        environment: &Environment,
        deployment: &Deployment,
    ) -> Result<()> {
        let Some(hook) = store::hook(&self.db, deployment.id, Phase::Before).await? else {
            tracing::error!(deployment = %deployment.id, "a deployment without an instance and without a hook");
            return Err(Problem::internal());
        };
        if hook.finished_at.is_none() {
            return Ok(());
        }
        let now = self.now();
        let tx = self.db.begin().await?;
        if hook.status == task::status::SUCCEEDED {
            if !instances::of_deployment(&tx, deployment.id).await?.is_empty() {
                return Ok(());
            }
            self.first_instances(&tx, environment, deployment, now).await?;
            self.tell_agent_at(&tx, environment.id).await?;
        } else {
            let how = match (hook.exit_code, hook.message.trim()) {
                (Some(code), _) => format!("it ended with exit code {code}"),
                (None, "") => format!("it is {}", hook.status),
                (None, message) => format!("it is {}: {message}", hook.status),
            };
            let reason =
                format!("the hook before it failed: {how}; `bascule task output` shows what it wrote");
            let reason = instances::cut(&reason, 2_000);
            let system = Actor::system();
            self.end(
                &tx,
                &system,
                environment,
                deployment,
                Status::Failed,
                &reason,
                now,
            )
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
