//! What a fact means to people: who is told, and what is done with it. It asks others for what a fact leaves out, and
//! writes nothing.

use super::Action;
use crate::{Notices, ports::Target};
use bascule_core::{CommentId, IssueId, MergeRequestId, ProjectId, ThreadId, UserId};
use bascule_ledger::{
    BoxError, Entry, Fact as _, decode,
    facts::{
        ci::PipelineFinished,
        merge_request::{
            MergeQueued, MergeRequestChanged, MergeRequestClosed, MergeRequestMerged, MergeRequestOpened,
            MergeRequestReopened, MergeRequestUpdated, MergeUnqueued,
        },
        planning::{
            IssueAssigned, IssueClosed, IssueCommented, IssueEdited, IssueLabeled, IssueOpened, IssueReopened,
        },
        review::{
            ApprovalGiven, ApprovalWithdrawn, ApprovalsReset, AssigneesChanged, CommentAdded, CommentDeleted,
            CommentEdited, ReviewSubmitted, ReviewersChanged, ThreadResolved,
        },
    },
};

/// What is done with a fact, and so waits no longer. Each is about the fact's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    /// Everything but that someone was spoken to: they may have to answer all the same.
    Ended,
    /// These reasons, for everyone.
    Actions(Vec<Action>),
    /// These reasons, for these people.
    Of(Vec<UserId>, Vec<Action>),
    /// This reason, for everyone but these.
    Beyond(Action, Vec<UserId>),
    /// What was said in a thread.
    Thread(ThreadId),
    /// What a comment said.
    Comment(CommentId),
}

/// What a fact means to people.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    pub(crate) target: Target,
    pub(crate) project: ProjectId,
    pub(crate) number: i64,
    /// Where on the target's page.
    pub(crate) anchor: String,
    pub(crate) thread: String,
    /// Who is told why, the weightiest reason first.
    pub(crate) tells: Vec<(UserId, Action)>,
    pub(crate) settles: Vec<Settle>,
    /// Who has to do with the target from now on.
    pub(crate) joins: Vec<UserId>,
    /// Who hears of it who wants to hear of everything, besides those who have to do with the target.
    pub(crate) listeners: Vec<UserId>,
    /// Whether it is worth a mail to those who want to hear of everything.
    pub(crate) news: bool,
    /// Whether it is told once only: someone who was told so at this place before is not told again.
    pub(crate) once: bool,
}

/// Kinds of facts that mean something.
pub(crate) const KINDS: &[&str] = &[
    IssueOpened::KIND,
    IssueEdited::KIND,
    IssueAssigned::KIND,
    IssueLabeled::KIND,
    IssueCommented::KIND,
    IssueClosed::KIND,
    IssueReopened::KIND,
    MergeRequestOpened::KIND,
    MergeRequestChanged::KIND,
    MergeRequestUpdated::KIND,
    MergeRequestClosed::KIND,
    MergeRequestReopened::KIND,
    MergeRequestMerged::KIND,
    MergeQueued::KIND,
    MergeUnqueued::KIND,
    AssigneesChanged::KIND,
    ReviewersChanged::KIND,
    ReviewSubmitted::KIND,
    ApprovalGiven::KIND,
    ApprovalWithdrawn::KIND,
    ApprovalsReset::KIND,
    CommentAdded::KIND,
    CommentEdited::KIND,
    CommentDeleted::KIND,
    ThreadResolved::KIND,
    PipelineFinished::KIND,
];

/// What someone answers by speaking themselves.
const ANSWERED: [Action; 4] = [
    Action::Mentioned,
    Action::Replied,
    Action::Commented,
    Action::ReviewSubmitted,
];
/// What a push may have mended.
const MENDED: [Action; 3] = [
    Action::Unmergeable,
    Action::MergeTrainRemoved,
    Action::BuildFailed,
];

impl Meaning {
    fn of(target: Target, project: ProjectId, number: i64) -> Self {
        Self {
            target,
            project,
            number,
            anchor: String::new(),
            thread: String::new(),
            tells: Vec::new(),
            settles: Vec::new(),
            joins: Vec::new(),
            listeners: Vec::new(),
            news: true,
            once: false,
        }
    }

