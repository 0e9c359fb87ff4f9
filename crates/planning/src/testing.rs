//! A small world for this crate's tests, and the tests that go through it from end to end.

mod board;
mod closing;
mod confidential;
mod hostile;
mod issues;
mod lists;
mod milestones;
mod transfer;

use crate::{MIGRATIONS, Planning, ports};
use async_trait::async_trait;
use axum::body::Body;
use bascule_core::{
    Actor, ActorKind, Caller, FakeClock, GroupId, GroupScope, InstanceRole, Problem, ProjectId, ProjectScope,
    Result, Role, UserId,
};
use bascule_ledger::{
    Fact, Filter, Hub, InstanceKey, Ledger, Page,
    facts::forge::{BranchUpdated, CommitStamp, ProjectCreated},
};
use bascule_store::Db;
use bascule_web::Gate;
use bascule_wire::planning::IssueTemplate;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tower::ServiceExt as _;

/// Everyone there is: the group's members, an account of the institution that is none, an auditor, an administrator.
struct Crowd {
    users: HashMap<String, UserId>,
    group: GroupId,
    roles: Mutex<Vec<(String, Role)>>,
}

const EVERYONE: [&str; 9] = [
    "guest",
    "reporter",
    "developer",
    "developer2",
    "maintainer",
    "owner",
    "stranger",
    "auditor",
    "admin",
];

impl Crowd {
    fn caller(&self, name: &str) -> Caller {
        let Some(user) = self.users.get(name) else {
            return Caller::anonymous();
        };
        Caller {
            actor: Actor::new(ActorKind::User, user, name),
            user: Some(*user),
            instance_role: match name {
                "auditor" => InstanceRole::Auditor,
                "admin" => InstanceRole::Admin,
                _ => InstanceRole::Member,
            },
            ..Caller::anonymous()
        }
    }

    fn role(&self, name: &str) -> Option<Role> {
        self.roles
            .lock()
            .unwrap()
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, role)| *role)
    }

    fn reach_of(&self, name: &str) -> ports::Reach {
        let role = self.role(name);
        ports::Reach {
            standing: match name {
                "auditor" => Some(Role::Reporter),
                "admin" => Some(Role::Owner),
                _ => None,
            },
            reads_only: name == "auditor",
            groups: role.map(|role| (self.group, role)).into_iter().collect(),
            projects: HashMap::new(),
        }
    }
}

#[async_trait]
impl ports::People for Crowd {
    async fn members(&self, _: ProjectId, _: GroupId) -> Result<Vec<ports::Member>> {
        let roles = self.roles.lock().unwrap().clone();
        let mut members: Vec<ports::Member> = roles
            .into_iter()
            .map(|(username, role)| ports::Member {
                user: self.users[&username],
                username,
                role,
                active: true,
            })
            .collect();
        members.sort_by(|one, other| one.username.cmp(&other.username));
        Ok(members)
    }

    async fn reach(&self, caller: &Caller) -> Result<ports::Reach> {
        Ok(self.reach_of(&caller.actor.name))
    }

    async fn behind(&self, actor: &Actor) -> Result<ports::Reach> {
        Ok(self.reach_of(&actor.name))
    }
}

/// Two projects of the group: `ward/app` and `ward/lab`; and one of another, `other/secret`, that nobody sees.
struct Places {
    app: ProjectId,
    lab: ProjectId,
    secret: ProjectId,
    group: GroupId,
    other: GroupId,
    crowd: Arc<Crowd>,
}

impl Places {
    fn scope(&self, caller: &Caller, id: ProjectId) -> Option<ProjectScope> {
        let name = match id {
            id if id == self.app => "app",
            id if id == self.lab => "lab",
            _ => return None,
        };
        let standing = self.crowd.reach_of(&caller.actor.name).standing;
        // The projects are internal: every account of the institution reads.
        let reads = caller.user.map(|_| Role::Reporter);
        let role = self.crowd.role(&caller.actor.name).max(standing).or(reads)?;
        Some(ProjectScope {
            id,
            group_id: self.group,
            group: "ward".to_owned(),
            name: name.to_owned(),
            role,
            scopes: None,
        })
    }
}

#[async_trait]
impl ports::Projects for Places {
    async fn find(&self, caller: &Caller, path: &str) -> Result<Option<ProjectScope>> {
        Ok(match path {
            "ward/app" => self.scope(caller, self.app),
            "ward/lab" => self.scope(caller, self.lab),
            _ => None,
        })
    }

