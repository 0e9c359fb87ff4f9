//! Reading boards, and what is set on them.

use super::store;
use crate::{
    Planning,
    issue::{
        Issue,
        close::{limit, works},
        list::{Filter, Sort},
        store as issues,
    },
    label::not_a_person,
    ports::Member,
    sight::Among,
    text,
};
use bascule_core::{Caller, GroupId, GroupScope, Permission, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::planning::{AvailabilityChanged, BoardChanged};
use bascule_wire::planning::{Availability, Board, BoardColumn, BoardMember, Column, WipRule};

/// Issues shown in a column.
const SHOWN: i64 = 100;
/// Closed issues shown.
const SHOWN_DONE: i64 = 20;

/// A board before it is drawn.
pub(crate) struct Drawn {
    pub(crate) board: Board,
    /// The issues of each column, with the labels' colours.
    pub(crate) columns: Vec<(Column, i64, Vec<Issue>)>,
    /// The projects, for their names.
    pub(crate) scopes: Vec<ProjectScope>,
    /// Whether the caller may move what stands on it.
    pub(crate) manages: bool,
}

impl Planning {
    /// The number that changes with everything a group's boards show.
    pub(crate) async fn board_version(&self, group: GroupId) -> Result<i64> {
        Ok(store::version(&self.db, group).await?)
    }

    /// A project's board.
    pub(crate) async fn board(&self, caller: &Caller, project: &ProjectScope) -> Result<Drawn> {
        let sight = self.sight(caller, project).await?;
        self.ready(project.id, project.group_id).await?;
        let version = self.board_version(project.group_id).await?;
        let members = self.people.members(project.id, project.group_id).await?;
        let away = store::away(&self.db, &self.today()).await?;
        let among = Among::one(project.id, &sight);
        let columns = self.columns(&among).await?;
        let limit = limit(&members, &away);
        let members = self.occupied(members, &away, &[project.id]).await?;
        let wip = store::wip(&self.db, project.id).await?;
        Ok(drawn(
            project.path(),
            columns,
            vec![project.clone()],
            (wip, limit, members, version),
            sight.manages,
        ))
    }

    /// The board over a group's projects. Limits stay with the projects; whether one may move is decided by issue.
    pub(crate) async fn group_board(&self, caller: &Caller, group: &GroupScope) -> Result<Drawn> {
        let version = self.board_version(group.id).await?;
        let scopes = self.projects.of_group(caller, group.id).await?;
        let reach = self.people.reach(caller).await?;
        let among = Among::several(&reach, caller, &scopes);
        let columns = self.columns(&among).await?;
        let away = store::away(&self.db, &self.today()).await?;
        let mut members: Vec<Member> = Vec::new();
        for scope in scopes.iter().take(50) {
            for member in self.people.members(scope.id, scope.group_id).await? {
                if !members
                    .iter()
                    .any(|known| known.user == member.user && known.role >= member.role)
                {
                    members.retain(|known| known.user != member.user);
                    members.push(member);
                }
            }
        }
        members.sort_by(|one, other| one.username.cmp(&other.username));
        let limit = limit(&members, &away);
        let members = self.occupied(members, &away, &among.projects).await?;
        let manages = scopes
            .iter()
            .any(|scope| crate::sight::Sight::of(&reach, caller, scope).manages);
        Ok(drawn(
            group.name.clone(),
            columns,
            scopes,
            (WipRule::default(), limit, members, version),
            manages,
        ))
    }

    async fn columns(&self, among: &Among) -> Result<Vec<(Column, i64, Vec<Issue>)>> {
        let counts = issues::counts(&self.db, among).await?;
        let mut columns = Vec::new();
        for column in Column::ALL {
            let count = counts
                .iter()
                .find(|counted| counted.place == column.as_str())
                .map_or(0, |counted| counted.n);
            let found = if column == Column::Done {
                issues::last_closed(&self.db, among, SHOWN_DONE).await?
            } else {
                let filter = Filter {
                    column: Some(column),
                    sort: Sort::Priority,
                    limit: SHOWN,
                    ..Filter::default()
                };
                issues::list(&self.db, among, &filter).await?.0
            };
            columns.push((column, count, found));
        }
        Ok(columns)
    }

    /// Who may take issues, whether they are there, and how many they have in hand.
    async fn occupied(
        &self,
        members: Vec<Member>,
        away: &[store::Away],
        projects: &[ProjectId],
    ) -> Result<Vec<BoardMember>> {
        let busy = issues::busy(&self.db, projects).await?;
        Ok(members
            .into_iter()
            .filter(works)
            .map(|member| {
                let gone = away.iter().find(|away| away.user_id == member.user);
                let doing = busy.iter().filter(|busy| busy.user_id == member.user).count();
                BoardMember {
                    username: member.username,
                    available: gone.is_none(),
                    away_until: gone.and_then(|gone| gone.until.clone()),
                    doing: i64::try_from(doing).unwrap_or(i64::MAX),
                }
            })
            .collect())
    }

    /// Sets what a project's board does beyond its limit.
    pub(crate) async fn set_wip(&self, caller: &Caller, project: &ProjectScope, rule: WipRule) -> Result<()> {
        if !project.holds(Permission::ProjectManage) {
            return Err(Problem::forbidden(Permission::ProjectManage));
        }
        self.ready(project.id, project.group_id).await?;
        let tx = self.db.begin().await?;
        store::touch(&tx, project.group_id).await?;
        store::set_wip(&tx, project.id, rule).await?;
        let fact = BoardChanged {
            project: project.id,
            wip: rule.as_str().to_owned(),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Says whether a member is there. Everyone says it of themselves; maintainers also of others, who may be too ill
    /// to do so.
    pub(crate) async fn set_availability(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        username: &str,
        availability: &Availability,
    ) -> Result<()> {
        let me = caller.user.ok_or_else(not_a_person)?;
        let members = self.people.members(project.id, project.group_id).await?;
        let member = members
            .iter()
            .find(|member| member.username == username)
            .ok_or_else(|| Problem::not_found("member"))?;
        if member.user != me && !project.holds(Permission::MemberManage) {
            return Err(Problem::forbidden(Permission::MemberManage)
                .why("Everyone says of themselves whether they are there; for others a maintainer may."));
        }
        if !caller.scope_allows(Permission::IssueManage) {
            return Err(Problem::forbidden(Permission::IssueManage));
        }
        let until = text::day(availability.until.as_deref().unwrap_or_default())?;
        if availability.away && until.as_deref().is_some_and(|until| *until < *self.today()) {
            return Err(Problem::invalid("bad_day", "The last day away has passed.")
                .next("Give a day to come, or leave it out."));
        }
        let tx = self.db.begin().await?;
        store::touch(&tx, project.group_id).await?;
        if availability.away {
            store::set_away(&tx, member.user, until.as_deref()).await?;
        } else {
            store::set_back(&tx, member.user).await?;
        }
        let fact = AvailabilityChanged {
            user: member.user,
            username: member.username.clone(),
            away: availability.away,
            until: until.filter(|_| availability.away),
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }
}

fn drawn(
    of: String,
    columns: Vec<(Column, i64, Vec<Issue>)>,
    scopes: Vec<ProjectScope>,
    (wip, limit, members, version): (WipRule, i64, Vec<BoardMember>, i64),
    manages: bool,
) -> Drawn {
    let board = Board {
        of,
        columns: columns
            .iter()
            .map(|(column, count, issues)| BoardColumn {
                column: *column,
                count: *count,
                issues: issues
                    .iter()
                    .map(|issue| issue.summary(&path_of(&scopes, issue)))
                    .collect(),
            })
            .collect(),
        wip,
        limit,
        members,
        version,
    };
    Drawn {
        board,
        columns,
        scopes,
        manages,
    }
}

/// `group/project` of an issue.
pub(crate) fn path_of(scopes: &[ProjectScope], issue: &Issue) -> String {
    scopes
        .iter()
        .find(|scope| scope.id == issue.row.project_id)
        .map(ProjectScope::path)
        .unwrap_or_default()
}
