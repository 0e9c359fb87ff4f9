//! Putting a request's newest commit into its preview.

use super::{
    Preview, Reason, TIER, environment_name,
    look::{ENDING, Sight},
    secrets_of, state,
    store::{self, Put},
    version_of,
};
use crate::{
    Delivery, NewBuild, ReleaseInfo, RequestNow,
    deployment::Order,
    environment::{self, Environment},
    fleet::Channel,
    product::{PreviewPolicy, Product},
    secret,
};
use bascule_core::{Actor, AgentId, EnvironmentId, PipelineId, Problem, Result};
use bascule_ledger::facts::preview::{PreviewStarted, PreviewUpdated};
use bascule_wire::agent::{Driver, Tier};
use std::collections::BTreeMap;

/// Whose agent runs a preview.
enum Runs {
    /// An agent; `None`: the first that enrolled.
    By(Option<AgentId>),
    No(Reason),
}

/// What a preview may have of its product: not more than the target branch's file allows, one instance, and no
/// shares of traffic.
fn within(mut product: Product, policy: &PreviewPolicy) -> Product {
    if let Some(most) = &policy.limits {
        product.limits.memory_bytes = product.limits.memory_bytes.min(most.memory_bytes);
        product.limits.pids = product.limits.pids.min(most.pids);
    }
    product.rollout.staging = None;
    product.rollout.replicas = 1;
    product
}

impl Delivery {
    /// The newest commit should run: it is built if it was not, and put there if it is not.
    pub(super) async fn raise_preview(
        &self,
        sight: &Sight,
        policy: &PreviewPolicy,
        pipeline: PipelineId,
    ) -> Result<()> {
        let row = &sight.row;
        let Some(request) = &sight.request else {
            return Err(Problem::internal());
        };
        if row.routed && row.sha.as_deref() == Some(row.head.as_str()) {
            let (stands, reason) = self.stands(row).await?;
            if stands == state::RUNNING {
                // Nothing else of this request is needed any more.
                self.ports
                    .builds
                    .forget(row.project_id, row.iid, row.build_id)
                    .await?;
            }
            return self.note_preview(sight, stands, &reason).await;
        }
        let agent = match self.previews_agent(row, policy).await? {
            Runs::By(agent) => agent,
            Runs::No(reason) => return self.failed_preview(sight, &reason).await,
        };
        let version = version_of(row.iid, &row.head);
        let wanted = NewBuild {
            project: row.project_id,
            iid: row.iid,
            source: request.source,
            pipeline,
            sha: row.head.clone(),
            version: version.clone(),
        };
        let build = match self.ports.builds.build(&wanted).await {
            Ok(build) => build,
            Err(problem) if !problem.is_server_fault() && problem.status != 429 => {
                let reason = Reason {
                    rule: problem.code,
                    why: [problem.what, problem.why].join(" ").trim().to_owned(),
                    next: problem.next,
                };
                return self.failed_preview(sight, &reason).await;
            }
            Err(problem) => return Err(problem),
        };
        let release = ReleaseInfo {
            id: build,
            project: row.project_id,
            version,
            sha: row.head.clone(),
        };
        let settings = self.preview_settings(row, request, policy).await?;
        let next = "Correct the branch and push.";
        let (product, part) = match self.product_of(&release, &settings).await? {
            Some(Ok(found)) => found,
            Some(Err(why)) => {
                return self
                    .failed_preview(sight, &Reason::of("bad_product", why, next))
                    .await;
            }
            None => {
                let why = "the branch has no bascule.yaml, so there is nothing to run";
                return self
                    .failed_preview(sight, &Reason::of("no_product", why, next))
                    .await;
            }
        };
        if product.driver == Some(Driver::Agent) {
            let why = "the product is an agent, which runs other products and has no preview";
            return self
                .failed_preview(sight, &Reason::of("is_agent", why, next))
                .await;
        }
        // Only for what can run others are stopped.
        if !row.routed && self.makes_room(row, policy).await? {
            let why = format!("{} previews of this project may run at once", policy.most);
            let reason = Reason::of(
                "full",
                why,
                "The one that was unused for the longest time makes room.",
            );
            let again = self.now().plus(ENDING);
            return self.note_until(sight, state::WAITING, &reason, Some(again)).await;
        }
        let order = Order {
            release,
            product: within(product, policy),
            part,
            cause: "preview",
            forced: String::new(),
            settings,
        };
        self.put_preview(sight, order, agent).await
    }

    async fn failed_preview(&self, sight: &Sight, reason: &Reason) -> Result<()> {
        self.note_preview(sight, state::FAILED, reason).await
    }

