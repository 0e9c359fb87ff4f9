//! What webhooks are told: bodies shaped as GitLab's, as far as this platform knows what they hold. No body holds a
//! secret; names and addresses in commits are those that stand in the repository.

use super::Event;
use crate::{
    Notices,
    ports::{Commit, Issue, Project, Request, Target},
};
use bascule_core::{Actor, IssueId, MergeRequestId, Problem, ProjectId};
use bascule_ledger::{
    BoxError, Entry, Fact as _, decode,
    facts::{
        ci::{JobFinished, JobStarted, PipelineCreated, PipelineFinished},
        delivery::{DeploymentCreated, DeploymentFinished},
        forge::{BranchUpdated, TagUpdated},
        merge_request::{
            MergeRequestChanged, MergeRequestClosed, MergeRequestMerged, MergeRequestOpened,
            MergeRequestReopened, MergeRequestUpdated,
        },
        planning::{
            IssueAssigned, IssueClosed, IssueCommented, IssueEdited, IssueLabeled, IssueOpened, IssueReopened,
        },
        review::{ApprovalGiven, ApprovalWithdrawn, CommentAdded, ReviewSubmitted},
        supplychain::ReleasePublished,
    },
};
use serde_json::{Value, json};

/// Kinds of facts that webhooks are told of.
pub(super) const KINDS: &[&str] = &[
    BranchUpdated::KIND,
    TagUpdated::KIND,
    IssueOpened::KIND,
    IssueEdited::KIND,
    IssueAssigned::KIND,
    IssueLabeled::KIND,
    IssueClosed::KIND,
    IssueReopened::KIND,
    IssueCommented::KIND,
    MergeRequestOpened::KIND,
    MergeRequestChanged::KIND,
    MergeRequestUpdated::KIND,
    MergeRequestClosed::KIND,
    MergeRequestReopened::KIND,
    MergeRequestMerged::KIND,
    ApprovalGiven::KIND,
    ApprovalWithdrawn::KIND,
    ReviewSubmitted::KIND,
    CommentAdded::KIND,
    PipelineCreated::KIND,
    PipelineFinished::KIND,
    JobStarted::KIND,
    JobFinished::KIND,
    ReleasePublished::KIND,
    DeploymentCreated::KIND,
    DeploymentFinished::KIND,
];

/// Git's word for "no commit".
const NOTHING: &str = "0000000000000000000000000000000000000000";
/// Commits told of one push, as GitLab has it.
const COMMITS: usize = 20;
/// Largest text of people that is told whole, in bytes.
const TEXT: usize = 64 * 1024;

/// The kinds of events that a kind of fact may be, before it is looked at: so that nothing is asked that no webhook
/// wants.
pub(super) fn may_be(kind: &str) -> &'static [Event] {
    match kind {
        BranchUpdated::KIND => &[Event::Push],
        TagUpdated::KIND => &[Event::TagPush],
        IssueCommented::KIND => &[Event::Note, Event::ConfidentialIssue],
        CommentAdded::KIND => &[Event::Note],
        PipelineCreated::KIND | PipelineFinished::KIND => &[Event::Pipeline],
        JobStarted::KIND | JobFinished::KIND => &[Event::Job],
        ReleasePublished::KIND => &[Event::Release],
        DeploymentCreated::KIND | DeploymentFinished::KIND => &[Event::Deployment],
        kind if kind.starts_with("issue.") => &[Event::Issue, Event::ConfidentialIssue],
        _ => &[Event::MergeRequest],
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What bodies are made of: the instance's address and the project.
pub(super) struct Around<'a> {
    pub(super) url: &'a str,
    pub(super) project: &'a Project,
}

