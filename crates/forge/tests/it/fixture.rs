//! A server with a gate that knows people by their role, and stock git beside it.

use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, GroupId, GroupScope, InstanceRole, Problem, ProjectId, ProjectScope, Role,
    Scope, SystemClock, UserId,
};
use bascule_forge::{
    Config, Forge, ProjectInfo, Visible,
    ports::{Known, People, Person, Sight, Team},
};
use bascule_ledger::{Entry, Fact, Filter, Hub, InstanceKey, Ledger, Page};
use bascule_store::{Db, DbOptions};
use bascule_web::Gate;
use base64::Engine as _;
use http::request::Parts;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex, OnceLock},
};
use tokio_util::sync::CancellationToken;

pub const GROUP: &str = "acme";

pub struct Server {
    pub forge: Forge,
    pub db: Db,
    pub ledger: Ledger,
    pub url: String,
    pub dir: tempfile::TempDir,
    pub http: reqwest::Client,
    stop: CancellationToken,
}

struct ByRole {
    forge: Forge,
    group: GroupId,
}

pub struct Everything;

#[async_trait]
impl Sight for Everything {
    async fn visible(&self, caller: &Caller) -> Result<Visible, Problem> {
        Ok(match role(caller) {
            Some(_) => Visible::All,
            None => Visible::Some {
                groups: Vec::new(),
                projects: Vec::new(),
                internal: true,
            },
        })
    }

    async fn role(&self, caller: &Caller, _: &ProjectInfo) -> Result<Option<Role>, Problem> {
        Ok(role(caller))
    }

    async fn home(&self, _: &Caller, group: Option<&str>) -> Result<GroupScope, Problem> {
        let name = group.unwrap_or(GROUP).to_owned();
        let id = *HOMES
            .lock()
            .unwrap()
            .entry(name.clone())
            .or_insert_with(GroupId::new);
        Ok(GroupScope {
            id,
            name,
            role: Role::Owner,
        })
    }

    async fn person(&self, user: UserId) -> Result<Option<Person>, Problem> {
        let people = PEOPLE.lock().unwrap();
        let found = people.iter().find(|(_, id)| **id == user);
        Ok(found.map(|(name, _)| Person {
            username: name.clone(),
            display_name: name.clone(),
            email: format!("{name}@example.org"),
            instance_role: InstanceRole::Member,
        }))
    }
}

#[async_trait]
impl People for Everything {
    async fn by_name(&self, username: &str) -> Result<Option<Known>, Problem> {
        Ok(known().into_iter().find(|known| known.username == username))
    }

    async fn by_emails(&self, addresses: &[String]) -> Result<Vec<(String, Known)>, Problem> {
        let all = known().into_iter();
        Ok(all
            .map(|known| (format!("{}@example.org", known.username), known))
            .filter(|(address, _)| addresses.contains(address))
            .collect())
    }

    async fn role(&self, user: UserId, _: &ProjectInfo) -> Result<Option<Role>, Problem> {
        let found = known().into_iter().find(|known| known.id == user);
        Ok(found.and_then(|known| role_of(&known.username)))
    }

    async fn members(&self, _: &ProjectInfo) -> Result<Vec<(Known, Role)>, Problem> {
        let all = known().into_iter();
        Ok(all
            .filter_map(|known| role_of(&known.username).map(|role| (known, role)))
            .collect())
    }

    async fn team(&self, _: GroupId) -> Result<Option<Team>, Problem> {
        Ok(None)
    }

    async fn by_given_email(&self, address: &str) -> Result<Option<Known>, Problem> {
        let found = self.by_emails(&[address.to_owned()]).await?;
        Ok(found.into_iter().next().map(|(_, known)| known))
    }

    async fn team_named(&self, _: &str) -> Result<Option<Team>, Problem> {
        Ok(None)
    }

    async fn signature(&self, user: UserId) -> Result<Option<bascule_forge::Signature>, Problem> {
        let found = known().into_iter().find(|known| known.id == user);
        Ok(found.map(|known| bascule_forge::Signature {
            email: format!("{}@example.org", known.username),
            name: known.username,
        }))
    }
}

