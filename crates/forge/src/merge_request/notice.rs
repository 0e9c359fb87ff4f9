//! What those ask who tell people and programs of merge requests. Nothing here asks for permission: who may hear of a
//! request is decided by the one who asks.

use super::{MergeRequest, State, merge::Tried, store, text};
use crate::{Forge, ProjectInfo, code::read as objects};
use bascule_core::{CommentId, MergeRequestId, ProjectId, Result, Timestamp, UserId};

/// Requests looked at when a branch moves.
const LOOKED_AT: usize = 50;

/// Who has to do with a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Involved {
    /// Who is asked to review it.
    pub reviewers: Vec<UserId>,
    /// Who it is assigned to.
    pub assignees: Vec<UserId>,
}

/// A commit, as programs are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its identifier.
    pub sha: String,
    /// Its message.
    pub message: String,
    /// Who wrote it, as they called themselves.
    pub author: String,
    /// Their address, as they gave it.
    pub email: String,
    /// When it was committed.
    pub at: Timestamp,
}

impl Forge {
    /// Requests by their identifiers; those that are gone are left out.
    ///
    /// # Errors
    /// The database refused.
    pub async fn merge_requests_by_ids(&self, ids: &[MergeRequestId]) -> Result<Vec<MergeRequest>> {
        Ok(store::by_ids(self.db(), ids).await?)
    }

    /// Projects by their identifiers; those that are gone are left out.
    ///
    /// # Errors
    /// The database refused.
    pub async fn projects_by_ids(&self, ids: &[ProjectId]) -> Result<Vec<ProjectInfo>> {
        Ok(crate::project::store::by_ids(self.db(), ids).await?)
    }

    /// Who has to do with a request, besides its author.
    ///
    /// # Errors
    /// The database refused.
    pub async fn involved_in(&self, id: MergeRequestId) -> Result<Involved> {
        let mut found = Involved::default();
        for person in crate::review::approval::store::involved(self.db(), id).await? {
            if person.reviewer {
                found.reviewers.push(person.user_id);
            }
            if person.assignee {
                found.assignees.push(person.user_id);
            }
        }
        Ok(found)
    }

    /// Whose approval an open request waits for by name: members of required teams, owners of its files. None while
    /// it is a draft.
    ///
    /// # Errors
    /// The database or the repository refused.
    pub async fn awaited_approvers(&self, request: &MergeRequest) -> Result<Vec<UserId>> {
        if request.state != State::Open || request.draft {
            return Ok(Vec::new());
        }
        let Some(project) = self.project_by_id(request.project_id).await? else {
            return Ok(Vec::new());
        };
        let weighed = self.weigh_approvals(&project, request).await?;
        let all = weighed.verdict.outcomes.into_iter();
        let mut awaited: Vec<UserId> = all.flat_map(|outcome| outcome.awaited).collect();
        awaited.sort_unstable();
        awaited.dedup();
        Ok(awaited)
    }

    /// Open requests that would merge this very commit of this project.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open_requests_at(&self, source: ProjectId, sha: &str) -> Result<Vec<MergeRequest>> {
        Ok(store::open_at(self.db(), source, sha).await?)
    }

    /// Open requests that are to go to a branch, the newest 50.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open_requests_to(&self, project: ProjectId, branch: &str) -> Result<Vec<MergeRequest>> {
        let mut all = store::open_to(self.db(), project, branch).await?;
        all.reverse();
        all.truncate(LOOKED_AT);
        Ok(all)
    }

    /// Requests of a project whose title or description says that they close an issue of it, the newest 20.
    ///
    /// # Errors
    /// The database refused.
    pub async fn requests_closing(&self, project: ProjectId, issue: i64) -> Result<Vec<MergeRequest>> {
        let mut all = store::naming(self.db(), project, issue).await?;
        all.retain(|request| {
            text::closes(&request.title).contains(&issue)
                || text::closes(&request.description).contains(&issue)
        });
        all.truncate(20);
        Ok(all)
    }

    /// Whether an open request and its target branch changed the same places.
    ///
    /// # Errors
    /// The repository refused.
    pub async fn is_in_conflict(&self, request: &MergeRequest) -> Result<bool> {
        if request.state != State::Open {
            return Ok(false);
        }
        let tried = self.tried(request).await?;
        Ok(matches!(tried.as_deref(), Some(Tried::Conflicts { .. })))
    }

    /// The accounts that a request's description speaks to.
    ///
    /// # Errors
    /// The database refused.
    pub async fn mentioned_in_request(&self, request: &MergeRequest) -> Result<Vec<UserId>> {
        match self.project_by_id(request.project_id).await? {
            Some(project) => self.mentions(&project, &request.description).await,
            None => Ok(Vec::new()),
        }
    }

    /// The text of a comment that was sent and not taken back.
    ///
    /// # Errors
    /// The database refused.
    pub async fn comment_text(&self, request: MergeRequestId, comment: CommentId) -> Result<Option<String>> {
        let found = crate::review::thread::store::comment(self.db(), request, comment).await?;
        Ok(found.filter(|c| !c.draft && !c.deleted).map(|c| c.body))
    }

    /// Commits by their identifiers, in the order given; those that are not there are left out.
    ///
    /// # Errors
    /// The repository refused.
    pub async fn commits(&self, project: ProjectId, shas: &[String]) -> Result<Vec<Commit>> {
        let ids: Vec<_> = shas.iter().filter_map(|sha| objects::object_id(sha)).collect();
        self.repositories()
            .read(project, move |repo| {
                let mut found = Vec::new();
                for id in ids.into_iter().filter(|id| repo.has_object(*id)) {
                    let commit = repo.find_commit(id)?;
                    let author = commit.author()?;
                    found.push(Commit {
                        sha: id.to_string(),
                        message: String::from_utf8_lossy(commit.message_raw()?).into_owned(),
                        author: String::from_utf8_lossy(author.name).into_owned(),
                        email: String::from_utf8_lossy(author.email).into_owned(),
                        at: Timestamp::from_seconds(commit.committer()?.seconds()),
                    });
                }
                Ok(found)
            })
            .await
    }
}
