//! What pipelines ask: other projects, and what the people behind pipelines may do there.

use async_trait::async_trait;
use bascule_ci::{
    Ci,
    pipeline::MergeRequest,
    ports::{self, Merged, Neighbour},
};
use bascule_core::{Actor, ActorKind, Caller, GroupId, Permission, ProjectId, Result, Role, UserId};
use bascule_forge::{Forge, ProjectInfo, State};
use bascule_identity::{Account, Identity};

/// Other projects, and what people may do there.
#[derive(Clone)]
pub struct Reach {
    pub forge: Forge,
    pub identity: Identity,
}

fn neighbour(project: &ProjectInfo) -> Neighbour {
    Neighbour {
        id: project.id,
        group: project.group_id,
        path: project.path(),
        default_branch: project.default_branch.clone(),
    }
}

impl Reach {
    /// The open account behind an actor. Programs limited to one project, whose names hold a colon, have none: nobody
    /// answers for what they would do elsewhere.
    async fn account(&self, actor: &Actor) -> Result<Option<Account>> {
        match actor.kind {
            ActorKind::User => match actor.id.parse::<UserId>() {
                Ok(user) => self.identity.open_user_by_id(user).await,
                Err(_) => Ok(None),
            },
            ActorKind::Token if !actor.name.contains(':') => self.identity.open_user(&actor.name).await,
            _ => Ok(None),
        }
    }

    /// The open account behind an actor, and what it is in a project; `None` also where there is no such project.
    async fn standing(&self, actor: &Actor, project: ProjectId) -> Result<Option<(Account, Option<Role>)>> {
        let Some(account) = self.account(actor).await? else {
            return Ok(None);
        };
        let Some(project) = self.forge.project_by_id(project).await? else {
            return Ok(None);
        };
        let caller = Caller {
            actor: actor.clone(),
            user: Some(account.id),
            instance_role: account.instance_role,
            ..Caller::anonymous()
        };
        let role = self
            .identity
            .role_in_project(&caller, project.id, project.group_id, project.visibility)
            .await?;
        Ok(Some((account, role)))
    }
}

#[async_trait]
impl ports::Reach for Reach {
    async fn find(&self, path: &str) -> Result<Option<Neighbour>> {
        let Some((group, name)) = path.trim_matches('/').split_once('/') else {
            return Ok(None);
        };
        Ok(self.forge.find(group, name).await?.map(|found| neighbour(&found)))
    }

    async fn get(&self, project: ProjectId) -> Result<Option<Neighbour>> {
        Ok(self.forge.project_by_id(project).await?.as_ref().map(neighbour))
    }

    async fn of_group(&self, group: GroupId, after: &str, limit: i64) -> Result<Vec<Neighbour>> {
        Ok(self
            .forge
            .projects_of_group(group, after, limit)
            .await?
            .iter()
            .map(neighbour)
            .collect())
    }

    async fn may(&self, actor: &Actor, project: ProjectId, permission: Permission) -> Result<bool> {
        let found = self.standing(actor, project).await?;
        Ok(found.is_some_and(|(_, role)| role.is_some_and(|role| role.holds(permission))))
    }

    async fn person(&self, actor: &Actor, project: ProjectId) -> Result<Option<ports::Person>> {
        let found = self.standing(actor, project).await?;
        Ok(found.map(|(account, role)| ports::Person {
            id: account.id.to_string(),
            login: account.username,
            name: account.display_name,
            email: account.email,
            role: role.map(|role| role.to_string()).unwrap_or_default(),
        }))
    }

    async fn is_open(&self, user: &str) -> Result<bool> {
        match user.parse::<UserId>() {
            Ok(user) => Ok(self.identity.open_user_by_id(user).await?.is_some()),
            Err(_) => Ok(false),
        }
    }
}

/// A merge request as its pipelines know it.
fn for_pipelines(request: &bascule_forge::MergeRequest, target_sha: String) -> MergeRequest {
    MergeRequest {
        iid: request.iid,
        id: request.id.to_string(),
        title: request.title.clone(),
        source_branch: request.source_branch.clone(),
        source_sha: request.head.clone(),
        target_branch: request.target_branch.clone(),
        target_sha,
        base_sha: request.base.clone(),
        version: request.version,
        draft: request.draft,
        description: request.description.clone(),
        ..MergeRequest::default()
    }
}

/// Merge requests, for their pipelines.
#[derive(Clone)]
pub struct Requests(pub Forge);

