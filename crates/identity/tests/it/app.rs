//! An instance with identity and a stand-in for projects.

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    routing::{get, post},
};
use bascule_core::{
    Caller, Clock as _, FakeClock, GroupId, GroupScope, InstanceRole, Name, Permission, Problem, ProjectId,
    ProjectScope, Role, Scope, Timestamp, Visibility,
};
use bascule_identity::{Config, HashCost, Identity, Place};
use bascule_ledger::{InstanceKey, Ledger};
use bascule_store::{Db, DbOptions, Query as _, args};
use bascule_web::{Access, Gate, InProject, RouteEntry, Routes, Who};
use bascule_wire::identity::{NewGroup, NewToken, NewUser};
use http::{HeaderMap, Method, Request, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tower::ServiceExt as _;

/// One project, whatever is asked.
struct OneProject(ProjectId, GroupId);

#[async_trait]
impl bascule_identity::ports::Projects for OneProject {
    async fn named(
        &self,
        projects: &[ProjectId],
    ) -> Result<Vec<bascule_identity::ports::NamedProject>, Problem> {
        let known = projects.contains(&self.0);
        Ok(known
            .then(|| bascule_identity::ports::NamedProject {
                id: self.0,
                group: self.1,
                path: "clinic/site".to_owned(),
            })
            .into_iter()
            .collect())
    }
}

pub const PASSWORD: &str = "four unrelated words";

/// The binary's gate, with one project `clinic/site` in place of forge.
struct TestGate {
    identity: Identity,
    project: ProjectId,
}

#[async_trait]
impl Gate for TestGate {
    async fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        self.identity.authenticate(parts).await
    }

    async fn group(&self, caller: &Caller, group: &str) -> Result<Option<GroupScope>, Problem> {
        let Some(found) = self.identity.find_group(group).await? else {
            return Ok(None);
        };
        let role = self
            .identity
            .role_in_group(caller, found.id, found.visibility)
            .await?;
        Ok(role.map(|role| GroupScope {
            id: found.id,
            name: found.name.to_string(),
            role,
        }))
    }

    async fn project(
        &self,
        caller: &Caller,
        group: &str,
        project: &str,
    ) -> Result<Option<ProjectScope>, Problem> {
        let Some(found) = self.identity.find_group(group).await? else {
            return Ok(None);
        };
        if project != "site" {
            return Ok(None);
        }
        let role = self
            .identity
            .role_in_project(caller, self.project, found.id, Visibility::Private)
            .await?;
        Ok(role.map(|role| ProjectScope {
            id: self.project,
            group_id: found.id,
            group: group.to_owned(),
            name: project.to_owned(),
            role,
            scopes: caller.scopes.clone(),
        }))
    }
}

pub struct App {
    pub identity: Identity,
    pub clock: FakeClock,
    pub db: Db,
    pub table: Vec<RouteEntry>,
    pub project: ProjectId,
    pub group: GroupId,
    _dir: tempfile::TempDir,
    router: Router,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn location(&self) -> &str {
        self.headers
            .get(header::LOCATION)
            .map_or("", |v| v.to_str().unwrap())
    }

    /// The session that the answer gives, as the browser sends it back.
    pub fn cookie(&self) -> Option<String> {
        let set = self.headers.get(header::SET_COOKIE)?.to_str().unwrap();
        Some(set.split(';').next().unwrap().to_owned())
    }

    /// The texts of what a CSS selector finds.
    pub fn select(&self, css: &str) -> Vec<String> {
        let page = scraper::Html::parse_document(&self.text);
        let selector = scraper::Selector::parse(css).unwrap();
        page.select(&selector)
            .map(|e| e.text().collect::<String>().trim().to_owned())
            .collect()
    }
}

/// A request under construction.
pub struct Ask<'a> {
    app: &'a App,
    request: http::request::Builder,
    body: String,
    address: SocketAddr,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn cookie(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn basic(self, username: &str, password: &str) -> Self {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let pair = STANDARD.encode(format!("{username}:{password}"));
        self.header("authorization", &format!("Basic {pair}"))
    }

    pub fn at_address(mut self, address: &str) -> Self {
        self.address = SocketAddr::new(address.parse().unwrap(), 4000);
        self
    }

    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        let encode = |text: &str| bascule_web::url_encode(text);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
            .collect();
        self.body = pairs.join("&");
        self.header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "text/html")
    }

    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = value.to_string();
        self.header("content-type", "application/json")
    }

    pub async fn send(self) -> Answer {
        let mut request = self.request.body(Body::from(self.body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(self.address));
        let response = self.app.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }
}

/// A fresh database: a file, or where `BASCULE_TEST_POSTGRES` names a server, a schema of its own there.
async fn database(dir: &std::path::Path) -> Db {
    let Ok(url) = std::env::var("BASCULE_TEST_POSTGRES") else {
        return Db::open(&DbOptions::Sqlite(dir.join("test.db"))).await.unwrap();
    };
    let schema = format!("t{}", ProjectId::new().to_string().replace('-', ""));
    let db = Db::open(&DbOptions::Postgres(url.clone())).await.unwrap();
    let tx = db.begin().await.unwrap();
    tx.run(&format!("CREATE SCHEMA {schema}"), args![]).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let mark = if url.contains('?') { '&' } else { '?' };
    Db::open(&DbOptions::Postgres(format!(
        "{url}{mark}options=-csearch_path%3D{schema}"
    )))
    .await
    .unwrap()
}

