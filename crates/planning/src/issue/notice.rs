//! What those ask who tell people and programs of issues.

use super::{Issue, store};
use crate::{Planning, sight::Among};
use bascule_core::{Caller, IssueId, ProjectId, ProjectScope, Result, UserId};
use bascule_wire::planning::Column;

/// An issue, as programs are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueFacts {
    /// Its identifier.
    pub id: IssueId,
    /// The project.
    pub project: ProjectId,
    /// Its number within the project.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// Its description, Markdown.
    pub description: String,
    /// Who opened it, where it was a person.
    pub author: Option<UserId>,
    /// What they are called.
    pub author_name: String,
    /// Whether few see it.
    pub confidential: bool,
    /// Whether it is open.
    pub open: bool,
    /// Who has it.
    pub assignees: Vec<(UserId, String)>,
    /// The names of its labels.
    pub labels: Vec<String>,
}

impl From<Issue> for IssueFacts {
    fn from(issue: Issue) -> Self {
        Self {
            open: issue.column() != Column::Done,
            assignees: issue
                .assignees
                .into_iter()
                .map(|someone| (someone.user_id, someone.username))
                .collect(),
            labels: issue.labels.into_iter().map(|label| label.name).collect(),
            id: issue.row.id,
            project: issue.row.project_id,
            number: issue.row.number,
            title: issue.row.title,
            description: issue.row.description,
            author: issue.row.author_id,
            author_name: issue.row.author,
            confidential: issue.row.confidential,
        }
    }
}

impl Planning {
    /// An issue, whoever may see it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn issue_facts(&self, id: IssueId) -> Result<Option<IssueFacts>> {
        Ok(store::by_id(&self.db, id).await?.map(Into::into))
    }

    /// The projects of some issues, each once.
    ///
    /// # Errors
    /// The database refused.
    pub async fn projects_of_issues(&self, ids: &[IssueId]) -> Result<Vec<ProjectId>> {
        Ok(store::projects_of(&self.db, ids).await?)
    }

    /// Those of some issues that a caller may see, of projects that they may see; without descriptions.
    ///
    /// # Errors
    /// The database or identity refused.
    pub async fn issues_seen(
        &self,
        caller: &Caller,
        scopes: &[ProjectScope],
        ids: &[IssueId],
    ) -> Result<Vec<IssueFacts>> {
        let reach = self.people.reach(caller).await?;
        let among = Among::several(&reach, caller, scopes);
        if ids.is_empty() || among.projects.is_empty() {
            return Ok(Vec::new());
        }
        let found = store::seen_of(&self.db, &among, ids).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    /// The text of a comment.
    ///
    /// # Errors
    /// The database refused.
    pub async fn issue_comment(&self, id: IssueId, number: i64) -> Result<Option<String>> {
        Ok(store::comment_text(&self.db, id, number).await?)
    }
}
