//! What people do with tasks, and what agents say of them.

use super::{
    BEGIN_WITHIN, COMMAND_BYTES, LONGEST, OPEN, TIMEOUT, Task, WORDS, quoted, status,
    store::{self, Wanted},
};
use crate::{
    Delivery, deployment, deployment::instances::cut, environment::Environment, fleet::Agent, secret::Opened,
};
use bascule_core::{Actor, ActorKind, Caller, Digest, Problem, ProjectId, Result, TaskId, Timestamp};
use bascule_ledger::facts::task::{TaskApproved, TaskCancelled, TaskFinished, TaskRequested, TaskStarted};
use bascule_store::{Json, Tx};
use bascule_wire::{
    agent::ArtifactSource,
    task::{self as wire, DesiredTask, NewTask, OUTPUT_BYTES, OutputAt, PIECE_BYTES, TaskReport, TaskState},
};
use bytes::Bytes;
use std::{collections::HashMap, time::Duration};

impl Delivery {
    /// Takes down a task that someone who may deploy to production asks for. Where the environment's declaration
    /// asks for approvals it waits for them, else its agent runs it now.
    ///
    /// # Errors
    /// Says what stands against it and what to do.
    pub async fn ask_task(&self, caller: &Caller, project: ProjectId, new: &NewTask) -> Result<TaskId> {
        let environment = self.named_environment(project, &new.environment).await?;
        let command = checked(&new.command)?;
        let timeout = new
            .timeout_seconds
            .map_or(TIMEOUT, |s| Duration::from_secs(u64::from(s)));
        if timeout.is_zero() || timeout > LONGEST {
            return Err(
                Problem::invalid("bad_timeout", "A task may take from a second to 24 hours.")
                    .next("Leave the time out for ten minutes."),
            );
        }
        let serving = match environment.serving_id {
            Some(id) => deployment::store::get(&self.db, id).await?,
            None => None,
        };
        let serving = serving.ok_or_else(|| {
            Problem::conflict(
                "nothing_serves",
                format!("Nothing serves in {}.", environment.name),
            )
            .why("A task is run in the release and with the variables that serve there.")
            .next("Deploy a release to it first.")
        })?;
        if store::open_in(&self.db, environment.id).await? >= OPEN {
            let what = format!("{OPEN} tasks in {} have not ended.", environment.name);
            return Err(Problem::conflict("too_many_tasks", what)
                .why("Tasks share the environment's machine with what serves its users.")
                .next("Wait for some to end, or cancel them: `bascule task list`."));
        }
        let teams = self.asked_teams(&environment).await?;
        let now = self.now();
        let waits = !teams.is_empty();
        let task = Task {
            id: TaskId::new(),
            project_id: project,
            environment_id: environment.id,
            environment: environment.name.clone(),
            deployment_id: serving.id,
            version: serving.version,
            command: Json(command),
            reason: cut(new.reason.trim(), 1_000),
            actor: caller.actor.name.clone(),
            actor_id: caller.actor.id.clone(),
            teams: Json(teams),
            status: if waits { status::WAITING } else { status::QUEUED }.to_owned(),
            cancelled: false,
            timeout_ms: i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
            output_bytes: 0,
            exit_code: None,
            message: String::new(),
            created_at: now,
            queued_at: (!waits).then_some(now),
            started_at: None,
            finished_at: None,
        };
        let tx = self.db.begin().await?;
        store::insert(&tx, &task).await?;
        store::forget_outputs(&tx, project).await?;
        let fact = TaskRequested {
            project,
            task: task.id,
            environment: task.environment_id,
            environment_name: task.environment.clone(),
            version: task.version.clone(),
            command: cut(&quoted(&task.command.0), 1_000),
            reason: task.reason.clone(),
            teams: task.teams.0.clone(),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.tell_agent_at(&tx, task.environment_id).await?;
        tx.commit().await?;
        Ok(task.id)
    }

    /// The teams that an environment's declaration asks for.
    async fn asked_teams(&self, environment: &Environment) -> Result<Vec<String>> {
        if !crate::environment::store::declared(&self.db, environment.id).await? {
            return Ok(Vec::new());
        }
        let Some(site) = self.site(&environment.name).await? else {
            return Ok(Vec::new());
        };
        let own = site
            .install(&environment.project_path)
            .map(|install| install.approvals.clone());
        let mut teams = site.approvals;
        teams.extend(own.unwrap_or_default());
        teams.sort();
        teams.dedup();
        Ok(teams)
    }

    /// Approves a task in a team's name; with the last approval it is run.
    ///
    /// # Errors
    /// The caller does not belong to the team or asked for the task, or it does not wait for that team.
    pub async fn approve_task(
        &self,
        caller: &Caller,
        project: ProjectId,
        id: TaskId,
        team: &str,
    ) -> Result<()> {
        let task = self.known_task(project, id).await?;
        self.speaks_for(caller, team).await?;
        if !task.teams.0.iter().any(|asked| asked == team) {
            return Err(
                Problem::invalid("not_asked", format!("Nobody asked {team} about this task."))
                    .next("`bascule task show` names the teams."),
            );
        }
        if task.actor_id == caller.actor.id {
            return Err(Problem::new(403, "own_task", "You asked for this task yourself.")
                .why("An approval is a second person's word.")
                .next(format!("Ask another member of {team}.")));
        }
        if task.finished_at.is_some() || task.cancelled {
            return Err(ended(&task));
        }
        let tx = self.db.begin().await?;
        if !store::approve(&tx, id, team, &caller.actor.name, self.now()).await? {
            return Ok(());
        }
        let fact = TaskApproved {
            project,
            task: id,
            environment_name: task.environment.clone(),
            team: team.to_owned(),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        let given = store::approvals(&tx, &[id]).await?;
        let all = |team: &String| given.iter().any(|approved| approved.team == *team);
        if task.teams.0.iter().all(all) && store::queue(&tx, id, self.now()).await? {
            self.tell_agent_at(&tx, task.environment_id).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Has a task ended, or not begun.
    ///
    /// # Errors
    /// It has ended.
    pub async fn cancel_task(&self, caller: &Caller, project: ProjectId, id: TaskId) -> Result<()> {
        let task = self.known_task(project, id).await?;
        let tx = self.db.begin().await?;
        if !store::cancel(&tx, id).await? {
            return Err(ended(&task));
        }
        let fact = TaskCancelled {
            project,
            task: id,
            environment_name: task.environment.clone(),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        if task.status == status::WAITING {
            // No agent knows of it.
            self.end_task(&tx, &caller.actor, &Told::of(&task), status::CANCELLED, None, "")
                .await?;
        }
        self.tell_agent_at(&tx, task.environment_id).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn known_task(&self, project: ProjectId, id: TaskId) -> Result<Task> {
        let task = store::get(&self.db, project, id).await?;
        task.ok_or_else(|| Problem::not_found("task"))
    }

    /// A task as people see it.
    pub(crate) async fn task_view(&self, project: ProjectId, id: TaskId) -> Result<wire::Task> {
        let task = self.known_task(project, id).await?;
        let mut all = self.task_views(vec![task]).await?;
        all.pop().ok_or_else(Problem::internal)
    }

    /// A project's tasks, newest first.
    pub(crate) async fn tasks(
        &self,
        project: ProjectId,
        before: Option<TaskId>,
        limit: i64,
    ) -> Result<Vec<wire::Task>> {
        let rows = store::list(&self.db, project, before, limit).await?;
        self.task_views(rows).await
    }

    async fn task_views(&self, rows: Vec<Task>) -> Result<Vec<wire::Task>> {
        let ids: Vec<TaskId> = rows.iter().map(|row| row.id).collect();
        let mut given: HashMap<TaskId, HashMap<String, String>> = HashMap::new();
        for approved in store::approvals(&self.db, &ids).await? {
            let of = given.entry(approved.task_id).or_default();
            of.insert(approved.team, approved.actor);
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let mut given = given.remove(&row.id).unwrap_or_default();
                view(row, &mut given)
            })
            .collect())
    }

    /// What a task wrote, from a byte on: some of it, empty at its end.
    pub(crate) async fn task_output(&self, project: ProjectId, id: TaskId, from: u64) -> Result<Bytes> {
        self.known_task(project, id).await?;
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let mut all = Vec::new();
        for piece in store::output(&self.db, id, from).await? {
            let skip = usize::try_from(from.saturating_sub(piece.start)).unwrap_or(0);
            all.extend_from_slice(piece.bytes.get(skip..).unwrap_or_default());
        }
        Ok(all.into())
    }

    /// The tasks that an agent is told of.
    pub(crate) async fn desired_tasks(&self, agent: &Agent) -> Result<Vec<DesiredTask>> {
        let now = self.now();
        let all = store::wanted_of(&self.db, agent.id).await?;
        let given: Vec<_> = all
            .iter()
            .map(|wanted| (wanted.environment.as_str(), &wanted.settings.0))
            .collect();
        let secrets = self.open_secrets(&given).await?;
        Ok(all
            .into_iter()
            .map(|wanted| desired(wanted, &secrets, now))
            .collect())
    }

    /// Takes what an agent says of tasks; the same may be said many times.
    pub(crate) async fn take_task_reports(&self, agent: &Agent, reports: &[TaskReport]) -> Result<()> {
        if reports.is_empty() {
            return Ok(());
        }
        let actor = Actor::new(ActorKind::Agent, agent.id, &agent.name);
        for wanted in store::wanted_of(&self.db, agent.id).await? {
            let Some(report) = reports.iter().find(|report| report.task == wanted.id) else {
                continue;
            };
            let task = Told {
                project: wanted.project_id,
                id: wanted.id,
                environment_id: wanted.environment_id,
                environment: wanted.environment,
            };
            let message = cut(&report.message, 2_000);
            let tx = self.db.begin().await?;
            if report.state != TaskState::Refused && store::started(&tx, task.id, self.now()).await? {
                let fact = TaskStarted {
                    project: task.project,
                    task: task.id,
                    environment_name: task.environment.clone(),
                };
                self.ledger.append(&tx, &actor, &fact).await?;
            }
            let to = match (report.state, report.exit_code) {
                (TaskState::Running, _) => None,
                (TaskState::Ended, Some(0)) => Some(status::SUCCEEDED),
                (TaskState::Ended, None) if wanted.cancelled => Some(status::CANCELLED),
                (TaskState::Ended, _) => Some(status::FAILED),
                (TaskState::Lost, _) => Some(status::LOST),
                (TaskState::Refused, _) if wanted.cancelled => Some(status::CANCELLED),
                (TaskState::Refused, _) => Some(status::FAILED),
            };
            if let Some(to) = to {
                self.end_task(&tx, &actor, &task, to, report.exit_code, &message)
                    .await?;
                self.tell_agent(&tx, agent.id).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    async fn end_task(
        &self,
        tx: &Tx,
        actor: &Actor,
        task: &Told,
        to: &str,
        exit_code: Option<i32>,
        message: &str,
    ) -> Result<()> {
        if !store::finish(tx, task.id, to, exit_code, message, self.now()).await? {
            return Ok(());
        }
        let mut output = Vec::new();
        loop {
            let from = i64::try_from(output.len()).unwrap_or(i64::MAX);
            let pieces = store::output(tx, task.id, from).await?;
            if pieces.is_empty() {
                break;
            }
            for piece in pieces {
                output.extend_from_slice(&piece.bytes);
            }
        }
        let fact = TaskFinished {
            project: task.project,
            task: task.id,
            environment: task.environment_id,
            environment_name: task.environment.clone(),
            result: to.to_owned(),
            exit_code,
            message: cut(message, 500),
            output_bytes: output.len() as u64,
            output: Digest::of(&output),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Adds to a task's output what begins at `from`; a repetition is skipped, a gap is not taken.
    pub(crate) async fn add_task_output(
        &self,
        agent: &Agent,
        id: TaskId,
        from: u64,
        bytes: &[u8],
    ) -> Result<OutputAt> {
        if bytes.len() > PIECE_BYTES {
            return Err(Problem::too_large(format!(
                "A piece of output has at most {PIECE_BYTES} bytes."
            )));
        }
        let all = store::wanted_of(&self.db, agent.id).await?;
        if !all.iter().any(|wanted| wanted.id == id) {
            return Err(Problem::not_found("task"));
        }
        let tx = self.db.begin().await?;
        let has = store::claim_output(&tx, id).await?;
        let has_bytes = u64::try_from(has).unwrap_or_default();
        let known = usize::try_from(has_bytes.saturating_sub(from)).unwrap_or(usize::MAX);
        let room = usize::try_from(OUTPUT_BYTES.saturating_sub(has_bytes)).unwrap_or(0);
        let new = bytes.get(known..).unwrap_or_default();
        let new = new.get(..room.min(new.len())).unwrap_or_default();
        if from > has_bytes || new.is_empty() {
            return Ok(OutputAt {
                offset: has_bytes,
                open: room > 0,
            });
        }
        store::add_output(&tx, id, has, new).await?;
        tx.commit().await?;
        Ok(OutputAt {
            offset: has_bytes + new.len() as u64,
            open: new.len() < room,
        })
    }
}

/// What is told of a task in facts.
struct Told {
    project: ProjectId,
    id: TaskId,
    environment_id: bascule_core::EnvironmentId,
    environment: String,
}

impl Told {
    fn of(task: &Task) -> Self {
        Self {
            project: task.project_id,
            id: task.id,
            environment_id: task.environment_id,
            environment: task.environment.clone(),
        }
    }
}

fn checked(command: &[String]) -> Result<Vec<String>> {
    let bytes: usize = command.iter().map(String::len).sum();
    if command.first().is_none_or(String::is_empty) {
        return Err(Problem::invalid("no_command", "A task needs a command.")
            .next("Name the program and its arguments: `bascule task run … -- ./manage migrate`."));
    }
    if command.len() > WORDS || bytes > COMMAND_BYTES {
        return Err(Problem::invalid(
            "long_command",
            format!("A command has at most {WORDS} words and {COMMAND_BYTES} bytes."),
        )
        .next("Put a script in the release, and call it."));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(Problem::invalid(
            "bad_command",
            "A command contains no zero byte.",
        ));
    }
    Ok(command.to_vec())
}

fn ended(task: &Task) -> Problem {
    let what = if task.finished_at.is_some() {
        "The task has ended."
    } else {
        "The task is being ended already."
    };
    Problem::conflict("task_ended", what)
        .next(format!("`bascule task show … {}` tells how it stands.", task.id))
}

fn view(row: Task, given: &mut HashMap<String, String>) -> wire::Task {
    let (Json(command), Json(teams)) = (row.command, row.teams);
    wire::Task {
        id: row.id,
        environment: row.environment_id,
        environment_name: row.environment,
        version: row.version,
        command,
        reason: row.reason,
        actor: row.actor,
        status: row.status,
        cancelled: row.cancelled,
        approvals: teams
            .into_iter()
            .map(|team| wire::TaskApproval {
                actor: given.remove(&team).unwrap_or_default(),
                team,
            })
            .collect(),
        exit_code: row.exit_code.and_then(|code| i32::try_from(code).ok()),
        message: row.message,
        output_bytes: u64::try_from(row.output_bytes).unwrap_or_default(),
        created_at: row.created_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
    }
}

fn desired(wanted: Wanted, secrets: &Opened, now: Timestamp) -> DesiredTask {
    let (Json(product), Json(command)) = (wanted.product, wanted.command);
    let mut variables = product.variables_in(&wanted.environment);
    secrets.fill(&wanted.environment, &wanted.settings.0, &mut variables);
    let in_time = wanted.queued_at.is_some_and(|at| now.since(at) < BEGIN_WITHIN);
    DesiredTask {
        task: wanted.id,
        project: wanted.project_path,
        version: wanted.version,
        driver: product.driver.unwrap_or_default(),
        artifact: ArtifactSource {
            path: format!("/api/v1/agent/artifacts/{}", wanted.artifact_digest),
            digest: wanted.artifact_digest,
            size: u64::try_from(wanted.artifact_size).unwrap_or(0),
            file_name: wanted.artifact_file,
        },
        command,
        variables,
        environment_name: wanted.environment,
        limits: product.limits,
        timeout_ms: u64::try_from(wanted.timeout_ms).unwrap_or(0),
        may_start: wanted.status == status::QUEUED && in_time && !wanted.cancelled,
        begun: wanted.status == status::RUNNING,
        cancelled: wanted.cancelled,
    }
}