async fn probe(project: InProject, who: Who) -> String {
    format!("{} is {} in {}", who.actor.name, project.role, project.path())
}

impl App {
    /// An instance without any account.
    pub async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = database(dir.path()).await;
        let lists = [
            bascule_store::MIGRATIONS,
            bascule_ledger::MIGRATIONS,
            bascule_identity::MIGRATIONS,
        ];
        db.migrate(&lists).await.unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1_800_000_000));
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let config = Config {
            hash_cost: HashCost::for_tests(),
            ..Config::default()
        };
        let identity = Identity::new(db.clone(), ledger, config);
        let project = ProjectId::new();
        let probes = Routes::new()
            .page(
                "GET",
                "/{group}/{project}/code",
                Access::Project(Permission::CodeRead),
                get(probe),
            )
            .page(
                "POST",
                "/{group}/{project}/push",
                Access::Project(Permission::CodePush),
                post(probe),
            );
        let (router, _, table) = bascule_identity::routes(identity.clone())
            .merge(probes)
            .into_parts();
        let gate = Arc::new(TestGate {
            identity: identity.clone(),
            project,
        });
        let router = bascule_web::finish(router, gate);
        Self {
            identity,
            clock,
            db,
            table,
            project,
            group: GroupId::new(),
            _dir: dir,
            router,
        }
    }

    /// An instance with the group `clinic`, owned by `olga`, and its project `site`.
    pub async fn start() -> Self {
        let mut app = Self::empty().await;
        app.user("olga", InstanceRole::Member).await;
        let olga = app.caller("olga").await;
        let new = NewGroup {
            name: Name::new("clinic").unwrap(),
            description: String::new(),
            visibility: Visibility::Private,
        };
        app.group = app.identity.create_group(&olga, &new).await.unwrap().id;
        app.identity
            .set_projects(Arc::new(OneProject(app.project, app.group)));
        app
    }

    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bascule.test");
        Ask {
            app: self,
            request,
            body: String::new(),
            address: "192.0.2.7:4000".parse().unwrap(),
        }
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Ask<'_> {
        self.ask(Method::POST, path)
    }

    pub async fn user(&self, username: &str, role: InstanceRole) {
        let new = NewUser {
            username: Name::new(username).unwrap(),
            display_name: String::new(),
            email: String::new(),
            password: Some(PASSWORD.to_owned()),
            role,
            ends_at: None,
        };
        self.identity.create_user(&Caller::system(), &new).await.unwrap();
    }

    /// The caller that a person is by password.
    pub async fn caller(&self, username: &str) -> Caller {
        let account = self.identity.user(username).await.unwrap();
        Caller {
            actor: bascule_core::Actor::new(bascule_core::ActorKind::User, account.id, username),
            user: Some(account.id),
            instance_role: account.instance_role,
            ..Caller::anonymous()
        }
    }

    /// A personal token of theirs.
    pub async fn token(&self, username: &str, scopes: &[Scope]) -> String {
        let new = NewToken {
            name: "test".to_owned(),
            scopes: scopes.to_vec(),
            expires_at: None,
        };
        self.identity
            .create_token(&self.caller(username).await, &new)
            .await
            .unwrap()
            .secret
    }

    /// Makes them a member of the project.
    pub async fn in_project(&self, username: &str, role: Role) {
        let place = Place::Project(self.project, self.group);
        let by = Caller::system();
        self.identity
            .set_member(&by, Role::Owner, place, username, role)
            .await
            .unwrap();
    }

    pub async fn sign_in_as(&self, username: &str, password: &str) -> Answer {
        self.post("/sign-in")
            .form(&[("username", username), ("password", password)])
            .send()
            .await
    }

    /// Signs in and gives the cookie.
    pub async fn signed_in(&self, username: &str) -> String {
        let answer = self.sign_in_as(username, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        answer.cookie().unwrap()
    }

    pub async fn facts(&self, kind: &str) -> i64 {
        self.db
            .count("SELECT COUNT(*) AS n FROM fact WHERE kind = $1", args![kind])
            .await
            .unwrap()
    }

    /// Uses a session until that is noted. A use is noted beside the request, and not while an earlier one is still
    /// being noted.
    pub async fn use_session(&self, cookie: &str) {
        use bascule_store::{Query as _, args};
        let noted = "SELECT COUNT(*) AS n FROM session WHERE last_used_at = $1";
        while self.db.count(noted, args![self.now()]).await.unwrap() == 0 {
            assert_eq!(
                self.get("/settings").cookie(cookie).send().await.status,
                StatusCode::OK
            );
            tokio::task::yield_now().await;
        }
    }

    pub fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
