//! Previews: delivery asks the forge about merge requests, CI about pipelines, and lets supplychain keep what they
//! made; the forge shows what delivery tells of a request.

use super::people::People;
use async_trait::async_trait;
use bascule_ci::{Ci, status::PipelineStatus as Status};
use bascule_core::{Caller, JobId, Permission, Problem, ProjectId, ProjectScope, ReleaseId, Result, UserId};
use bascule_delivery::{Delivery, NewBuild, Pipeline, RequestNow};
use bascule_forge::{
    Forge, MergeRequest, ProjectInfo, State,
    ports::{People as _, Shown},
};
use bascule_ledger::facts::ci::ReleaseRequested;
use bascule_supplychain::{Candidate, Releases};
use bascule_web::Markup;

/// Merge requests, for previews.
pub struct Requests {
    pub forge: Forge,
    pub people: People,
}

impl Requests {
    async fn request(&self, project: ProjectId, iid: i64) -> Result<Option<(ProjectInfo, MergeRequest)>> {
        let Some(info) = self.forge.project_by_id(project).await? else {
            return Ok(None);
        };
        match self.forge.merge_request(project, iid).await {
            Ok(request) => Ok(Some((info, request))),
            Err(problem) if problem.status == 404 => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Whether someone may push to the project as it is now.
    async fn pushes(&self, user: Option<UserId>, project: &ProjectInfo) -> Result<bool> {
        let Some(user) = user else { return Ok(false) };
        let role = self.people.role(user, project).await?;
        Ok(role.is_some_and(|role| role.holds(Permission::CodePush)))
    }

    /// Commits of the project itself were pushed by those who may. A fork's are trusted where both who opened the
    /// request and who pushed its newest commit may push here.
    async fn trusts(&self, project: &ProjectInfo, request: &MergeRequest) -> Result<bool> {
        if !request.is_fork() {
            return Ok(true);
        }
        if !self.pushes(request.author_id, project).await? {
            return Ok(false);
        }
        let version = self.forge.present_version(request).await?;
        let pusher = version.and_then(|version| version.by_id.parse::<UserId>().ok());
        self.pushes(pusher, project).await
    }
}

#[async_trait]
impl bascule_delivery::Requests for Requests {
    async fn get(&self, project: ProjectId, iid: i64) -> Result<Option<RequestNow>> {
        let Some((info, request)) = self.request(project, iid).await? else {
            return Ok(None);
        };
        let open = request.state == State::Open;
        let target = match open {
            true => self.forge.resolve_branch(project, &request.target_branch).await?,
            false => None,
        };
        Ok(Some(RequestNow {
            open,
            merged: request.state == State::Merged,
            has_source: open && self.forge.has_source(&request).await?,
            trusted: open && self.trusts(&info, &request).await?,
            head: request.head,
            source: request.source_project_id,
            source_branch: request.source_branch,
            target_branch: request.target_branch,
            target,
        }))
    }

    async fn open(&self, project: ProjectId) -> Result<Vec<i64>> {
        self.forge.open_requests(project).await
    }

    async fn merge_result(&self, project: ProjectId, iid: i64) -> Result<Option<String>> {
        let request = self.forge.merge_request(project, iid).await?;
        // What counts is the default branch; elsewhere a merge declares nothing.
        let info = self.forge.project_by_id(project).await?;
        if info.is_none_or(|info| info.default_branch != request.target_branch) {
            return Err(Problem::conflict(
                "other_branch",
                format!("!{iid} does not go to the default branch."),
            )
            .why("Only the default branch declares environments.")
            .next("Choose another target branch, if it should."));
        }
        self.forge.merge_result(&request).await
    }
}

/// Pipelines and what they made, for previews.
pub struct Builds {
    pub ci: Ci,
    pub forge: Forge,
    pub releases: Releases,
}

#[async_trait]
impl bascule_delivery::Builds for Builds {
    async fn pipeline(&self, project: ProjectId, sha: &str) -> Result<Pipeline> {
        Ok(match self.ci.commit_status(project, sha).await? {
            None => Pipeline::None,
            Some((id, Status::Success | Status::Warning)) => Pipeline::Passed(id),
            Some((id, Status::Failed | Status::Canceled | Status::Skipped)) => Pipeline::Failed(id),
            Some((id, _)) => Pipeline::Running(id),
        })
    }

    async fn build(&self, wanted: &NewBuild) -> Result<ReleaseId> {
        let (pipeline, artifacts) = self.ci.pipeline_archives(wanted.source, wanted.pipeline).await?;
        let info = self.forge.project_by_id(wanted.project).await?;
        let info = info.ok_or_else(|| Problem::not_found("project"))?;
        let request = ReleaseRequested {
            project: wanted.project,
            project_path: info.path(),
            pipeline: pipeline.id,
            // No job asks for it: the whole pipeline does by being green.
            job: artifacts.last().map_or(JobId(0), |last| last.job),
            tag: wanted.version.clone(),
            sha: wanted.sha.clone(),
            name: wanted.version.clone(),
            description: String::new(),
            artifacts,
            runner: None,
            started_at: pipeline.created_at,
            finished_at: pipeline.finished_at.unwrap_or(pipeline.created_at),
            ci_file_digest: pipeline.ci_file_digest,
        };
        let candidate = Candidate {
            iid: wanted.iid,
            request,
        };
        Ok(self.releases.build_for_preview(&candidate).await?.id)
    }

    async fn forget(&self, project: ProjectId, iid: i64, save: Option<ReleaseId>) -> Result<()> {
        self.releases.forget_preview_builds(project, iid, save).await
    }
}

/// What is shown on a request's page.
pub struct Panels {
    pub delivery: Delivery,
    pub ci: Ci,
    pub forge: Forge,
}

impl Panels {
    /// The newest pipeline of the request's commit and what it found out, for those who may read pipelines.
    async fn pipeline(&self, scope: &ProjectScope, request: &MergeRequest) -> Result<Option<Markup>> {
        if !scope.holds(Permission::PipelineRead) {
            return Ok(None);
        }
        let Some(source) = self.forge.project_by_id(request.source_project_id).await? else {
            return Ok(None);
        };
        let asked = bascule_ci::results::Asked {
            source: source.id,
            source_path: &format!("{}/{}", source.group, source.name),
            branch: &request.source_branch,
            sha: &request.head,
            target: scope.id,
            target_branch: &request.target_branch,
            findings_href: format!("/{}/-/merge-requests/{}/findings", scope.path(), request.iid),
        };
        self.ci.request_widget(&asked).await
    }
}

#[async_trait]
impl bascule_forge::ports::Panels for Panels {
    async fn panels(&self, caller: &Caller, scope: &ProjectScope, request: &MergeRequest) -> Result<Shown> {
        let open = request.state == State::Open;
        let panel = self.delivery.panel(caller, scope, request.iid, open).await?;
        let mut below: Vec<Markup> = self.pipeline(scope, request).await?.into_iter().collect();
        below.extend(panel.dry_run);
        Ok(Shown {
            below,
            beside: panel.preview.into_iter().collect(),
        })
    }
}
