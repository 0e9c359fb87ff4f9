//! A small world for this crate's tests.

use crate::{Config, MIGRATIONS, Telemetry, ports};
use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, Clock as _, DeploymentId, EnvironmentId, FakeClock, GroupId, GroupScope,
    InstanceId, InstanceRole, Problem, ProjectId, ProjectScope, Result, Role, Timestamp, UserId,
};
use bascule_ledger::{InstanceKey, Ledger};
use bascule_web::Gate;
use bascule_wire::edge::{Slice, latency_bucket};
use std::{sync::Arc, time::Duration};

#[derive(Clone)]
struct One(ports::Environment);

#[async_trait]
impl ports::Objectives for One {
    async fn environments(&self, project: ProjectId) -> Result<Vec<ports::Environment>> {
        Ok(if project == self.0.project {
            vec![self.0.clone()]
        } else {
            vec![]
        })
    }
    async fn for_environment(&self, environment: EnvironmentId) -> Result<Option<ports::Environment>> {
        Ok((environment == self.0.id).then(|| self.0.clone()))
    }
}

pub(crate) struct World {
    _dir: tempfile::TempDir,
    pub(crate) clock: FakeClock,
    pub(crate) ledger: Ledger,
    pub(crate) telemetry: Telemetry,
    pub(crate) project: ProjectId,
    environment: ports::Environment,
    deployment: DeploymentId,
    instance: InstanceId,
    version: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), "production", "1.0.0").await
    }

    pub(crate) async fn demo() -> Self {
        Self::with(
            Config {
                alert_time_scale: 1.0 / 60.0,
                ..Config::default()
            },
            "production",
            "1.0.0",
        )
        .await
    }

    pub(crate) async fn hostile(text: &str) -> Self {
        Self::with(Config::default(), text, text).await
    }

    async fn with(config: Config, name: &str, version: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = bascule_testkit::scratch_db(dir.path()).await;
        db.migrate(&[bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1_700_000_000));
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let project = ProjectId::new();
        let environment = ports::Environment {
            id: EnvironmentId::new(),
            name: name.to_owned(),
            tier: "production".to_owned(),
            project,
            objective: Some(ports::Objective {
                availability: 99.9,
                window_seconds: 28 * 86_400,
                latency_ms: 300,
            }),
        };
        let telemetry = Telemetry::new(db, ledger.clone(), Arc::new(One(environment.clone())), config);
        Self {
            _dir: dir,
            clock,
            ledger,
            telemetry,
            project,
            environment,
            deployment: DeploymentId::new(),
            instance: InstanceId::new(),
            version: version.to_owned(),
        }
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn environment(&self) -> ports::Environment {
        self.environment.clone()
    }

    /// A slice some seconds after now.
    pub(crate) fn slice(&self, seconds: i64, requests: u64, errors: u64) -> Slice {
        let mut latency = vec![0; 80];
        latency[latency_bucket(20.0)] = requests;
        Slice {
            environment: self.environment.id,
            project: self.project,
            deployment: self.deployment,
            instance: self.instance,
            version: self.version.clone(),
            at: Timestamp::from_seconds(self.clock.now().seconds() + seconds),
            requests,
            errors,
            slow: 0,
            in_flight: 1,
            latency,
        }
    }

    /// Serves requests for a second.
    pub(crate) async fn serve(&self, requests: u64, errors: u64) {
        self.telemetry
            .record(&[self.slice(0, requests, errors)])
            .await
            .unwrap();
        self.clock.advance(Duration::from_secs(1));
    }
}

/// Lets a caller in with the role that the header `x-role` names; none without it.
pub(crate) struct TestGate(pub(crate) ProjectId);

#[async_trait]
impl Gate for TestGate {
    async fn caller(&self, parts: &http::request::Parts) -> Result<Caller, Problem> {
        Ok(match parts.headers.get("x-role").and_then(|v| v.to_str().ok()) {
            None => Caller::anonymous(),
            Some(role) => Caller {
                actor: Actor::new(ActorKind::User, UserId::new(), role),
                user: Some(UserId::new()),
                instance_role: InstanceRole::Member,
                ..Caller::anonymous()
            },
        })
    }
    async fn group(&self, _: &Caller, _: &str) -> Result<Option<GroupScope>, Problem> {
        Ok(None)
    }
    async fn project(
        &self,
        caller: &Caller,
        group: &str,
        project: &str,
    ) -> Result<Option<ProjectScope>, Problem> {
        let role = caller.actor.name.parse::<Role>().ok();
        Ok(role
            .filter(|_| (group, project) == ("ward", "app"))
            .map(|role| ProjectScope {
                id: self.0,
                group_id: GroupId::new(),
                group: group.to_owned(),
                name: project.to_owned(),
                role,
                scopes: None,
            }))
    }
}
