//! A small world for this crate's tests; the tests that go through it from end to end stand beside it.

mod facts;
mod measures;

use crate::{Insights, MIGRATIONS, ports};
use async_trait::async_trait;
use axum::body::Body;
use bascule_core::{
    Actor, ActorKind, Caller, Clock as _, DeploymentId, Digest, EnvironmentId, FakeClock, GroupId,
    GroupScope, IncidentId, InstanceRole, PipelineId, Problem, ProjectId, ProjectScope, ReleaseId, Result,
    Role, Timestamp, UserId,
};
use bascule_ledger::{
    Fact, InstanceKey, Ledger,
    facts::{
        delivery::{DeploymentCreated, DeploymentFinished, EnvironmentCreated},
        forge::{CommitStamp, ProjectCreated},
        incidents::IncidentOpened,
        supplychain::ReleasePublished,
        telemetry::TrafficSummarised,
    },
};
use bascule_store::Db;
use bascule_web::Gate;
use bascule_wire::insights::Insights as Dto;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Duration};
use tower::ServiceExt as _;

struct Mine(ProjectId);

#[async_trait]
impl ports::Visible for Mine {
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        Ok(match caller.actor.name.as_str() {
            "auditor" => None,
            "stranger" => Some(vec![]),
            _ => Some(vec![self.0]),
        })
    }
}

struct TestGate(ProjectId, UserId);

#[async_trait]
impl Gate for TestGate {
    async fn caller(&self, parts: &http::request::Parts) -> Result<Caller, Problem> {
        Ok(match parts.headers.get("x-role").and_then(|v| v.to_str().ok()) {
            None => Caller::anonymous(),
            Some(role) => Caller {
                actor: Actor::new(ActorKind::User, self.1, role),
                user: Some(self.1),
                instance_role: if role == "auditor" {
                    InstanceRole::Auditor
                } else {
                    InstanceRole::Member
                },
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

struct World {
    _dir: tempfile::TempDir,
    db: Db,
    clock: FakeClock,
    ledger: Ledger,
    insights: Insights,
    project: ProjectId,
    production: EnvironmentId,
    user: UserId,
}

impl World {
    async fn at(start: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = bascule_testkit::scratch_db(dir.path()).await;
        db.migrate(&[bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let clock = FakeClock::at(start.parse().unwrap());
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let (project, production, user) = (ProjectId::new(), EnvironmentId::new(), UserId::new());
        let insights = Insights::new(db.clone(), ledger.clone(), Arc::new(Mine(project)));
        let world = Self {
            _dir: dir,
            db,
            clock,
            ledger,
            insights,
            project,
            production,
            user,
        };
        world
            .tell(&ProjectCreated {
                project,
                group: GroupId::new(),
                path: "ward/app".to_owned(),
            })
            .await;
        let (name, tier) = ("production".to_owned(), "production".to_owned());
        world
            .tell(&EnvironmentCreated {
                project,
                environment: production,
                name,
                tier,
            })
            .await;
        world
    }

    fn go_to(&self, at: &str) -> Timestamp {
        let at: Timestamp = at.parse().unwrap();
        self.clock.advance(at.since(self.clock.now()));
        assert_eq!(self.clock.now(), at, "the clock only goes forward");
        at
    }

    async fn tell(&self, fact: &impl Fact) {
        self.tell_as(&Actor::system(), fact).await;
    }

    async fn tell_as(&self, actor: &Actor, fact: &impl Fact) {
        let tx = self.db.begin().await.unwrap();
        self.ledger.append(&tx, actor, fact).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn publish(&self, version: &str, previous: Option<&str>, commits: &[(&str, &str)]) -> ReleaseId {
        let release = ReleaseId::new();
        let commits: Vec<CommitStamp> = commits
            .iter()
            .map(|(author, at)| CommitStamp {
                sha: format!("{version}-{author}-{at}"),
                at: at.parse().unwrap(),
                author: (*author).to_owned(),
            })
            .collect();
        let fact = ReleasePublished {
            project: self.project,
            release,
            tag: format!("v{version}"),
            version: version.to_owned(),
            sha: "abc".to_owned(),
            pipeline: PipelineId(1),
            manifest: Digest::of(b""),
            components: 1,
            previous: previous.map(str::to_owned),
            commit_count: i64::try_from(commits.len()).unwrap(),
            commits,
            at: self.clock.now(),
        };
        self.tell(&fact).await;
        release
    }

    async fn deploy(
        &self,
        release: ReleaseId,
        version: &str,
        cause: &str,
        tier: &str,
        result: &str,
    ) -> DeploymentId {
        let deployment = DeploymentId::new();
        let (project, environment) = (self.project, self.production);
        let (environment_name, tier) = (tier.to_owned(), tier.to_owned());
        let created = DeploymentCreated {
            project,
            deployment,
            environment,
            environment_name: environment_name.clone(),
            tier: tier.clone(),
            release,
            version: version.to_owned(),
            artifact: Digest::of(b""),
            cause: cause.to_owned(),
            previous: None,
        };
        self.tell(&created).await;
        let finished = DeploymentFinished {
            project,
            deployment,
            environment,
            environment_name,
            tier,
            release,
            version: version.to_owned(),
            result: result.to_owned(),
            reason: String::new(),
            exposed: true,
            created_at: self.clock.now(),
            at: self.clock.now(),
        };
        self.tell(&finished).await;
        deployment
    }

    async fn incident(
        &self,
        number: i64,
        began: &str,
        detected: &str,
        deployment: Option<DeploymentId>,
    ) -> IncidentId {
        let incident = IncidentId::new();
        let fact = IncidentOpened {
            project: self.project,
            incident,
            number,
            title: "<script>alert(1)</script>".to_owned(),
            severity: "major".to_owned(),
            cause: "rollout".to_owned(),
            deployment: deployment.map(|id| id.to_string()),
            environment: Some(self.production.to_string()),
            drill: false,
            began_at: began.parse().unwrap(),
            detected_at: detected.parse().unwrap(),
        };
        self.tell(&fact).await;
        incident
    }

    async fn serve(&self, total: u64, good: u64) {
        let fact = TrafficSummarised {
            project: self.project,
            environment: self.production,
            environment_name: "production".to_owned(),
            tier: "production".to_owned(),
            from: self.clock.now().minus(Duration::from_secs(300)),
            to: self.clock.now(),
            total,
            good,
            objective: Some(99.9),
        };
        self.tell(&fact).await;
    }

    async fn get(&self, role: &str, path: &str) -> (StatusCode, String) {
        let (router, _, _) = crate::routes(self.insights.clone()).into_parts();
        let app = bascule_web::finish(router, Arc::new(TestGate(self.project, self.user)));
        let request = Request::get(path)
            .header("x-role", role)
            .header("accept", "text/html")
            .body(Body::empty());
        let response = app.oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn measures(&self, query: &str) -> Dto {
        let (status, json) = self
            .get("reporter", &format!("/api/v1/projects/ward/app/insights?{query}"))
            .await;
        assert_eq!(status, StatusCode::OK, "{json}");
        serde_json::from_str(&json).unwrap()
    }
}