impl Around<'_> {
    fn web(&self) -> String {
        format!("{}/{}", self.url, self.project.path)
    }

    pub(super) fn project(&self) -> Value {
        let project = self.project;
        let (group, name) = project.path.split_once('/').unwrap_or_default();
        json!({
            "id": project.id,
            "name": name,
            "description": project.description,
            "web_url": self.web(),
            "homepage": self.web(),
            "git_http_url": project.clone_url,
            "git_ssh_url": project.ssh_url,
            "namespace": group,
            "path_with_namespace": project.path,
            "default_branch": project.default_branch,
            "visibility": project.visibility,
        })
    }

    fn user(actor: &Actor) -> Value {
        json!({ "id": actor.id, "username": actor.name, "name": actor.name, "kind": actor.kind })
    }

    fn commit(&self, commit: &Commit) -> Value {
        json!({
            "id": commit.sha,
            "title": commit.message.lines().next().unwrap_or_default(),
            "message": cut(&commit.message),
            "timestamp": commit.at,
            "url": format!("{}/-/commit/{}", self.web(), commit.sha),
            "author": { "name": commit.author, "email": commit.email },
        })
    }

    fn push(
        &self,
        event: &str,
        reference: &str,
        before: Option<&str>,
        after: Option<&str>,
        actor: &Actor,
    ) -> Value {
        json!({
            "object_kind": event,
            "event_name": event,
            "ref": reference,
            "before": before.unwrap_or(NOTHING),
            "after": after.unwrap_or(NOTHING),
            "checkout_sha": after,
            "user_id": actor.id,
            "user_username": actor.name,
            "user_name": actor.name,
            "project_id": self.project.id,
            "project": self.project(),
        })
    }

    fn issue(&self, issue: &Issue) -> Value {
        json!({
            "id": issue.id,
            "iid": issue.number,
            "title": issue.title,
            "description": cut(&issue.description),
            "state": if issue.open { "opened" } else { "closed" },
            "confidential": issue.confidential,
            "author": issue.author_name,
            "project_id": issue.project,
            "url": format!("{}/-/issues/{}", self.web(), issue.number),
        })
    }

    fn request(&self, request: &Request, last: Option<&Commit>) -> Value {
        json!({
            "id": request.id,
            "iid": request.number,
            "title": request.title,
            "description": cut(&request.description),
            "state": if request.state == "open" { "opened" } else { request.state.as_str() },
            "draft": request.draft,
            "work_in_progress": request.draft,
            "author": request.author_name,
            "source_branch": request.source_branch,
            "target_branch": request.target_branch,
            "source_project_id": request.source_project,
            "target_project_id": request.project,
            "merge_commit_sha": request.merge_sha,
            "last_commit": last.map_or_else(|| json!({ "id": request.head }), |commit| self.commit(commit)),
            "created_at": request.created_at,
            "updated_at": request.updated_at,
            "url": format!("{}/-/merge-requests/{}", self.web(), request.number),
        })
    }
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    base
}

/// An event and its body; `None` where what it is about is gone.
type Told = Option<(Event, Value)>;

impl Notices {
    /// What webhooks of a project are told of a fact.
    pub(super) async fn payload(&self, entry: &Entry, project: &Project) -> Result<Told, BoxError> {
        let around = Around {
            url: &self.config().url,
            project,
        };
        Ok(match entry.kind.as_str() {
            BranchUpdated::KIND => Some((Event::Push, self.push_body(&around, entry).await?)),
            TagUpdated::KIND => {
                let fact: TagUpdated = decode(entry)?;
                let reference = format!("refs/tags/{}", fact.tag);
                let body = around.push(
                    "tag_push",
                    &reference,
                    fact.before.as_deref(),
                    fact.after.as_deref(),
                    &entry.actor,
                );
                Some((
                    Event::TagPush,
                    with(body, json!({ "commits": [], "total_commits_count": 0 })),
                ))
            }
            PipelineCreated::KIND | PipelineFinished::KIND => {
                Some((Event::Pipeline, pipeline(&around, entry)?))
            }
            JobStarted::KIND | JobFinished::KIND => Some((Event::Job, job(&around, entry)?)),
            ReleasePublished::KIND => Some((Event::Release, release(&around, &decode(entry)?))),
            DeploymentCreated::KIND | DeploymentFinished::KIND => {
                Some((Event::Deployment, deployment(&around, entry)?))
            }
            CommentAdded::KIND => self.request_note(&around, entry, &decode(entry)?).await?,
            kind if kind.starts_with("issue.") => self.issue_body(&around, entry).await?,
            _ => self.request_body(&around, entry).await?,
        })
    }