fn known() -> Vec<Known> {
    let people = PEOPLE.lock().unwrap();
    let all = people.iter();
    all.map(|(name, id)| Known {
        id: *id,
        username: name.clone(),
    })
    .collect()
}

static HOMES: Mutex<BTreeMap<String, GroupId>> = Mutex::new(BTreeMap::new());
static PEOPLE: Mutex<BTreeMap<String, UserId>> = Mutex::new(BTreeMap::new());

/// The account of a name, the same each time.
pub fn account(name: &str) -> UserId {
    let mut people = PEOPLE.lock().unwrap();
    *people.entry(name.to_owned()).or_insert_with(UserId::new)
}

/// People are named by their role, with a number behind where there are several: `developer`, `developer-2`. Project
/// tokens end in `-bot`.
fn role(caller: &Caller) -> Option<Role> {
    role_of(&caller.actor.name)
}

fn role_of(name: &str) -> Option<Role> {
    name.split('-').next()?.parse().ok()
}

#[async_trait]
impl Gate for ByRole {
    async fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        let Some(header) = parts.headers.get("authorization").and_then(|v| v.to_str().ok()) else {
            return Ok(Caller::anonymous());
        };
        let encoded = header.strip_prefix("Basic ").unwrap_or_default();
        let text = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .unwrap_or_default();
        let name = String::from_utf8(text).unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default().to_owned();
        // A project's token: it holds a role, and no account stands behind it.
        if let (true, Some(role)) = (name.ends_with("-bot"), role_of(&name)) {
            return Ok(Caller {
                actor: Actor::new(ActorKind::Token, &name, name.clone()),
                only_project: Some((ProjectId::new(), role)),
                scopes: Some(vec![Scope::Api]),
                ..Caller::anonymous()
            });
        }
        let user = account(&name);
        Ok(Caller {
            actor: Actor::new(ActorKind::User, user, name),
            user: Some(user),
            instance_role: InstanceRole::Member,
            ..Caller::anonymous()
        })
    }

    async fn group(&self, caller: &Caller, group: &str) -> Result<Option<GroupScope>, Problem> {
        let role = if group == GROUP { role(caller) } else { None };
        Ok(role.map(|role| GroupScope {
            id: self.group,
            name: group.to_owned(),
            role,
        }))
    }

    async fn project(
        &self,
        caller: &Caller,
        group: &str,
        name: &str,
    ) -> Result<Option<ProjectScope>, Problem> {
        let Some(role) = role(caller) else { return Ok(None) };
        let found = match self.forge.find(group, name).await? {
            Some(project) => Some(project),
            None => self.forge.find_moved(group, name).await?,
        };
        Ok(found.map(|project| ProjectScope {
            id: project.id,
            group_id: project.group_id,
            group: project.group.clone(),
            name: project.name.clone(),
            role,
            scopes: None,
        }))
    }
}