    /// Where as many run as may: the one that was unused for the longest time is stopped. Whether to wait for it.
    async fn makes_room(&self, row: &Preview, policy: &PreviewPolicy) -> Result<bool> {
        let most = usize::try_from(policy.most).unwrap_or(1);
        let there = store::routed(&self.db, row.project_id).await?;
        if there.len() < most {
            return Ok(false);
        }
        let tx = self.db.begin().await?;
        for oldest in there.iter().take(there.len() + 1 - most) {
            store::stop(&tx, oldest, "crowded", "").await?;
        }
        self.wake_previews(&tx);
        tx.commit().await?;
        Ok(true)
    }

    /// The agent of the environment that the policy names. Where the project has no such environment yet, as before
    /// its first release, it is the first agent, which staging will have.
    async fn previews_agent(&self, row: &Preview, policy: &PreviewPolicy) -> Result<Runs> {
        let name = &policy.environment;
        let found = environment::store::by_name(&self.db, row.project_id, name).await?;
        let next = "Name an environment below production in `preview.environment`.";
        Ok(match found {
            Some(found) if found.tier() == Tier::Production => {
                let why = format!("{name} is a production environment, and previews never run on its agent");
                Runs::No(Reason::of("production_agent", why, next))
            }
            Some(found) if found.agent_id.is_none() => {
                let why = format!("{name} has no agent that could run previews");
                Runs::No(Reason::of("no_agent", why, next))
            }
            Some(found) => Runs::By(found.agent_id),
            None if name == "staging" => Runs::By(None),
            None => {
                let why = format!("the project has no environment {name}, whose agent previews would borrow");
                Runs::No(Reason::of("unknown_environment", why, next))
            }
        })
    }

    /// The variables of a preview: the policy's, and references to the project's secrets for previews. What comes
    /// from a fork gets no secret, whoever let it run.
    async fn preview_settings(
        &self,
        row: &Preview,
        request: &RequestNow,
        policy: &PreviewPolicy,
    ) -> Result<BTreeMap<String, String>> {
        let mut settings = BTreeMap::new();
        for (name, value) in &policy.variables {
            // The same text in a file is just text, as in all of a product's own file.
            if secret::reference(value).is_none() {
                settings.insert(name.clone(), value.clone());
            }
        }
        if request.source == row.project_id {
            for known in secret::store::of_site(&self.db, &secrets_of(row.project_id)).await? {
                settings.insert(known.name.clone(), format!("{}{}", secret::PREFIX, known.name));
            }
        }
        Ok(settings)
    }

    async fn put_preview(&self, sight: &Sight, order: Order, agent: Option<AgentId>) -> Result<()> {
        let (row, now) = (&sight.row, self.now());
        let Some(path) = self.ports.projects.path(row.project_id).await? else {
            return Ok(());
        };
        let tx = self.db.begin().await?;
        if !store::claim(&tx, row).await? {
            // Something was said since: it is looked at anew.
            return Ok(());
        }
        let new = Environment {
            id: EnvironmentId::new(),
            project_id: row.project_id,
            project_path: path,
            name: environment_name(row.iid),
            tier: TIER.to_owned(),
            agent_id: agent,
            serving_id: None,
            port: None,
            url: None,
            created_at: now,
        };
        let Some(id) = store::environment(&tx, &new).await? else {
            drop(tx);
            let why = format!("the project has another environment that is called {}", new.name);
            let next = "Give that environment another name.";
            return self
                .failed_preview(sight, &Reason::of("name_taken", why, next))
                .await;
        };
        let Some(place) = environment::store::get(&tx, id).await? else {
            return Err(Problem::internal());
        };
        let (build, version) = (order.release.id, order.release.version.clone());
        let actor = Actor::system();
        let deployment = self.create(&tx, &actor, &place, order).await?;
        let put = Put {
            environment: id,
            deployment,
            build,
            version: &version,
            sha: &row.head,
        };
        store::put(&tx, row, &put).await?;
        let found = store::Found {
            state: state::STARTING,
            reason: &Reason::none(),
            ends_at: sight.ends_at,
            again: sight.ends_at,
        };
        store::note(&tx, row, &found).await?;
        let sha = row.head.clone();
        if row.routed {
            let fact = PreviewUpdated {
                project: row.project_id,
                iid: row.iid,
                environment: id,
                build,
                version,
                sha,
                at: now,
            };
            self.ledger.append(&tx, &actor, &fact).await?;
        } else {
            let fact = PreviewStarted {
                project: row.project_id,
                iid: row.iid,
                environment: id,
                build,
                version,
                sha,
                at: now,
            };
            self.ledger.append(&tx, &actor, &fact).await?;
        }
        // Its route is there from now on, and an edge opens a port for it.
        self.bump(&tx, Channel::Edge).await?;
        tx.commit().await?;
        Ok(())
    }
}