    async fn push_body(&self, around: &Around<'_>, entry: &Entry) -> Result<Value, BoxError> {
        let fact: BranchUpdated = decode(entry)?;
        // Oldest first, as GitLab has it.
        let shas: Vec<String> = fact
            .commits
            .iter()
            .take(COMMITS)
            .rev()
            .map(|c| c.sha.clone())
            .collect();
        let commits = self.projects().commits(fact.project, &shas).await?;
        let commits: Vec<Value> = commits.iter().map(|commit| around.commit(commit)).collect();
        let reference = format!("refs/heads/{}", fact.branch);
        let body = around.push(
            "push",
            &reference,
            fact.before.as_deref(),
            fact.after.as_deref(),
            &entry.actor,
        );
        Ok(with(
            body,
            json!({ "commits": commits, "total_commits_count": fact.commit_count, "forced": fact.forced }),
        ))
    }

    async fn issue_body(&self, around: &Around<'_>, entry: &Entry) -> Result<Told, BoxError> {
        let mut note = None;
        let (id, action, changes): (IssueId, &str, Value) = match entry.kind.as_str() {
            IssueOpened::KIND => (decode::<IssueOpened>(entry)?.issue, "open", json!({})),
            IssueClosed::KIND => (decode::<IssueClosed>(entry)?.issue, "close", json!({})),
            IssueReopened::KIND => (decode::<IssueReopened>(entry)?.issue, "reopen", json!({})),
            IssueEdited::KIND => {
                let fact: IssueEdited = decode(entry)?;
                (fact.issue, "update", json!({ "fields": fact.changed }))
            }
            IssueAssigned::KIND => {
                let fact: IssueAssigned = decode(entry)?;
                (fact.issue, "update", json!({ "fields": ["assignees"] }))
            }
            IssueLabeled::KIND => {
                let fact: IssueLabeled = decode(entry)?;
                let labels = json!({ "added": fact.added_names, "removed": fact.removed_names });
                (
                    fact.issue,
                    "update",
                    json!({ "fields": ["labels"], "labels": labels }),
                )
            }
            IssueCommented::KIND => {
                let fact: IssueCommented = decode(entry)?;
                note = Some(fact.comment);
                (fact.issue, "create", json!({}))
            }
            _ => return Ok(None),
        };
        let Some(issue) = self.matters().issue(id).await? else {
            return Ok(None);
        };
        let whole = around.issue(&issue);
        let people: Vec<Value> = issue
            .assignees
            .iter()
            .map(|(id, name)| json!({ "id": id, "username": name }))
            .collect();
        let common = json!({
            "user": Around::user(&entry.actor),
            "project": around.project(),
            "assignees": people,
            "labels": issue.labels,
        });
        let confidential = issue.confidential;
        let Some(number) = note else {
            let attributes = with(whole, json!({ "action": action }));
            let body = json!({
                "object_kind": "issue",
                "event_type": if confidential { "confidential_issue" } else { "issue" },
                "object_attributes": attributes,
                "changes": changes,
            });
            let event = if confidential {
                Event::ConfidentialIssue
            } else {
                Event::Issue
            };
            return Ok(Some((event, with(body, common))));
        };
        let Some(text) = self.matters().issue_comment(id, number).await? else {
            return Ok(None);
        };
        let anchor = format!("comment-{number}");
        let href = Target::Issue(id).href(&around.project.path, issue.number, &anchor);
        let body = json!({
            "object_kind": "note",
            "event_type": if confidential { "confidential_note" } else { "note" },
            "object_attributes": {
                "id": number,
                "note": cut(&text),
                "noteable_type": "Issue",
                "noteable_id": id,
                "action": "create",
                "url": format!("{}{href}", around.url),
            },
            "issue": whole,
        });
        let event = if confidential {
            Event::ConfidentialIssue
        } else {
            Event::Note
        };
        Ok(Some((event, with(body, common))))
    }

