//! Issues, labels, boards and milestones as the JSON API and the command line carry them.

use bascule_core::{IssueId, LabelId, MilestoneId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an issue stands on the board. What stands in `done` is closed, everything else is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Nobody has taken it.
    Open,
    /// Someone has it, and has not begun.
    Todo,
    /// Someone works on it.
    Doing,
    /// Closed.
    Done,
}

impl Column {
    /// All, from left to right.
    pub const ALL: [Self; 4] = [Self::Open, Self::Todo, Self::Doing, Self::Done];

    /// As stored and written in addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Todo => "todo",
            Self::Doing => "doing",
            Self::Done => "done",
        }
    }

    /// As people read it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Todo => "To do",
            Self::Doing => "Doing",
            Self::Done => "Done",
        }
    }

    /// Reads a column's name, also as people write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain: String = text
            .chars()
            .filter(char::is_ascii_alphabetic)
            .collect::<String>()
            .to_ascii_lowercase();
        Self::ALL.into_iter().find(|column| column.as_str() == plain)
    }

    /// The next one to the right.
    #[must_use]
    pub fn right(self) -> Option<Self> {
        Self::ALL.into_iter().find(|column| *column > self)
    }

    /// The next one to the left.
    #[must_use]
    pub fn left(self) -> Option<Self> {
        Self::ALL.into_iter().rev().find(|column| *column < self)
    }
}

/// What a board does where more is begun than there are people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WipRule {
    /// Refuses.
    #[default]
    Refuse,
    /// Lets it happen and says so.
    Warn,
    /// Says nothing.
    Off,
}

impl WipRule {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }

    /// Reads a stored value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Refuse, Self::Warn, Self::Off]
            .into_iter()
            .find(|rule| rule.as_str() == text)
    }
}

/// Someone, by account and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// The account.
    pub user: UserId,
    /// The user name.
    pub username: String,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Label {
    /// The label.
    pub id: LabelId,
    /// Its name; `family::value` for one of a family, of which an issue has one.
    pub name: String,
    /// The family, empty if it is of none.
    pub family: String,
    /// What it means.
    pub description: String,
    /// One of the palette's colours.
    pub colour: String,
    /// Whether it belongs to the group, and so to all its projects.
    pub group: bool,
    /// Whether the caller hears of issues that get it.
    pub subscribed: bool,
}

/// Makes a label.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewLabel {
    /// Its name.
    pub name: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// One of the palette's colours; one is chosen where it is left out.
    #[serde(default)]
    pub colour: Option<String>,
}

/// Changes a label; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LabelChange {
    /// Its new name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it means.
    #[serde(default)]
    pub description: Option<String>,
    /// One of the palette's colours.
    #[serde(default)]
    pub colour: Option<String>,
}

/// All labels.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Labels {
    /// By family and place.
    pub items: Vec<Label>,
}

/// An issue in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssueSummary {
    /// The issue.
    pub id: IssueId,
    /// `group/project`.
    pub project: String,
    /// Its number within the project.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// `open` or `closed`.
    pub state: String,
    /// Where it stands on the board.
    pub column: Column,
    /// Whether only members from reporter up, its author and its assignees see it.
    pub confidential: bool,
    /// Who opened it.
    pub author: String,
    /// Who has it.
    pub assignees: Vec<String>,
    /// Its labels.
    pub labels: Vec<String>,
    /// The milestone's title.
    pub milestone: Option<String>,
    /// The day it is due, `YYYY-MM-DD`.
    pub due_on: Option<String>,
    /// How many comments there are.
    pub comments: i64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

/// Some issues.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IssuePage {
    /// The issues, in the order asked for.
    pub items: Vec<IssueSummary>,
    /// Give it as `after` for the next page.
    pub next: Option<String>,
}

/// One issue, complete.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IssueDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: IssueSummary,
    /// Markdown.
    pub description: String,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// What closed it: `person`, `commit 3f2a91c0`, `merge request 4`.
    pub closed_how: Option<String>,
    /// Links to other issues that the caller may see.
    pub links: Vec<IssueLink>,
    /// Merge requests that say that they close it, newest first; none where the caller may not read the code.
    #[serde(default)]
    pub merge_requests: Vec<IssueRequest>,
    /// Comments and what happened, oldest first.
    pub history: Vec<HistoryEntry>,
    /// What to mind about the last change, such as a limit that was passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A merge request that says that it closes an issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssueRequest {
    /// Its number within the project.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// `open`, `merged` or `closed`.
    pub state: String,
}

/// A link from one issue to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssueLink {
    /// `relates`, `blocks` or `blocked_by`.
    pub kind: String,
    /// The other's project.
    pub project: String,
    /// The other's number.
    pub number: i64,
    /// The other's title.
    pub title: String,
    /// The other's state.
    pub state: String,
}

/// One line of an issue's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// The fact's kind, or `comment`.
    pub kind: String,
    /// The fact's sentence, or the comment in Markdown.
    pub text: String,
    /// The fact's number in the ledger; absent for a comment.
    pub seq: Option<i64>,
    /// The comment's number within the issue; absent for a fact.
    pub comment: Option<i64>,
}

/// Opens an issue.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewIssue {
    /// Its title.
    pub title: String,
    /// Markdown.
    #[serde(default)]
    pub description: String,
    /// Names of labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// User names.
    #[serde(default)]
    pub assignees: Vec<String>,
    /// A milestone's title.
    #[serde(default)]
    pub milestone: Option<String>,
    /// The day it is due, `YYYY-MM-DD`.
    #[serde(default)]
    pub due_on: Option<String>,
    /// Whether only members from reporter up, its author and its assignees see it.
    #[serde(default)]
    pub confidential: bool,
}

