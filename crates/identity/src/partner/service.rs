//! What can be done with outside partners.

use super::{is_soon, may_have, ports::NamedProject, store, within_a_year};
use crate::{
    Identity, Reach,
    group::{Place, role_above_own},
    text,
    user::{self, Account, holder, no_account},
};
use bascule_core::{
    Actor, Caller, GroupId, InstanceRole, Permission, Problem, ProjectId, ProjectScope, Result, Timestamp,
    UserId, Visibility,
};
use bascule_ledger::facts::identity::UserEndSet;
use bascule_wire::identity as wire;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often it is looked, at most, for what has reached its end. Nothing opens any more from that instant on; this
/// makes the end a fact, and takes away what hangs on it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often at least, though no end is near: a net under what nobody told.
const NET: Duration = Duration::from_secs(10);
/// Ends that one look deals with.
const AT_ONCE: i64 = 100;
/// Partners read at once where a list is sifted.
const SIFTED: i64 = 200;
/// Why an account is closed that nobody closes.
const ENDED: &str = "the end date was reached";

/// A partner, with what the caller may do about them.
pub(crate) struct Seen {
    pub(crate) account: Account,
    pub(crate) projects: Vec<(String, store::Given)>,
    pub(crate) may_extend: bool,
}

impl Seen {
    pub(crate) fn to_wire(&self, now: Timestamp) -> wire::Partner {
        wire::Partner {
            user: self.account.clone().into(),
            projects: self
                .projects
                .iter()
                .map(|(path, given)| wire::PartnerProject {
                    path: path.clone(),
                    role: given.role,
                    ends_at: given.ends_at,
                })
                .collect(),
            ends_soon: self.account.active && is_soon(self.account.ends_at, now),
            may_extend: self.may_extend,
        }
    }
}

/// Whose word counts about partners.
struct Steward {
    everywhere: bool,
    reach: Reach,
    scope_allows: bool,
}

impl Steward {
    fn manages(&self, project: &NamedProject) -> bool {
        self.everywhere
            || self.scope_allows
                && self
                    .reach
                    .in_project(project.id, project.group, Visibility::Private)
                    .is_some_and(|role| role.holds(Permission::MemberManage))
    }
}

impl Identity {
    /// Creates an outside partner's account with a role in one project. Its password, where none was given, is told
    /// only in the answer.
    ///
    /// # Errors
    /// The caller may not, the role is none for partners, the name is taken, or a value breaks a rule.
    pub async fn invite_partner(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        new: &wire::NewPartner,
    ) -> Result<wire::CreatedUser> {
        holder(caller)?;
        if !project.holds(Permission::MemberManage) {
            return Err(Problem::forbidden(Permission::MemberManage));
        }
        let place = Place::from(project);
        may_have(place, new.role)?;
        if new.role > project.role {
            return Err(role_above_own(project.role));
        }
        let account = wire::NewUser {
            username: new.username.clone(),
            display_name: new.display_name.clone(),
            email: new.email.clone(),
            password: new.password.clone(),
            role: InstanceRole::External,
            ends_at: Some(new.ends_at),
        };
        let (account, hash, made) = self.prepare_account(&account).await?;
        let tx = self.db().begin().await?;
        self.insert_account(&tx, &caller.actor, &account, &hash).await?;
        self.give_role(&tx, &caller.actor, place, &account, new.role, None)
            .await?;
        tx.commit().await?;
        Ok(wire::CreatedUser {
            user: account.into(),
            initial_password: made,
        })
    }

    /// The partners about whom the caller has a say, by user name, those after `after`: all for administrators, for
    /// others those with a role in a project whose members the caller manages. With `within`, those of that project.
    ///
    /// # Errors
    /// The database refused.
    pub(crate) async fn partners(
        &self,
        caller: &Caller,
        within: Option<ProjectId>,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Seen>> {
        let steward = self.steward(caller).await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut found, mut after) = (Vec::new(), after.to_owned());
        loop {
            let accounts = store::list(self.db(), within, &after, SIFTED, self.now()).await?;
            let full = accounts.len() as i64 == SIFTED;
            if let Some(last) = accounts.last() {
                after.clone_from(&last.username);
            }
            let seen = self.see(&steward, accounts).await?;
            found.extend(seen.into_iter().filter(|(_, says)| *says));
            if found.len() >= wanted || !full {
                break;
            }
        }
        found.truncate(wanted);
        Ok(found.into_iter().map(|(partner, _)| partner).collect())
    }

    /// Cuts a partner off: every session, token and key ends in this instant, and what is open within a second. Their
    /// pipelines are cancelled.
    ///
    /// # Errors
    /// The caller has no say about them, or gives no reason.
    pub async fn cut_off(&self, caller: &Caller, username: &str, reason: &str) -> Result<()> {
        let reason = text::required("reason", reason, 300)?;
        if reason.contains('@') {
            return Err(
                Problem::invalid("address_in_reason", "The reason looks as if it held an address.")
                    .why("It stays in the ledger for ever, where no e-mail address belongs.")
                    .next("Say it without; name people by their user names."),
            );
        }
        let partner = self.partner_of(caller, username).await?;
        let tx = self.db().begin().await?;
        if !user::store::hold_open(&tx, partner.account.id).await? {
            return Ok(());
        }
        self.close(&tx, &caller.actor, &partner.account, &reason).await?;
        Ok(tx.commit().await?)
    }

