//! A CI server of its own on a free port, with code from memory and a gate that lets three people in.

use async_trait::async_trait;
use bascule_ci::{
    Ci, MIGRATIONS, Options,
    ports::{Code, Commit, ProjectInfo},
    retention::Keep,
};
use bascule_core::{
    Actor, ActorKind, Caller, FakeClock, GroupId, GroupScope, InstanceRole, Problem, ProjectId, ProjectScope,
    Result, Role, Timestamp, UserId,
};
use bascule_ledger::{Entry, Fact, Filter, Hub, InstanceKey, Ledger, Page, facts::forge::BranchUpdated};
use bascule_store::{Blobs, Db, DbOptions};
use bascule_web::Gate;
use http::request::Parts;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A pushed commit.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<String, String>,
    pub message: String,
}

/// Code in memory.
#[derive(Debug, Default)]
pub struct FakeCode {
    pub trees: Mutex<BTreeMap<String, Tree>>,
    pub refs: Mutex<BTreeMap<String, Commit>>,
    pub base_url: Mutex<String>,
    /// Whether nothing about projects can be read.
    pub down: AtomicBool,
    /// What pushes gave, by the name that their facts say.
    pub given: Mutex<BTreeMap<String, bascule_ci::ports::PushOptions>>,
    /// Whether developers do not merge into protected branches.
    pub strict: AtomicBool,
    /// Commits of which nothing can be read, and with what status that is told.
    pub broken: Mutex<BTreeMap<String, u16>>,
}

impl FakeCode {
    fn whole(&self, sha: &str) -> Result<()> {
        match self.broken.lock().unwrap().get(sha) {
            Some(status) => {
                Err(Problem::new(*status, "broken", "This cannot be read.").next("Make it smaller."))
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Code for FakeCode {
    async fn read_file(&self, _: ProjectId, sha: &str, path: &str) -> Result<Option<Vec<u8>>> {
        self.whole(sha)?;
        let trees = self.trees.lock().unwrap();
        Ok(trees
            .get(sha)
            .and_then(|tree| tree.files.get(path))
            .map(|text| text.clone().into_bytes()))
    }

    async fn list_paths(&self, _: ProjectId, sha: &str) -> Result<Vec<String>> {
        Ok(self
            .trees
            .lock()
            .unwrap()
            .get(sha)
            .map(|tree| tree.files.keys().cloned().collect())
            .unwrap_or_default())
    }

    async fn changed_paths(&self, _: ProjectId, before: Option<&str>, after: &str) -> Result<Vec<String>> {
        let trees = self.trees.lock().unwrap();
        let old = before.and_then(|sha| trees.get(sha)).cloned().unwrap_or_default();
        let new = trees.get(after).cloned().unwrap_or_default();
        Ok(new
            .files
            .iter()
            .filter(|(k, v)| old.files.get(*k) != Some(v))
            .map(|(k, _)| k.clone())
            .collect())
    }

    async fn resolve(&self, _: ProjectId, reference: &str) -> Result<Option<Commit>> {
        Ok(self.refs.lock().unwrap().get(reference).cloned())
    }

    async fn commit_message(&self, _: ProjectId, sha: &str) -> Result<Option<String>> {
        Ok(self
            .trees
            .lock()
            .unwrap()
            .get(sha)
            .map(|tree| tree.message.clone()))
    }

    async fn project(&self, _: ProjectId) -> Result<Option<ProjectInfo>> {
        if self.down.load(Ordering::Relaxed) {
            return Err(Problem::internal());
        }
        let clone_url = format!("{}/clinic/app.git", self.base_url.lock().unwrap());
        Ok(Some(ProjectInfo {
            group: "clinic".into(),
            name: "app".into(),
            default_branch: "main".into(),
            group_id: "group-id".into(),
            visibility: "private".into(),
            description: "Appointments of the clinic".into(),
            clone_url,
            ssh_url: String::new(),
        }))
    }

    async fn push_options(&self, _: ProjectId, name: &str) -> Result<bascule_ci::ports::PushOptions> {
        Ok(self.given.lock().unwrap().get(name).cloned().unwrap_or_default())
    }

    async fn developers_merge(&self, _: ProjectId) -> Result<bool> {
        Ok(!self.strict.load(Ordering::SeqCst))
    }

    async fn is_protected(&self, _: ProjectId, reference: &str, tag: bool) -> Result<bool> {
        Ok(reference == "main" || (tag && reference.starts_with('v')))
    }
}

/// Lets in by the bearer token's word: `admin`, `developer`, `reporter`, `guest`.
struct Door(ProjectId);

fn role_of(caller: &Caller) -> Role {
    match caller.actor.name.as_str() {
        "admin" => Role::Owner,
        "developer" => Role::Developer,
        "reporter" => Role::Reporter,
        _ => Role::Guest,
    }
}

#[async_trait]
impl Gate for Door {
    async fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        let word = parts
            .headers
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let word = word.strip_prefix("Bearer ").unwrap_or_default();
        if word.is_empty() {
            return Ok(Caller::anonymous());
        }
        let user = UserId::new();
        Ok(Caller {
            actor: Actor::new(ActorKind::User, user, word),
            user: Some(user),
            instance_role: if word == "admin" {
                InstanceRole::Admin
            } else {
                InstanceRole::Member
            },
            ..Caller::anonymous()
        })
    }

    async fn group(&self, caller: &Caller, group: &str) -> Result<Option<GroupScope>, Problem> {
        Ok((group == "clinic").then(|| GroupScope {
            id: GroupId::new(),
            name: group.to_owned(),
            role: role_of(caller),
        }))
    }

    async fn project(
        &self,
        caller: &Caller,
        group: &str,
        project: &str,
    ) -> Result<Option<ProjectScope>, Problem> {
        let role = role_of(caller);
        Ok((group == "clinic" && project == "app").then(|| ProjectScope {
            id: self.0,
            group_id: GroupId::new(),
            group: group.to_owned(),
            name: project.to_owned(),
            role,
            scopes: None,
        }))
    }
}

pub struct World {
    pub ci: Ci,
    pub code: Arc<FakeCode>,
    pub clock: FakeClock,
    pub ledger: Ledger,
    pub db: Db,
    pub project: ProjectId,
    pub url: String,
    pub http: Client,
    pub stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    pub dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}

impl World {
    pub async fn new() -> Self {
        Self::on(None).await
    }

    pub async fn on(postgres: Option<&str>) -> Self {
        Self::keeping(postgres, Keep::default()).await
    }

    pub async fn keeping(postgres: Option<&str>, keep: Keep) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let options = match postgres {
            None => DbOptions::Sqlite(dir.path().join("test.db")),
            Some(url) => DbOptions::Postgres(url.to_owned()),
        };
        let db = Db::open(&options).await.unwrap();
        db.migrate(&[bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS, MIGRATIONS])
            .await
            .unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1_750_000_000));
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let blobs = Blobs::on_disk(&dir.path().join("blobs")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let code = Arc::new(FakeCode::default());
        code.base_url.lock().unwrap().clone_from(&url);
        let stop = CancellationToken::new();
        let ci = Ci::new(
            db.clone(),
            ledger.clone(),
            blobs,
            code.clone(),
            Options {
                keep,
                ..Options::new(&url, stop.clone())
            },
        );
        let project = ProjectId::new();
        let (router, _, _) = ci.routes().merge(bascule_web::assets::routes()).into_parts();
        let app = bascule_web::finish(router, Arc::new(Door(project)));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            ci,
            code,
            clock,
            ledger,
            db,
            project,
            url,
            http: Client::new(),
            stop,
            server,
            dir,
        }
    }

