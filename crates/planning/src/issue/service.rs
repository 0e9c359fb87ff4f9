//! Reading issues, opening them, talking about them, linking them.

use super::{Assignee, Issue, IssueRow, list::Asked, rank, reopened, store, urgency};
use crate::{
    Planning, board,
    label::{LabelRow, store as labels, store::Owner},
    milestone,
    ports::{ClosingRequest, Member},
    references::{self, Reference},
    sight::{Among, Sight},
    text,
};
use bascule_core::{
    Actor, Caller, GroupId, GroupScope, IssueId, MilestoneId, Permission, Problem, ProjectId, ProjectScope,
    Result, UserId,
};
use bascule_ledger::facts::planning::{IssueCommented, IssueLinked, IssueOpened, IssueRanked};
use bascule_store::Tx;
use bascule_wire::planning::{
    Column, IssueDetails, IssueLink, IssuePage, IssueRequest, IssueTemplate, LinkIssue, NewIssue,
    NewIssueComment,
};
use std::collections::HashSet;

/// What others may ask of an issue: whether it is there, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueState {
    /// The issue.
    pub id: IssueId,
    /// Its number within its project.
    pub number: i64,
    /// Its title. Of a confidential one it may be told only to those who may see it: ask [`Planning::may_see`].
    pub title: String,
    /// Whether it is open.
    pub open: bool,
    /// Whether few see it.
    pub confidential: bool,
    /// Where it stands on the board.
    pub column: Column,
    /// The user names of those who have it.
    pub assignees: Vec<String>,
}

/// Folders in which templates are looked for, first ours.
const TEMPLATES: [&str; 2] = [".bascule/issue_templates", ".gitlab/issue_templates"];

/// An issue about to be opened, with everything looked up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) labels: Vec<LabelRow>,
    pub(crate) assignees: Vec<(UserId, String)>,
    pub(crate) milestone: Option<MilestoneId>,
    pub(crate) due_on: Option<String>,
    pub(crate) confidential: bool,
    pub(crate) closed: bool,
    pub(crate) mentions: Vec<UserId>,
}

/// Where in the order something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Before(IssueId),
    After(IssueId),
    End,
}

