//! A small world for this crate's tests, and the tests that go through it from end to end.

mod mails;
mod todos;
mod webhooks;

use crate::{
    Config, MIGRATIONS, Notices, mail,
    ports::{self, Commit, Issue, Person, Project, Request, Seen, Standing, Target},
    webhook::Allowed,
};
use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, CommentId, FakeClock, GroupId, InstanceRole, IssueId, LabelId, MergeRequestId,
    ProjectId, Result, Timestamp, UserId,
};
use bascule_ledger::{Fact, Hub, InstanceKey, Ledger};
use bascule_store::{Db, Query as _, args};
use bascule_testkit::scratch_db;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

const EVERYONE: [&str; 5] = ["developer", "maintainer", "security", "sre", "outsider"];

/// What the world holds, changed by tests.
#[derive(Default)]
struct Things {
    requests: HashMap<MergeRequestId, Request>,
    issues: HashMap<IssueId, Issue>,
    /// Who may not read anything.
    shut_out: HashSet<UserId>,
    awaited: Vec<UserId>,
    mentioned: Vec<UserId>,
    conflict: bool,
    comments: HashMap<String, String>,
    subscribers: Vec<UserId>,
}

struct Fakes {
    users: HashMap<&'static str, UserId>,
    project: ProjectId,
    group: GroupId,
    things: Mutex<Things>,
}

#[async_trait]
impl ports::People for Fakes {
    async fn person(&self, user: UserId) -> Result<Option<Person>> {
        let found = self.users.iter().find(|(_, id)| **id == user);
        Ok(found.map(|(name, id)| Person {
            id: *id,
            username: (*name).to_owned(),
            display_name: String::new(),
            email: format!("{name}@example.org"),
            caller: self.caller(name),
        }))
    }

    async fn behind(&self, actor: &Actor) -> Result<Option<UserId>> {
        Ok(self.users.get(actor.name.as_str()).copied())
    }
}

impl Fakes {
    fn caller(&self, name: &str) -> Caller {
        let user = self.users[name];
        Caller {
            actor: Actor::new(ActorKind::User, user, name),
            user: Some(user),
            instance_role: InstanceRole::Member,
            ..Caller::anonymous()
        }
    }

    fn things(&self) -> std::sync::MutexGuard<'_, Things> {
        self.things.lock().unwrap()
    }
}

#[async_trait]
impl ports::Matters for Fakes {
    async fn request(&self, id: MergeRequestId) -> Result<Option<Request>> {
        Ok(self.things().requests.get(&id).cloned())
    }

    async fn issue(&self, id: IssueId) -> Result<Option<Issue>> {
        Ok(self.things().issues.get(&id).cloned())
    }

    async fn seen(&self, caller: &Caller, asked: &[Target]) -> Result<Vec<Seen>> {
        let things = self.things();
        let me = caller.user.unwrap();
        if things.shut_out.contains(&me) {
            return Ok(Vec::new());
        }
        let seen = |target: &Target| {
            let (number, title, state) = match target {
                Target::Issue(id) => {
                    let issue = things.issues.get(id)?;
                    let mine = issue.author == Some(me) || issue.assignees.iter().any(|(id, _)| *id == me);
                    if issue.confidential && !mine {
                        return None;
                    }
                    (
                        issue.number,
                        issue.title.clone(),
                        if issue.open { "open" } else { "closed" },
                    )
                }
                Target::Request(id) => {
                    let request = things.requests.get(id)?;
                    (request.number, request.title.clone(), "open")
                }
            };
            Some(Seen {
                target: *target,
                project: "ward/app".to_owned(),
                number,
                title,
                state: state.to_owned(),
            })
        };
        Ok(asked.iter().filter_map(seen).collect())
    }

    async fn mentioned(&self, _: MergeRequestId) -> Result<Vec<UserId>> {
        Ok(self.things().mentioned.clone())
    }

    async fn awaited(&self, _: MergeRequestId) -> Result<Vec<UserId>> {
        Ok(self.things().awaited.clone())
    }

    async fn requests_at(&self, _: ProjectId, sha: &str) -> Result<Vec<Request>> {
        let things = self.things();
        Ok(things
            .requests
            .values()
            .filter(|r| r.head == sha)
            .cloned()
            .collect())
    }

    async fn standing_to(&self, _: ProjectId, branch: &str) -> Result<Vec<Standing>> {
        let things = self.things();
        let to = |r: &&Request| r.target_branch == branch && r.state == "open";
        let all = things.requests.values().filter(to);
        Ok(all.map(|r| standing(r, things.conflict)).collect())
    }

    async fn standing(&self, id: MergeRequestId) -> Result<Option<Standing>> {
        let things = self.things();
        let found = things.requests.values().find(|r| r.id == id && r.state == "open");
        Ok(found.map(|r| standing(r, things.conflict)))
    }

    async fn request_comment(&self, _: MergeRequestId, comment: CommentId) -> Result<Option<String>> {
        Ok(self.things().comments.get(&comment.to_string()).cloned())
    }

    async fn issue_comment(&self, _: IssueId, number: i64) -> Result<Option<String>> {
        Ok(self.things().comments.get(&number.to_string()).cloned())
    }

    async fn label_subscribers(&self, _: &[LabelId]) -> Result<Vec<UserId>> {
        Ok(self.things().subscribers.clone())
    }
}

#[async_trait]
impl ports::Projects for Fakes {
    async fn project(&self, id: ProjectId) -> Result<Option<Project>> {
        Ok((id == self.project).then(|| Project {
            id,
            group: self.group,
            path: "ward/app".to_owned(),
            description: String::new(),
            visibility: "private".to_owned(),
            default_branch: "main".to_owned(),
            clone_url: "http://forge.test/ward/app.git".to_owned(),
            ssh_url: String::new(),
        }))
    }

