//! What notices ask of others, answered by identity, the forge and planning; and their settings.

use crate::config::Config;
use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, CommentId, IssueId, LabelId, MergeRequestId, Problem, ProjectId, ProjectScope,
    Result, UserId,
};
use bascule_forge::{Forge, MergeRequest, State};
use bascule_identity::{Account, Identity};
use bascule_ledger::Ledger;
use bascule_notices::{
    Notices,
    mail::{Security, Settings},
    ports::{self, Issue, Person, Project, Request, Seen, Standing, Target},
    webhook::Allowed,
};
use bascule_planning::{Planning, issue::IssueFacts};
use bascule_store::Db;
use std::{collections::HashMap, path::Path, sync::Arc};

/// Who is who.
#[derive(Clone)]
struct People(Identity);

/// Issues, requests, projects.
#[derive(Clone)]
pub struct Told {
    pub forge: Forge,
    pub planning: Planning,
    pub identity: Identity,
}

/// The capability, wired.
pub fn open(
    database: &Db,
    ledger: &Ledger,
    identity: &Identity,
    told: Told,
    config: bascule_notices::Config,
) -> Notices {
    let told = Arc::new(told);
    Notices::new(
        database.clone(),
        ledger.clone(),
        Arc::new(People(identity.clone())),
        told.clone(),
        told,
        config,
    )
}

fn usage(what: String, next: &str) -> Problem {
    Problem::new(400, "usage", what).next(next)
}

fn file(path: &Path, what: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        usage(
            format!("`{what}` cannot be read: {error}."),
            "Correct the path, and let the server read the file.",
        )
    })
}

/// The settings of mail and webhooks, checked.
pub fn config(config: &Config, url: &str) -> Result<bascule_notices::Config> {
    let webhooks = Allowed::parse(&config.webhook_allow).map_err(|entry| {
        usage(
            format!("`webhook_allow` has `{entry}`."),
            "Give addresses, ranges such as 10.0.0.0/8, hosts, or *.example.org.",
        )
    })?;
    Ok(bascule_notices::Config {
        url: url.to_owned(),
        mail: if config.mail_host.is_empty() {
            None
        } else {
            Some(mail(config)?)
        },
        webhooks,
    })
}

fn mail(config: &Config) -> Result<Settings> {
    let (security, usual) = match config.mail_tls.as_str() {
        "starttls" => (Security::StartTls, 587),
        "tls" => (Security::Tls, 465),
        "none" => (Security::None, 25),
        other => {
            return Err(usage(
                format!("`mail_tls` is `{other}`."),
                "Use starttls, tls or none.",
            ));
        }
    };
    let password = if config.mail_password_file.as_os_str().is_empty() {
        config.mail_password.clone()
    } else {
        let read = file(&config.mail_password_file, "mail_password_file")?;
        String::from_utf8_lossy(&read)
            .trim_end_matches(['\r', '\n'])
            .to_owned()
    };
    let settings = Settings {
        host: config.mail_host.clone(),
        port: if config.mail_port == 0 {
            usual
        } else {
            config.mail_port
        },
        security,
        user: config.mail_user.clone(),
        password,
        from: config.mail_from.clone(),
        ca: if config.mail_ca.as_os_str().is_empty() {
            Vec::new()
        } else {
            file(&config.mail_ca, "mail_ca")?
        },
    };
    settings.check().map_err(|why| {
        usage(
            format!("The settings of mail cannot be used: {why}."),
            "See the book, chapter Notices, for each of them.",
        )
    })?;
    Ok(settings)
}

impl People {
    async fn named(&self, name: &str) -> Result<Option<UserId>> {
        Ok(self.0.open_user(name).await?.map(|account| account.id))
    }
}

fn caller(account: &Account) -> Caller {
    Caller {
        actor: Actor::new(ActorKind::User, account.id, account.username.clone()),
        user: Some(account.id),
        instance_role: account.instance_role,
        ..Caller::anonymous()
    }
}

#[async_trait]
impl ports::People for People {
    async fn person(&self, user: UserId) -> Result<Option<Person>> {
        let found = self.0.open_user_by_id(user).await?;
        Ok(found.map(|account| Person {
            caller: caller(&account),
            id: account.id,
            username: account.username,
            display_name: account.display_name,
            email: account.email,
        }))
    }

