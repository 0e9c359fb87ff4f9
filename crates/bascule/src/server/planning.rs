//! What planning asks of others, answered by identity and the forge.

use async_trait::async_trait;
use bascule_core::{
    Actor, ActorKind, Caller, GroupId, InstanceRole, ProjectId, ProjectScope, Result, UserId,
};
use bascule_forge::{Forge, ProjectInfo, Visible};
use bascule_identity::{Identity, Place};
use bascule_planning::ports::{self, Member, Reach};
use bascule_wire::planning::IssueTemplate;

/// Most members and projects that are asked for at once.
const AT_MOST: i64 = 1_000;
/// Most templates, and the largest, in bytes.
const TEMPLATES: usize = 50;
const TEMPLATE_BYTES: u64 = 64 * 1024;

/// People.
#[derive(Clone)]
pub struct People(pub Identity);

impl People {
    async fn reach_of(&self, caller: &Caller) -> Result<Reach> {
        let reach = self.0.reach(caller).await?;
        Ok(Reach {
            standing: reach.everywhere,
            reads_only: caller.instance_role == InstanceRole::Auditor,
            groups: reach.groups,
            projects: reach.projects,
        })
    }
}

#[async_trait]
impl ports::People for People {
    async fn members(&self, project: ProjectId, group: GroupId) -> Result<Vec<Member>> {
        let place = Place::Project(project, group);
        let members = self.0.members(place, "", AT_MOST).await?;
        Ok(members
            .into_iter()
            .map(|member| Member {
                user: member.user_id,
                username: member.username,
                role: member.role,
                active: member.active,
            })
            .collect())
    }

    async fn reach(&self, caller: &Caller) -> Result<Reach> {
        self.reach_of(caller).await
    }

    async fn behind(&self, actor: &Actor) -> Result<Reach> {
        let account = match actor.kind {
            ActorKind::User => match actor.id.parse::<UserId>() {
                Ok(user) => self.0.user_by_id(user).await?,
                Err(_) => None,
            },
            // A personal token bears its owner's name, a project's token one that no account can have.
            ActorKind::Token => match self.0.user(&actor.name).await {
                Ok(account) => Some(account),
                Err(problem) if problem.status == 404 => None,
                Err(problem) => return Err(problem),
            },
            _ => None,
        };
        let Some(account) = account.filter(|account| account.active) else {
            return Ok(Reach::default());
        };
        let caller = Caller {
            actor: actor.clone(),
            user: Some(account.id),
            instance_role: account.instance_role,
            ..Caller::anonymous()
        };
        self.reach_of(&caller).await
    }
}

/// Projects.
#[derive(Clone)]
pub struct Projects {
    pub forge: Forge,
    pub identity: Identity,
}

impl Projects {
    async fn scope(&self, caller: &Caller, project: &ProjectInfo) -> Result<Option<ProjectScope>> {
        let role = self
            .identity
            .role_in_project(caller, project.id, project.group_id, project.visibility)
            .await?;
        Ok(role.map(|role| project.scope(caller, role)))
    }
}

#[async_trait]
impl ports::Projects for Projects {
    async fn find(&self, caller: &Caller, path: &str) -> Result<Option<ProjectScope>> {
        let Some((group, name)) = path.split_once('/') else {
            return Ok(None);
        };
        match self.forge.find(group, name).await? {
            None => Ok(None),
            Some(project) => self.scope(caller, &project).await,
        }
    }

    async fn get(&self, caller: &Caller, project: ProjectId) -> Result<Option<ProjectScope>> {
        match self.forge.project_by_id(project).await? {
            None => Ok(None),
            Some(project) => self.scope(caller, &project).await,
        }
    }

    async fn of_group(&self, caller: &Caller, group: GroupId) -> Result<Vec<ProjectScope>> {
        let all = Visible::Some {
            groups: vec![group],
            projects: Vec::new(),
            internal: false,
        };
        let reach = self.identity.reach(caller).await?;
        let found = self.forge.list(&all, "", 0, AT_MOST).await?;
        Ok(found
            .into_iter()
            .filter_map(|project| {
                let role = reach.in_project(project.id, project.group_id, project.visibility)?;
                Some(project.scope(caller, role))
            })
            .collect())
    }

    async fn group_of(&self, project: ProjectId) -> Result<Option<GroupId>> {
        let found = self.forge.project_by_id(project).await?;
        Ok(found.map(|project| project.group_id))
    }

    async fn default_branch(&self, project: ProjectId) -> Result<Option<String>> {
        let found = self.forge.project_by_id(project).await?;
        Ok(found.map(|project| project.default_branch))
    }

    async fn id_of(&self, path: &str) -> Result<Option<(ProjectId, GroupId)>> {
        let Some((group, name)) = path.split_once('/') else {
            return Ok(None);
        };
        let found = self.forge.find(group, name).await?;
        Ok(found.map(|project| (project.id, project.group_id)))
    }
}

/// Code.
#[derive(Clone)]
pub struct Code(pub Forge);

#[async_trait]
impl ports::Code for Code {
    async fn message(&self, project: ProjectId, sha: &str) -> Result<Option<String>> {
        self.0.commit_message(project, sha).await
    }

    async fn closing(&self, project: ProjectId, issue: i64) -> Result<Vec<ports::ClosingRequest>> {
        let found = self.0.requests_closing(project, issue).await?;
        Ok(found
            .into_iter()
            .map(|request| ports::ClosingRequest {
                number: request.iid,
                title: request.title,
                state: request.state.as_str(),
            })
            .collect())
    }

    async fn templates(&self, project: ProjectId, folder: &str) -> Result<Vec<IssueTemplate>> {
        let Some(info) = self.0.project_by_id(project).await? else {
            return Ok(Vec::new());
        };
        let Some(sha) = self.0.resolve_branch(project, &info.default_branch).await? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for path in self.0.list_paths(project, &sha).await? {
            let name = path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(|file| file.strip_suffix(".md"))
                .filter(|name| !name.is_empty() && !name.contains('/'));
            let Some(name) = name.map(str::to_owned) else {
                continue;
            };
            // What is too large or no text is no template.
            let bytes = match self.0.read_file_up_to(project, &sha, &path, TEMPLATE_BYTES).await {
                Ok(bytes) => bytes,
                Err(problem) if !problem.is_server_fault() => None,
                Err(problem) => return Err(problem),
            };
            if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                found.push(IssueTemplate { name, text });
            }
            if found.len() >= TEMPLATES {
                break;
            }
        }
        Ok(found)
    }
}