impl Planning {
    /// Gives a project its first labels, where it has none yet.
    pub(crate) async fn ready(&self, project: ProjectId, group: GroupId) -> Result<()> {
        if labels::seeded(&self.db, project).await? {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        labels::seed(&tx, project, group, self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// An issue that the caller may see.
    pub(crate) async fn issue(&self, project: &ProjectScope, sight: &Sight, number: i64) -> Result<Issue> {
        store::by_number(&self.db, project.id, number)
            .await?
            .filter(|issue| sees(sight, issue))
            .ok_or_else(|| Problem::not_found("issue"))
    }

    /// An issue in the transaction that changes it: the group is held from here on.
    pub(super) async fn hold(
        &self,
        tx: &Tx,
        project: &ProjectScope,
        sight: &Sight,
        number: i64,
    ) -> Result<Issue> {
        board::store::touch(tx, project.group_id).await?;
        store::by_number(tx, project.id, number)
            .await?
            .filter(|issue| sees(sight, issue))
            .ok_or_else(|| Problem::not_found("issue"))
    }

    /// How an issue stands, for rules that others keep, whoever may see it; `None` if there is none.
    ///
    /// # Errors
    /// The database refused.
    pub async fn issue_state(&self, project: ProjectId, number: i64) -> Result<Option<IssueState>> {
        let found = store::by_number(&self.db, project, number).await?;
        Ok(found.map(|issue| IssueState {
            id: issue.row.id,
            number,
            open: issue.column() != Column::Done,
            confidential: issue.row.confidential,
            column: issue.column(),
            assignees: issue
                .assignees
                .iter()
                .map(|someone| someone.username.clone())
                .collect(),
            title: issue.row.title,
        }))
    }

    /// Which of these issues of a project are open, for rules that others keep, whoever may see them.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open_issues(&self, project: ProjectId, numbers: &[i64]) -> Result<HashSet<i64>> {
        Ok(store::open_of(&self.db, project, numbers).await?)
    }

    /// Whether a caller may see an issue.
    ///
    /// # Errors
    /// The database or identity refused.
    pub async fn may_see(&self, caller: &Caller, project: &ProjectScope, number: i64) -> Result<bool> {
        if !project.holds(Permission::IssueRead) {
            return Ok(false);
        }
        let sight = self.sight(caller, project).await?;
        let found = store::by_number(&self.db, project.id, number).await?;
        Ok(found.is_some_and(|issue| sees(&sight, &issue)))
    }

    /// Issues of a project that the caller may see.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        asked: &Asked,
    ) -> Result<(Vec<Issue>, Option<String>)> {
        let sight = self.sight(caller, project).await?;
        let filter = asked.filter()?;
        Ok(store::list(&self.db, &Among::one(project.id, &sight), &filter).await?)
    }

    /// Issues of a group's projects that the caller may see, with the projects.
    pub(crate) async fn list_group(
        &self,
        caller: &Caller,
        group: &GroupScope,
        asked: &Asked,
    ) -> Result<(Vec<Issue>, Option<String>, Vec<ProjectScope>)> {
        let scopes = self.projects.of_group(caller, group.id).await?;
        let reach = self.people.reach(caller).await?;
        let among = Among::several(&reach, caller, &scopes);
        let (issues, next) = store::list(&self.db, &among, &asked.filter()?).await?;
        Ok((issues, next, scopes))
    }

    /// The same as the API carries it.
    pub(crate) async fn page(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        asked: &Asked,
    ) -> Result<IssuePage> {
        let (issues, next) = self.list(caller, project, asked).await?;
        let path = project.path();
        Ok(IssuePage {
            items: issues.iter().map(|issue| issue.summary(&path)).collect(),
            next,
        })
    }

    /// One issue with all that belongs to it.
    pub(crate) async fn details(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
    ) -> Result<IssueDetails> {
        let sight = self.sight(caller, project).await?;
        let issue = self.issue(project, &sight, number).await?;
        Ok(IssueDetails {
            summary: issue.summary(&project.path()),
            description: issue.row.description.clone(),
            closed_by: issue.row.closed_by.clone(),
            closed_how: issue.row.closed_how.clone(),
            links: self.links(caller, &issue).await?,
            merge_requests: self
                .closing(project, number)
                .await?
                .into_iter()
                .map(|request| IssueRequest {
                    number: request.number,
                    title: request.title,
                    state: request.state.to_owned(),
                })
                .collect(),
            history: self.history(&issue).await?,
            warnings: Vec::new(),
        })
    }

    /// Merge requests that say that they close an issue; none for who may not read the code.
    pub(crate) async fn closing(&self, project: &ProjectScope, number: i64) -> Result<Vec<ClosingRequest>> {
        if !project.holds(Permission::CodeRead) {
            return Ok(Vec::new());
        }
        self.code.closing(project.id, number).await
    }

    /// Templates for new issues: Markdown files of the project. Ours stand before GitLab's of the same name.
    pub(crate) async fn templates(&self, project: ProjectId) -> Result<Vec<IssueTemplate>> {
        let mut all: Vec<IssueTemplate> = Vec::new();
        for folder in TEMPLATES {
            for template in self.code.templates(project, folder).await? {
                if !all.iter().any(|known| known.name == template.name) {
                    all.push(template);
                }
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Opens an issue; returns its number.
    pub(crate) async fn open(&self, caller: &Caller, project: &ProjectScope, new: NewIssue) -> Result<i64> {
        let sight = self.sight(caller, project).await?;
        sight.must_speak()?;
        let plain = new.labels.is_empty()
            && new.assignees.is_empty()
            && new.due_on.as_deref().unwrap_or_default().is_empty()
            && new.milestone.as_deref().unwrap_or_default().is_empty();
        if !plain {
            sight.must_manage()?;
        }
        self.ready(project.id, project.group_id).await?;
        let members = self.people.members(project.id, project.group_id).await?;
        let owner = Owner::Project(project.id, project.group_id);
        let known = labels::list(&self.db, owner).await?;
        let description = text::body(&new.description, "description")?;
        let milestone = match new
            .milestone
            .as_deref()
            .map(str::trim)
            .filter(|title| !title.is_empty())
        {
            None => None,
            Some(title) => Some(
                milestone::store::named(&self.db, owner, title)
                    .await?
                    .ok_or_else(|| no_milestone(title))?
                    .id,
            ),
        };
        let draft = Draft {
            title: text::title(&new.title, "issue")?,
            labels: super::relabelled(&[], Some(&chosen(&known, &new.labels)?), &[], &[])?,
            assignees: people(&members, &new.assignees)?,
            milestone,
            due_on: text::day(new.due_on.as_deref().unwrap_or_default())?,
            confidential: new.confidential,
            closed: false,
            mentions: named(&members, &description),
            description,
        };
        let tx = self.db.begin().await?;
        board::store::touch(&tx, project.group_id).await?;
        let number = self.insert(&tx, caller, project, &draft).await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Opens an issue in a transaction that holds the group.
    pub(crate) async fn insert(
        &self,
        tx: &Tx,
        caller: &Caller,
        project: &ProjectScope,
        draft: &Draft,
    ) -> Result<i64> {
        let now = self.now();
        let number = tx.next_number(&format!("issue:{}", project.id)).await?;
        let id = IssueId::new();
        let spot = self.spot(tx, project.id, id, urgency(&draft.labels)).await?;
        let column = if draft.closed {
            Column::Done
        } else {
            reopened(!draft.assignees.is_empty())
        };
        let row = IssueRow {
            id,
            project_id: project.id,
            group_id: project.group_id,
            number,
            title: draft.title.clone(),
            description: draft.description.clone(),
            author: caller.actor.name.clone(),
            author_id: caller.user,
            confidential: draft.confidential,
            place: column.as_str().to_owned(),
            rank: self.seat(tx, project.group_id, id, spot).await?,
            due_on: draft.due_on.clone(),
            milestone_id: draft.milestone,
            milestone: None,
            comments: 0,
            created_at: now,
            updated_at: now,
            closed_at: draft.closed.then_some(now),
            closed_by: draft.closed.then(|| caller.actor.name.clone()),
            closed_how: draft.closed.then(|| "import".to_owned()),
        };
        let new = store::NewRow {
            row: &row,
            labels: &draft.labels,
            assignees: &draft.assignees,
        };
        store::insert(tx, &new).await?;
        let fact = IssueOpened {
            project: project.id,
            issue: id,
            number,
            confidential: draft.confidential,
            assignees: draft.assignees.iter().map(|(user, _)| *user).collect(),
            labels: if draft.confidential {
                Vec::new()
            } else {
                draft.labels.iter().map(|label| label.name.clone()).collect()
            },
            mentions: draft.mentions.clone(),
            at: now,
        };
        self.ledger.append(tx, &caller.actor, &fact).await?;
        Ok(number)
    }

    /// Where an issue goes for its urgency: above all that are less urgent; at the end where it is not urgent.
    pub(super) async fn spot(
        &self,
        tx: &Tx,
        project: ProjectId,
        id: IssueId,
        urgency: Option<i64>,
    ) -> Result<Spot> {
        let Some(urgency) = urgency else {
            return Ok(Spot::End);
        };
        let below = store::first_less_urgent(tx, project, id, urgency).await?;
        Ok(below.map_or(Spot::End, Spot::Before))
    }

    /// The number by which an issue stands at a place in the group's order.
    pub(super) async fn seat(&self, tx: &Tx, group: GroupId, id: IssueId, spot: Spot) -> Result<i64> {
        for _ in 0..2 {
            let (above, below) = match spot {
                Spot::End => (store::last_rank(tx, group, id).await?, None),
                Spot::Before(other) => {
                    let at = self.rank_of(tx, other).await?;
                    (store::neighbour(tx, group, id, at, true).await?, Some(at))
                }
                Spot::After(other) => {
                    let at = self.rank_of(tx, other).await?;
                    (Some(at), store::neighbour(tx, group, id, at, false).await?)
                }
            };
            if let Some(rank) = rank::between(above, below) {
                return Ok(rank);
            }
            store::spread(tx, group, rank::GAP).await?;
        }
        tracing::error!(%group, "issues could not be spread");
        Err(Problem::internal())
    }

    async fn rank_of(&self, tx: &Tx, id: IssueId) -> Result<i64> {
        store::rank(tx, id)
            .await?
            .ok_or_else(|| Problem::not_found("issue"))
    }

    /// Puts an issue at a place in the order, and says so.
    pub(super) async fn place(
        &self,
        tx: &Tx,
        actor: &Actor,
        issue: &Issue,
        spot: Spot,
        tell: bool,
    ) -> Result<()> {
        let rank = self.seat(tx, issue.row.group_id, issue.row.id, spot).await?;
        store::set_rank(tx, issue.row.id, rank).await?;
        if tell {
            let fact = IssueRanked {
                project: issue.row.project_id,
                issue: issue.row.id,
                number: issue.row.number,
            };
            self.ledger.append(tx, actor, &fact).await?;
        }
        Ok(())
    }

    /// Comments; returns the comment's number.
    pub(crate) async fn comment(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        new: &NewIssueComment,
    ) -> Result<i64> {
        let sight = self.sight(caller, project).await?;
        sight.must_speak()?;
        let body = text::comment(&new.body)?;
        let members = self.people.members(project.id, project.group_id).await?;
        let tx = self.db.begin().await?;
        let issue = self.hold(&tx, project, &sight, number).await?;
        let comment = store::comment(&tx, issue.row.id, &caller.actor.name, &body, self.now()).await?;
        let fact = IssueCommented {
            project: project.id,
            issue: issue.row.id,
            number,
            comment,
            mentions: named(&members, &body),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(comment)
    }

    /// The issue that someone names, if they may see it.
    pub(super) async fn referred(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        written: &str,
    ) -> Result<(ProjectScope, Issue)> {
        let Reference {
            project: path,
            number,
        } = references::parse(written).ok_or_else(|| {
            Problem::invalid(
                "bad_reference",
                format!("`{}` names no issue.", text::cut(written, 80)),
            )
            .next("Write 3, or group/project#3.")
        })?;
        let scope = match path {
            None => project.clone(),
            Some(path) if path == project.path() => project.clone(),
            Some(path) => self
                .projects
                .find(caller, &path)
                .await?
                .filter(|scope| scope.holds(Permission::IssueRead))
                .ok_or_else(|| Problem::not_found("issue"))?,
        };
        let sight = self.sight(caller, &scope).await?;
        let issue = self.issue(&scope, &sight, number).await?;
        Ok((scope, issue))
    }

    /// Links two issues, or parts them.
    pub(crate) async fn link(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        link: &LinkIssue,
        part: bool,
    ) -> Result<()> {
        let sight = self.sight(caller, project).await?;
        sight.must_manage()?;
        let known = ["relates", "blocks", "blocked_by"];
        if !part && !known.contains(&link.kind.as_str()) {
            return Err(Problem::invalid(
                "bad_link",
                format!("`{}` is no kind of link.", text::cut(&link.kind, 20)),
            )
            .next("Use relates, blocks or blocked_by."));
        }
        let (_, other) = self.referred(caller, project, &link.to).await?;
        let tx = self.db.begin().await?;
        let issue = self.hold(&tx, project, &sight, number).await?;
        if issue.row.id == other.row.id {
            return Err(
                Problem::invalid("bad_link", "An issue cannot be linked to itself.")
                    .next("Name another issue."),
            );
        }
        if part {
            if store::unlink(&tx, issue.row.id, other.row.id).await? == 0 {
                return Err(Problem::not_found("link"));
            }
        } else {
            let mut all = store::links(&tx, issue.row.id).await?.into_iter();
            if let Some(stands) = all.find(|link| link.other == other.row.id) {
                return match stands.told() {
                    told if told == link.kind => Ok(()),
                    told => Err(linked_otherwise(number, told, &link.to)),
                };
            }
            let (from, to, kind) = match link.kind.as_str() {
                "blocked_by" => (other.row.id, issue.row.id, "blocks"),
                kind => (issue.row.id, other.row.id, kind),
            };
            store::link(&tx, from, to, kind).await?;
        }
        store::touch(&tx, issue.row.id, self.now()).await?;
        let fact = IssueLinked {
            project: project.id,
            issue: issue.row.id,
            number,
            other: other.row.id,
            relation: link.kind.clone(),
            parted: part,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Links of an issue, as far as the caller may see the others.
    pub(crate) async fn links(&self, caller: &Caller, issue: &Issue) -> Result<Vec<IssueLink>> {
        let mut all = Vec::new();
        let mut scopes: Vec<(ProjectId, Option<(ProjectScope, Sight)>)> = Vec::new();
        for link in store::links(&self.db, issue.row.id).await? {
            let Some(other) = store::by_id(&self.db, link.other).await? else {
                continue;
            };
            let project = other.row.project_id;
            if !scopes.iter().any(|(known, _)| *known == project) {
                let scope = self
                    .projects
                    .get(caller, project)
                    .await?
                    .filter(|scope| scope.holds(Permission::IssueRead));
                let seen = match scope {
                    None => None,
                    Some(scope) => {
                        let sight = self.sight(caller, &scope).await?;
                        Some((scope, sight))
                    }
                };
                scopes.push((project, seen));
            }
            let seen = scopes
                .iter()
                .find(|(known, _)| *known == project)
                .and_then(|(_, seen)| seen.as_ref());
            let Some((scope, _)) = seen.filter(|(_, sight)| sees(sight, &other)) else {
                continue;
            };
            all.push(IssueLink {
                kind: link.told().to_owned(),
                project: scope.path(),
                number: other.row.number,
                title: other.row.title.clone(),
                state: super::state(other.column()).to_owned(),
            });
        }
        all.sort_by(|one, other| {
            (&one.kind, &one.project, one.number).cmp(&(&other.kind, &other.project, other.number))
        });
        Ok(all)
    }
}

pub(super) fn sees(sight: &Sight, issue: &Issue) -> bool {
    sight.sees(issue.row.confidential, issue.row.author_id, &issue.users())
}

/// Members whom a text names.
pub(crate) fn named(members: &[Member], body: &str) -> Vec<UserId> {
    let names = references::mentions(body);
    members
        .iter()
        .filter(|member| member.active && names.contains(&member.username))
        .map(|member| member.user)
        .collect()
}

/// Labels by name: a project's own before its group's.
pub(crate) fn chosen(known: &[LabelRow], names: &[String]) -> Result<Vec<LabelRow>> {
    let find = |name: &String| {
        let of = |group: bool| {
            known
                .iter()
                .find(|label| label.of_group == group && label.name == name.trim())
        };
        of(false)
            .or_else(|| of(true))
            .cloned()
            .ok_or_else(|| no_label(name))
    };
    names.iter().map(find).collect()
}

pub(crate) fn no_label(name: &str) -> Problem {
    Problem::invalid(
        "no_label",
        format!("There is no label `{}`.", text::cut(name, 100)),
    )
    .why("Labels are made before they are used, so that a slip of the pen makes no second one.")
    .next("Choose one of the project's labels, or make it first: `bascule label create`.")
}

pub(crate) fn no_milestone(title: &str) -> Problem {
    Problem::invalid(
        "no_milestone",
        format!("There is no milestone `{}`.", text::cut(title, 100)),
    )
    .next("Choose one of the project's or group's milestones, or make it first: `bascule milestone create`.")
}

/// Members by user name.
pub(crate) fn people(members: &[Member], names: &[String]) -> Result<Vec<(UserId, String)>> {
    let mut found: Vec<(UserId, String)> = Vec::new();
    for name in names {
        let name = name.trim().trim_start_matches('@');
        let member = members
            .iter()
            .find(|member| member.username == name && member.active)
            .ok_or_else(|| {
                Problem::invalid(
                    "no_member",
                    format!("`{}` is no member of this project.", text::cut(name, 63)),
                )
                .why("An issue is given to those who can see it and work on it.")
                .next("Add them to the project or its group first, or choose a member.")
            })?;
        if !found.iter().any(|(user, _)| *user == member.user) {
            found.push((member.user, member.username.clone()));
        }
    }
    if found.len() > 20 {
        return Err(
            Problem::invalid("too_many", "An issue cannot be given to more than 20 people.")
                .why("What everyone has, nobody does.")
                .next("Choose fewer."),
        );
    }
    Ok(found)
}

/// Two issues have one link; which one stands between them is said, and how to take it away.
fn linked_otherwise(number: i64, stands: &str, to: &str) -> Problem {
    let words = match stands {
        "blocks" => "blocks",
        "blocked_by" => "is blocked by",
        _ => "relates to",
    };
    let to = text::cut(to, 130);
    let other = if to.bytes().all(|b| b.is_ascii_digit()) {
        format!("#{to}")
    } else {
        to
    };
    Problem::conflict(
        "linked_otherwise",
        format!("Issue #{number} {words} {other} already."),
    )
    .why("Two issues have one link: they cannot wait for each other.")
    .next("Take that link away first (`bascule issue unlink`), then set the other.")
}

/// People as pairs.
pub(super) fn pairs(assignees: &[Assignee]) -> Vec<(UserId, String)> {
    assignees
        .iter()
        .map(|someone| (someone.user_id, someone.username.clone()))
        .collect()
}