    async fn behind(&self, actor: &Actor) -> Result<Option<UserId>> {
        match actor.kind {
            ActorKind::User => Ok(actor.id.parse().ok()),
            // A personal token bears its owner's name, a project's token one that no account can have.
            ActorKind::Token => self.named(&actor.name).await,
            _ => Ok(None),
        }
    }
}

impl Told {
    async fn request_of(&self, request: MergeRequest) -> Result<Request> {
        let involved = self.forge.involved_in(request.id).await?;
        Ok(Request {
            id: request.id,
            project: request.project_id,
            number: request.iid,
            title: request.title,
            description: request.description,
            state: request.state.as_str().to_owned(),
            draft: request.draft,
            source_branch: request.source_branch,
            target_branch: request.target_branch,
            source_project: request.source_project_id,
            head: request.head,
            merge_sha: request.merge_sha,
            author: request.author_id,
            author_name: request.author_name,
            reviewers: involved.reviewers,
            assignees: involved.assignees,
            created_at: request.created_at,
            updated_at: request.updated_at,
        })
    }

    async fn requests(&self, found: Vec<MergeRequest>) -> Result<Vec<Request>> {
        let mut all = Vec::new();
        for request in found {
            all.push(self.request_of(request).await?);
        }
        Ok(all)
    }

    async fn standing_of(&self, request: &MergeRequest) -> Standing {
        let tried = self.forge.is_in_conflict(request).await;
        Standing {
            id: request.id,
            project: request.project_id,
            number: request.iid,
            author: request.author_id,
            conflict: or_nothing("whether it can be merged", tried),
        }
    }

    /// The request, if it is there and open.
    async fn open(&self, id: MergeRequestId) -> Result<Option<MergeRequest>> {
        let found = self.forge.merge_request_by_id(id).await?;
        Ok(found.filter(|request| request.state == State::Open))
    }
}

/// What a repository does not tell is left out: one that is damaged must not hold up everyone else's notices. What the
/// database refuses is asked again.
fn or_nothing<T: Default>(what: &str, answer: Result<T>) -> T {
    answer.unwrap_or_else(|problem| {
        tracing::warn!(%problem, what, "a notice goes without it");
        T::default()
    })
}

fn issue_of(facts: IssueFacts) -> Issue {
    Issue {
        id: facts.id,
        project: facts.project,
        number: facts.number,
        title: facts.title,
        description: facts.description,
        open: facts.open,
        confidential: facts.confidential,
        author: facts.author,
        author_name: facts.author_name,
        assignees: facts.assignees,
        labels: facts.labels,
    }
}

#[async_trait]
impl ports::Matters for Told {
    async fn request(&self, id: MergeRequestId) -> Result<Option<Request>> {
        match self.forge.merge_request_by_id(id).await? {
            Some(request) => Ok(Some(self.request_of(request).await?)),
            None => Ok(None),
        }
    }

    async fn issue(&self, id: IssueId) -> Result<Option<Issue>> {
        Ok(self.planning.issue_facts(id).await?.map(issue_of))
    }

