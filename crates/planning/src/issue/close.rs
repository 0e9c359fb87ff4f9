//! Moving issues over the board, closing them and opening them again: by people, by commits, by merge requests.

use super::{Assignee, Issue, reopened, store};
use crate::{Planning, board, ports::Member, sight::Sight};
use bascule_core::{Actor, Caller, GroupId, Problem, ProjectId, ProjectScope, Result, Role};
use bascule_ledger::facts::planning::{IssueClosed, IssueMoved, IssueReopened};
use bascule_store::Tx;
use bascule_wire::planning::{Column, MoveIssue, WipRule};

/// What closes an issue.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Person,
    Commit(String),
    MergeRequest(i64),
}

impl By {
    const fn word(&self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Commit(_) => "commit",
            Self::MergeRequest(_) => "merge_request",
        }
    }

    fn reference(&self) -> String {
        match self {
            Self::Person => String::new(),
            Self::Commit(sha) => sha.clone(),
            Self::MergeRequest(number) => number.to_string(),
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Person => "person".to_owned(),
            Self::Commit(sha) => format!("commit {}", sha.get(..8).unwrap_or(sha)),
            Self::MergeRequest(number) => format!("merge request {number}"),
        }
    }
}

impl Planning {
    /// Moves an issue to a column, to a place in the order, or both; returns what to mind.
    pub(crate) async fn move_issue(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        wanted: &MoveIssue,
    ) -> Result<Vec<String>> {
        let sight = self.sight(caller, project).await?;
        sight.must_manage()?;
        self.ready(project.id, project.group_id).await?;
        let spot = self
            .dropped(caller, project, wanted.before.as_deref(), wanted.after.as_deref())
            .await?;
        let members = self.people.members(project.id, project.group_id).await?;
        let tx = self.db.begin().await?;
        let mut issue = self.hold(&tx, project, &sight, number).await?;
        let from = issue.column();
        let to = wanted.to.unwrap_or(from);
        let mut warnings = Vec::new();
        if from != to {
            if matches!(to, Column::Todo | Column::Doing) && issue.assignees.is_empty() {
                let me = members
                    .iter()
                    .find(|member| member.active && Some(member.user) == caller.user)
                    .ok_or_else(|| nobody_assigned(number))?;
                self.give(&tx, caller, &mut issue, me).await?;
            }
            let mut beyond = 0;
            if to == Column::Doing {
                beyond = self
                    .begin_work(&tx, project, &issue, &members, &mut warnings)
                    .await?;
            }
            self.cross(&tx, &caller.actor, &issue, to, beyond).await?;
        }
        if let Some(spot) = spot {
            self.place(&tx, &caller.actor, &issue, spot, from == to).await?;
        }
        if from != to || spot.is_some() {
            store::touch(&tx, issue.row.id, self.now()).await?;
            tx.commit().await?;
        }
        Ok(warnings)
    }

    /// Whether work on an issue may begin; returns how far beyond the limit it goes.
    async fn begin_work(
        &self,
        tx: &Tx,
        project: &ProjectScope,
        issue: &Issue,
        members: &[Member],
        warnings: &mut Vec<String>,
    ) -> Result<i64> {
        for link in store::links(tx, issue.row.id).await? {
            if link.outward || link.kind != "blocks" {
                continue;
            }
            let other = store::by_id(tx, link.other).await?;
            // Only what stands in the same project is named: who moves this may not see the other.
            if let Some(other) = other.filter(|other| other.column() != Column::Done) {
                warnings.push(if other.row.project_id == project.id && !other.row.confidential {
                    format!("It is blocked by #{}, which is open.", other.row.number)
                } else {
                    "It is blocked by another issue, which is open.".to_owned()
                });
            }
        }
        warnings.extend(works_already(
            &issue.assignees,
            &store::busy(tx, &[project.id]).await?,
        ));
        let away = board::store::away(tx, &self.today()).await?;
        let limit = limit(members, &away);
        let doing = store::doing(tx, project.id).await?;
        let rule = board::store::wip(tx, project.id).await?;
        let beyond = (doing + 1 - limit).max(0);
        if beyond == 0 || rule == WipRule::Off {
            return Ok(0);
        }
        let what = format!(
            "{doing} {} in Doing already, and {limit} {} there to work.",
            if doing == 1 { "issue is" } else { "issues are" },
            if limit == 1 { "member is" } else { "members are" }
        );
        if rule == WipRule::Warn {
            warnings.push(format!("Beyond the limit: {what}"));
            return Ok(beyond);
        }
        Err(Problem::conflict("wip_limit", what)
            .why("One issue for each available member: what is begun is finished before something else is begun.")
            .next("Finish or put back one of those in Doing; if someone is back from being away, say so on the board."))
    }

    /// Takes an issue over to another column, with the facts of it.
    async fn cross(
        &self,
        tx: &Tx,
        actor: &Actor,
        issue: &Issue,
        to: Column,
        beyond_limit: i64,
    ) -> Result<()> {
        let from = issue.column();
        if to == Column::Done {
            return self.shut(tx, actor, issue, &By::Person).await;
        }
        if from == Column::Done {
            self.reopen_in(tx, actor, issue, to).await?;
            if to == reopened(!issue.assignees.is_empty()) {
                return Ok(());
            }
        } else {
            store::set_place(tx, issue.row.id, to).await?;
        }
        self.tell_moved(tx, actor, issue, to, beyond_limit).await
    }

