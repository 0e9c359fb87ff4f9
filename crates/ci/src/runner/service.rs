//! Commands on runners.

use super::{Reach, Runner, store};
use crate::{Ci, token};
use bascule_core::{Actor, Problem, ProjectId, Result, RunnerId};
use bascule_ledger::facts::ci::{CiLimitSet, RunnerChanged};
use bascule_store::{Json, Tx};
use bascule_wire::{
    ci::ChangeRunner,
    runner::{RegisterRequest, RunnerInfo},
};
use std::time::Duration;

/// How often at most "last heard of" is written.
const CONTACT_EVERY: Duration = Duration::from_secs(15);
/// Most tags of a runner, and longest tag.
const TAGS: usize = 50;
const TAG_LETTERS: usize = 100;
/// Most jobs that a group's limit may allow.
const LIMIT: i64 = 100_000;

/// A runner to be made.
#[derive(Clone, Debug, Default)]
pub struct NewRunner {
    /// What people call it.
    pub description: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it takes jobs without tags.
    pub run_untagged: bool,
    /// Whether it takes jobs of protected branches and tags only.
    pub protected: bool,
    /// Whether it stays with the projects that it has.
    pub locked: bool,
    /// Whether it takes no jobs for now.
    pub paused: bool,
    /// Longest job it takes, in seconds.
    pub maximum_timeout: Option<i64>,
    /// About the program, where it registers itself.
    pub info: RunnerInfo,
}

impl NewRunner {
    /// As a program that registers itself says. Without a word on untagged jobs it takes them if it has no tags.
    fn of(request: RegisterRequest) -> Self {
        Self {
            run_untagged: request.run_untagged.unwrap_or(request.tag_list.0.is_empty()),
            protected: request.is_protected(),
            locked: request.locked.unwrap_or_default(),
            paused: request.is_paused(),
            maximum_timeout: request.maximum_timeout.filter(|seconds| *seconds > 0),
            description: request.description,
            tags: request.tag_list.0,
            info: request.info,
        }
    }

    fn check(&self) -> Result<()> {
        check_tags(&self.tags)?;
        if self.tags.is_empty() && !self.run_untagged {
            return Err(
                Problem::invalid("takes_nothing", "This runner would take no job at all.")
                    .why("It has no tags and takes no jobs without tags.")
                    .next("Give it a tag, or let it take jobs without tags."),
            );
        }
        check_timeout(self.maximum_timeout)
    }
}

fn check_tags(tags: &[String]) -> Result<()> {
    if tags.len() > TAGS
        || tags
            .iter()
            .any(|tag| tag.is_empty() || tag.chars().count() > TAG_LETTERS)
    {
        return Err(Problem::invalid(
            "bad_tags",
            format!("A runner has at most {TAGS} tags of 1 to {TAG_LETTERS} characters."),
        )
        .next("Name what the machine offers: `linux`, `gpu`, `production`."));
    }
    Ok(())
}

fn check_timeout(seconds: Option<i64>) -> Result<()> {
    // GitLab's least.
    if seconds.is_some_and(|seconds| seconds < 600) {
        return Err(
            Problem::invalid("bad_timeout", "A runner's longest job is at least 600 seconds.")
                .next("Leave it out to take jobs as long as they say, or name 600 or more."),
        );
    }
    Ok(())
}

fn check_description(text: &str) -> Result<()> {
    if text.trim().is_empty() || text.chars().count() > 200 {
        return Err(Problem::invalid(
            "bad_description",
            "A runner needs a description of 1 to 200 characters.",
        )
        .next("Say what machine it runs on."));
    }
    Ok(())
}