    async fn seen(&self, caller: &Caller, asked: &[Target]) -> Result<Vec<Seen>> {
        let (mut issues, mut requests) = (Vec::new(), Vec::new());
        for target in asked {
            match target {
                Target::Issue(id) => issues.push(*id),
                Target::Request(id) => requests.push(*id),
            }
        }
        let requests = self.forge.merge_requests_by_ids(&requests).await?;
        let mut projects: Vec<ProjectId> = requests.iter().map(|request| request.project_id).collect();
        projects.extend(self.planning.projects_of_issues(&issues).await?);
        projects.sort_unstable();
        projects.dedup();
        let reach = self.identity.reach(caller).await?;
        let scopes: HashMap<ProjectId, ProjectScope> = self
            .forge
            .projects_by_ids(&projects)
            .await?
            .into_iter()
            .filter_map(|project| {
                let role = reach.in_project(project.id, project.group_id, project.visibility)?;
                Some((project.id, project.scope(caller, role)))
            })
            .collect();
        let mut seen = Vec::new();
        for request in requests {
            let scope = scopes.get(&request.project_id);
            if let Some(scope) = scope.filter(|scope| scope.holds(bascule_core::Permission::CodeRead)) {
                seen.push(Seen {
                    target: Target::Request(request.id),
                    project: scope.path(),
                    number: request.iid,
                    title: request.title,
                    state: request.state.as_str().to_owned(),
                });
            }
        }
        if !issues.is_empty() {
            let all: Vec<ProjectScope> = scopes.values().cloned().collect();
            for issue in self.planning.issues_seen(caller, &all, &issues).await? {
                if let Some(scope) = scopes.get(&issue.project) {
                    seen.push(Seen {
                        target: Target::Issue(issue.id),
                        project: scope.path(),
                        number: issue.number,
                        title: issue.title,
                        state: if issue.open { "open" } else { "closed" }.to_owned(),
                    });
                }
            }
        }
        Ok(seen)
    }

    async fn mentioned(&self, id: MergeRequestId) -> Result<Vec<UserId>> {
        match self.forge.merge_request_by_id(id).await? {
            Some(request) => self.forge.mentioned_in_request(&request).await,
            None => Ok(Vec::new()),
        }
    }

    async fn awaited(&self, id: MergeRequestId) -> Result<Vec<UserId>> {
        let Some(request) = self.open(id).await? else {
            return Ok(Vec::new());
        };
        let awaited = self.forge.awaited_approvers(&request).await;
        Ok(or_nothing("who has to approve", awaited))
    }

    async fn requests_at(&self, project: ProjectId, sha: &str) -> Result<Vec<Request>> {
        self.requests(self.forge.open_requests_at(project, sha).await?)
            .await
    }

    async fn standing_to(&self, project: ProjectId, branch: &str) -> Result<Vec<Standing>> {
        let mut all = Vec::new();
        for request in self.forge.open_requests_to(project, branch).await? {
            all.push(self.standing_of(&request).await);
        }
        Ok(all)
    }

    async fn standing(&self, id: MergeRequestId) -> Result<Option<Standing>> {
        match self.open(id).await? {
            Some(request) => Ok(Some(self.standing_of(&request).await)),
            None => Ok(None),
        }
    }

    async fn request_comment(&self, id: MergeRequestId, comment: CommentId) -> Result<Option<String>> {
        self.forge.comment_text(id, comment).await
    }

    async fn issue_comment(&self, id: IssueId, number: i64) -> Result<Option<String>> {
        self.planning.issue_comment(id, number).await
    }

    async fn label_subscribers(&self, labels: &[LabelId]) -> Result<Vec<UserId>> {
        self.planning.label_subscribers(labels).await
    }
}

#[async_trait]
impl ports::Projects for Told {
    async fn project(&self, id: ProjectId) -> Result<Option<Project>> {
        let found = self.forge.project_by_id(id).await?;
        Ok(found.map(|project| Project {
            clone_url: self.forge.clone_url(&project),
            ssh_url: self.forge.ssh_url(&project).unwrap_or_default(),
            id: project.id,
            group: project.group_id,
            path: project.path(),
            visibility: project.visibility.as_str().to_owned(),
            description: project.description,
            default_branch: project.default_branch,
        }))
    }

    async fn find(&self, caller: &Caller, path: &str) -> Result<Option<ProjectId>> {
        let Some((group, name)) = path.split_once('/') else {
            return Ok(None);
        };
        let Some(project) = self.forge.find(group, name).await? else {
            return Ok(None);
        };
        let role = self
            .identity
            .role_in_project(caller, project.id, project.group_id, project.visibility)
            .await?;
        Ok(role.map(|_| project.id))
    }

    async fn commits(&self, project: ProjectId, shas: &[String]) -> Result<Vec<ports::Commit>> {
        let found = or_nothing("its commits", self.forge.commits(project, shas).await);
        Ok(found
            .into_iter()
            .map(|commit| ports::Commit {
                sha: commit.sha,
                message: commit.message,
                author: commit.author,
                email: commit.email,
                at: commit.at,
            })
            .collect())
    }
}
