//! A small world for this crate's tests, and the tests that go through it from end to end.

use crate::{Incidents, MIGRATIONS, ports};
use async_trait::async_trait;
use axum::body::Body;
use bascule_core::{
    Actor, ActorKind, Caller, Clock as _, DeploymentId, EnvironmentId, FakeClock, GroupId, GroupScope,
    InstanceRole, Problem, ProjectId, ProjectScope, Result, Role, RolloutId, Timestamp, UserId,
};
use bascule_ledger::{
    Fact, Filter, Hub, InstanceKey, Ledger, Page,
    facts::{
        delivery::{EnvironmentCreated, JudgeNumbers, RolloutFinished, RolloutJudged},
        forge::ProjectCreated,
        telemetry::{AlertClosed, AlertOpened},
    },
};
use bascule_store::Db;
use bascule_web::Gate;
use bascule_wire::incidents::{IncidentDetails, IncidentPage};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::ServiceExt as _;

#[derive(Default)]
struct Home {
    documents: Mutex<Vec<(String, String)>>,
    broken: Mutex<Option<u16>>,
}

#[async_trait]
impl ports::PostmortemHome for Home {
    async fn commit(&self, _: ProjectId, path: &str, bytes: &[u8], _: &str) -> Result<ports::Committed> {
        if let Some(status) = self.broken.lock().unwrap().take() {
            return Err(Problem::new(status, "no", "The home is away."));
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.documents.lock().unwrap().push((path.to_owned(), text));
        Ok(ports::Committed {
            home: "ward/app".to_owned(),
            sha: "0123456789abcdef".to_owned(),
        })
    }
}

struct Mine(Option<Vec<ProjectId>>);

#[async_trait]
impl ports::Visible for Mine {
    async fn projects(&self, _: &Caller) -> Result<Option<Vec<ProjectId>>> {
        Ok(self.0.clone())
    }
}

struct TestGate(ProjectId);

#[async_trait]
impl Gate for TestGate {
    async fn caller(&self, parts: &http::request::Parts) -> Result<Caller, Problem> {
        Ok(match parts.headers.get("x-role").and_then(|v| v.to_str().ok()) {
            None => Caller::anonymous(),
            Some(role) => Caller {
                actor: Actor::new(ActorKind::User, UserId::new(), role),
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
            .map(|role| scope(self.0, role)))
    }
}

fn scope(id: ProjectId, role: Role) -> ProjectScope {
    let (group, name) = ("ward".to_owned(), "app".to_owned());
    ProjectScope {
        id,
        group_id: GroupId::new(),
        group,
        name,
        role,
        scopes: None,
    }
}

pub(crate) struct World {
    _dir: tempfile::TempDir,
    db: Db,
    pub(crate) clock: FakeClock,
    pub(crate) ledger: Ledger,
    pub(crate) incidents: Incidents,
    hub: Hub,
    home: Arc<Home>,
    project: ProjectId,
    production: EnvironmentId,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = bascule_testkit::scratch_db(dir.path()).await;
        db.migrate(&[bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let clock = FakeClock::at("2024-07-04T16:50:00Z".parse().unwrap());
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let (project, production) = (ProjectId::new(), EnvironmentId::new());
        let home = Arc::<Home>::default();
        let incidents = Incidents::new(
            db.clone(),
            ledger.clone(),
            Arc::new(Mine(Some(vec![project]))),
            home.clone(),
        );
        let hub = incidents.subscribe(Hub::default());
        let world = Self {
            _dir: dir,
            db,
            clock,
            ledger,
            incidents,
            hub,
            home,
            project,
            production,
        };
        world
            .tell(&ProjectCreated {
                project,
                group: GroupId::new(),
                path: "ward/app".to_owned(),
            })
            .await;
        for (environment, name) in [(production, "production"), (EnvironmentId::new(), "staging")] {
            world
                .tell(&EnvironmentCreated {
                    project,
                    environment,
                    name: name.to_owned(),
                    tier: name.to_owned(),
                })
                .await;
        }
        world
    }

    async fn tell(&self, fact: &impl Fact) {
        let tx = self.db.begin().await.unwrap();
        self.ledger.append(&tx, &Actor::system(), fact).await.unwrap();
        tx.commit().await.unwrap();
        self.hub.settle(&self.ledger).await.unwrap();
    }

    fn ago(&self, seconds: u64) -> Timestamp {
        self.clock.now().minus(Duration::from_secs(seconds))
    }

    fn rollout(&self, cause: &str, reason: &str, first_error: bool) -> RolloutFinished {
        RolloutFinished {
            project: self.project,
            rollout: RolloutId::new(),
            deployment: DeploymentId::new(),
            environment: self.production,
            environment_name: "production".to_owned(),
            version: "1.2.0".to_owned(),
            baseline: "1.1.0".to_owned(),
            result: "aborted".to_owned(),
            cause: cause.to_owned(),
            reason: reason.to_owned(),
            exposed_at: Some(self.ago(20)),
            first_error_at: first_error.then(|| self.ago(19)),
            at: self.clock.now(),
        }
    }

    fn alert(&self, key: &str, began: u64) -> AlertOpened {
        AlertOpened {
            project: self.project,
            environment: self.production,
            environment_name: "production".to_owned(),
            alert: key.to_owned(),
            slo: "availability".to_owned(),
            burn_rate: 53.3,
            began_at: self.ago(began),
            at: self.clock.now(),
            version: Some("1.2.0".to_owned()),
        }
    }

    async fn send(&self, role: &str, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let (router, _, _) = crate::routes(self.incidents.clone()).into_parts();
        let app = bascule_web::finish(router, Arc::new(TestGate(self.project)));
        let json = path.starts_with("/api/");
        let kind = if json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-role", role)
            .header("accept", "text/html")
            .header("content-type", kind)
            .body(Body::from(body.to_owned()));
        let response = app.oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        self.hub.settle(&self.ledger).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn list(&self) -> Vec<bascule_wire::incidents::IncidentSummary> {
        let (status, json) = self.send("reporter", "GET", "/api/v1/incidents", "").await;
        assert_eq!(status, StatusCode::OK, "{json}");
        serde_json::from_str::<IncidentPage>(&json).unwrap().items
    }

    async fn kinds(&self) -> Vec<String> {
        let own = Filter {
            kinds: vec!["incident.*".to_owned(), "postmortem.*".to_owned()],
            ..Filter::default()
        };
        let entries = self
            .ledger
            .read(&own, Page::After { after: 0, limit: 100 })
            .await
            .unwrap();
        entries.into_iter().map(|entry| entry.kind).collect()
    }
}

#[tokio::test]
async fn an_undone_rollout_lives_through_to_its_post_mortem() {
    let world = World::new().await;
    let numbers = JudgeNumbers {
        new_requests: 1000,
        new_errors: 80,
        new_slow: 0,
        old_requests: 9000,
        old_errors: 1,
        old_slow: 0,
        slices: 20,
        error_evidence: 512.0,
        slow_evidence: 1.0,
        threshold: 100.0,
    };
    let (environment, version) = (world.production, "1.2.0".to_owned());
    let judged = RolloutJudged {
        project: world.project,
        rollout: RolloutId::new(),
        environment,
        version,
        verdict: "fail".to_owned(),
        reason: "it errs more".to_owned(),
        numbers,
    };
    world.tell(&judged).await;
    world
        .tell(&world.rollout("judge", "8 % of requests fail | <b>now</b>", true))
        .await;
    let open = world.list().await;
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].severity.as_str(), open[0].status.as_str()),
        ("major", "open")
    );
    assert_eq!(open[0].detected_at.since(open[0].began_at).as_secs(), 19);

    // An alert for the same failing joins, also when it comes again.
    world.tell(&world.alert("alert-1", 15)).await;
    world.clock.advance(Duration::from_secs(600));
    let base = "/ward/app/-/incidents/1";
    assert_eq!(
        world
            .send("reporter", "POST", &format!("{base}/acknowledge"), "")
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        world
            .send("developer", "POST", &format!("{base}/acknowledge"), "")
            .await
            .0,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        world
            .send("developer", "POST", &format!("{base}/acknowledge"), "")
            .await
            .0,
        StatusCode::CONFLICT
    );
    let said = "text=**look**+%3Cscript%3Ealert(1)%3C%2Fscript%3E+%7C+here";
    assert_eq!(
        world
            .send("developer", "POST", &format!("{base}/comments"), said)
            .await
            .0,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        world
            .send("developer", "POST", &format!("{base}/identify"), "text=a+divisor")
            .await
            .0,
        StatusCode::SEE_OTHER
    );
    let (_, html) = world.send("developer", "GET", base, "").await;
    assert!(
        !html.contains("<script>alert") && !html.contains("<b>now"),
        "{html}"
    );
    assert!(
        html.contains("<strong>look</strong>") && html.contains("hx-trigger=\"every 3s\""),
        "{html}"
    );

    let resolve = "/api/v1/projects/ward/app/incidents/1/resolve";
    let (status, json) = world
        .send(
            "developer",
            "POST",
            resolve,
            r#"{"comment":"rolled back by itself"}"#,
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{json}");
    let (_, json) = world
        .send("reporter", "GET", "/api/v1/projects/ward/app/incidents/1", "")
        .await;
    let done: IncidentDetails = serde_json::from_str(&json).unwrap();
    assert_eq!(
        done.summary.restored_at,
        Some(done.summary.detected_at),
        "the abort ended it"
    );
    assert_eq!(
        done.postmortem.unwrap().path,
        "postmortems/2024/0001-1-2-0-was-undone-in-production-8-of-requests-fail.md"
    );
    let documents = world.home.documents.lock().unwrap().clone();
    assert_eq!(documents.len(), 1);
    let text = &documents[0].1;
    for part in [
        "| Time to detect | 19 s |",
        "| Of these, failed | 80 (8 %) |",
        "&lt;script&gt;",
        "\\| here",
        "### 5. Why",
        "- [ ] Prevent",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains("<b>"), "{text}");
    assert_eq!(
        world.kinds().await,
        [
            "incident.opened",
            "incident.acknowledged",
            "incident.commented",
            "incident.identified",
            "incident.commented",
            "incident.resolved",
            "postmortem.committed"
        ]
    );
    assert_eq!(
        world.send("developer", "POST", resolve, "{}").await.0,
        StatusCode::CONFLICT
    );

    // The same failing seen late joins; a new one opens anew.
    world
        .tell(&AlertOpened {
            began_at: done.summary.began_at,
            ..world.alert("alert-2", 0)
        })
        .await;
    assert_eq!(world.list().await.len(), 1);
    world.tell(&world.alert("alert-3", 5)).await;
    let all = world.list().await;
    assert_eq!(
        (all.len(), all[0].severity.as_str(), all[0].restored_at),
        (2, "critical", None)
    );
    world.clock.advance(Duration::from_secs(60));
    let (project, environment) = (world.project, world.production);
    let (alert, slo) = ("alert-3".to_owned(), "availability".to_owned());
    let environment_name = "production".to_owned();
    world
        .tell(&AlertClosed {
            project,
            environment,
            environment_name,
            alert,
            slo,
            at: world.clock.now(),
        })
        .await;
    assert_eq!(world.list().await[0].restored_at, Some(world.clock.now()));
}

#[tokio::test]
async fn facts_delivered_twice_open_one_incident() {
    let world = World::new().await;
    world.tell(&world.rollout("guardrail", "it crashes", false)).await;
    // The cursor is lost: everything comes again.
    let tx = world.db.begin().await.unwrap();
    tx.run("DELETE FROM subscriber", vec![]).await.unwrap();
    tx.commit().await.unwrap();
    world.hub.settle(&world.ledger).await.unwrap();
    assert_eq!(world.list().await.len(), 1);
    let done = scope(world.project, Role::Developer);
    world
        .incidents
        .resolve(&Caller::system(), &done, 1, None, "")
        .await
        .unwrap();
    let tx = world.db.begin().await.unwrap();
    tx.run("DELETE FROM subscriber", vec![]).await.unwrap();
    tx.commit().await.unwrap();
    world.hub.settle(&world.ledger).await.unwrap();
    assert_eq!(world.list().await.len(), 1);
    assert_eq!(world.home.documents.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_person_who_changes_their_mind_opens_nothing() {
    let world = World::new().await;
    world.tell(&world.rollout("person", "not today", false)).await;
    assert!(world.list().await.is_empty());
    world.tell(&world.rollout("person", "it fails", true)).await;
    assert_eq!(world.list().await.len(), 1);
}

#[tokio::test]
async fn people_declare_and_one_environment_has_one_open_incident() {
    let world = World::new().await;
    let (status, _) = world
        .send(
            "developer",
            "POST",
            "/ward/app/-/incidents",
            "title=Nobody+can+sign+in&severity=critical&environment=production",
        )
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let again = r#"{"title":"again","severity":"minor","environment":"production"}"#;
    let (status, json) = world
        .send("developer", "POST", "/api/v1/projects/ward/app/incidents", again)
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{json}");
    assert!(json.contains("/ward/app/-/incidents/1"), "{json}");
    let nowhere = r#"{"title":"x","severity":"minor","environment":"moon"}"#;
    let (status, json) = world
        .send(
            "developer",
            "POST",
            "/api/v1/projects/ward/app/incidents",
            nowhere,
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(json.contains("production, staging"), "{json}");
    let (_, html) = world.send("developer", "GET", "/ward/app/-/incidents", "").await;
    assert!(html.contains("Nobody can sign in") && html.contains("Declare an incident"));
    let (status, html) = world
        .send("developer", "GET", "/ward/app/-/incidents/new", "")
        .await;
    assert!(status.is_success() && html.contains("<option>production</option>"));
    assert_eq!(
        world.send("guest", "GET", "/ward/app/-/incidents", "").await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        world
            .send("developer", "GET", "/ward/app/-/incidents/abc", "")
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world.send("reporter", "GET", "/incidents", "").await.0,
        StatusCode::OK
    );
    let set = world
        .send(
            "developer",
            "POST",
            "/ward/app/-/incidents/1/severity",
            "severity=minor",
        )
        .await;
    assert_eq!(set.0, StatusCode::SEE_OTHER);
    assert_eq!(world.list().await[0].severity.as_str(), "minor");
}

#[tokio::test]
async fn a_home_that_refuses_is_told_and_may_be_asked_again() {
    let world = World::new().await;
    world.tell(&world.rollout("judge", "bad", true)).await;
    *world.home.broken.lock().unwrap() = Some(403);
    let resolve = "/ward/app/-/incidents/1/resolve";
    assert_eq!(
        world.send("developer", "POST", resolve, "text=").await.0,
        StatusCode::SEE_OTHER
    );
    let (_, html) = world
        .send("developer", "GET", "/ward/app/-/incidents/1", "")
        .await;
    assert!(
        html.contains("The home is away.") && html.contains("Try again"),
        "{html}"
    );
    let retry = "/ward/app/-/incidents/1/postmortem";
    assert_eq!(
        world.send("developer", "POST", retry, "").await.0,
        StatusCode::SEE_OTHER
    );
    let (_, html) = world
        .send("developer", "GET", "/ward/app/-/incidents/1", "")
        .await;
    assert!(
        html.contains("a class=\"postmortem\"") && !html.contains("The home is away."),
        "{html}"
    );
}