    fn issue(id: IssueId, project: ProjectId, number: i64) -> Self {
        Self::of(Target::Issue(id), project, number)
    }

    pub(crate) fn request(id: MergeRequestId, project: ProjectId, number: i64) -> Self {
        Self::of(Target::Request(id), project, number)
    }

    pub(crate) fn tell(mut self, people: impl IntoIterator<Item = UserId>, action: Action) -> Self {
        for user in people {
            if !self.tells.iter().any(|(known, _)| *known == user) {
                self.tells.push((user, action));
                self.joins.push(user);
            }
        }
        self
    }

    pub(crate) fn settle(mut self, settle: Settle) -> Self {
        self.settles.push(settle);
        self
    }

    fn at(mut self, anchor: String) -> Self {
        self.anchor = anchor;
        self
    }

    pub(crate) fn quiet(mut self) -> Self {
        self.news = false;
        self
    }

    fn once(mut self) -> Self {
        self.once = true;
        self
    }

    fn answered_by(self, actor: Option<UserId>) -> Self {
        match actor {
            Some(actor) => self.settle(Settle::Of(vec![actor], ANSWERED.to_vec())),
            None => self,
        }
    }
}

impl Notices {
    /// What a fact means; more than one thing where it is about several targets.
    pub(crate) async fn meaning(
        &self,
        entry: &Entry,
        actor: Option<UserId>,
    ) -> Result<Vec<Meaning>, BoxError> {
        let one = if entry.kind.starts_with("issue.") {
            self.issue_meaning(entry, actor).await?
        } else if entry.kind.starts_with("merge_request.") {
            self.request_meaning(entry, actor).await?
        } else if entry.kind == PipelineFinished::KIND {
            return self.pipeline_meaning(&decode(entry)?).await;
        } else {
            self.review_meaning(entry, actor).await?
        };
        Ok(one.into_iter().collect())
    }

    async fn issue_meaning(&self, entry: &Entry, actor: Option<UserId>) -> Result<Option<Meaning>, BoxError> {
        Ok(Some(match entry.kind.as_str() {
            IssueOpened::KIND => {
                let fact: IssueOpened = decode(entry)?;
                Meaning::issue(fact.issue, fact.project, fact.number)
                    .tell(fact.assignees, Action::Assigned)
                    .tell(fact.mentions, Action::Mentioned)
            }
            IssueEdited::KIND => {
                let fact: IssueEdited = decode(entry)?;
                Meaning::issue(fact.issue, fact.project, fact.number)
                    .tell(fact.mentions, Action::Mentioned)
                    .quiet()
            }
            IssueAssigned::KIND => {
                let fact: IssueAssigned = decode(entry)?;
                Meaning::issue(fact.issue, fact.project, fact.number)
                    .tell(fact.added, Action::Assigned)
                    .settle(Settle::Of(fact.removed, vec![Action::Assigned]))
            }
            IssueLabeled::KIND => {
                let fact: IssueLabeled = decode(entry)?;
                let mut meaning = Meaning::issue(fact.issue, fact.project, fact.number).quiet();
                if !fact.added.is_empty() {
                    meaning.listeners = self.matters().label_subscribers(&fact.added).await?;
                }
                meaning
            }
            IssueCommented::KIND => {
                let fact: IssueCommented = decode(entry)?;
                Meaning::issue(fact.issue, fact.project, fact.number)
                    .at(format!("comment-{}", fact.comment))
                    .tell(fact.mentions, Action::Mentioned)
                    .answered_by(actor)
            }
            IssueClosed::KIND => {
                let fact: IssueClosed = decode(entry)?;
                Meaning::issue(fact.issue, fact.project, fact.number).settle(Settle::Ended)
            }
            IssueReopened::KIND => {
                let fact: IssueReopened = decode(entry)?;
                Meaning::issue(fact.issue, fact.project, fact.number)
            }
            _ => return Ok(None),
        }))
    }