    /// A commit with files, on a branch, as the forge would tell of it.
    pub async fn push(&self, branch: &str, files: &[(&str, &str)]) -> String {
        self.push_with(branch, files, "Change something").await
    }

    pub async fn push_with(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let files: BTreeMap<String, String> = files
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let number = self.code.trees.lock().unwrap().len() + 1;
        let sha = format!("{number:040x}");
        let tree = Tree {
            files,
            message: message.to_owned(),
        };
        self.code.trees.lock().unwrap().insert(sha.clone(), tree);
        let commit = Commit {
            sha: sha.clone(),
            reference: branch.to_owned(),
            tag: false,
        };
        let before = self
            .code
            .refs
            .lock()
            .unwrap()
            .insert(branch.to_owned(), commit)
            .map(|commit| commit.sha);
        let fact = BranchUpdated {
            project: self.project,
            branch: branch.to_owned(),
            before,
            after: Some(sha.clone()),
            default: branch == "main",
            forced: false,
            commits: Vec::new(),
            commit_count: 1,
            at: Timestamp::from_seconds(1_750_000_000),
            ci_skip: false,
            ci_options: None,
        };
        self.tell(&fact).await;
        sha
    }

    /// Appends a fact and lets the crate react.
    pub async fn tell<F: Fact>(&self, fact: &F) {
        let tx = self.db.begin().await.unwrap();
        self.ledger
            .append(&tx, &Actor::new(ActorKind::User, "u", "ada"), fact)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
    }

    pub async fn settle(&self) {
        let mut hub = Hub::default();
        for subscriber in self.ci.subscribers() {
            hub = hub.with(subscriber);
        }
        hub.settle(&self.ledger).await.unwrap();
    }