    async fn get(&self, caller: &Caller, project: ProjectId) -> Result<Option<ProjectScope>> {
        Ok(self.scope(caller, project))
    }

    async fn of_group(&self, caller: &Caller, _: GroupId) -> Result<Vec<ProjectScope>> {
        Ok([self.app, self.lab]
            .into_iter()
            .filter_map(|id| self.scope(caller, id))
            .collect())
    }

    async fn group_of(&self, project: ProjectId) -> Result<Option<GroupId>> {
        Ok(match project {
            id if id == self.app || id == self.lab => Some(self.group),
            id if id == self.secret => Some(self.other),
            _ => None,
        })
    }

    async fn default_branch(&self, _: ProjectId) -> Result<Option<String>> {
        Ok(Some("main".to_owned()))
    }

    async fn id_of(&self, path: &str) -> Result<Option<(ProjectId, GroupId)>> {
        Ok(match path {
            "ward/app" => Some((self.app, self.group)),
            "ward/lab" => Some((self.lab, self.group)),
            "other/secret" => Some((self.secret, self.other)),
            _ => None,
        })
    }
}

#[derive(Default)]
struct Repository(Mutex<HashMap<String, String>>, Mutex<Vec<ports::ClosingRequest>>);

#[async_trait]
impl ports::Code for Repository {
    async fn message(&self, _: ProjectId, sha: &str) -> Result<Option<String>> {
        Ok(self.0.lock().unwrap().get(sha).cloned())
    }

    async fn closing(&self, _: ProjectId, _: i64) -> Result<Vec<ports::ClosingRequest>> {
        Ok(self.1.lock().unwrap().clone())
    }

    async fn templates(&self, _: ProjectId, folder: &str) -> Result<Vec<IssueTemplate>> {
        let name = |name: &str, text: &str| IssueTemplate {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        Ok(match folder {
            ".bascule/issue_templates" => vec![name("Bug", "## What happens")],
            ".gitlab/issue_templates" => vec![name("Bug", "theirs"), name("Default", "## Why")],
            _ => Vec::new(),
        })
    }
}

struct TestGate(Arc<Places>);

#[async_trait]
impl Gate for TestGate {
    async fn caller(&self, parts: &http::request::Parts) -> Result<Caller, Problem> {
        let name = parts.headers.get("x-user").and_then(|value| value.to_str().ok());
        Ok(name.map_or_else(Caller::anonymous, |name| self.0.crowd.caller(name)))
    }

    async fn group(&self, caller: &Caller, group: &str) -> Result<Option<GroupScope>, Problem> {
        let role = self.0.scope(caller, self.0.app).map(|scope| scope.role);
        Ok(role.filter(|_| group == "ward").map(|role| GroupScope {
            id: self.0.group,
            name: "ward".to_owned(),
            role,
        }))
    }

