//! Making, changing and running schedules.

use super::{MOST, Times, VARIABLES, store, store::Schedule};
use crate::pipeline::guard::may_give;
use crate::{
    Ci,
    config::{Inputs, as_text, lacking, variable_name},
    fault::{CI_FILE, shown},
    pipeline::{self, Ask, Created, More, Start, Text},
    ports::Commit,
};
use bascule_core::{
    Actor, ActorKind, Caller, Permission, PipelineId, Problem, ProjectId, ProjectScope, Result, Timestamp,
};
use bascule_ledger::facts::pipelines::{ScheduleChanged, ScheduleRan, ScheduleStopped};
use bascule_store::{Json, Tx};
use bascule_wire::{pipelines as wire, runner::Variable};
use std::collections::BTreeMap;

/// Longest description, in characters.
const DESCRIPTION: usize = 200;
/// Longest value of a variable, in bytes.
const VALUE: usize = 64 * 1024;
/// What starts it by the clock, and by hand.
const SOURCE: &str = "schedule";

impl Ci {
    /// A schedule of a project.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn schedule(&self, project: ProjectId, id: i64) -> Result<Schedule> {
        store::find(&self.db, project, id)
            .await?
            .ok_or_else(|| Problem::not_found("schedule"))
    }

    /// The project's schedules, oldest first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn schedules(&self, project: ProjectId) -> Result<Vec<Schedule>> {
        Ok(store::list(&self.db, project).await?)
    }

    /// Makes a schedule that runs in the caller's name.
    ///
    /// # Errors
    /// The caller is no person, a value is wrong, or the project has too many.
    pub async fn create_schedule(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        new: wire::NewSchedule,
    ) -> Result<Schedule> {
        let owner = person(caller)?;
        if store::count(&self.db, scope.id).await? >= MOST {
            return Err(
                Problem::conflict("too_many", format!("A project has at most {MOST} schedules."))
                    .next("Remove one that is not needed any more."),
            );
        }
        let mut schedule = Schedule {
            id: 0,
            project_id: scope.id,
            description: described(&new.description)?,
            reference: String::new(),
            cron: new.cron.trim().to_owned(),
            timezone: zone(&new.timezone),
            variables: Json(named(new.variables)?),
            inputs: Json(bounded(new.inputs)?),
            active: new.active,
            owner_id: owner,
            owner_name: caller.actor.name.clone(),
            next_run_at: None,
            last_run_at: None,
            last_pipeline: None,
            last_note: None,
            stopped: None,
            created_at: self.clock.now(),
        };
        self.aim(scope, &mut schedule, &new.reference, &caller.actor)
            .await?;
        self.plan_next(&mut schedule)?;
        let tx = self.db.begin().await?;
        schedule.id = tx.next_number("ci_schedule").await?;
        store::insert(&tx, &schedule).await?;
        self.tell_schedule(&tx, &schedule, "created", &caller.actor)
            .await?;
        tx.commit().await?;
        Ok(schedule)
    }

    /// Changes a schedule. Only its owner says what it runs: it runs with their rights.
    ///
    /// # Errors
    /// The caller is not its owner, or a value is wrong.
    pub async fn change_schedule(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        id: i64,
        change: wire::ChangeSchedule,
    ) -> Result<Schedule> {
        let mut schedule = self.schedule(scope.id, id).await?;
        let owner = person(caller)? == schedule.owner_id;
        let only_active = wire::ChangeSchedule {
            active: None,
            ..change.clone()
        };
        let more = serde_json::to_value(&only_active).unwrap_or_default()
            != serde_json::to_value(wire::ChangeSchedule::default()).unwrap_or_default();
        let stops = change.active == Some(false) && !more;
        let may_stop = stops && scope.holds(Permission::ProjectManage);
        if !owner && !may_stop {
            return Err(not_owner(&schedule));
        }
        if let Some(text) = &change.description {
            schedule.description = described(text)?;
        }
        if let Some(cron) = &change.cron {
            cron.trim().clone_into(&mut schedule.cron);
        }
        if let Some(timezone) = &change.timezone {
            schedule.timezone = zone(timezone);
        }
        if let Some(variables) = change.variables {
            schedule.variables = Json(named(variables)?);
        }
        if let Some(inputs) = change.inputs {
            schedule.inputs = Json(bounded(inputs)?);
        }
        if let Some(active) = change.active {
            schedule.active = active;
            if active {
                schedule.stopped = None;
            }
        }
        if !stops {
            let wanted = change.reference.unwrap_or_else(|| schedule.reference.clone());
            self.aim(scope, &mut schedule, &wanted, &caller.actor).await?;
        }
        self.plan_next(&mut schedule)?;
        let word = match change.active {
            Some(true) if !more => "activated",
            Some(false) if !more => "deactivated",
            _ => "changed",
        };
        let tx = self.db.begin().await?;
        store::update(&tx, &schedule).await?;
        self.tell_schedule(&tx, &schedule, word, &caller.actor).await?;
        tx.commit().await?;
        Ok(schedule)
    }

    /// Makes a schedule the caller's own: it runs in their name from now on.
    ///
    /// # Errors
    /// The caller is no person, or may not run what it runs.
    pub async fn take_schedule(&self, caller: &Caller, scope: &ProjectScope, id: i64) -> Result<Schedule> {
        let mut schedule = self.schedule(scope.id, id).await?;
        schedule.owner_id = person(caller)?;
        schedule.owner_name.clone_from(&caller.actor.name);
        let wanted = schedule.reference.clone();
        self.aim(scope, &mut schedule, &wanted, &caller.actor).await?;
        let tx = self.db.begin().await?;
        store::update(&tx, &schedule).await?;
        self.tell_schedule(&tx, &schedule, "taken_over", &caller.actor)
            .await?;
        tx.commit().await?;
        Ok(schedule)
    }

    /// Removes a schedule: its owner may, and who manages the project.
    ///
    /// # Errors
    /// The caller may not.
    pub async fn delete_schedule(&self, caller: &Caller, scope: &ProjectScope, id: i64) -> Result<()> {
        let schedule = self.schedule(scope.id, id).await?;
        let owner = person(caller).is_ok_and(|user| user == schedule.owner_id);
        if !owner && !scope.holds(Permission::ProjectManage) {
            return Err(not_owner(&schedule));
        }
        let tx = self.db.begin().await?;
        store::delete(&tx, id).await?;
        self.tell_schedule(&tx, &schedule, "deleted", &caller.actor)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Runs a schedule now, in its owner's name where the caller is the owner, and otherwise in the caller's without
    /// its variables' hidden values being told.
    ///
    /// # Errors
    /// The caller is not its owner, or no pipeline comes of it.
    pub async fn play_schedule(&self, caller: &Caller, scope: &ProjectScope, id: i64) -> Result<Created> {
        let schedule = self.schedule(scope.id, id).await?;
        if person(caller)? != schedule.owner_id {
            return Err(not_owner(&schedule));
        }
        let start = self.schedule_start(&schedule, None).await?.map_err(|why| {
            Problem::invalid("no_pipeline", "No pipeline was started.").why(format!("Because {why}."))
        })?;
        let created = self.create_pipeline(start).await?;
        let (pipeline, note) = self.outcome(&created).await?;
        let tx = self.db.begin().await?;
        store::played(&tx, schedule.id, self.clock.now(), pipeline, note.as_deref()).await?;
        self.tell_outcome(&tx, &schedule, pipeline, note.as_deref())
            .await?;
        tx.commit().await?;
        Ok(created)
    }

    /// The pipeline of a run, and why it was refused or there is none.
    async fn outcome(&self, created: &Created) -> Result<(Option<PipelineId>, Option<String>)> {
        Ok(match created {
            Created::Refused(id, faults) => (Some(*id), Some(faults.first().to_string())),
            Created::Nothing(why) => (None, Some(format!("no pipeline was made, because {why}"))),
            Created::Pipeline(id) => {
                // What the group requires runs although the project's own file is refused.
                let found = pipeline::store::find(&self.db, *id).await?;
                let fault = found.and_then(|found| found.faults.0.into_iter().next());
                (Some(*id), fault.map(|fault| fault.to_string()))
            }
        })
    }

    /// Tells when a schedule's pipeline is refused, and when one is made again after that.
    async fn tell_outcome(
        &self,
        tx: &Tx,
        schedule: &Schedule,
        pipeline: Option<PipelineId>,
        note: Option<&str>,
    ) -> Result<()> {
        if note.is_none() && schedule.last_note.is_none() {
            return Ok(());
        }
        let fact = ScheduleRan {
            project: schedule.project_id,
            schedule: schedule.id,
            owner: schedule.owner_id.parse().ok(),
            pipeline,
            refused: note.map(str::to_owned),
        };
        self.ledger.append(tx, &Actor::system(), &fact).await?;
        Ok(())
    }

    /// Sets the branch or tag that a schedule runs for, if the caller may run it there with what it gives.
    async fn aim(
        &self,
        scope: &ProjectScope,
        schedule: &mut Schedule,
        wanted: &str,
        actor: &Actor,
    ) -> Result<()> {
        let with = !(schedule.variables.0.is_empty() && schedule.inputs.0.is_empty());
        let commit = self.schedule_ref(scope, wanted, with).await?;
        self.check_inputs(scope.id, &commit, &schedule.inputs.0, actor)
            .await?;
        schedule.reference = commit.reference;
        Ok(())
    }

    /// Refuses inputs that the file at a commit does not take, so that who writes them hears of it and not the night.
    async fn check_inputs(
        &self,
        project: ProjectId,
        commit: &Commit,
        inputs: &Inputs,
        actor: &Actor,
    ) -> Result<()> {
        let refused = |why: String| {
            Problem::invalid(
                "bad_input",
                format!("The file at `{}` refuses its inputs.", shown(&commit.reference)),
            )
            .why(why)
            .next("Give the inputs that the file's `spec:inputs` declare.")
        };
        let Some(bytes) = self.code.read_file(project, &commit.sha, CI_FILE).await? else {
            return match inputs.is_empty() {
                true => Ok(()),
                false => Err(refused(format!("There is no {CI_FILE}."))),
            };
        };
        if inputs.is_empty() {
            return lacking(&String::from_utf8_lossy(&bytes), inputs).map_or(Ok(()), |why| Err(refused(why)));
        }
        let info = self
            .code
            .project(project)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let start = Start::of(project, commit.clone(), SOURCE, actor.clone());
        let mut draft = self.draft(&start, String::new()).await?;
        let ask = Ask {
            info: &info,
            text: Text::File(&bytes),
            actor,
            secrets: false,
            inputs,
            input_texts: false,
            since: None,
        };
        match self.prepare(&mut draft, &ask).await? {
            Ok(_) => Ok(()),
            Err(faults) => Err(refused(faults.first().reason())),
        }
    }

    /// A branch or tag that the caller may run a schedule for.
    async fn schedule_ref(&self, scope: &ProjectScope, wanted: &str, with_variables: bool) -> Result<Commit> {
        let wanted = self.named_or_default(scope.id, wanted.trim()).await?;
        let commit = self.code.resolve(scope.id, &wanted).await?.ok_or_else(|| {
            Problem::invalid(
                "no_such_ref",
                format!("There is no branch or tag `{}`.", shown(&wanted)),
            )
            .next("Push it first, or name another.")
        })?;
        let protected = self
            .code
            .is_protected(scope.id, &commit.reference, commit.tag)
            .await?;
        self.guard(scope, &commit.reference, protected).await?;
        if with_variables {
            let may_push = scope.holds(Permission::ProtectedPush);
            let next =
                "Schedule it without variables and inputs, schedule another branch, or ask a maintainer.";
            may_give(&commit.reference, protected, may_push, next)?;
        }
        Ok(commit)
    }

    fn plan_next(&self, schedule: &mut Schedule) -> Result<()> {
        let times = Times::new(&schedule.cron, &schedule.timezone)?;
        schedule.next_run_at = if schedule.active {
            times.next(self.clock.now())
        } else {
            None
        };
        Ok(())
    }

    async fn tell_schedule(&self, tx: &Tx, schedule: &Schedule, change: &str, actor: &Actor) -> Result<()> {
        let fact = ScheduleChanged {
            project: schedule.project_id,
            schedule: schedule.id,
            change: change.to_owned(),
            when: format!("{} {}", schedule.cron, schedule.timezone),
            reference: schedule.reference.clone(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Starts what is due. The pipeline is made first and the run noted after: made twice, it is one, by its time.
    pub(crate) async fn run_schedules(&self) -> Result<()> {
        let now = self.clock.now();
        for schedule in store::due(&self.db, now).await? {
            if let Err(problem) = self.run_schedule(&schedule, now).await {
                tracing::warn!(schedule = schedule.id, %problem, "a schedule could not run now; tried again soon");
            }
        }
        Ok(())
    }

    async fn run_schedule(&self, schedule: &Schedule, now: Timestamp) -> Result<()> {
        let Some(due) = schedule.next_run_at else {
            return Ok(());
        };
        let (pipeline, note) = match self.schedule_start(schedule, Some(due)).await? {
            Err(why) => return self.stop_schedule(schedule, &why).await,
            Ok(start) => match self.create_pipeline(start).await {
                Ok(created) => self.outcome(&created).await?,
                Err(problem) if problem.is_server_fault() => return Err(problem),
                Err(problem) => (None, Some(problem.what)),
            },
        };
        let next = Times::new(&schedule.cron, &schedule.timezone)
            .ok()
            // Runs that were missed while no server ran are made up for once.
            .and_then(|times| times.next(now.max(due)));
        let ran = store::Ran {
            due,
            now,
            next,
            pipeline,
            note: note.as_deref(),
        };
        let tx = self.db.begin().await?;
        if store::ran(&tx, schedule.id, &ran).await? {
            self.tell_outcome(&tx, schedule, pipeline, note.as_deref())
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// What a schedule starts, or why it may not run any more.
    async fn schedule_start(
        &self,
        schedule: &Schedule,
        due: Option<Timestamp>,
    ) -> Result<std::result::Result<Start, String>> {
        let owner = Actor::new(
            ActorKind::User,
            schedule.owner_id.clone(),
            schedule.owner_name.clone(),
        );
        let may = |permission| {
            let (reach, owner) = (self.reach(), owner.clone());
            async move { reach.may(&owner, schedule.project_id, permission).await }
        };
        if !may(Permission::PipelineRun).await? {
            let why = if self.reach().is_open(&schedule.owner_id).await? {
                format!(
                    "its owner {} may not run pipelines in this project any more",
                    schedule.owner_name
                )
            } else {
                format!("the account of its owner {} is closed", schedule.owner_name)
            };
            return Ok(Err(why));
        }
        let Some(commit) = self
            .code
            .resolve(schedule.project_id, &schedule.reference)
            .await?
        else {
            return Ok(Err(format!(
                "there is no branch or tag {} any more",
                schedule.reference
            )));
        };
        let may_push = !self
            .code
            .is_protected(schedule.project_id, &commit.reference, commit.tag)
            .await?
            || may(Permission::ProtectedPush).await?;
        if !self.runs_protected(schedule.project_id, may_push).await? {
            return Ok(Err(format!(
                "{} is protected, and its owner {} may neither push nor merge there",
                commit.reference, schedule.owner_name
            )));
        }
        let gives = !(schedule.variables.0.is_empty() && schedule.inputs.0.is_empty());
        if gives && !may_push {
            return Ok(Err(format!(
                "{} is protected, and its owner {} may not give variables and inputs to its jobs",
                commit.reference, schedule.owner_name
            )));
        }
        Ok(Ok(Start {
            project: schedule.project_id,
            reference: commit.reference,
            tag: commit.tag,
            sha: commit.sha,
            before: None,
            source: SOURCE,
            fact: due.map(|due| format!("schedule:{}:{}", schedule.id, due.micros())),
            variables: schedule
                .variables
                .0
                .iter()
                .map(|(key, value)| Variable {
                    public: false,
                    ..Variable::public(key.clone(), value.clone())
                })
                .collect(),
            actor: owner,
            more: More {
                schedule: Some(schedule.id),
                schedule_description: Some(schedule.description.clone()),
                inputs: schedule.inputs.0.clone(),
                ..More::default()
            },
        }))
    }

    async fn stop_schedule(&self, schedule: &Schedule, why: &str) -> Result<()> {
        let tx = self.db.begin().await?;
        if store::stop(&tx, schedule.id, why).await? {
            let fact = ScheduleStopped {
                project: schedule.project_id,
                schedule: schedule.id,
                owner: schedule.owner_name.clone(),
                owner_id: schedule.owner_id.parse().ok(),
                reason: why.to_owned(),
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
        }
        Ok(tx.commit().await?)
    }

    /// An account was closed: what runs in its name stops at once.
    pub(crate) async fn stop_schedules_of(&self, user: &str, name: &str) -> Result<()> {
        for schedule in store::active_of(&self.db, user).await? {
            let why = format!("the account of its owner {name} is closed");
            self.stop_schedule(&schedule, &why).await?;
        }
        Ok(())
    }
}

impl Schedule {
    /// As the API tells it; values only to who may change them.
    #[must_use]
    pub fn to_wire(&self, values: bool) -> wire::Schedule {
        wire::Schedule {
            id: self.id,
            description: self.description.clone(),
            reference: self.reference.clone(),
            cron: self.cron.clone(),
            timezone: self.timezone.clone(),
            active: self.active,
            owner: self.owner_name.clone(),
            variables: self
                .variables
                .0
                .iter()
                .map(|(key, value)| (key.clone(), values.then(|| value.clone())))
                .collect(),
            inputs: self
                .inputs
                .0
                .iter()
                .map(|(key, value)| (key.clone(), values.then(|| value.clone())))
                .collect(),
            next_run_at: self.next_run_at,
            last_run_at: self.last_run_at,
            last_pipeline: self.last_pipeline,
            last_note: self.last_note.clone(),
            stopped: self.stopped.clone(),
            created_at: self.created_at,
        }
    }

    /// Whether a caller owns it.
    #[must_use]
    pub fn is_of(&self, caller: &Caller) -> bool {
        caller
            .person()
            .is_some_and(|user| user.to_string() == self.owner_id)
    }
}

/// A schedule acts in a person's name.
fn person(caller: &Caller) -> Result<String> {
    caller.person().map(|user| user.to_string()).ok_or_else(|| {
        Problem::new(403, "not_a_person", "Only a person can own a schedule.")
            .why("It runs with the rights that its owner has when it runs.")
            .next("Do it with your own account.")
    })
}

fn not_owner(schedule: &Schedule) -> Problem {
    Problem::new(
        403,
        "not_owner",
        format!("This schedule is {}'s.", schedule.owner_name),
    )
    .why("It runs with the rights of its owner, who alone says what it runs.")
    .next("Take it over first (maintainers may), or make one of your own.")
}

fn described(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > DESCRIPTION {
        return Err(Problem::invalid(
            "bad_description",
            format!("A schedule needs a description of 1 to {DESCRIPTION} characters."),
        )
        .next("Say what it is for."));
    }
    Ok(text.to_owned())
}

fn bounded(inputs: Inputs) -> Result<Inputs> {
    if inputs.len() > VARIABLES {
        return Err(Problem::conflict(
            "too_many",
            format!("A schedule gives at most {VARIABLES} inputs."),
        ));
    }
    if let Some((name, _)) = inputs.iter().find(|(_, value)| as_text(value).len() > VALUE) {
        return Err(Problem::too_large(format!(
            "The value of the input `{}` is larger than {VALUE} bytes.",
            shown(name)
        )));
    }
    Ok(inputs)
}

fn zone(text: &str) -> String {
    match text.trim() {
        "" => "UTC".to_owned(),
        name => name.to_owned(),
    }
}

fn named(variables: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    if variables.len() > VARIABLES {
        return Err(Problem::conflict(
            "too_many",
            format!("A schedule has at most {VARIABLES} variables."),
        ));
    }
    for (key, value) in &variables {
        if !variable_name(key) {
            return Err(Problem::invalid(
                "bad_variable",
                format!("`{}` cannot be a variable's name.", shown(key)),
            )
            .next("Use letters, digits and `_`, not beginning with a digit."));
        }
        if value.len() > VALUE {
            return Err(Problem::too_large(format!(
                "The value of `{}` is larger than {VALUE} bytes.",
                shown(key)
            )));
        }
    }
    Ok(variables)
}