/// Changes an issue; what is left out stays, what is empty is taken away.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct IssueChange {
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// Markdown.
    #[serde(default)]
    pub description: Option<String>,
    /// Exactly these labels.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// These labels too; one of a family replaces the other.
    #[serde(default)]
    pub add_labels: Vec<String>,
    /// Not these labels.
    #[serde(default)]
    pub remove_labels: Vec<String>,
    /// Exactly these people, by user name.
    #[serde(default)]
    pub assignees: Option<Vec<String>>,
    /// A milestone's title; empty for none.
    #[serde(default)]
    pub milestone: Option<String>,
    /// The day it is due, `YYYY-MM-DD`; empty for none.
    #[serde(default)]
    pub due_on: Option<String>,
    /// Whether few see it.
    #[serde(default)]
    pub confidential: Option<bool>,
}

/// Moves an issue: to a column, to a place in the order, or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct MoveIssue {
    /// To this column; left out: it stays in its own.
    #[serde(default)]
    pub to: Option<Column>,
    /// Before this one: a number, or `group/project#number` within the group.
    #[serde(default)]
    pub before: Option<String>,
    /// After this one.
    #[serde(default)]
    pub after: Option<String>,
}

/// Says something about an issue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewIssueComment {
    /// Markdown; `@name` tells a member.
    pub body: String,
}

/// Links two issues, or parts them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkIssue {
    /// `relates`, `blocks` or `blocked_by`.
    pub kind: String,
    /// The other: a number, or `group/project#number`.
    pub to: String,
}

/// A board.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Board {
    /// `group/project`, or the group.
    pub of: String,
    /// Its columns, from left to right.
    pub columns: Vec<BoardColumn>,
    /// What happens beyond the limit of work in progress.
    pub wip: WipRule,
    /// The limit: as many as there are available members.
    pub limit: i64,
    /// Who may take an issue, and whether they are there.
    pub members: Vec<BoardMember>,
    /// Changes with everything that the board shows.
    pub version: i64,
}

/// A column of a board.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BoardColumn {
    /// Which.
    pub column: Column,
    /// How many issues stand in it.
    pub count: i64,
    /// The first of them, most important first; of `done`, the last closed first.
    pub issues: Vec<IssueSummary>,
}

/// Someone who may take an issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoardMember {
    /// The user name.
    pub username: String,
    /// Whether they are there.
    pub available: bool,
    /// The last day they are away, if it is known.
    pub away_until: Option<String>,
    /// How many issues they have in `doing` on this board.
    pub doing: i64,
}

/// Sets what a board does beyond its limit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BoardSettings {
    /// Beyond the limit of work in progress.
    pub wip: WipRule,
}

/// Says whether someone is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Availability {
    /// Whether they are away.
    pub away: bool,
    /// The last day away, `YYYY-MM-DD`; left out: until they say that they are back.
    #[serde(default)]
    pub until: Option<String>,
}

/// A milestone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Milestone {
    /// The milestone.
    pub id: MilestoneId,
    /// Its number within the project or group.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// Markdown.
    pub description: String,
    /// The day it begins.
    pub starts_on: Option<String>,
    /// The day it is due.
    pub due_on: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// Whether it belongs to the group, and so to all its projects.
    pub group: bool,
    /// Issues in it.
    pub total: i64,
    /// Of these, closed.
    pub closed: i64,
}

/// A milestone with its days.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MilestoneDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub milestone: Milestone,
    /// For each day, how much there was and how much was done.
    pub burn_up: Vec<BurnUpDay>,
    /// Its issues, most important first.
    pub issues: Vec<IssueSummary>,
}

/// One day of a milestone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BurnUpDay {
    /// The day, in UTC.
    pub day: String,
    /// Issues in it at the day's end.
    pub scope: i64,
    /// Of these, closed.
    pub done: i64,
}

/// All milestones.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Milestones {
    /// Open ones first, by the day they are due.
    pub items: Vec<Milestone>,
}

/// Makes a milestone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewMilestone {
    /// Its title.
    pub title: String,
    /// Markdown.
    #[serde(default)]
    pub description: String,
    /// The day it begins, `YYYY-MM-DD`.
    #[serde(default)]
    pub starts_on: Option<String>,
    /// The day it is due, `YYYY-MM-DD`.
    #[serde(default)]
    pub due_on: Option<String>,
}

/// Changes a milestone; what is left out stays, an empty day is taken away.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct MilestoneChange {
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// Markdown.
    #[serde(default)]
    pub description: Option<String>,
    /// The day it begins.
    #[serde(default)]
    pub starts_on: Option<String>,
    /// The day it is due.
    #[serde(default)]
    pub due_on: Option<String>,
    /// `open` or `closed`.
    #[serde(default)]
    pub state: Option<String>,
}

/// What an import came to. Either every row was taken or none.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// Rows read, without the heading.
    pub rows: i64,
    /// Issues opened.
    pub created: i64,
    /// Whether it was only looked at.
    pub dry_run: bool,
    /// What is wrong, by row.
    pub errors: Vec<ImportError>,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportError {
    /// The row, as a spreadsheet counts: the heading is 1.
    pub row: i64,
    /// The column; empty if it is the whole row.
    pub column: String,
    /// What is wrong.
    pub what: String,
}

/// Templates for new issues.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IssueTemplates {
    /// By name.
    pub items: Vec<IssueTemplate>,
}

/// A template for new issues: a file of the project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IssueTemplate {
    /// The file's name without its ending.
    pub name: String,
    /// Markdown.
    pub text: String,
}