    async fn request_meaning(
        &self,
        entry: &Entry,
        actor: Option<UserId>,
    ) -> Result<Option<Meaning>, BoxError> {
        Ok(Some(match entry.kind.as_str() {
            MergeRequestOpened::KIND => {
                let fact: MergeRequestOpened = decode(entry)?;
                let mentioned = self.matters().mentioned(fact.merge_request).await?;
                let awaited = self.matters().awaited(fact.merge_request).await?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(awaited, Action::ApprovalRequired)
                    .tell(mentioned, Action::Mentioned)
                    .once()
            }
            MergeRequestChanged::KIND => {
                let fact: MergeRequestChanged = decode(entry)?;
                let meaning = Meaning::request(fact.merge_request, fact.project, fact.iid).quiet();
                match (fact.field.as_str(), fact.value.as_str()) {
                    ("draft", "off") | ("target_branch", _) => {
                        let awaited = self.matters().awaited(fact.merge_request).await?;
                        meaning
                            .settle(Settle::Beyond(Action::ApprovalRequired, awaited.clone()))
                            .tell(awaited, Action::ApprovalRequired)
                    }
                    ("draft", _) => meaning.settle(Settle::Actions(vec![Action::ApprovalRequired])),
                    ("description", _) => {
                        let mentioned = self.matters().mentioned(fact.merge_request).await?;
                        meaning.tell(mentioned, Action::Mentioned).once()
                    }
                    ("auto_merge", "on") => meaning.settle(Settle::Actions(vec![Action::AutoMergeDropped])),
                    // Who took their own wish back, or pushed themselves, knows.
                    ("auto_merge", _) => match fact.person {
                        Some(person) if Some(person) != actor => {
                            meaning.tell(vec![person], Action::AutoMergeDropped)
                        }
                        _ => return Ok(None),
                    },
                    _ => return Ok(None),
                }
            }
            MergeRequestUpdated::KIND => {
                let fact: MergeRequestUpdated = decode(entry)?;
                let awaited = self.matters().awaited(fact.merge_request).await?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .settle(Settle::Actions(MENDED.to_vec()))
                    .settle(Settle::Beyond(Action::ApprovalRequired, awaited.clone()))
                    .tell(awaited, Action::ApprovalRequired)
            }
            MergeRequestClosed::KIND => {
                let fact: MergeRequestClosed = decode(entry)?;
                Meaning::request(fact.merge_request, fact.project, fact.iid).settle(Settle::Ended)
            }
            MergeRequestMerged::KIND => {
                let fact: MergeRequestMerged = decode(entry)?;
                Meaning::request(fact.merge_request, fact.project, fact.iid).settle(Settle::Ended)
            }
            MergeRequestReopened::KIND => {
                let fact: MergeRequestReopened = decode(entry)?;
                let awaited = self.matters().awaited(fact.merge_request).await?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(awaited, Action::ApprovalRequired)
            }
            MergeQueued::KIND => {
                let fact: MergeQueued = decode(entry)?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .settle(Settle::Actions(vec![Action::MergeTrainRemoved]))
                    .quiet()
            }
            MergeUnqueued::KIND => {
                let fact: MergeUnqueued = decode(entry)?;
                let meaning = Meaning::request(fact.merge_request, fact.project, fact.iid);
                // Whoever took it out or closed it did so on purpose.
                if matches!(fact.reason.as_str(), "taken_out" | "closed") {
                    return Ok(Some(meaning));
                }
                let request = self.matters().request(fact.merge_request).await?;
                let people =
                    request.map(|request| [request.author.into_iter().collect(), request.assignees].concat());
                meaning.tell(people.unwrap_or_default(), Action::MergeTrainRemoved)
            }
            AssigneesChanged::KIND => {
                let fact: AssigneesChanged = decode(entry)?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(fact.assigned, Action::Assigned)
                    .settle(Settle::Of(fact.removed, vec![Action::Assigned]))
            }
            _ => return Ok(None),
        }))
    }