    /// Sets another end of a partner's access, sooner or later. Roles that end sooner by themselves still do.
    ///
    /// # Errors
    /// The caller has no say about them, or not alone, or the end is past or more than a year away.
    pub async fn set_partner_end(
        &self,
        caller: &Caller,
        username: &str,
        ends_at: Timestamp,
    ) -> Result<wire::Partner> {
        let mut partner = self.partner_of(caller, username).await?;
        let end = within_a_year(ends_at, self.now())?;
        let later = partner.account.ends_at.is_some_and(|before| end > before);
        if (later || !partner.account.active) && !partner.may_extend {
            return Err(Problem::new(
                403,
                "not_yours_alone",
                format!("You may not give {username} a later end."),
            )
            .why("They reach projects that others manage, or the account is closed.")
            .next("Ask an administrator, or someone who manages all of their projects."));
        }
        let tx = self.db().begin().await?;
        store::set_end(&tx, partner.account.id, end).await?;
        let fact = UserEndSet {
            user: partner.account.id,
            username: partner.account.username.clone(),
            before: partner.account.ends_at,
            ends_at: end,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        partner.account.ends_at = Some(end);
        Ok(partner.to_wire(self.now()))
    }

    /// Closes accounts and takes away roles that have reached their end; how many.
    ///
    /// # Errors
    /// The database refused.
    pub async fn end_what_is_over(&self) -> Result<usize> {
        let now = self.now();
        let mut ended = 0;
        for account in store::over(self.db(), now, AT_ONCE).await? {
            let tx = self.db().begin().await?;
            if store::hold_over(&tx, account.id, now).await? {
                self.close(&tx, &Actor::system(), &account, ENDED).await?;
                tx.commit().await?;
                ended += 1;
            }
        }
        for role in store::roles_over(self.db(), now, AT_ONCE).await? {
            let tx = self.db().begin().await?;
            let Some(account) = user::store::by_id(&tx, role.user_id).await? else {
                continue;
            };
            if store::hold_role_over(&tx, &role, now).await? {
                // The project may be gone, and its group with it; neither is looked at.
                let place = Place::Project(role.project_id, GroupId::new());
                self.take_role(&tx, &Actor::system(), place, &account).await?;
                tx.commit().await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Looks for what has reached its end, until `stop`: when the nearest end has come, and when something was told,
    /// which may have set another.
    pub async fn run(self, stop: CancellationToken) {
        let mut told = self.ledger().watch();
        loop {
            told.mark_unchanged();
            let wait = match self.until_next_end().await {
                Ok(wait) => wait.min(NET),
                Err(problem) => {
                    tracing::error!(%problem, "access that has reached its end could not be taken away");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = told.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Ends what is over; how long until the next end that is known.
    async fn until_next_end(&self) -> Result<Duration> {
        self.end_what_is_over().await?;
        let next = store::next_end(self.db()).await?;
        Ok(next.map_or(NET, |at| at.since(self.now())))
    }

    /// A partner about whom the caller has a say.
    async fn partner_of(&self, caller: &Caller, username: &str) -> Result<Seen> {
        let account = user::store::by_name(self.db(), username)
            .await?
            .filter(Account::is_partner)
            .ok_or_else(|| no_partner(username))?;
        let steward = self.steward(caller).await?;
        let mut seen = self.see(&steward, vec![account]).await?;
        match seen.pop() {
            Some((partner, true)) => Ok(partner),
            // Who has no say does not learn that there is such an account.
            _ => Err(no_partner(username)),
        }
    }

    async fn steward(&self, caller: &Caller) -> Result<Steward> {
        Ok(Steward {
            everywhere: caller.holds(Permission::InstanceManage),
            reach: self.reach(caller).await?,
            scope_allows: caller.scope_allows(Permission::MemberManage),
        })
    }

    /// What some partners reach, as far as the caller may know, and whether the caller has a say about them.
    async fn see(&self, steward: &Steward, accounts: Vec<Account>) -> Result<Vec<(Seen, bool)>> {
        let users: Vec<UserId> = accounts.iter().map(|account| account.id).collect();
        let mut of: HashMap<UserId, Vec<store::Given>> = HashMap::new();
        let mut ids = BTreeSet::new();
        for given in store::given(self.db(), &users, self.now()).await? {
            ids.insert(given.project_id);
            of.entry(given.user_id).or_default().push(given);
        }
        let ids: Vec<ProjectId> = ids.into_iter().collect();
        let projects: HashMap<ProjectId, NamedProject> = if ids.is_empty() {
            HashMap::new()
        } else {
            let named = self.projects()?.named(&ids).await?;
            named.into_iter().map(|project| (project.id, project)).collect()
        };
        Ok(accounts
            .into_iter()
            .map(|account| {
                let given = of.remove(&account.id).unwrap_or_default();
                let known: Vec<_> = given
                    .into_iter()
                    .filter_map(|given| Some((projects.get(&given.project_id)?, given)))
                    .collect();
                let all = known.iter().all(|(project, _)| steward.manages(project));
                let mut mine: Vec<_> = known
                    .into_iter()
                    .filter(|(project, _)| steward.manages(project))
                    .map(|(project, given)| (project.path.clone(), given))
                    .collect();
                mine.sort_by(|(a, _), (b, _)| a.cmp(b));
                let says = steward.everywhere || !mine.is_empty();
                let may_extend = steward.everywhere || (says && all && account.active);
                let seen = Seen {
                    account,
                    projects: mine,
                    may_extend,
                };
                (seen, says)
            })
            .collect())
    }
}

fn no_partner(username: &str) -> Problem {
    no_account(username)
        .why("It has to be an outside partner with a role in a project whose members you manage.")
        .next("Check the spelling; administrators see all partners.")
}
