//! The whole life of deployments on SQLite, with an agent, an edge and a clock moved by hand.

mod by_hand;
mod canary;
mod catalogue;
mod drivers;
mod enrol;
mod environments;
mod findings;
mod hub;
mod life;
mod names;
mod plans;
mod plans_hold;
mod previews;
mod refusals;
mod replicas;
mod restart;
mod scenario;
mod strategies;
mod switches;
mod tasks;
mod told;
mod views;
mod web;

use crate::{
    ByteStream, Delivery, MIGRATIONS, Ports, ProjectFiles, ProjectInfo, ReleaseInfo, ReleasePart, Releases,
    TrafficSink, controller::Driver, fleet, plan::pass::Planner,
};
use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, Digest, EnvironmentId, FakeClock, InstanceId, InstanceRole, Permission,
    PipelineId, ProjectId, ReleaseId, Result, Timestamp, UserId,
};
use bascule_ledger::{
    Fact as _, Filter, Hub, InstanceKey, Ledger, Page, facts::supplychain::ReleasePublished,
};
use bascule_store::{Db, DbOptions};
use bascule_wire::{
    agent::{AgentReport, InstanceReport, InstanceState, MachineFacts, Resources, SmokeResult},
    delivery as dto,
    edge::{EdgeConfig, Slice},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

const YAML: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
smoke: [{path: /}]
rollout: {steps: [25, 50, 100], step: 10s, slice: 1s, max: 30s}
";

#[derive(Default)]
struct Fakes {
    releases: Mutex<Vec<ReleaseInfo>>,
    files: Mutex<BTreeMap<String, String>>,
    recorded: Mutex<Vec<Slice>>,
    projects: Mutex<BTreeMap<String, ProjectId>>,
    /// What `ben` may read; everything where it is not set.
    visible: Mutex<Option<Vec<ProjectId>>>,
    previews: previews::Forge,
    /// Teams besides `security`.
    teams: Mutex<Vec<String>>,
}

#[async_trait]
impl Releases for Fakes {
    async fn get(&self, release: ReleaseId) -> Result<Option<ReleaseInfo>> {
        Ok(self
            .releases
            .lock()
            .unwrap()
            .iter()
            .find(|r| r.id == release)
            .cloned())
    }
    async fn by_version(&self, project: ProjectId, version: &str) -> Result<Option<ReleaseInfo>> {
        let releases = self.releases.lock().unwrap();
        Ok(releases
            .iter()
            .find(|r| r.project == project && r.version == version)
            .cloned())
    }
    async fn newest(&self, project: ProjectId, limit: usize) -> Result<Vec<ReleaseInfo>> {
        let releases = self.releases.lock().unwrap();
        Ok(releases
            .iter()
            .rev()
            .filter(|r| r.project == project)
            .take(limit)
            .cloned()
            .collect())
    }
    async fn find_part(&self, release: ReleaseId, path: &str) -> Result<Option<ReleasePart>> {
        Ok(PARTS.contains(&path).then(|| {
            let bytes = bytes_of(release, path);
            ReleasePart {
                digest: Digest::of(bytes.as_bytes()),
                size: bytes.len() as u64,
                file_name: path.trim_start_matches("dist/").into(),
            }
        }))
    }
    async fn open(&self, digest: &Digest) -> Result<Option<ByteStream>> {
        let releases = self.releases.lock().unwrap();
        let mut all = releases
            .iter()
            .flat_map(|release| PARTS.map(|path| bytes_of(release.id, path)));
        Ok(all
            .find(|bytes| Digest::of(bytes.as_bytes()) == *digest)
            .map(|bytes| -> ByteStream { Box::pin(futures::stream::once(async { Ok(bytes.into()) })) }))
    }
}

/// The files of each release.
const PARTS: [&str; 2] = ["dist/app.tar.gz", "dist/app.oci.tar"];

/// What stands in a file of a release.
fn bytes_of(release: ReleaseId, path: &str) -> String {
    format!("{path} of the release {release}")
}

#[async_trait]
impl ProjectFiles for Fakes {
    async fn read(&self, _: ProjectId, sha: &str, path: &str, _: usize) -> Result<Option<Vec<u8>>> {
        let key = if path == "bascule.yaml" {
            sha.to_owned()
        } else {
            format!("{sha}:{path}")
        };
        Ok(self
            .files
            .lock()
            .unwrap()
            .get(&key)
            .map(|text| text.clone().into_bytes()))
    }
    async fn list(&self, _: ProjectId, sha: &str) -> Result<Vec<String>> {
        let files = self.files.lock().unwrap();
        let prefix = format!("{sha}:");
        Ok(files
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect())
    }
}

#[async_trait]
impl crate::Teams for Fakes {
    async fn belongs(&self, caller: &Caller, team: &str) -> Result<Option<bool>> {
        Ok(self.exists(team).await?.then(|| caller.actor.name == "ana"))
    }
    async fn exists(&self, team: &str) -> Result<bool> {
        Ok(team == "security" || self.teams.lock().unwrap().iter().any(|known| known == team))
    }
}

#[async_trait]
impl crate::History for Fakes {
    async fn find(&self, _: ProjectId, text: &str) -> Result<Option<crate::CommitFound>> {
        let releases = self.releases.lock().unwrap();
        let found = releases.iter().find(|r| r.sha.starts_with(text));
        Ok(found.map(|r| crate::CommitFound {
            sha: r.sha.clone(),
            title: format!("Release {}", r.version),
        }))
    }
    /// One line of history, in the order of publishing.
    async fn containing(&self, _: ProjectId, commit: &str, tips: &[String]) -> Result<Vec<bool>> {
        let releases = self.releases.lock().unwrap();
        let at = |sha: &str| releases.iter().position(|r| r.sha == sha);
        Ok(tips.iter().map(|tip| at(tip) >= at(commit)).collect())
    }
}

#[async_trait]
impl crate::Budgets for Fakes {
    async fn left(&self, _: EnvironmentId) -> Result<Option<f64>> {
        Ok(Some(1.0))
    }
}

#[async_trait]
impl ProjectInfo for Fakes {
    async fn find(&self, path: &str) -> Result<Option<ProjectId>> {
        Ok(self.projects.lock().unwrap().get(path).copied())
    }
    async fn path(&self, project: ProjectId) -> Result<Option<String>> {
        let projects = self.projects.lock().unwrap();
        let named = projects.iter().find(|(_, id)| **id == project);
        Ok(Some(named.map_or_else(
            || "health/clinic".into(),
            |(path, _)| path.clone(),
        )))
    }
    async fn visible(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        let visible = self.visible.lock().unwrap();
        Ok((caller.actor.name == "ben").then(|| visible.clone()).flatten())
    }
    async fn holds(
        &self,
        caller: &Caller,
        _: ProjectId,
        permission: bascule_core::Permission,
    ) -> Result<bool> {
        Ok(caller.actor.name == "ana" && caller.scope_allows(permission))
    }
}

#[async_trait]
impl TrafficSink for Fakes {
    async fn record(&self, slices: &[Slice]) -> Result<()> {
        self.recorded.lock().unwrap().extend_from_slice(slices);
        Ok(())
    }
}

/// What an instance of the fake agent does.
#[derive(Clone, Debug)]
struct Fate {
    state: InstanceState,
    smoke: bool,
    restarts: u32,
}

struct World {
    /// Gone with the world.
    dir: tempfile::TempDir,
    project: ProjectId,
    clock: FakeClock,
    ledger: Ledger,
    fakes: Arc<Fakes>,
    delivery: Delivery,
    driver: Driver,
    planner: Planner,
    agent: String,
    edge: String,
    /// By version; what is not listed becomes healthy.
    fates: BTreeMap<String, Fate>,
    /// By instance; wins over its version's.
    own_fates: BTreeMap<InstanceId, Fate>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = DbOptions::Sqlite(dir.path().join("test.db"));
        Self::over(dir, &options).await
    }

    async fn over(dir: tempfile::TempDir, options: &DbOptions) -> Self {
        let db = Db::open(options).await.unwrap();
        db.migrate(&[bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1_000_000));
        let key = InstanceKey::generate();
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), key);
        let fakes = Arc::new(Fakes::default());
        let delivery = Self::delivery(&db, &ledger, &fakes);
        let agent = delivery.enrol_agent("local").await.unwrap();
        let edge = delivery.enrol_edge("local").await.unwrap();
        Self {
            dir,
            project: ProjectId::new(),
            clock,
            ledger,
            fakes,
            driver: Driver::new(delivery.clone()),
            planner: Planner::new(delivery.clone()),
            delivery,
            agent,
            edge,
            fates: BTreeMap::new(),
            own_fates: BTreeMap::new(),
        }
    }

    fn delivery(db: &Db, ledger: &Ledger, fakes: &Arc<Fakes>) -> Delivery {
        let ports = Ports {
            releases: fakes.clone(),
            files: fakes.clone(),
            history: fakes.clone(),
            projects: fakes.clone(),
            traffic: fakes.clone(),
            teams: fakes.clone(),
            budgets: fakes.clone(),
            requests: fakes.clone(),
            builds: fakes.clone(),
            environments: "platform/fleet".into(),
        };
        Delivery::new(db.clone(), ledger.clone(), ports)
    }

    /// The server is killed and started again; agents and edges live on.
    fn restart(&mut self) {
        self.delivery = Self::delivery(&self.delivery.db, &self.ledger, &self.fakes);
        self.driver = Driver::new(self.delivery.clone());
        self.planner = Planner::new(self.delivery.clone());
    }

    /// Appends `release.published` without handling it.
    async fn announce(&self, version: &str, yaml: Option<&str>) {
        let sha = format!("{version:0>40}");
        let release = ReleaseInfo {
            id: ReleaseId::new(),
            project: self.project,
            version: version.into(),
            sha: sha.clone(),
        };
        if let Some(yaml) = yaml {
            self.fakes.files.lock().unwrap().insert(sha.clone(), yaml.into());
        }
        self.fakes.releases.lock().unwrap().push(release.clone());
        let fact = ReleasePublished {
            project: self.project,
            release: release.id,
            tag: format!("v{version}"),
            version: version.into(),
            sha,
            pipeline: PipelineId(1),
            manifest: Digest::of(b"manifest"),
            components: 1,
            previous: None,
            commits: Vec::new(),
            commit_count: 0,
            at: self.delivery.now(),
        };
        let tx = self.delivery.db.begin().await.unwrap();
        self.ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn settle(&self) {
        let hub = self
            .delivery
            .subscribers()
            .into_iter()
            .fold(Hub::default(), Hub::with);
        hub.settle(&self.ledger).await.unwrap();
    }

    async fn publish(&mut self, version: &str) {
        Box::pin(self.publish_as(version, YAML)).await;
    }

    async fn publish_as(&mut self, version: &str, yaml: &str) {
        self.announce(version, Some(yaml)).await;
        self.settle().await;
        self.turns(3).await;
    }

    /// What the agent should run: the instance's identifier and whether it should drain.
    async fn wanted(&self) -> Vec<crate::deployment::instances::Wanted> {
        let agent = self.delivery.agent_of(&self.agent).await.unwrap();
        crate::deployment::instances::wanted_of(&self.delivery.db, agent.id)
            .await
            .unwrap()
    }

    /// All that the agent is told.
    async fn desired(&self) -> bascule_wire::agent::DesiredState {
        self.agent_turn().await
    }

    fn report(&self, instances: &[InstanceReport]) -> AgentReport {
        AgentReport {
            version: "test".into(),
            at: self.delivery.now(),
            disk_free_bytes: 1 << 30,
            resources: Resources {
                memory_total_bytes: 1 << 33,
                ..Resources::default()
            },
            machine: MachineFacts::default(),
            drivers: Vec::new(),
            instances: instances.to_vec(),
            tasks: Vec::new(),
        }
    }

    /// The agent carries out what it is told and says so.
    async fn agent_turn(&self) -> bascule_wire::agent::DesiredState {
        self.agent_turn_of(&self.agent).await
    }

    /// As [`World::agent_turn`], by the agent with this token.
    async fn agent_turn_of(&self, token: &str) -> bascule_wire::agent::DesiredState {
        let agent = self.delivery.agent_of(token).await.unwrap();
        let wanted = crate::deployment::instances::wanted_of(&self.delivery.db, agent.id)
            .await
            .unwrap();
        let reports: Vec<InstanceReport> = wanted
            .iter()
            .map(|wanted| {
                let own = self.own_fates.get(&wanted.id);
                let fate = own.or_else(|| self.fates.get(&wanted.version)).cloned();
                let fate = fate.unwrap_or(Fate {
                    state: InstanceState::Healthy,
                    smoke: true,
                    restarts: 0,
                });
                let gone = wanted.desired == "drain";
                InstanceReport {
                    instance: wanted.id,
                    deployment: wanted.deployment_id,
                    state: if gone { InstanceState::Stopped } else { fate.state },
                    address: (!gone).then(|| format!("127.0.0.1:{}", wanted.id.to_string().len())),
                    pid: Some(1),
                    restarts: fate.restarts,
                    message: String::new(),
                    started_at: Some(Timestamp::from_seconds(1)),
                    smoke: Some(SmokeResult {
                        passed: fate.smoke,
                        details: vec!["GET / → 200".into()],
                    }),
                }
            })
            .collect();
        let report = self.report(&reports);
        // Boxed: large, and in every turn of every test.
        Box::pin(self.delivery.sync_agent(&agent, &report, -1, Duration::ZERO))
            .await
            .unwrap()
    }

    /// The edge takes the present configuration into force.
    async fn edge_config(&self) -> EdgeConfig {
        let edge = self.delivery.edge_of(&self.edge).await.unwrap();
        let config = self
            .delivery
            .edge_config(&edge, -1, Duration::ZERO)
            .await
            .unwrap();
        let edge = self.delivery.edge_of(&self.edge).await.unwrap();
        self.delivery
            .edge_config(&edge, config.revision, Duration::ZERO)
            .await
            .unwrap()
    }

    /// Versions and weights that an environment's route has.
    async fn weights(&self, environment: &str) -> Vec<(String, u32)> {
        let id = self.environment(environment).await.id;
        let config = self.edge_config().await;
        let route = config
            .routes
            .into_iter()
            .find(|route| route.environment == id)
            .unwrap();
        let mut weights: Vec<_> = route
            .backends
            .into_iter()
            .map(|b| (b.version, b.weight))
            .collect();
        weights.sort();
        weights
    }

    async fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.agent_turn().await;
            self.edge_config().await;
            self.driver.turn().await.unwrap();
            self.planner.turn().await.unwrap();
        }
    }

    /// A second of traffic passes at 60 requests, of which the new version fails some.
    async fn second(&mut self, fail_percent: u64) {
        let config = self.edge_config().await;
        let at = Timestamp::from_seconds(self.delivery.now().seconds());
        let mut slices = Vec::new();
        for route in &config.routes {
            let total: u32 = route.backends.iter().map(|b| b.weight).sum();
            for backend in route.backends.iter().filter(|b| b.weight > 0) {
                let requests = u64::from(60 * backend.weight / total.max(1));
                let newest = route.backends.iter().map(|b| b.deployment).max() == Some(backend.deployment);
                let alone = route.backends.iter().all(|b| b.deployment == backend.deployment);
                // Errors spread evenly: so many of a hundred, by the second.
                let errors = if newest && !alone {
                    let (from, to) = (
                        at.seconds() as u64 * requests,
                        (at.seconds() as u64 + 1) * requests,
                    );
                    to * fail_percent / 100 - from * fail_percent / 100
                } else {
                    0
                };
                slices.push(Slice {
                    environment: route.environment,
                    project: route.project,
                    deployment: backend.deployment,
                    instance: backend.instance,
                    version: backend.version.clone(),
                    at,
                    requests,
                    errors,
                    slow: 0,
                    in_flight: 0,
                    latency: vec![requests],
                });
            }
        }
        self.clock.advance(Duration::from_secs(1));
        let edge = self.delivery.edge_of(&self.edge).await.unwrap();
        // Sent twice, as after a lost answer: it must come to the same.
        self.delivery.take_counts(&edge, &slices).await.unwrap();
        self.delivery.take_counts(&edge, &slices).await.unwrap();
        self.turns(1).await;
    }

    async fn environment(&self, name: &str) -> dto::Environment {
        let rows = self.delivery.environments(self.project).await.unwrap();
        let views = self.delivery.environment_views(&rows).await.unwrap();
        views.into_iter().find(|e| e.name == name).unwrap()
    }

    fn serving(environment: &dto::Environment) -> Option<&str> {
        environment.serving.as_ref().map(|d| d.version.as_str())
    }

    async fn deploy(&self, version: &str, environment: &str) -> Result<bascule_core::DeploymentId> {
        Box::pin(self.deploy_as(&ana(), version, environment, None)).await
    }

    async fn deploy_as(
        &self,
        caller: &Caller,
        version: &str,
        environment: &str,
        force: Option<&str>,
    ) -> Result<bascule_core::DeploymentId> {
        let new = dto::NewDeployment {
            version: version.into(),
            environment: environment.into(),
            force: force.is_some(),
            reason: force.unwrap_or_default().into(),
        };
        let maintainer = caller.actor.name == "ana";
        let holds = |permission: Permission| maintainer || permission == Permission::DeployStaging;
        self.delivery.deploy(caller, self.project, holds, &new).await
    }

    /// 1.0.0 serves in both environments, 1.1.0 in staging, and its rollout to production has begun.
    async fn rolling() -> Self {
        let mut world = Self::new().await;
        world.roll().await;
        world
    }

    async fn roll(&mut self) {
        let world = self;
        world.publish("1.0.0").await;
        world.deploy("1.0.0", "production").await.unwrap();
        world.turns(3).await;
        world.publish("1.1.0").await;
        world.deploy("1.1.0", "production").await.unwrap();
        world.turns(2).await;
    }

    async fn rollout(&self) -> dto::Rollout {
        let rows = crate::rollout::store::list(&self.delivery.db, self.project, None, 1)
            .await
            .unwrap();
        self.delivery
            .rollout_view(self.project, rows[0].id)
            .await
            .unwrap()
    }

    async fn kinds(&self, prefix: &str) -> Vec<String> {
        let entries = self.facts(prefix).await;
        entries.into_iter().map(|entry| entry.summary).collect()
    }

    async fn facts(&self, kind: &str) -> Vec<bascule_ledger::Entry> {
        let filter = Filter {
            kinds: vec![kind.into()],
            ..Filter::default()
        };
        self.ledger
            .read(
                &filter,
                Page::After {
                    after: 0,
                    limit: 1_000,
                },
            )
            .await
            .unwrap()
    }

    async fn instances(&self, environment: EnvironmentId) -> Vec<InstanceId> {
        let rows = crate::deployment::instances::in_environments(&self.delivery.db, &[environment])
            .await
            .unwrap();
        rows.into_iter().map(|row| row.id).collect()
    }
}

fn ana() -> Caller {
    let user = UserId::new();
    Caller {
        actor: Actor::new(ActorKind::User, user, "ana"),
        user: Some(user),
        instance_role: InstanceRole::Member,
        ..Caller::anonymous()
    }
}

fn ben() -> Caller {
    let user = UserId::new();
    Caller {
        actor: Actor::new(ActorKind::User, user, "ben"),
        user: Some(user),
        instance_role: InstanceRole::Member,
        ..Caller::anonymous()
    }
}

#[test]
fn waits_are_shorter_than_the_silence_that_alarms() {
    assert!(fleet::AGENT_WAIT < fleet::AGENT_SILENCE && fleet::EDGE_WAIT < fleet::EDGE_SILENCE);
    assert_eq!(ReleasePublished::KIND, "release.published");
}