    /// Tells that an issue went to another column.
    pub(super) async fn tell_moved(
        &self,
        tx: &Tx,
        actor: &Actor,
        issue: &Issue,
        to: Column,
        beyond_limit: i64,
    ) -> Result<()> {
        let fact = IssueMoved {
            project: issue.row.project_id,
            issue: issue.row.id,
            number: issue.row.number,
            from: issue.column().as_str().to_owned(),
            to: to.as_str().to_owned(),
            beyond_limit,
            at: self.now(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    async fn shut(&self, tx: &Tx, actor: &Actor, issue: &Issue, by: &By) -> Result<()> {
        let now = self.now();
        store::set_closed(tx, issue.row.id, now, &actor.name, &by.told()).await?;
        store::touch(tx, issue.row.id, now).await?;
        let fact = IssueClosed {
            project: issue.row.project_id,
            issue: issue.row.id,
            number: issue.row.number,
            by: by.word().to_owned(),
            reference: by.reference(),
            opened_at: issue.row.created_at,
            at: now,
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    async fn reopen_in(&self, tx: &Tx, actor: &Actor, issue: &Issue, column: Column) -> Result<()> {
        let now = self.now();
        store::set_open(tx, issue.row.id, column).await?;
        store::touch(tx, issue.row.id, now).await?;
        let fact = IssueReopened {
            project: issue.row.project_id,
            issue: issue.row.id,
            number: issue.row.number,
            at: now,
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Closes an issue, or opens it again: its author may, and reporters.
    pub(crate) async fn set_open(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        open: bool,
    ) -> Result<()> {
        let sight = self.sight(caller, project).await?;
        let tx = self.db.begin().await?;
        let issue = self.hold(&tx, project, &sight, number).await?;
        if !may_close(&sight, &issue) {
            sight.must_manage()?;
        }
        match (issue.column() != Column::Done, open) {
            (true, false) => self.shut(&tx, &caller.actor, &issue, &By::Person).await?,
            (false, true) => {
                let to = reopened(!issue.assignees.is_empty());
                self.reopen_in(&tx, &caller.actor, &issue, to).await?;
            }
            // It is so already.
            _ => return Ok(()),
        }
        Ok(tx.commit().await?)
    }

    /// What reached the default branch closes an issue: once for each source, so that what was opened again by hand
    /// stays open when the same fact comes a second time.
    pub(crate) async fn close_by(
        &self,
        actor: &Actor,
        (project, group): (ProjectId, GroupId),
        number: i64,
        source: &str,
        by: &By,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        board::store::touch(&tx, group).await?;
        let Some(issue) = store::by_number(&tx, project, number).await? else {
            return Ok(());
        };
        if !store::claim_closing(&tx, issue.row.id, source).await? {
            return Ok(());
        }
        if issue.column() != Column::Done {
            self.shut(&tx, actor, &issue, by).await?;
        }
        Ok(tx.commit().await?)
    }
}

fn nobody_assigned(number: i64) -> Problem {
    Problem::conflict("nobody_assigned", format!("Nobody has issue #{number} yet."))
        .why("What is to be done is done by someone: whoever asks about it must know whom to ask. Who moves it gets it if they are a member here; you are none.")
        .next("Assign it to a member first; it goes to To do by that.")
}

/// Most issues that one person is said to work on.
const NAMED: usize = 3;

/// Who of those that have an issue works on others, in one line.
fn works_already(assignees: &[Assignee], busy: &[store::Busy]) -> Option<String> {
    let told: Vec<String> = assignees
        .iter()
        .filter_map(|someone| {
            let all: Vec<String> = busy
                .iter()
                .filter(|busy| busy.user_id == someone.user_id)
                .map(|busy| format!("#{}", busy.number))
                .collect();
            let named = all.get(..NAMED).unwrap_or(&all);
            let more = match all.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            (!all.is_empty()).then(|| format!("{} works on {}{more}", someone.username, named.join(", ")))
        })
        .collect();
    (!told.is_empty()).then(|| format!("{} already.", told.join("; ")))
}

/// Whether someone may close an issue: its author, and reporters.
pub(crate) fn may_close(sight: &Sight, issue: &Issue) -> bool {
    let own = sight.me.is_some() && sight.me == issue.row.author_id && sight.speaks;
    own || sight.manages
}

/// How many issues may be done at once: one for each member who may push and is there.
pub(crate) fn limit(members: &[Member], away: &[board::store::Away]) -> i64 {
    let there = members
        .iter()
        .filter(|member| works(member) && !away.iter().any(|gone| gone.user_id == member.user));
    i64::try_from(there.count()).unwrap_or(i64::MAX)
}

/// Whether a member is counted on to do issues.
pub(crate) fn works(member: &Member) -> bool {
    member.active && member.role >= Role::Developer
}