impl Reach {
    fn word(&self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Group(_) => "group",
            Self::Projects(_) => "project",
        }
    }

    fn target(&self) -> String {
        match self {
            Self::Instance => String::new(),
            Self::Group(name) => name.clone(),
            Self::Projects(list) => list.first().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl Ci {
    /// Makes a runner for everyone and its token, which is not kept and cannot be shown again.
    ///
    /// # Errors
    /// The description is empty or too long, or the store cannot be reached.
    pub async fn create_runner(
        &self,
        description: &str,
        tags: Vec<String>,
        run_untagged: bool,
    ) -> Result<(Runner, String)> {
        let new = NewRunner {
            description: description.to_owned(),
            tags,
            run_untagged,
            ..NewRunner::default()
        };
        self.make_runner(new, &Reach::Instance, &Actor::system()).await
    }

    /// Makes a runner for whom `reach` names, and its token, which is not kept and cannot be shown again.
    ///
    /// # Errors
    /// The description, a tag or the timeout breaks a rule, or it would take no job at all.
    pub async fn make_runner(
        &self,
        new: NewRunner,
        reach: &Reach,
        actor: &Actor,
    ) -> Result<(Runner, String)> {
        check_description(&new.description)?;
        self.insert_runner(new, reach, actor).await
    }

    async fn insert_runner(&self, new: NewRunner, reach: &Reach, actor: &Actor) -> Result<(Runner, String)> {
        new.check()?;
        let token = token::new(token::RUNNER);
        let tx = self.db.begin().await?;
        let runner = Runner {
            id: RunnerId::new(),
            number: tx.next_number("runner").await?,
            description: new.description,
            run_untagged: new.run_untagged,
            tags: Json(new.tags),
            paused: new.paused,
            protected: new.protected,
            locked: new.locked,
            scope: reach.word().to_owned(),
            group_name: match reach {
                Reach::Group(name) => Some(name.clone()),
                _ => None,
            },
            executor: clip(&new.info.executor),
            maximum_timeout: new.maximum_timeout,
            version: clip(&new.info.version),
            platform: platform(&new.info),
            created_at: self.clock.now(),
            contacted_at: None,
        };
        store::insert(&tx, &runner, &token::hash(&token)).await?;
        if let Reach::Projects(list) = reach {
            for project in list {
                store::serve(&tx, runner.id, *project).await?;
            }
        }
        self.tell_runner(&tx, &runner, reach, "created", actor).await?;
        tx.commit().await?;
        Ok((runner, token))
    }

    async fn tell_runner(
        &self,
        tx: &Tx,
        runner: &Runner,
        reach: &Reach,
        change: &str,
        actor: &Actor,
    ) -> Result<()> {
        let fact = RunnerChanged {
            runner: runner.id,
            number: runner.number,
            description: runner.description.clone(),
            scope: runner.scope.clone(),
            project: match reach {
                Reach::Projects(list) => list.first().copied(),
                _ => None,
            },
            change: change.to_owned(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// The runner that is part of this process: made once by its description, with a fresh token each time,
    /// so that no token need be kept in a file.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn embedded_runner(&self, description: &str) -> Result<(RunnerId, String)> {
        if let Some(runner) = store::by_description(&self.db, description).await? {
            return Ok((runner.id, self.renew_token(&runner).await?));
        }
        let (runner, token) = self.create_runner(description, Vec::new(), true).await?;
        Ok((runner.id, token))
    }

    pub(crate) async fn renew_token(&self, runner: &Runner) -> Result<String> {
        let token = token::new(token::RUNNER);
        let tx = self.db.begin().await?;
        store::set_token(&tx, runner.id, &token::hash(&token)).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// A new registration token for the instance; the one before it ends.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn new_registration_token(&self) -> Result<String> {
        self.registration_token_for(&Reach::Instance).await
    }

    /// A new registration token: who shows it registers runners for whom `reach` names. The one before it for the
    /// same ends.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn registration_token_for(&self, reach: &Reach) -> Result<String> {
        let token = token::new(token::REGISTRATION);
        let tx = self.db.begin().await?;
        store::set_registration(
            &tx,
            &token::hash(&token),
            reach.word(),
            &reach.target(),
            self.clock.now(),
        )
        .await?;
        tx.commit().await?;
        Ok(token)
    }

    /// Registers a runner that shows the registration token.
    pub(crate) async fn register_runner(&self, request: RegisterRequest) -> Result<(Runner, String)> {
        let found = store::registration(&self.db, &token::hash(&request.token)).await?;
        let Some(found) = found else {
            return Err(Problem::new(
                403,
                "bad_registration_token",
                "This registration token is not valid.",
            )
            .why("There is one at a time; a new one ends the one before.")
            .next("Ask an administrator for a new one (Admin, Runners)."));
        };
        let reach = match found.scope.as_str() {
            "group" => Reach::Group(found.target),
            "project" => Reach::Projects(vec![found.target.parse().map_err(|_| Problem::internal())?]),
            _ => Reach::Instance,
        };
        let mut new = NewRunner::of(request);
        new.description = new.description.chars().take(200).collect();
        self.insert_runner(new, &reach, &Actor::system()).await
    }

    /// The runner that shows this token.
    pub(crate) async fn runner_of(&self, token: &str) -> Result<Runner> {
        let found = if token.is_empty() {
            None
        } else {
            store::by_token(&self.db, &token::hash(token)).await?
        };
        found.ok_or_else(|| {
            Problem::new(403, "bad_runner_token", "This runner token is not valid.")
                .next("Register the runner again, or make a new one (Admin, Runners).")
        })
    }

    /// Notes that a runner was heard of.
    pub(crate) async fn runner_contacted(&self, runner: &Runner, info: &RunnerInfo) -> Result<()> {
        let now = self.clock.now();
        if runner
            .contacted_at
            .is_some_and(|at| now.since(at) < CONTACT_EVERY)
        {
            return Ok(());
        }
        let mut runner = runner.clone();
        if !info.version.is_empty() {
            runner.version = clip(&info.version);
            runner.platform = platform(info);
            runner.executor = clip(&info.executor);
        }
        let tx = self.db.begin().await?;
        store::contacted(&tx, &runner, now).await?;
        Ok(tx.commit().await?)
    }

    /// All runners.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn runners(&self) -> Result<Vec<Runner>> {
        Ok(store::all(&self.db).await?)
    }

    /// A runner.
    ///
    /// # Errors
    /// There is none such.
    pub async fn runner(&self, id: RunnerId) -> Result<Runner> {
        store::find(&self.db, id)
            .await?
            .ok_or_else(|| Problem::not_found("runner"))
    }

    /// A runner that is a group's or a project's own, for who manages that.
    ///
    /// # Errors
    /// There is none such, or it is somebody else's.
    pub async fn runner_within(&self, id: RunnerId, within: &Reach) -> Result<Runner> {
        let runner = self.runner(id).await?;
        let reach = store::reach(&self.db, &runner).await?;
        let mine = match (within, &reach) {
            (Reach::Instance, _) => true,
            (Reach::Group(group), Reach::Group(of)) => group == of,
            (Reach::Projects(mine), Reach::Projects(of)) => mine.iter().all(|project| of.contains(project)),
            _ => false,
        };
        if mine {
            Ok(runner)
        } else {
            Err(Problem::not_found("runner"))
        }
    }

    /// Lets a runner take jobs, or not.
    ///
    /// # Errors
    /// There is no such runner.
    pub async fn pause_runner(&self, id: RunnerId, paused: bool, actor: &Actor) -> Result<Runner> {
        let change = ChangeRunner {
            paused: Some(paused),
            ..ChangeRunner::default()
        };
        self.change_runner(id, &change, actor).await
    }

    /// Changes a runner; what is absent stays as it is.
    ///
    /// # Errors
    /// There is no such runner, or it would break a rule.
    pub async fn change_runner(&self, id: RunnerId, change: &ChangeRunner, actor: &Actor) -> Result<Runner> {
        let mut runner = self.runner(id).await?;
        let reach = store::reach(&self.db, &runner).await?;
        if let Some(description) = &change.description {
            check_description(description)?;
            runner.description.clone_from(description);
        }
        if let Some(tags) = &change.tags {
            check_tags(tags)?;
            runner.tags = Json(tags.clone());
        }
        if let Some(seconds) = change.maximum_timeout {
            let seconds = (seconds > 0).then_some(seconds);
            check_timeout(seconds)?;
            runner.maximum_timeout = seconds;
        }
        runner.run_untagged = change.run_untagged.unwrap_or(runner.run_untagged);
        runner.paused = change.paused.unwrap_or(runner.paused);
        runner.protected = change.protected.unwrap_or(runner.protected);
        runner.locked = change.locked.unwrap_or(runner.locked);
        if runner.tags.0.is_empty() && !runner.run_untagged {
            return Err(
                Problem::invalid("takes_nothing", "This runner would take no job at all.")
                    .next("Leave it a tag, let it take jobs without tags, or pause it."),
            );
        }
        let words = match change.paused {
            Some(true) => "paused",
            Some(false) => "resumed",
            None => "changed",
        };
        let tx = self.db.begin().await?;
        store::update(&tx, &runner).await?;
        self.tell_runner(&tx, &runner, &reach, words, actor).await?;
        let signals = self.signals.clone();
        tx.after_commit(move || signals.job_waits());
        tx.commit().await?;
        Ok(runner)
    }

    /// Lets a project's runner serve another project too.
    ///
    /// # Errors
    /// It is not a project's runner, or is locked to those it has.
    pub async fn enable_runner(&self, id: RunnerId, project: ProjectId, actor: &Actor) -> Result<Runner> {
        let runner = self.runner(id).await?;
        if runner.scope != "project" {
            return Err(Problem::invalid(
                "not_a_projects_runner",
                format!(
                    "Runner #{} serves a whole {} already.",
                    runner.number, runner.scope
                ),
            )
            .next("Only runners of single projects are lent to others."));
        }
        if runner.locked {
            return Err(Problem::conflict(
                "runner_locked",
                format!("Runner #{} is locked to the projects that it has.", runner.number),
            )
            .why("Its owner said that no other project's jobs may reach that machine.")
            .next("Ask its owner to unlock it, or start a runner of your own."));
        }
        let tx = self.db.begin().await?;
        store::serve(&tx, id, project).await?;
        self.tell_runner(&tx, &runner, &Reach::Projects(vec![project]), "enabled", actor)
            .await?;
        let signals = self.signals.clone();
        tx.after_commit(move || signals.job_waits());
        tx.commit().await?;
        Ok(runner)
    }

    /// Ends that a project's runner serves a project. The last one cannot be taken from it.
    ///
    /// # Errors
    /// It does not serve it, or serves nothing else.
    pub async fn disable_runner(&self, id: RunnerId, project: ProjectId, actor: &Actor) -> Result<()> {
        let runner = self.runner(id).await?;
        let reach = store::reach(&self.db, &runner).await?;
        if matches!(&reach, Reach::Projects(list) if list.len() == 1 && list.contains(&project)) {
            return Err(
                Problem::conflict("last_project", "The runner serves no other project.")
                    .next("Pause it, or remove it: bascule runner remove."),
            );
        }
        let tx = self.db.begin().await?;
        if !store::serve_no_more(&tx, id, project).await? {
            return Err(Problem::not_found("runner"));
        }
        self.tell_runner(&tx, &runner, &Reach::Projects(vec![project]), "disabled", actor)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Removes a runner; the jobs it has are given up and tried again.
    ///
    /// # Errors
    /// There is no such runner.
    pub async fn delete_runner(&self, id: RunnerId, actor: &Actor) -> Result<()> {
        let runner = self.runner(id).await?;
        let reach = store::reach(&self.db, &runner).await?;
        let tx = self.db.begin().await?;
        if !store::delete(&tx, id).await? {
            return Err(Problem::not_found("runner"));
        }
        self.tell_runner(&tx, &runner, &reach, "removed", actor).await?;
        tx.commit().await?;
        self.fail_jobs_of_runner(id, "the runner was removed").await?;
        Ok(())
    }

    /// Bounds how many jobs of a group's projects run at once; `None` lifts the bound.
    ///
    /// # Errors
    /// The number is no such bound.
    pub async fn limit_group(&self, group: &str, running: Option<i64>, actor: &Actor) -> Result<()> {
        if running.is_some_and(|n| !(1..=LIMIT).contains(&n)) {
            return Err(Problem::invalid(
                "bad_limit",
                format!("A group's limit is 1 to {LIMIT} jobs at once."),
            )
            .next("Name such a number, or lift the limit. To stop all jobs, pause the runners."));
        }
        let tx = self.db.begin().await?;
        super::queue::store::set_limit(&tx, group, running, self.clock.now()).await?;
        let fact = CiLimitSet {
            group: group.to_owned(),
            running,
        };
        self.ledger.append(&tx, actor, &fact).await?;
        let signals = self.signals.clone();
        tx.after_commit(move || signals.job_waits());
        Ok(tx.commit().await?)
    }
}

/// Short enough to be shown.
fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

fn platform(info: &RunnerInfo) -> String {
    clip(format!("{} {}", info.platform, info.architecture).trim())
}
