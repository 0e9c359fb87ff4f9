//! Reviews of merge requests, as the JSON API speaks of them; shared with the command line.

use bascule_core::{CommentId, ThreadId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a thread stands in a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The file's path; on the old side the path before the change.
    pub path: String,
    /// `new`: the text after the change. `old`: the text before it.
    #[serde(default = "new_side")]
    pub side: String,
    /// The first line, from 1.
    pub start: u32,
    /// The last line.
    pub end: u32,
    /// In answers: whether the lines have changed since, so that the numbers are those of the version on which
    /// the thread was begun.
    #[serde(default)]
    pub outdated: bool,
    /// In requests: the head that was looked at; refused if there is another by now. In answers: the commit that
    /// the lines are counted in.
    #[serde(default)]
    pub head: String,
}

fn new_side() -> String {
    "new".to_owned()
}

/// One comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Comment {
    /// Its identifier.
    pub id: CommentId,
    /// Who wrote it.
    pub author: String,
    /// Whether a program wrote it.
    pub bot: bool,
    /// What they wrote, Markdown; empty once deleted.
    pub body: String,
    /// Whether it waits for its review to be sent, seen by its author alone.
    pub draft: bool,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Its suggestions.
    pub suggestions: Vec<Suggestion>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was changed.
    pub edited_at: Option<Timestamp>,
}

/// A suggested change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// Which one of its comment, from 0.
    pub number: u32,
    /// What shall stand there.
    pub text: String,
    /// The first line that it replaces now; nothing where it cannot be applied any more.
    pub start: Option<u32>,
    /// The last line.
    pub end: Option<u32>,
    /// The commit that it became.
    pub applied: Option<String>,
}

/// A discussion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Thread {
    /// Its identifier.
    pub id: ThreadId,
    /// Where it stands; nothing for one about the request as a whole.
    pub position: Option<Position>,
    /// Who settled it.
    pub resolved_by: Option<String>,
    /// When.
    pub resolved_at: Option<Timestamp>,
    /// What was said, oldest first.
    pub comments: Vec<Comment>,
}

/// A page of threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ThreadList {
    /// The threads, oldest first.
    pub threads: Vec<Thread>,
    /// Give this as `after` to read on.
    pub next_after: Option<ThreadId>,
    /// How many in all wait to be settled.
    pub unresolved: i64,
}

/// A thread to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewThread {
    /// Markdown.
    pub body: String,
    /// The lines that it is about; nothing for the request as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Keep it private until the review is sent.
    #[serde(default)]
    pub draft: bool,
}

/// An answer in a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewReply {
    /// Markdown.
    pub body: String,
    /// Keep it private until the review is sent.
    #[serde(default)]
    pub draft: bool,
}

/// A changed comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommentChange {
    /// Markdown.
    pub body: String,
}

/// A settled or opened thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ThreadChange {
    /// Whether it is settled.
    pub resolved: bool,
}

/// A review: a verdict with all comments that waited for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewReview {
    /// `comment`, `approve` or `request_changes`.
    pub verdict: String,
    /// Said about the request as a whole; may be empty. Markdown.
    #[serde(default)]
    pub body: String,
    /// Comments to send with it, besides those kept as drafts before.
    #[serde(default)]
    pub threads: Vec<NewThread>,
    /// The head that was looked at: refused if there is another by now. Needed for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
}

/// The head that is approved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalOrder {
    /// The head that was looked at: refused if there is another by now.
    pub sha: String,
}

/// What is approved and what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approvals {
    /// Whether nothing is missing.
    pub approved: bool,
    /// The head that this is about.
    pub head: String,
    /// Whose approvals count.
    pub approvers: Vec<String>,
    /// Everything that must be approved.
    pub rules: Vec<ApprovalOutcome>,
    /// Approvals that do not count.
    pub ignored: Vec<IgnoredApproval>,
    /// Who is asked to review, and what they said.
    pub reviewers: Vec<Reviewer>,
    /// Who it is assigned to.
    pub assignees: Vec<String>,
    /// Why you may not approve, if so.
    pub you_may_not: Option<String>,
}

/// How one rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalOutcome {
    /// The rule.
    pub name: String,
    /// Why it holds here.
    pub why: String,
    /// Whether it need not be met.
    pub optional: bool,
    /// How many approvals it needs.
    pub required: u32,
    /// Who gave them.
    pub given: Vec<String>,
    /// How many are missing.
    pub missing: u32,
    /// Some of those who could give them.
    pub could: Vec<String>,
}

