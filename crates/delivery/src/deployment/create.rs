//! Asking for a deployment: everything that can be wrong is said before anything changes.

use super::{Deployment, Status, desired, instances, store};
use crate::{
    Delivery, ReleaseInfo, ReleasePart,
    environment::{self, Environment},
    plan::{self, Change},
    preview,
    product::{self, Product},
    rollout::{
        self,
        sides::{Sides, pick},
    },
    site::{self, hooks::Phase},
};
use bascule_core::{Actor, Caller, DeploymentId, Permission, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::facts::delivery::{DeploymentCreated, DeploymentFinished};
use bascule_store::{Json, Tx};
use bascule_wire::{agent::Tier, delivery::NewDeployment};
use std::collections::BTreeMap;

/// A deployment that may be created: all was found and checked.
pub struct Order {
    pub(crate) release: ReleaseInfo,
    pub(crate) product: Product,
    pub(crate) part: ReleasePart,
    pub(crate) cause: &'static str,
    pub(crate) forced: String,
    /// What the environment's declaration gives it, above the product's own.
    pub(crate) settings: BTreeMap<String, String>,
}

/// The permission that a deployment to a tier needs.
#[must_use]
pub const fn permission(tier: Tier) -> Permission {
    match tier {
        Tier::Staging => Permission::DeployStaging,
        Tier::Production => Permission::DeployProduction,
    }
}

impl Delivery {
    /// Deploys a release on a person's word. `holds` says what they may do in the project.
    ///
    /// # Errors
    /// Says what stands against it and what to do.
    pub async fn deploy(
        &self,
        caller: &Caller,
        project: ProjectId,
        holds: impl Fn(Permission) -> bool + Send + Sync,
        new: &NewDeployment,
    ) -> Result<DeploymentId> {
        let environment = self.named_environment(project, &new.environment).await?;
        let needed = permission(environment.tier());
        if !holds(needed) {
            return Err(Problem::forbidden(needed));
        }
        let version = new.version.trim().trim_start_matches('v');
        let reason = new.reason.trim();
        if new.force && reason.is_empty() {
            return Err(
                Problem::invalid("reason_missing", "A forced deployment needs a reason.")
                    .why("The reason is recorded, so that others can follow why the rules were set aside.")
                    .next("Say in one sentence why it cannot wait."),
            );
        }
        let Some(release) = self.ports.releases.by_version(project, version).await? else {
            return Err(Problem::invalid(
                "unknown_release",
                format!("There is no release {version} of this project."),
            )
            .why("Only a published release can be deployed: it is immutable and carries its evidence.")
            .next("Choose one from the project's releases, or push a tag to make one."));
        };
        let settings = self.declared_settings(&environment).await?;
        let (product, part) = match self.product_of(&release, &settings).await? {
            Some(found) => found.map_err(|reason| {
                Problem::invalid("bad_product", format!("Release {version} cannot be deployed: {reason}."))
                    .why("What to run and how to tell that it serves comes from bascule.yaml at the release's commit.")
                    .next("Correct the file, and publish a new release.")
            })?,
            None => return Err(no_product(version)),
        };
        let cause = self.allowed(&environment, &release, new.force).await?;
        self.fits(caller, &environment, version, new.force).await?;
        let forced = if new.force {
            reason.to_owned()
        } else {
            String::new()
        };
        let order = Order {
            release,
            product,
            part,
            cause,
            forced,
            settings,
        };
        let tx = self.db.begin().await?;
        let id = self.create(&tx, &caller.actor, &environment, order).await?;
        tx.commit().await?;
        Ok(id)
    }

    pub(crate) async fn named_environment(&self, project: ProjectId, name: &str) -> Result<Environment> {
        if let Some(environment) = environment::store::by_name(&self.db, project, name).await? {
            return Ok(environment);
        }
        let all = environment::store::of_project(&self.db, project).await?;
        let known = all.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ");
        let problem = Problem::invalid(
            "unknown_environment",
            format!("There is no environment `{}`.", instances::cut(name, 80)),
        );
        Err(if all.is_empty() {
            problem
                .why("A project's environments are created when its first release with a bascule.yaml is published.")
                .next("Add bascule.yaml, then publish a release by pushing a tag.")
        } else {
            problem
                .why(format!("This project has {known}."))
                .next("Choose one of these.")
        })
    }

    /// The product at a release's commit, with the driver that runs it under these settings, and the file that
    /// the driver takes. `None`: no bascule.yaml there. An inner error says why it cannot be deployed.
    pub(crate) async fn product_of(
        &self,
        release: &ReleaseInfo,
        settings: &BTreeMap<String, String>,
    ) -> Result<Option<std::result::Result<(Product, ReleasePart), String>>> {
        let bytes = match self.product_file(release.project, &release.sha).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(problem) if problem.status == 413 => {
                return Ok(Some(Err(problem.what.trim_end_matches('.').to_owned())));
            }
            Err(problem) => return Err(problem),
        };
        let mut product = match product::parse(&bytes) {
            Ok(product) => product,
            Err(error) => return Ok(Some(Err(error.to_string()))),
        };
        let (driver, path) = match product.runs(site::driver_in(settings)) {
            Ok(runs) => (runs.driver, runs.path.to_owned()),
            Err(lacks) => return Ok(Some(Err(lacks))),
        };
        let mut taken = None;
        // One product serves each driver: what another environment will need is missed here and now.
        for file in product.files() {
            let Some(part) = self.ports.releases.find_part(release.id, file).await? else {
                let key = if file == product.artifact {
                    "artifact"
                } else {
                    "image"
                };
                return Ok(Some(Err(format!(
                    "the release has no file `{file}`, which bascule.yaml names as its {key}; let a job of the \
                     pipeline produce it under `artifacts: paths:`"
                ))));
            };
            if file == path {
                taken = Some(part);
            }
        }
        let part = taken.ok_or_else(Problem::internal)?;
        product.driver = Some(driver);
        Ok(Some(Ok((product, part))))
    }

    /// Checks the rules about what may follow what; returns what the deployment is caused by.
    async fn allowed(
        &self,
        environment: &Environment,
        release: &ReleaseInfo,
        force: bool,
    ) -> Result<&'static str> {
        let name = &environment.name;
        let production = environment.tier() == Tier::Production;
        if production && let Some(open) = store::open_in(&self.db, environment.id).await? {
            return Err(busy(name, &open));
        }
        let serving = match environment.serving_id {
            Some(id) => store::get(&self.db, id).await?,
            None => None,
        };
        let again = serving.as_ref().filter(|s| s.release_id == release.id && !force);
        if let Some(serving) = again {
            // What serves with other settings than are declared is put right by the same release.
            if environment::store::declared(&self.db, environment.id).await?
                && store::settings(&self.db, serving.id).await? != self.declared_settings(environment).await?
            {
                return Ok("drift");
            }
            return Err(Problem::conflict(
                "already_serving",
                format!("{} already serves in {name}.", serving.version),
            )
            .why("Deploying the same release again would change nothing.")
            .next("To start it afresh all the same, force it and say why."));
        }
        if production && !force {
            self.proven_below(environment, release).await?;
        }
        let older = serving.is_some_and(|serving| older(&release.version, &serving.version));
        Ok(match (older, production) {
            (true, _) => "rollback",
            (false, true) => "promotion",
            (false, false) => "api",
        })
    }

    /// A release reaches production by way of staging.
    async fn proven_below(&self, environment: &Environment, release: &ReleaseInfo) -> Result<()> {
        let version = &release.version;
        let all = environment::store::of_project(&self.db, environment.project_id).await?;
        let Some(staging) = all.iter().find(|e| e.tier() == Tier::Staging) else {
            return Ok(());
        };
        if store::succeeded(&self.db, staging.id, release.id).await? {
            return Ok(());
        }
        let why = "A release meets production after it ran in staging.";
        let force = "or force it and say why";
        Err(
            match store::last_of_release(&self.db, staging.id, release.id).await? {
                Some(last) if last.finished_at.is_none() => Problem::conflict(
                    "staging_not_done",
                    format!("{version} is still being deployed to {}.", staging.name),
                )
                .why(why)
                .next(format!("Wait until it serves there, {force}.")),
                Some(last) if last.status() != Status::Superseded => Problem::conflict(
                    "failed_in_staging",
                    format!(
                        "{version} failed in {}: {}.",
                        staging.name,
                        last.reason.trim_end_matches('.')
                    ),
                )
                .why(why)
                .next(format!("Correct it and publish a new release, {force}.")),
                _ => Problem::conflict(
                    "not_in_staging",
                    format!("{version} never ran in {}.", staging.name),
                )
                .why(why)
                .next(format!("Deploy it to {} first, {force}.", staging.name)),
            },
        )
    }

    /// Creates a deployment and its instance. In staging it takes the place of one that is not proven yet.
    pub(crate) async fn create(
        &self,
        tx: &Tx,
        actor: &Actor,
        environment: &Environment,
        order: Order,
    ) -> Result<DeploymentId> {
        let now = self.now();
        if let Some(open) = store::open_in(tx, environment.id).await? {
            if environment.tier() == Tier::Production {
                return Err(busy(&environment.name, &open));
            }
            let reason = format!("{} came before it was proven", order.release.version);
            // Boxed: rare, and large.
            Box::pin(self.supersede(tx, actor, environment, &open, &reason, now)).await?;
        }
        let environment = environment::store::get(tx, environment.id)
            .await?
            .unwrap_or_else(|| environment.clone());
        let mut product = order.product;
        if !order.settings.is_empty() {
            let own = product.overrides.entry(environment.name.clone()).or_default();
            own.extend(site::variables_in(&order.settings));
        }
        let deployment = Deployment {
            id: DeploymentId::new(),
            project_id: environment.project_id,
            environment_id: environment.id,
            release_id: order.release.id,
            version: order.release.version,
            cause: order.cause.to_owned(),
            actor: actor.name.clone(),
            status: Status::Starting.as_str().to_owned(),
            reason: String::new(),
            forced: instances::cut(&order.forced, 1_000),
            artifact_digest: order.part.digest,
            artifact_size: i64::try_from(order.part.size).unwrap_or(i64::MAX),
            artifact_file: order.part.file_name,
            product: Json(product),
            previous_id: environment.serving_id,
            created_at: now,
            exposed_at: None,
            finished_at: None,
        };
        store::insert(tx, &deployment).await.map_err(|error| {
            if error.is_unique_violation() {
                busy(&environment.name, &deployment)
            } else {
                error.into()
            }
        })?;
        store::set_settings(tx, deployment.id, &order.settings).await?;
        if !self
            .queue_hook(tx, &environment, &deployment, Phase::Before)
            .await?
        {
            self.first_instances(tx, &environment, &deployment, now).await?;
        }
        let fact = DeploymentCreated {
            project: deployment.project_id,
            deployment: deployment.id,
            environment: environment.id,
            environment_name: environment.name.clone(),
            tier: environment.tier.clone(),
            release: deployment.release_id,
            version: deployment.version.clone(),
            artifact: deployment.artifact_digest.clone(),
            cause: deployment.cause.clone(),
            previous: deployment.previous_id,
        };
        self.ledger.append(tx, actor, &fact).await?;
        self.tell_agent_at(tx, environment.id).await?;
        self.replan_for(tx, Change::Site(&environment.name)).await?;
        Ok(deployment.id)
    }

    /// The instances that a deployment begins with.
    pub(crate) async fn first_instances(
        &self,
        tx: &Tx,
        environment: &Environment,
        deployment: &Deployment,
        now: Timestamp,
    ) -> Result<()> {
        let Json(product) = &deployment.product;
        let policy = product.rollout_in(environment.tier());
        let new = instances::New {
            deployment: deployment.id,
            environment: environment.id,
            // Where instances take each other's places, the controller says whose turn it is.
            desired: if policy.strategy.in_shares() {
                desired::RUN
            } else {
                desired::HELD
            },
            weight: 0,
            baseline: false,
            count: usize::try_from(policy.replicas.max(1)).unwrap_or(1),
        };
        instances::insert(tx, &new, now).await?;
        Ok(())
    }

    async fn supersede(
        &self,
        tx: &Tx,
        actor: &Actor,
        environment: &Environment,
        open: &Deployment,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        if let Some(rollout) = rollout::store::open_of(tx, open.id).await? {
            return self.supersede_rollout(tx, actor, &rollout, reason, now).await;
        }
        self.end(tx, actor, environment, open, Status::Superseded, reason, now)
            .await?;
        self.withdraw(tx, environment, open).await
    }

    /// Ends what was started of a deployment that serves nobody yet.
    pub(super) async fn withdraw(&self, tx: &Tx, environment: &Environment, open: &Deployment) -> Result<()> {
        site::store::cancel_hooks(tx, open.id).await?;
        let sides = Sides::of(open.id, instances::living(tx, environment.id).await?);
        instances::end(tx, &pick(&sides.new, |_| true)).await?;
        instances::end(tx, &pick(&sides.baseline, |_| true)).await?;
        Ok(())
    }

    /// Ends a deployment and says so; `false` where it had ended before.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is a column of the row or the fact that is written"
    )]
    pub(crate) async fn end(
        &self,
        tx: &Tx,
        actor: &Actor,
        environment: &Environment,
        deployment: &Deployment,
        status: Status,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool> {
        if !store::finish(tx, deployment.id, status, reason, now).await? {
            return Ok(false);
        }
        match status {
            Status::Succeeded => self.succeeded(tx, environment, deployment).await?,
            Status::Failed | Status::RolledBack => {
                let reason = format!("it failed here: {reason}");
                plan::store::deployment_failed(tx, deployment.id, &reason, now).await?;
            }
            Status::Canceled => plan::store::deployment_failed(tx, deployment.id, reason, now).await?,
            _ => {}
        }
        if status == Status::Succeeded {
            self.queue_hook(tx, environment, deployment, Phase::After).await?;
        }
        if environment.tier == preview::TIER {
            self.look_at_preview_in(tx, environment.id).await?;
        }
        self.replan_for(tx, Change::Site(&environment.name)).await?;
        let exposed = deployment.exposed_at.is_some() || status == Status::Succeeded;
        let fact = DeploymentFinished {
            project: deployment.project_id,
            deployment: deployment.id,
            environment: environment.id,
            environment_name: environment.name.clone(),
            tier: environment.tier.clone(),
            release: deployment.release_id,
            version: deployment.version.clone(),
            result: status.as_str().to_owned(),
            reason: reason.to_owned(),
            exposed,
            created_at: deployment.created_at,
            at: now,
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(true)
    }
}

impl Delivery {
    /// What a success means for plans: nothing stands against this version any more; and where a person went
    /// back, what they left is not put there again by a plan.
    async fn succeeded(&self, tx: &Tx, environment: &Environment, deployment: &Deployment) -> Result<()> {
        plan::store::forget_failure(tx, environment.id, &deployment.version).await?;
        match deployment.cause.as_str() {
            // Plans keep to what is left, and healing drift changes no version.
            "plan" | "drift" => {}
            "rollback" => {
                let left = match deployment.previous_id {
                    Some(id) => store::get(tx, id).await?.map(|left| left.version),
                    None => None,
                };
                let before = environment::store::left(tx, environment.id).await?;
                // Going back once more does not let in what was left first.
                let left = match (left, before) {
                    (Some(left), Some(before)) if older(&left, &before) => Some(before),
                    (left, _) => left,
                };
                let left = left
                    .as_deref()
                    .map(|version| (version, deployment.actor.as_str()));
                environment::store::set_left(tx, environment.id, left).await?;
            }
            _ => environment::store::set_left(tx, environment.id, None).await?,
        }
        Ok(())
    }
}

fn busy(environment: &str, open: &Deployment) -> Problem {
    let (code, what) = if open.status() == Status::RollingOut {
        (
            "rollout_running",
            format!("{} is being rolled out in {environment}.", open.version),
        )
    } else {
        (
            "deployment_running",
            format!("{} is being deployed to {environment}.", open.version),
        )
    };
    let next = if open.status() == Status::RollingOut {
        "Wait until it has ended, or abort the rollout.".to_owned()
    } else {
        format!(
            "Wait until it has ended, or cancel it: bascule environment cancel PROJECT {}",
            open.id
        )
    };
    Problem::conflict(code, what)
        .why("Two changes at once could not be told apart when something goes wrong.")
        .next(next)
}

fn no_product(version: &str) -> Problem {
    Problem::invalid(
        "no_product",
        format!("Release {version} has no bascule.yaml, so there is nothing to run."),
    )
    .why("The file in the project says what to run and how to tell that it serves.")
    .next("Add bascule.yaml with product, artifact and command, and publish a new release.")
}

/// Whether a version comes before another, in the order of semantic versions; unknown forms never do.
fn older(one: &str, two: &str) -> bool {
    match (semver::Version::parse(one), semver::Version::parse(two)) {
        (Ok(one), Ok(two)) => one < two,
        _ => false,
    }
}