    /// Time goes by, and the server looks for lost jobs now and then.
    pub async fn wait(&self, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.clock.advance(Duration::from_secs(10));
            self.ci.sweep().await.unwrap();
        }
    }

    /// Facts of a kind, oldest first.
    pub async fn facts(&self, kind: &str) -> Vec<Entry> {
        let filter = Filter {
            kinds: vec![kind.to_owned()],
            ..Filter::default()
        };
        self.ledger
            .read(
                &filter,
                Page::After {
                    after: 0,
                    limit: 1000,
                },
            )
            .await
            .unwrap()
    }

    pub fn request(&self, method: Method, path: &str, who: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(who)
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path, "reporter").send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub async fn page(&self, path: &str, who: &str) -> String {
        let request = self.request(Method::GET, path, who).header("accept", "text/html");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// A merge request of a branch's commit to `main`, as results are asked for it.
    pub fn asked<'a>(&self, branch: &'a str, sha: &'a str) -> bascule_ci::results::Asked<'a> {
        bascule_ci::results::Asked {
            source: self.project,
            source_path: "clinic/app",
            branch,
            sha,
            target: self.project,
            target_branch: "main",
            findings_href: "/f".into(),
        }
    }

    /// What such a request shows of its pipeline.
    pub async fn widget(&self, branch: &str, sha: &str) -> String {
        let widget = self.ci.request_widget(&self.asked(branch, sha)).await.unwrap();
        widget.expect("a pipeline").to_string()
    }

    pub async fn post(&self, path: &str, who: &str, body: Value) -> Response {
        self.request(Method::POST, path, who)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// The newest pipeline with its jobs.
    pub async fn pipeline(&self) -> Value {
        let list = self.get("/api/v1/projects/clinic/app/pipelines").await;
        let id = list["pipelines"][0]["id"].as_i64().expect("a pipeline");
        self.get(&format!("/api/v1/projects/clinic/app/pipelines/{id}"))
            .await
    }

    /// Names and states of the newest pipeline's jobs.
    pub async fn states(&self) -> Vec<(String, String)> {
        let pipeline = self.pipeline().await;
        let jobs = pipeline["jobs"].as_array().unwrap();
        jobs.iter()
            .filter(|job| job["retried"] == false)
            .map(|job| {
                (
                    job["name"].as_str().unwrap().to_owned(),
                    job["status"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    pub async fn runner(&self) -> FakeRunner {
        let (_, token) = self
            .ci
            .create_runner("test", vec!["linux".into()], true)
            .await
            .unwrap();
        FakeRunner {
            http: self.http.clone(),
            url: self.url.clone(),
            token,
        }
    }
}

/// A runner that does as a test tells it.
#[derive(Clone)]
pub struct FakeRunner {
    pub http: Client,
    pub url: String,
    pub token: String,
}

/// A job that it has.
#[derive(Clone, Debug)]
pub struct Taken {
    pub id: i64,
    pub token: String,
    pub body: Value,
}

impl FakeRunner {
    pub fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v4/{path}", self.url))
    }

    /// Asks once, without hanging.
    pub async fn ask(&self) -> Option<Taken> {
        self.ask_for(0).await
    }

    pub async fn ask_for(&self, seconds: u64) -> Option<Taken> {
        let body = json!({"token": self.token, "info": {"name": "fake", "version": "1", "features": {}}});
        let request = self
            .api(Method::POST, "jobs/request")
            .header("prefer", format!("wait={seconds}"));
        let response = request.json(&body).send().await.unwrap();
        match response.status().as_u16() {
            201 => {
                let body: Value = response.json().await.unwrap();
                let token = body["token"].as_str().unwrap().to_owned();
                Some(Taken {
                    id: body["id"].as_i64().unwrap(),
                    token,
                    body,
                })
            }
            204 => {
                assert!(response.headers().contains_key("x-gitlab-last-update"));
                None
            }
            other => panic!("{other}: {}", response.text().await.unwrap()),
        }
    }

    pub async fn patch(&self, job: &Taken, start: usize, bytes: &[u8]) -> Response {
        let end = (start + bytes.len()).saturating_sub(1);
        self.api(Method::PATCH, &format!("jobs/{}/trace", job.id))
            .header("JOB-TOKEN", &job.token)
            .header("content-range", format!("{start}-{end}"))
            .header("content-type", "text/plain")
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap()
    }

    pub async fn update(&self, job: &Taken, mut body: Value) -> Response {
        body["token"] = json!(job.token);
        self.api(Method::PUT, &format!("jobs/{}", job.id))
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    pub async fn succeed(&self, job: &Taken) {
        assert_eq!(self.update(job, json!({"state": "success"})).await.status(), 200);
    }

    pub async fn fail(&self, job: &Taken, code: i64) {
        let body = json!({"state": "failed", "failure_reason": "script_failure", "exit_code": code});
        assert_eq!(self.update(job, body).await.status(), 200);
    }

    pub async fn upload(&self, job: &Taken, kind: &str, bytes: &[u8]) -> Response {
        let part = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name("artifacts.zip");
        let form = reqwest::multipart::Form::new().part("file", part);
        self.api(
            Method::POST,
            &format!(
                "jobs/{}/artifacts?artifact_type={kind}&artifact_format=zip&expire_in=1+day",
                job.id
            ),
        )
        .header("JOB-TOKEN", &job.token)
        .multipart(form)
        .send()
        .await
        .unwrap()
    }
}

/// A limit for whatever should happen at once.
pub const SOON: Duration = Duration::from_secs(20);