    async fn review_meaning(
        &self,
        entry: &Entry,
        actor: Option<UserId>,
    ) -> Result<Option<Meaning>, BoxError> {
        Ok(Some(match entry.kind.as_str() {
            ReviewersChanged::KIND => {
                let fact: ReviewersChanged = decode(entry)?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(fact.requested, Action::ReviewRequested)
                    .settle(Settle::Of(fact.removed, vec![Action::ReviewRequested]))
            }
            ReviewSubmitted::KIND => {
                let fact: ReviewSubmitted = decode(entry)?;
                // An approval is a fact of its own, which told of it already.
                let more = fact.verdict != "approved" || fact.comments > 0;
                let author = self.author(fact.merge_request).await?.filter(|_| more);
                let mut done = ANSWERED.to_vec();
                done.push(Action::ReviewRequested);
                if fact.verdict != "commented" {
                    done.push(Action::ApprovalRequired);
                }
                let reviewer = fact.reviewer.or(actor).into_iter().collect();
                let mut meaning = Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(fact.mentions, Action::Mentioned)
                    .tell(author, Action::ReviewSubmitted)
                    .settle(Settle::Of(reviewer, done));
                meaning.news = more;
                meaning
            }
            ApprovalGiven::KIND => {
                let fact: ApprovalGiven = decode(entry)?;
                let author = self.author(fact.merge_request).await?;
                let awaited = self.matters().awaited(fact.merge_request).await?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(author, Action::ReviewSubmitted)
                    .settle(Settle::Of(
                        vec![fact.user],
                        vec![Action::ReviewRequested, Action::ApprovalRequired],
                    ))
                    .settle(Settle::Beyond(Action::ApprovalRequired, awaited))
            }
            ApprovalWithdrawn::KIND => {
                let fact: ApprovalWithdrawn = decode(entry)?;
                let awaited = self.matters().awaited(fact.merge_request).await?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(awaited, Action::ApprovalRequired)
            }
            ApprovalsReset::KIND => {
                let fact: ApprovalsReset = decode(entry)?;
                let awaited = self.matters().awaited(fact.merge_request).await?;
                // Also those who were not asked by name: their word is wanted again.
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .tell(awaited, Action::ApprovalRequired)
                    .tell(fact.users, Action::ApprovalRequired)
            }
            CommentAdded::KIND => {
                let fact: CommentAdded = decode(entry)?;
                let author = self.author(fact.merge_request).await?;
                let mut meaning = Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .at(format!("comment-{}", fact.comment))
                    .tell(fact.mentions, Action::Mentioned)
                    .tell(fact.participants, Action::Replied)
                    .tell(author, Action::Commented)
                    .answered_by(fact.author.or(actor));
                meaning.thread = fact.thread.to_string();
                meaning
            }
            CommentEdited::KIND => {
                let fact: CommentEdited = decode(entry)?;
                let mut meaning = Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .at(format!("comment-{}", fact.comment))
                    .tell(fact.mentions, Action::Mentioned)
                    .quiet()
                    .once();
                meaning.thread = fact.thread.to_string();
                meaning
            }
            CommentDeleted::KIND => {
                let fact: CommentDeleted = decode(entry)?;
                Meaning::request(fact.merge_request, fact.project, fact.iid)
                    .settle(Settle::Comment(fact.comment))
                    .quiet()
            }
            ThreadResolved::KIND => {
                let fact: ThreadResolved = decode(entry)?;
                let meaning = Meaning::request(fact.merge_request, fact.project, fact.iid).quiet();
                if fact.resolved {
                    meaning.settle(Settle::Thread(fact.thread))
                } else {
                    meaning
                }
            }
            _ => return Ok(None),
        }))
    }

    async fn pipeline_meaning(&self, fact: &PipelineFinished) -> Result<Vec<Meaning>, BoxError> {
        let failed = match fact.status.as_str() {
            "failed" => true,
            "success" | "warning" => false,
            _ => return Ok(Vec::new()),
        };
        let requests = self.matters().requests_at(fact.project, &fact.sha).await?;
        Ok(requests
            .into_iter()
            .map(|request| {
                let meaning = Meaning::request(request.id, request.project, request.number);
                if failed {
                    let people = request.author.into_iter().chain(request.assignees);
                    meaning.tell(people, Action::BuildFailed)
                } else {
                    meaning.settle(Settle::Actions(vec![Action::BuildFailed])).quiet()
                }
            })
            .collect())
    }

    async fn author(&self, id: MergeRequestId) -> Result<Option<UserId>, BoxError> {
        Ok(self
            .matters()
            .request(id)
            .await?
            .and_then(|request| request.author))
    }
}
