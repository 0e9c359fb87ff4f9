//! What can be done with groups and members.

use super::{GroupInfo, may_change, store};
use crate::{
    Identity, partner, text, token,
    user::{self, holder},
};
use bascule_core::{
    Actor, Caller, GroupId, GroupScope, InstanceRole, Name, Permission, Problem, ProjectId, ProjectScope,
    Result, Role, Timestamp, Visibility,
};
use bascule_ledger::facts::identity::{GroupCreated, MemberRemoved, MemberSet, TokenRevoked};
use bascule_wire::identity as wire;

/// Where someone is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a group, and so in all its projects.
    Group(GroupId),
    /// In one project; its group stands beside it.
    Project(ProjectId, GroupId),
}

impl From<&GroupScope> for Place {
    fn from(scope: &GroupScope) -> Self {
        Self::Group(scope.id)
    }
}

impl From<&ProjectScope> for Place {
    fn from(scope: &ProjectScope) -> Self {
        Self::Project(scope.id, scope.group_id)
    }
}

impl Place {
    const fn group(self) -> Option<GroupId> {
        match self {
            Self::Group(id) => Some(id),
            Self::Project(..) => None,
        }
    }

    const fn project(self) -> Option<ProjectId> {
        match self {
            Self::Project(id, _) => Some(id),
            Self::Group(_) => None,
        }
    }

    /// What a caller needs to manage the members here.
    const fn permission(self) -> Permission {
        match self {
            Self::Group(_) => Permission::GroupManage,
            Self::Project(..) => Permission::MemberManage,
        }
    }
}

impl Identity {
    /// Creates a group, whose owner the caller becomes.
    ///
    /// # Errors
    /// The caller may not, the name is taken, or a value breaks a rule.
    pub async fn create_group(&self, caller: &Caller, new: &wire::NewGroup) -> Result<wire::Group> {
        if !caller.holds(Permission::GroupCreate) {
            return Err(Problem::forbidden(Permission::GroupCreate));
        }
        let user = holder(caller)?;
        let group = GroupInfo {
            id: GroupId::new(),
            name: new.name.clone(),
            description: text::line("description", &new.description, 500)?,
            visibility: new.visibility,
        };
        let now = self.now();
        let tx = self.db().begin().await?;
        if !user::store::hold_open(&tx, user).await? {
            return Err(Problem::unauthenticated());
        }
        let account = user::store::by_id(&tx, user)
            .await?
            .ok_or_else(Problem::unauthenticated)?;
        // People and groups are named in the same places, such as `CODEOWNERS`.
        let namesake = user::store::by_name(&tx, group.name.as_str()).await?;
        if namesake.is_some_and(|other| other.id != user) {
            return Err(Problem::conflict(
                "name_of_an_account",
                format!("`{}` is the name of somebody's account.", group.name),
            )
            .why("A group of that name would be taken for that person, and theirs could not be made.")
            .next("Choose another name."));
        }
        if let Err(error) = store::insert(&tx, &group, now).await {
            if error.is_unique_violation() {
                // Also where the other group is one that the caller may not see: the name alone tells nothing.
                return Err(Problem::conflict(
                    "group_taken",
                    format!("There is a group `{}` already.", group.name),
                )
                .why("A group's name is the beginning of its projects' addresses.")
                .next("Choose another name."));
            }
            return Err(error.into());
        }
        let place = Place::Group(group.id);
        store::set_member(&tx, place, user, Role::Owner, None, now).await?;
        let created = GroupCreated {
            group: group.id,
            name: group.name.to_string(),
        };
        self.ledger().append(&tx, &caller.actor, &created).await?;
        let owner = member_set(place, &account, Role::Owner, None);
        self.ledger().append(&tx, &caller.actor, &owner).await?;
        tx.commit().await?;
        Ok(wire::Group {
            id: group.id,
            name: group.name,
            description: group.description,
            visibility: group.visibility,
            created_at: now,
            role: Role::Owner,
        })
    }