    async fn request_note(
        &self,
        around: &Around<'_>,
        entry: &Entry,
        fact: &CommentAdded,
    ) -> Result<Told, BoxError> {
        let id = fact.merge_request;
        let Some(request) = self.matters().request(id).await? else {
            return Ok(None);
        };
        let Some(text) = self.matters().request_comment(id, fact.comment).await? else {
            return Ok(None);
        };
        let anchor = format!("comment-{}", fact.comment);
        let href = Target::Request(id).href(&around.project.path, request.number, &anchor);
        Ok(Some((
            Event::Note,
            json!({
                "object_kind": "note",
                "event_type": "note",
                "user": Around::user(&entry.actor),
                "project": around.project(),
                "object_attributes": {
                    "id": fact.comment,
                    "note": cut(&text),
                    "noteable_type": "MergeRequest",
                    "noteable_id": id,
                    "discussion_id": fact.thread,
                    "action": "create",
                    "url": format!("{}{href}", around.url),
                },
                "merge_request": around.request(&request, None),
            }),
        )))
    }

    async fn request_body(&self, around: &Around<'_>, entry: &Entry) -> Result<Told, BoxError> {
        let (id, action, more): (MergeRequestId, &str, Value) = match entry.kind.as_str() {
            MergeRequestOpened::KIND => (
                decode::<MergeRequestOpened>(entry)?.merge_request,
                "open",
                json!({}),
            ),
            MergeRequestClosed::KIND => (
                decode::<MergeRequestClosed>(entry)?.merge_request,
                "close",
                json!({}),
            ),
            MergeRequestReopened::KIND => (
                decode::<MergeRequestReopened>(entry)?.merge_request,
                "reopen",
                json!({}),
            ),
            MergeRequestMerged::KIND => (
                decode::<MergeRequestMerged>(entry)?.merge_request,
                "merge",
                json!({}),
            ),
            MergeRequestUpdated::KIND => {
                let fact: MergeRequestUpdated = decode(entry)?;
                (fact.merge_request, "update", json!({ "oldrev": fact.before }))
            }
            MergeRequestChanged::KIND => {
                let fact: MergeRequestChanged = decode(entry)?;
                (fact.merge_request, "update", json!({ "changed": fact.field }))
            }
            ApprovalGiven::KIND => (
                decode::<ApprovalGiven>(entry)?.merge_request,
                "approved",
                json!({}),
            ),
            ApprovalWithdrawn::KIND => (
                decode::<ApprovalWithdrawn>(entry)?.merge_request,
                "unapproved",
                json!({}),
            ),
            ReviewSubmitted::KIND => {
                let fact: ReviewSubmitted = decode(entry)?;
                let review = json!({ "verdict": fact.verdict, "comments": fact.comments });
                (fact.merge_request, "reviewed", json!({ "review": review }))
            }
            _ => return Ok(None),
        };
        let Some(request) = self.matters().request(id).await? else {
            return Ok(None);
        };
        let head = [request.head.clone()];
        let last = self.projects().commits(request.project, &head).await?.pop();
        let attributes = with(
            around.request(&request, last.as_ref()),
            json!({ "action": action }),
        );
        Ok(Some((
            Event::MergeRequest,
            json!({
                "object_kind": "merge_request",
                "event_type": "merge_request",
                "user": Around::user(&entry.actor),
                "project": around.project(),
                "object_attributes": with(attributes, more),
                "assignees": request.assignees,
                "reviewers": request.reviewers,
            }),
        )))
    }
}

fn pipeline(around: &Around<'_>, entry: &Entry) -> Result<Value, BoxError> {
    let attributes = if entry.kind == PipelineCreated::KIND {
        let fact: PipelineCreated = decode(entry)?;
        json!({
            "id": fact.pipeline, "ref": fact.reference, "tag": fact.tag, "sha": fact.sha, "source": fact.source,
            "status": "pending", "created_at": entry.at,
        })
    } else {
        let fact: PipelineFinished = decode(entry)?;
        // GitLab has no word of its own for a pipeline of which a job that may fail did.
        let status = if fact.status == "warning" {
            "success"
        } else {
            &fact.status
        };
        json!({
            "id": fact.pipeline, "ref": fact.reference, "sha": fact.sha, "status": status,
            "detailed_status": fact.status, "duration": fact.duration_ms / 1000, "finished_at": entry.at,
        })
    };
    let url = format!("{}/-/pipelines/{}", around.web(), attributes["id"]);
    Ok(json!({
        "object_kind": "pipeline",
        "object_attributes": with(attributes, json!({ "url": url })),
        "user": Around::user(&entry.actor),
        "project": around.project(),
    }))
}

