//! Commands on runners.

use super::{Runner, store};
use crate::{Ci, token};
use bascule_core::{Problem, Result, RunnerId};
use bascule_store::Json;
use bascule_wire::runner::{RegisterRequest, RunnerInfo};
use std::time::Duration;

/// How often at most "last heard of" is written.
const CONTACT_EVERY: Duration = Duration::from_secs(15);

impl Ci {
    /// Makes a runner and its token, which is not kept and cannot be shown again.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn create_runner(
        &self,
        description: &str,
        tags: Vec<String>,
        run_untagged: bool,
    ) -> Result<(Runner, String)> {
        if description.trim().is_empty() || description.len() > 200 {
            return Err(Problem::invalid(
                "bad_description",
                "A runner needs a description of 1 to 200 characters.",
            )
            .next("Say what machine it runs on."));
        }
        let request = RegisterRequest {
            description: description.to_owned(),
            tag_list: bascule_wire::runner::TagList(tags),
            run_untagged: Some(run_untagged),
            ..RegisterRequest::default()
        };
        self.insert_runner(request).await
    }

    async fn insert_runner(&self, request: RegisterRequest) -> Result<(Runner, String)> {
        let token = token::new(token::RUNNER);
        let tx = self.db.begin().await?;
        let runner = Runner {
            id: RunnerId::new(),
            number: tx.next_number("runner").await?,
            description: request.description,
            run_untagged: request.run_untagged.unwrap_or(request.tag_list.0.is_empty()),
            tags: Json(request.tag_list.0),
            paused: request.paused.unwrap_or_default(),
            maximum_timeout: request.maximum_timeout.filter(|seconds| *seconds > 0),
            version: request.info.version.clone(),
            platform: platform(&request.info),
            created_at: self.clock.now(),
            contacted_at: None,
        };
        store::insert(&tx, &runner, &token::hash(&token)).await?;
        tx.commit().await?;
        Ok((runner, token))
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

    /// A new registration token; the one before it ends.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn new_registration_token(&self) -> Result<String> {
        let token = token::new(token::REGISTRATION);
        let tx = self.db.begin().await?;
        store::set_registration(&tx, &token::hash(&token), self.clock.now()).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// Registers a runner that shows the registration token.
    pub(crate) async fn register_runner(&self, request: RegisterRequest) -> Result<(Runner, String)> {
        if !store::may_register(&self.db, &token::hash(&request.token)).await? {
            return Err(Problem::new(
                403,
                "bad_registration_token",
                "This registration token is not valid.",
            )
            .why("There is one at a time; a new one ends the one before.")
            .next("Ask an administrator for a new one (Admin, Runners)."));
        }
        self.insert_runner(request).await
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
        let (version, platform) = if info.version.is_empty() {
            (runner.version.clone(), runner.platform.clone())
        } else {
            (info.version.chars().take(60).collect(), platform(info))
        };
        let tx = self.db.begin().await?;
        store::contacted(&tx, runner.id, &version, &platform, now).await?;
        Ok(tx.commit().await?)
    }

    /// All runners.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn runners(&self) -> Result<Vec<Runner>> {
        Ok(store::all(&self.db).await?)
    }

    /// Lets a runner take jobs, or not.
    ///
    /// # Errors
    /// There is no such runner.
    pub async fn pause_runner(&self, id: RunnerId, paused: bool) -> Result<Runner> {
        let tx = self.db.begin().await?;
        if !store::set_paused(&tx, id, paused).await? {
            return Err(Problem::not_found("runner"));
        }
        let signals = self.signals.clone();
        tx.after_commit(move || signals.job_waits());
        tx.commit().await?;
        store::find(&self.db, id)
            .await?
            .ok_or_else(|| Problem::not_found("runner"))
    }

    /// Removes a runner; the jobs it has are given up and tried again.
    ///
    /// # Errors
    /// There is no such runner.
    pub async fn delete_runner(&self, id: RunnerId) -> Result<()> {
        let tx = self.db.begin().await?;
        if !store::delete(&tx, id).await? {
            return Err(Problem::not_found("runner"));
        }
        tx.commit().await?;
        self.fail_jobs_of_runner(id, "the runner was removed").await?;
        Ok(())
    }
}

fn platform(info: &RunnerInfo) -> String {
    format!("{} {}", info.platform, info.architecture)
        .trim()
        .chars()
        .take(60)
        .collect()
}