    /// Makes a group for the platform's own projects: no members, read by every account of the institution.
    ///
    /// # Errors
    /// The name is bad or taken, or the database refused.
    pub async fn found_group(&self, name: &str, description: &str) -> Result<GroupId> {
        let group = GroupInfo {
            id: GroupId::new(),
            name: Name::new(name)?,
            description: text::line("description", description, 500)?,
            visibility: Visibility::Internal,
        };
        let tx = self.db().begin().await?;
        store::insert(&tx, &group, self.now()).await?;
        let created = GroupCreated {
            group: group.id,
            name: group.name.to_string(),
        };
        self.ledger().append(&tx, &Actor::system(), &created).await?;
        tx.commit().await?;
        Ok(group.id)
    }

    /// A group by name, whoever may see it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn find_group(&self, name: &str) -> Result<Option<GroupInfo>> {
        Ok(store::by_name(self.db(), name).await?.map(GroupInfo::from))
    }

    /// The group of a request, with the caller's role in it.
    pub(crate) async fn group(&self, scope: &GroupScope) -> Result<wire::Group> {
        let row = store::by_id(self.db(), scope.id)
            .await?
            .ok_or_else(|| Problem::not_found("group"))?;
        Ok(wire::Group {
            visibility: row.visibility(),
            id: row.id,
            name: row.name,
            description: row.description,
            created_at: row.created_at,
            role: scope.role,
        })
    }

    /// A group by its identifier, whoever may see it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn group_by_id(&self, id: GroupId) -> Result<Option<GroupInfo>> {
        Ok(store::by_id(self.db(), id).await?.map(GroupInfo::from))
    }

    /// Groups that the caller may see, by name, those after `after`.
    ///
    /// # Errors
    /// The database refused.
    pub async fn visible_groups(&self, caller: &Caller, after: &str, limit: i64) -> Result<Vec<wire::Group>> {
        if caller.only_project.is_some() || caller.instance_role == InstanceRole::External {
            return Ok(Vec::new());
        }
        let internal = caller.user.is_some() && caller.instance_role >= bascule_core::InstanceRole::Member;
        let everywhere = caller.instance_role.everywhere();
        let rows = store::visible(
            self.db(),
            caller.user,
            internal,
            everywhere.is_some(),
            after,
            limit,
        )
        .await?;
        let read = |row: &store::GroupRow| {
            (internal && row.visibility() == bascule_core::Visibility::Internal).then_some(Role::Reporter)
        };
        Ok(rows
            .into_iter()
            .map(|row| wire::Group {
                role: row.role.max(everywhere).max(read(&row)).unwrap_or(Role::Guest),
                visibility: row.visibility(),
                id: row.id,
                name: row.name,
                description: row.description,
                created_at: row.created_at,
            })
            .collect())
    }

    /// Members by user name, those after `after`; of a project, its group's too.
    ///
    /// # Errors
    /// The database refused.
    pub async fn members(&self, place: Place, after: &str, limit: i64) -> Result<Vec<super::Member>> {
        Ok(store::members(self.db(), place, after, limit).await?)
    }

    /// Gives someone a role, or another one than before. `own` is the caller's role here.
    ///
    /// # Errors
    /// As [`Identity::set_member_until`].
    pub async fn set_member(
        &self,
        caller: &Caller,
        own: Role,
        place: Place,
        username: &str,
        role: Role,
    ) -> Result<()> {
        self.set_member_until(caller, own, place, username, role, None)
            .await
    }

    /// Gives someone a role, in a project until an end if one is given. `own` is the caller's role here.
    ///
    /// # Errors
    /// The caller may not, there is no such open account, the role is none for an outside partner, or the group would
    /// lose its last owner.
    pub async fn set_member_until(
        &self,
        caller: &Caller,
        own: Role,
        place: Place,
        username: &str,
        role: Role,
        ends_at: Option<Timestamp>,
    ) -> Result<()> {
        self.may_manage(caller, own, place)?;
        let tx = self.db().begin().await?;
        let owners = self.hold_place(&tx, place).await?;
        let account = self.member_account(&tx, username).await?;
        let before = store::member_role(&tx, place, account.id).await?;
        let held = before.map(|(role, _)| role);
        may_change(own, held, Some(role), owners.filter(|_| account.active))?;
        if account.is_partner() {
            partner::may_have(place, role)?;
        }
        partner::check_end_of_role(place, ends_at, account.ends_at, self.now())?;
        if before == Some((role, ends_at)) {
            return Ok(());
        }
        if !user::store::hold_open(&tx, account.id).await? {
            return Err(Problem::conflict(
                "account_closed",
                format!("The account `{}` is closed.", account.username),
            )
            .why("Nothing is given to those who have left.")
            .next("Ask an administrator to open it again."));
        }
        self.give_role(&tx, &caller.actor, place, &account, role, ends_at)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Stores a role with its fact.
    pub(crate) async fn give_role(
        &self,
        tx: &bascule_store::Tx,
        actor: &Actor,
        place: Place,
        account: &user::Account,
        role: Role,
        ends_at: Option<Timestamp>,
    ) -> Result<()> {
        store::set_member(tx, place, account.id, role, ends_at, self.now()).await?;
        self.ledger()
            .append(tx, actor, &member_set(place, account, role, ends_at))
            .await?;
        Ok(())
    }

    /// Takes someone's role away, and revokes the project tokens that they created here, because their
    /// secrets were shown to them. `own` is the caller's role here.
    ///
    /// # Errors
    /// The caller may not, they are no member, or the group would lose its last owner.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        own: Role,
        place: Place,
        username: &str,
    ) -> Result<()> {
        self.may_manage(caller, own, place)?;
        let tx = self.db().begin().await?;
        let owners = self.hold_place(&tx, place).await?;
        let account = self.member_account(&tx, username).await?;
        let Some((before, _)) = store::member_role(&tx, place, account.id).await? else {
            return Err(Problem::not_found("member")
                .next("A role that comes from the group is taken away in the group."));
        };
        // An owner whose account is closed is none that the group could keep.
        may_change(own, Some(before), None, owners.filter(|_| account.active))?;
        self.take_role(&tx, &caller.actor, place, &account).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a role away, with all that its holder made by it here.
    pub(crate) async fn take_role(
        &self,
        tx: &bascule_store::Tx,
        actor: &Actor,
        place: Place,
        account: &user::Account,
    ) -> Result<()> {
        store::remove_member(tx, place, account.id).await?;
        let removed = MemberRemoved {
            user: account.id,
            username: account.username.clone(),
            group: place.group(),
            project: place.project(),
        };
        self.ledger().append(tx, actor, &removed).await?;
        let revoked =
            token::store::revoke_created(tx, account.id, place.group(), place.project(), self.now()).await?;
        for token in revoked {
            let fact = TokenRevoked {
                token: token.id,
                name: token.name,
                project: token.project_id,
            };
            self.ledger().append(tx, actor, &fact).await?;
        }
        Ok(())
    }

    fn may_manage(&self, caller: &Caller, own: Role, place: Place) -> Result<()> {
        caller.must_be_person("says who has which role")?;
        let permission = place.permission();
        if own.holds(permission) && caller.scope_allows(permission) {
            Ok(())
        } else {
            Err(Problem::forbidden(permission))
        }
    }

    /// Holds a group still, and counts its owners. A project needs none: its group has one.
    async fn hold_place(&self, tx: &bascule_store::Tx, place: Place) -> Result<Option<i64>> {
        let Place::Group(group) = place else {
            return Ok(None);
        };
        if !store::hold(tx, group).await? {
            return Err(Problem::not_found("group"));
        }
        Ok(Some(store::owners(tx, group).await?))
    }

    async fn member_account(&self, tx: &bascule_store::Tx, username: &str) -> Result<user::Account> {
        user::store::by_name(tx, username).await?.ok_or_else(|| {
            let shown: String = username.chars().take(63).collect();
            Problem::invalid("no_such_user", format!("There is no account `{shown}`."))
                .why("Members are named by their user names, which are exact.")
                .next("Check the spelling, or ask an administrator to create the account.")
        })
    }
}

fn member_set(place: Place, account: &user::Account, role: Role, ends_at: Option<Timestamp>) -> MemberSet {
    MemberSet {
        user: account.id,
        username: account.username.clone(),
        group: place.group(),
        project: place.project(),
        role,
        ends_at,
    }
}