pub fn config(data: PathBuf, url: &str) -> Config {
    let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let hook = [
        program.as_str(),
        "--ignored",
        "--exact",
        "hook_entry",
        "--nocapture",
        "--quiet",
    ]
    .map(str::to_owned);
    Config::new(data, url.to_owned(), hook.into())
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        static PROVIDER: OnceLock<()> = OnceLock::new();
        PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let db = Db::open(&DbOptions::Sqlite(data.join("bascule.db")))
            .await
            .unwrap();
        db.migrate(&[
            bascule_store::MIGRATIONS,
            bascule_ledger::MIGRATIONS,
            bascule_forge::MIGRATIONS,
        ])
        .await
        .unwrap();
        let ledger = Ledger::new(db.clone(), Arc::new(SystemClock), InstanceKey::generate());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut config = config(data, &url);
        adjust(&mut config);
        let forge = Forge::open(db.clone(), ledger.clone(), config, Arc::new(Everything))
            .await
            .unwrap();
        forge.set_people(Arc::new(Everything));
        let gate = Arc::new(ByRole {
            forge: forge.clone(),
            group: GroupId::new(),
        });
        let (router, _, _) = forge.routes().into_parts();
        let router = bascule_web::finish(router, gate);
        let stop = CancellationToken::new();
        let background = (forge.clone(), stop.clone());
        tokio::spawn(async move { background.0.run(background.1).await });
        let mut hub = Hub::default();
        for subscriber in forge.subscribers() {
            hub = hub.with(subscriber);
        }
        tokio::spawn(hub.run(ledger.clone(), stop.clone()));
        tokio::spawn(async move { axum_serve(listener, router).await });
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            forge,
            db,
            ledger,
            url,
            dir,
            http,
            stop,
        }
    }

    /// A project as the API makes it; returns its clone address for a role.
    pub async fn project(&self, name: &str) -> bascule_wire::forge::Project {
        let answer = self
            .http
            .post(format!("{}/api/v1/groups/{GROUP}/projects", self.url))
            .basic_auth("owner", Some("x"))
            .json(&serde_json::json!({ "name": name, "description": "A test" }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    pub fn address(&self, role: &str, name: &str) -> String {
        format!(
            "{}/{GROUP}/{name}.git",
            self.url.replace("http://", &format!("http://{role}:x@"))
        )
    }

    pub fn repository(&self, project: &bascule_wire::forge::Project) -> PathBuf {
        let id = project.id.to_string();
        self.dir
            .path()
            .join("data/repositories")
            .join(&id[id.len() - 2..])
            .join(format!("{id}.git"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn get(&self, role: &str, path: &str) -> reqwest::Response {
        self.http
            .get(format!("{}{path}", self.url))
            .basic_auth(role, Some("x"))
            .header("accept", "text/html")
            .send()
            .await
            .unwrap()
    }

    /// A page that must be there.
    pub async fn page(&self, role: &str, path: &str) -> String {
        let answer = self.get(role, path).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    pub async fn facts<F: Fact>(&self) -> Vec<(Entry, F)> {
        let filter = Filter {
            kinds: vec![F::KIND.to_owned()],
            ..Filter::default()
        };
        let entries = self
            .ledger
            .read(&filter, Page::After { after: 0, limit: 500 })
            .await
            .unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.clone(), entry.fact::<F>().unwrap()))
            .collect()
    }

    /// A working copy with one commit on `main`, pushed by a maintainer.
    pub async fn seeded(&self, name: &str) -> (bascule_wire::forge::Project, PathBuf) {
        let project = self.project(name).await;
        let work = self.path(&format!("{name}-work"));
        work_tree(&work, &self.address("maintainer", name)).await;
        write(&work, "README.md", "# Hello\n\nSee [the guide](docs/guide.md).\n");
        write(&work, "src/main.rs", "fn main() {\n    println!(\"hello\");\n}\n");
        commit(&work, "Begin").await;
        git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
        (project, work)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn axum_serve(listener: tokio::net::TcpListener, router: axum::Router) {
    axum::serve(listener, router).await.unwrap();
}

pub fn write(work: &Path, name: &str, text: &str) {
    let path = work.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub async fn work_tree(work: &Path, address: &str) {
    std::fs::create_dir_all(work).unwrap();
    git_ok(work, &["init", "--quiet", "--initial-branch=main"]).await;
    git_ok(work, &["remote", "add", "origin", address]).await;
}

pub async fn commit(work: &Path, message: &str) {
    git_ok(work, &["add", "--all"]).await;
    git_ok(
        work,
        &["commit", "--quiet", "--allow-empty", "--message", message],
    )
    .await;
}

/// Stock git, with none of this machine's settings.
pub async fn git(at: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new("git")
        .args(arguments)
        .current_dir(at)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", at)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "Ada@Example.org")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .output()
        .await
        .unwrap()
}

pub async fn git_ok(at: &Path, arguments: &[&str]) -> String {
    let output = git(at, arguments).await;
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The same, for what must be refused; returns what the person reads.
pub async fn git_refused(at: &Path, arguments: &[&str]) -> String {
    let output = git(at, arguments).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "git {arguments:?} went through: {text}");
    text
}

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("never came: {what}");
}