impl Requests {
    /// An open request whose commits come from the project itself.
    async fn own(&self, project: ProjectId, iid: i64) -> Result<Option<bascule_forge::MergeRequest>> {
        match self.0.merge_request(project, iid).await {
            Ok(request) => Ok(Some(request).filter(|one| one.state == State::Open && !one.is_fork())),
            Err(problem) if problem.status == 404 => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

#[async_trait]
impl ports::Requests for Requests {
    async fn request(&self, project: ProjectId, iid: i64) -> Result<Option<MergeRequest>> {
        let Some(request) = self.own(project, iid).await? else {
            return Ok(None);
        };
        let target = self.0.resolve_branch(project, &request.target_branch).await?;
        Ok(Some(for_pipelines(&request, target.unwrap_or_default())))
    }

    async fn merged(&self, project: ProjectId, iid: i64) -> Result<Option<Merged>> {
        let Some(request) = self.own(project, iid).await? else {
            return Ok(None);
        };
        let merged = self.0.merged_commit(&request).await?;
        Ok(merged.map(|merged| Merged {
            sha: merged.sha,
            target: merged.target,
        }))
    }

    async fn open_from(&self, project: ProjectId, branch: &str) -> Result<Vec<i64>> {
        let all = self.0.requests_from(project, branch).await?;
        Ok(all
            .into_iter()
            .filter(|request| request.project_id == project)
            .map(|request| request.iid)
            .collect())
    }
}

/// How pipelines stand, for merging.
pub struct Pipelines(pub Ci);

/// As merging sees it.
fn outcome(status: bascule_ci::status::PipelineStatus) -> bascule_forge::ports::Outcome {
    use bascule_ci::status::PipelineStatus as Status;
    use bascule_forge::ports::Outcome;
    match status {
        Status::Success | Status::Warning => Outcome::Passed,
        Status::Failed => Outcome::Failed,
        Status::Canceled => Outcome::Canceled,
        Status::Skipped => Outcome::Skipped,
        Status::Manual => Outcome::Waiting,
        Status::Created | Status::Pending | Status::Running | Status::Scheduled => Outcome::Running,
    }
}

#[async_trait]
impl bascule_forge::ports::Pipelines for Pipelines {
    async fn of_request(
        &self,
        request: &bascule_forge::MergeRequest,
    ) -> Result<Option<bascule_forge::ports::Pipeline>> {
        let (source, branch) = (request.source_project_id, &request.source_branch);
        let found = self.0.branch_status(source, branch, &request.head).await?;
        let Some((id, status)) = found else {
            return Ok(None);
        };
        Ok(Some(bascule_forge::ports::Pipeline {
            id,
            outcome: outcome(status),
        }))
    }

    async fn required(
        &self,
        request: &bascule_forge::MergeRequest,
    ) -> Result<Option<bascule_forge::ports::Demand>> {
        use bascule_ci::required::Stands as Found;
        use bascule_forge::ports::{Demand, Stands};
        let asked = bascule_ci::required::Asked {
            project: request.project_id,
            fork: request.is_fork(),
            request: &for_pipelines(request, String::new()),
        };
        let found = self.0.required_standing(&asked).await?;
        Ok(found.map(|found| Demand {
            group: found.group,
            names: found.names,
            stands: match found.stands {
                Found::Passed => Stands::Passed,
                Found::Missing(jobs) => Stands::Missing(jobs),
                Found::Faulty(why) => Stands::Faulty(why),
                Found::Open {
                    pipeline,
                    status,
                    jobs,
                } => Stands::Open {
                    pipeline,
                    outcome: outcome(status),
                    jobs,
                },
            },
        }))
    }

    async fn of_trial(
        &self,
        project: ProjectId,
        pipeline: bascule_core::PipelineId,
    ) -> Result<Option<bascule_forge::ports::Outcome>> {
        Ok(self.0.pipeline_status(project, pipeline).await?.map(outcome))
    }

    async fn concern(
        &self,
        project: &bascule_forge::ProjectInfo,
        request: &bascule_forge::MergeRequest,
    ) -> Result<Option<bascule_forge::ports::Concern>> {
        let asked = bascule_ci::results::Asked {
            source: request.source_project_id,
            source_path: "",
            branch: &request.source_branch,
            sha: &request.head,
            target: project.id,
            target_branch: &request.target_branch,
            findings_href: String::new(),
        };
        let concern = self.0.coverage_concern(&asked).await?;
        Ok(concern.map(|concern| bascule_forge::ports::Concern {
            holds: concern.holds,
            what: concern.what,
            why: "The project asks that its tests reach so much of the code.".to_owned(),
            next: concern.next,
        }))
    }

    async fn missed(
        &self,
        project: ProjectId,
        sha: &str,
        files: &[String],
    ) -> Result<bascule_forge::ports::Missed> {
        self.0.lines_missed_at(project, sha, files).await
    }

    async fn try_merge(
        &self,
        trial: &bascule_forge::ports::Trial,
    ) -> Result<Option<bascule_core::PipelineId>> {
        use bascule_ci::pipeline::{Created, MergeRequest, More, Start};
        use bascule_wire::runner::Variable;
        let variable = |key: &str, value: String| Variable {
            raw: true,
            ..Variable::public(key, value)
        };
        let start = Start {
            project: trial.project,
            reference: trial.reference.clone(),
            tag: false,
            sha: trial.sha.clone(),
            before: Some(trial.base.clone()),
            source: "merge_request_event",
            fact: Some(format!("merge-queue:{}:{}", trial.attempt, trial.sha)),
            variables: vec![
                variable("CI_MERGE_REQUEST_IID", trial.iid.to_string()),
                variable("CI_MERGE_REQUEST_EVENT_TYPE", "merge_train".to_owned()),
                variable("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", trial.target_branch.clone()),
            ],
            actor: trial.actor.clone(),
            more: More {
                merge_request: Some(MergeRequest {
                    iid: trial.iid,
                    target_branch: trial.target_branch.clone(),
                    target_sha: trial.base.clone(),
                    event: "merge_train".to_owned(),
                    ..MergeRequest::default()
                }),
                ..More::default()
            },
        };
        Ok(match self.0.create_pipeline(start).await? {
            Created::Pipeline(id) | Created::Refused(id, _) => Some(id),
            Created::Nothing(_) => None,
        })
    }

    async fn cancel(&self, project: ProjectId, pipeline: bascule_core::PipelineId) -> Result<()> {
        self.0
            .cancel_pipeline(project, pipeline, &Actor::system())
            .await?;
        Ok(())
    }
}