    async fn find(&self, _: &Caller, path: &str) -> Result<Option<ProjectId>> {
        Ok((path == "ward/app").then_some(self.project))
    }

    async fn commits(&self, _: ProjectId, shas: &[String]) -> Result<Vec<Commit>> {
        let commit = |sha: &String| Commit {
            sha: sha.clone(),
            message: format!("Commit {sha}\n\nWhy."),
            author: "developer".to_owned(),
            email: "developer@example.org".to_owned(),
            at: Timestamp::from_seconds(1_700_000_000),
        };
        Ok(shas.iter().map(commit).collect())
    }
}

struct World {
    notices: Notices,
    ledger: Ledger,
    clock: FakeClock,
    fakes: Arc<Fakes>,
    db: Db,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(None, &[]).await
    }

    async fn with(mail: Option<mail::Settings>, allow: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = scratch_db(dir.path()).await;
        let before = [bascule_store::MIGRATIONS, bascule_ledger::MIGRATIONS];
        db.migrate(&before).await.unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1_700_000_000));
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let fakes = Arc::new(Fakes {
            users: EVERYONE.into_iter().map(|name| (name, UserId::new())).collect(),
            project: ProjectId::new(),
            group: GroupId::new(),
            things: Mutex::default(),
        });
        // What happened before this crate came is told to nobody.
        let old = bascule_ledger::facts::planning::IssueOpened {
            project: fakes.project,
            issue: IssueId::new(),
            number: 99,
            confidential: false,
            assignees: vec![fakes.users["sre"]],
            labels: Vec::new(),
            mentions: Vec::new(),
            at: Timestamp::from_seconds(1),
        };
        let tx = db.begin().await.unwrap();
        ledger.append(&tx, &Actor::system(), &old).await.unwrap();
        tx.commit().await.unwrap();
        db.migrate(&[before[0], before[1], MIGRATIONS]).await.unwrap();
        let allow: Vec<String> = allow.iter().map(|&entry| entry.to_owned()).collect();
        let notices = Notices::new(
            db.clone(),
            ledger.clone(),
            fakes.clone(),
            fakes.clone(),
            fakes.clone(),
            Config {
                url: "http://forge.test".to_owned(),
                mail,
                webhooks: Allowed::parse(&allow).unwrap(),
            },
        );
        Self {
            notices,
            ledger,
            clock,
            fakes,
            db,
            _dir: dir,
        }
    }

    fn user(&self, name: &str) -> UserId {
        self.fakes.users[name]
    }

    /// A fact by someone, and everything that comes of it.
    async fn fact<F: Fact>(&self, by: &str, fact: &F) {
        let actor = match self.fakes.users.get(by) {
            Some(user) => Actor::new(ActorKind::User, user, by),
            None => Actor::system(),
        };
        let tx = self.db.begin().await.unwrap();
        self.ledger.append(&tx, &actor, fact).await.unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
    }

    async fn settle(&self) {
        let hub = self.notices.subscribe(Hub::default());
        hub.settle(&self.ledger).await.unwrap();
    }

    /// All facts come again, as after a crash before any cursor was written.
    async fn all_again(&self) {
        let tx = self.db.begin().await.unwrap();
        tx.run("DELETE FROM subscriber", args![]).await.unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
    }

    /// A request by the developer.
    fn request(&self, number: i64) -> Request {
        let at = Timestamp::from_seconds(1_700_000_000);
        let request = Request {
            id: MergeRequestId::new(),
            project: self.fakes.project,
            number,
            title: format!("Request {number}"),
            description: "Please @sre".to_owned(),
            state: "open".to_owned(),
            draft: false,
            source_branch: "topic".to_owned(),
            target_branch: "main".to_owned(),
            source_project: self.fakes.project,
            head: format!("{number:040}"),
            merge_sha: None,
            author: Some(self.user("developer")),
            author_name: "developer".to_owned(),
            reviewers: Vec::new(),
            assignees: Vec::new(),
            created_at: at,
            updated_at: at,
        };
        self.fakes.things().requests.insert(request.id, request.clone());
        request
    }

    fn issue(&self, number: i64, confidential: bool) -> Issue {
        let issue = Issue {
            id: IssueId::new(),
            project: self.fakes.project,
            number,
            title: format!("Issue {number}"),
            description: String::new(),
            open: true,
            confidential,
            author: Some(self.user("developer")),
            author_name: "developer".to_owned(),
            assignees: Vec::new(),
            labels: Vec::new(),
        };
        self.fakes.things().issues.insert(issue.id, issue.clone());
        issue
    }

    /// What waits for someone: reason and number, sorted.
    async fn waiting(&self, name: &str) -> Vec<(String, i64)> {
        let todos = self
            .notices
            .todos(&self.fakes.caller(name), &crate::todo::Filter::default())
            .await
            .unwrap();
        assert_eq!(
            todos.waiting,
            todos.items.len() as i64,
            "the count is what is shown"
        );
        let mut all: Vec<(String, i64)> = todos.items.into_iter().map(|t| (t.action, t.number)).collect();
        all.sort();
        all
    }

    async fn count(&self, sql: &str) -> i64 {
        self.db.count(sql, args![]).await.unwrap()
    }
}

fn waits(all: &[(&str, i64)]) -> Vec<(String, i64)> {
    all.iter()
        .map(|(action, number)| ((*action).to_owned(), *number))
        .collect()
}

fn standing(request: &Request, conflict: bool) -> Standing {
    Standing {
        id: request.id,
        project: request.project,
        number: request.number,
        author: request.author,
        conflict,
    }
}