    async fn project(
        &self,
        caller: &Caller,
        group: &str,
        project: &str,
    ) -> Result<Option<ProjectScope>, Problem> {
        ports::Projects::find(&*self.0, caller, &format!("{group}/{project}")).await
    }
}

struct World {
    _dir: tempfile::TempDir,
    db: Db,
    clock: FakeClock,
    ledger: Ledger,
    planning: Planning,
    hub: Hub,
    crowd: Arc<Crowd>,
    places: Arc<Places>,
    code: Arc<Repository>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = bascule_testkit::scratch_db(dir.path()).await;
        db.migrate(&[bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let clock = FakeClock::at("2024-07-04T16:50:00Z".parse().unwrap());
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let group = GroupId::new();
        let roles = [
            ("guest", Role::Guest),
            ("reporter", Role::Reporter),
            ("developer", Role::Developer),
            ("developer2", Role::Developer),
            ("maintainer", Role::Maintainer),
            ("owner", Role::Owner),
        ];
        let crowd = Arc::new(Crowd {
            users: EVERYONE
                .iter()
                .map(|name| (*name).to_owned())
                .chain((1..=12).map(|n| format!("nurse{n}")))
                .map(|name| (name, UserId::new()))
                .collect(),
            group,
            roles: Mutex::new(roles.map(|(name, role)| (name.to_owned(), role)).to_vec()),
        });
        let places = Arc::new(Places {
            app: ProjectId::new(),
            lab: ProjectId::new(),
            secret: ProjectId::new(),
            group,
            other: GroupId::new(),
            crowd: crowd.clone(),
        });
        let code = Arc::<Repository>::default();
        let planning = Planning::new(
            db.clone(),
            ledger.clone(),
            crowd.clone(),
            places.clone(),
            code.clone(),
        );
        let hub = planning.subscribe(Hub::default());
        let world = Self {
            _dir: dir,
            db,
            clock,
            ledger,
            planning,
            hub,
            crowd,
            places,
            code,
        };
        for (project, path) in [(world.places.app, "ward/app"), (world.places.lab, "ward/lab")] {
            let fact = ProjectCreated {
                project,
                group,
                path: path.to_owned(),
            };
            world.tell("owner", &fact).await;
        }
        world
    }

    async fn tell(&self, who: &str, fact: &impl Fact) {
        let tx = self.db.begin().await.unwrap();
        let actor = self.crowd.caller(who).actor;
        self.ledger.append(&tx, &actor, fact).await.unwrap();
        tx.commit().await.unwrap();
        self.hub.settle(&self.ledger).await.unwrap();
    }

    /// Pushes commits with these messages to the default branch of `ward/app`.
    async fn push(&self, who: &str, messages: &[&str]) -> BranchUpdated {
        let mut commits = Vec::new();
        for message in messages {
            let sha = format!("{:040x}", self.code.0.lock().unwrap().len() + 1);
            self.code
                .0
                .lock()
                .unwrap()
                .insert(sha.clone(), (*message).to_owned());
            commits.push(CommitStamp {
                sha,
                at: self.planning.now(),
                author: String::new(),
            });
        }
        commits.reverse();
        let fact = BranchUpdated {
            project: self.places.app,
            branch: "main".to_owned(),
            before: None,
            after: commits.first().map(|commit| commit.sha.clone()),
            default: true,
            forced: false,
            commit_count: 1,
            commits,
            at: self.planning.now(),
            ci_skip: false,
            ci_options: None,
        };
        self.tell(who, &fact).await;
        fact
    }

    async fn send(
        &self,
        who: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
        htmx: bool,
    ) -> (StatusCode, String) {
        let (router, _, _) = crate::routes(self.planning.clone()).into_parts();
        let app = bascule_web::finish(router, Arc::new(TestGate(self.places.clone())));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-user", who)
            .header("accept", "text/html")
            .header("content-type", kind);
        if htmx {
            request = request.header("hx-request", "true");
        }
        let response = app
            .oneshot(request.body(Body::from(body.to_owned())).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// A page, which must open.
    async fn page(&self, who: &str, path: &str) -> String {
        let (status, html) = self.send(who, "GET", path, "", "", false).await;
        assert_eq!(status, StatusCode::OK, "{path}: {html}");
        html
    }

    /// A form sent.
    async fn form(&self, who: &str, path: &str, body: &str) -> StatusCode {
        let kind = "application/x-www-form-urlencoded";
        self.send(who, "POST", path, kind, body, false).await.0
    }

    /// A call of the API under `/api/v1/projects/ward/`, whatever comes of it.
    async fn call(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/api/v1/projects/ward/{path}")
        };
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, json) = self
            .send(who, method, &path, "application/json", &text, false)
            .await;
        (
            status.as_u16(),
            serde_json::from_str(&json).unwrap_or(Value::Null),
        )
    }

    /// The same, which must go well.
    async fn ok(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let (status, json) = self.call(who, method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {json}");
        json
    }

    /// The same, which must be refused: status and code.
    async fn no(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let (status, json) = self.call(who, method, path, body).await;
        assert!(status >= 400, "{method} {path}: {status} {json}");
        (status, json["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Opens an issue of `ward/app` as the reporter; returns its number.
    async fn issue(&self, title: &str) -> i64 {
        let new = serde_json::json!({ "title": title });
        self.ok("reporter", "POST", "app/issues", &new).await["number"]
            .as_i64()
            .unwrap()
    }

    /// Titles in a column of `ward/app`'s board.
    async fn column(&self, column: &str) -> Vec<String> {
        let board = self.ok("reporter", "GET", "app/board", &Value::Null).await;
        let columns = board["columns"].as_array().unwrap();
        let found = columns.iter().find(|shown| shown["column"] == column).unwrap();
        found["issues"]
            .as_array()
            .unwrap()
            .iter()
            .map(|issue| issue["title"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn kinds(&self) -> Vec<String> {
        let own = Filter {
            kinds: vec!["issue.*".to_owned()],
            ..Filter::default()
        };
        let entries = self
            .ledger
            .read(&own, Page::After { after: 0, limit: 200 })
            .await
            .unwrap();
        entries.into_iter().map(|entry| entry.kind).collect()
    }
}