/// An approval that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IgnoredApproval {
    /// Whose it is.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Someone who reviews.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reviewer {
    /// Their user name.
    pub name: String,
    /// Whether they were asked.
    pub asked: bool,
    /// `waiting`, `commented`, `approved` or `changes_requested`.
    pub state: String,
    /// The head that they reviewed.
    pub head: Option<String>,
}

/// Who shall review, and who it is assigned to; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeopleChange {
    /// User names of reviewers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<Vec<String>>,
    /// User names of assignees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignees: Option<Vec<String>>,
}

/// Someone who could review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestedReviewer {
    /// Their user name.
    pub name: String,
    /// What they could approve: sections of `CODEOWNERS`, teams.
    pub because: Vec<String>,
    /// How many open requests wait for their review.
    pub waiting: i64,
}

/// Those who could review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestedReviewers {
    /// Whose approval is missing first, then those with the fewest reviews waiting.
    pub reviewers: Vec<SuggestedReviewer>,
}

/// One block of a comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestionRef {
    /// The comment.
    pub comment: CommentId,
    /// Which of its blocks, from 0.
    #[serde(default)]
    pub number: u32,
}

/// Suggestions to apply in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplySuggestions {
    /// Which.
    pub suggestions: Vec<SuggestionRef>,
    /// The commit's message; a usual one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The commit that suggestions became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedSuggestions {
    /// The commit.
    pub commit: String,
}

/// What a project asks of reviews.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewSettings {
    /// How many must approve each request.
    pub approvals: u32,
    /// Whether owners named in `CODEOWNERS` must approve what they own.
    pub code_owners: bool,
    /// Whether those who wrote or pushed a commit of a request may not approve it.
    pub writers_barred: bool,
    /// Whether approvals stop counting when the change becomes another one.
    pub reset_on_change: bool,
    /// Whether all threads must be resolved before a merge.
    pub resolve_threads: bool,
    /// Teams that must approve.
    pub teams: Vec<TeamRule>,
}

/// A team that must approve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TeamRule {
    /// The rule's name, such as `Security`.
    pub name: String,
    /// The group whose members approve.
    pub group: String,
    /// How many of them.
    pub required: u32,
}

/// What to change of what a project asks of reviews; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewSettingsChange {
    /// How many must approve each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<u32>,
    /// Whether owners named in `CODEOWNERS` must approve what they own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_owners: Option<bool>,
    /// Whether those who wrote or pushed a commit of a request may not approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers_barred: Option<bool>,
    /// Whether approvals stop counting when the change becomes another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_on_change: Option<bool>,
    /// Whether all threads must be resolved before a merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve_threads: Option<bool>,
    /// Teams that must approve, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<Vec<TeamRule>>,
}

/// Who owns a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathOwners {
    /// The path.
    pub path: String,
    /// The file that says so; empty where there is none.
    pub file: String,
    /// The commit that it was read at.
    pub commit: String,
    /// For each section the line that counts.
    pub owners: Vec<PathOwner>,
    /// What cannot be meant so in the file.
    pub complaints: Vec<OwnersComplaint>,
}

/// Who owns a path in one section, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathOwner {
    /// The section.
    pub section: String,
    /// Whether the owners need not approve.
    pub optional: bool,
    /// How many of them must.
    pub approvals: u32,
    /// The line of the file that counts.
    pub line: usize,
    /// Its pattern.
    pub pattern: String,
    /// Whom it names.
    pub owners: Vec<String>,
    /// The accounts that these are and that may approve here.
    pub people: Vec<String>,
    /// Names that lead to nobody.
    pub unknown: Vec<String>,
    /// One sentence.
    pub why: String,
}

/// What cannot be meant so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnersComplaint {
    /// The line.
    pub line: usize,
    /// What is the matter.
    pub what: String,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingsTaken {
    /// The programs that it is of.
    pub tools: Vec<String>,
    /// How many findings were taken.
    pub taken: usize,
    /// How many were left out: no place in the repository, suppressed, or too many.
    pub left_out: usize,
}

/// Something that a program found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The program.
    pub tool: String,
    /// Its rule.
    pub rule: String,
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// The tool's own word for that, such as `critical`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The file.
    pub path: String,
    /// The first line; 0 for the file as a whole.
    pub start: u32,
    /// The last line.
    pub end: u32,
    /// What is the matter.
    pub message: String,
    /// Where the rule is explained.
    pub url: Option<String>,
    /// What makes it the same in another version.
    pub fingerprint: String,
    /// The commit that it was found at.
    pub sha: String,
    /// Whether the newest run no longer finds it.
    pub resolved: bool,
    /// Whether it is on a line that the request adds or changes.
    pub on_changed_line: bool,
}

/// The findings about a merge request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingList {
    /// The findings, worst first.
    pub findings: Vec<Finding>,
}