fn job(around: &Around<'_>, entry: &Entry) -> Result<Value, BoxError> {
    let body = if entry.kind == JobStarted::KIND {
        let fact: JobStarted = decode(entry)?;
        json!({
            "build_id": fact.job, "build_name": fact.name, "build_status": "running", "pipeline_id": fact.pipeline,
            "build_started_at": entry.at, "build_queued_duration": fact.queued_ms / 1000,
        })
    } else {
        let fact: JobFinished = decode(entry)?;
        json!({
            "build_id": fact.job, "build_name": fact.name, "build_status": fact.status, "pipeline_id": fact.pipeline,
            "build_failure_reason": fact.failure_reason, "build_duration": fact.duration_ms / 1000,
            "build_finished_at": entry.at,
        })
    };
    Ok(with(
        body,
        json!({
            "object_kind": "build",
            "project_id": around.project.id,
            "project_name": around.project.path,
            "project": around.project(),
            "user": Around::user(&entry.actor),
        }),
    ))
}

fn release(around: &Around<'_>, fact: &ReleasePublished) -> Value {
    json!({
        "object_kind": "release",
        "action": "create",
        "id": fact.release,
        "name": fact.version,
        "tag": fact.tag,
        "created_at": fact.at,
        "released_at": fact.at,
        "url": format!("{}/-/releases/{}", around.web(), bascule_web::url_encode(&fact.version)),
        "commit": { "id": fact.sha, "url": format!("{}/-/commit/{}", around.web(), fact.sha) },
        "project": around.project(),
    })
}

fn deployment(around: &Around<'_>, entry: &Entry) -> Result<Value, BoxError> {
    let body = if entry.kind == DeploymentCreated::KIND {
        let fact: DeploymentCreated = decode(entry)?;
        json!({
            "deployment_id": fact.deployment, "environment": fact.environment_name, "environment_tier": fact.tier,
            "version": fact.version, "status": "running", "status_changed_at": entry.at,
        })
    } else {
        let fact: DeploymentFinished = decode(entry)?;
        let status = match fact.result.as_str() {
            "succeeded" => "success",
            "superseded" => "canceled",
            _ => "failed",
        };
        json!({
            "deployment_id": fact.deployment, "environment": fact.environment_name, "environment_tier": fact.tier,
            "version": fact.version, "status": status, "result": fact.result, "reason": fact.reason,
            "status_changed_at": fact.at,
        })
    };
    Ok(with(
        body,
        json!({
            "object_kind": "deployment",
            "user": Around::user(&entry.actor),
            "project": around.project(),
        }),
    ))
}

impl Notices {
    /// What a test tells: a push of nothing, marked as a test.
    pub(super) async fn test_payload(
        &self,
        project: Option<ProjectId>,
        actor: &Actor,
    ) -> Result<Value, Problem> {
        let Some(project) = project else {
            return Ok(json!({
                "object_kind": "push", "event_name": "push", "test": true, "user_username": actor.name, "commits": [],
                "total_commits_count": 0, "before": NOTHING, "after": NOTHING,
            }));
        };
        let project = self
            .projects()
            .project(project)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let around = Around {
            url: &self.config().url,
            project: &project,
        };
        let reference = format!("refs/heads/{}", project.default_branch);
        let body = around.push("push", &reference, None, None, actor);
        Ok(with(
            body,
            json!({ "test": true, "commits": [], "total_commits_count": 0 }),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("é"), "é");
        let long = "é".repeat(TEXT);
        assert!(cut(&long).len() <= TEXT && long.starts_with(cut(&long)));
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), TEXT - 1);
    }

    #[test]
    fn every_kind_may_be_some_event() {
        for kind in KINDS {
            assert!(!may_be(kind).is_empty(), "{kind}");
        }
        assert_eq!(may_be("review.approved"), [Event::MergeRequest]);
        assert_eq!(may_be("issue.labeled"), [Event::Issue, Event::ConfidentialIssue]);
    }
}
