//! What can be done with accounts.

use super::{Account, administrator, holder, last_administrator, no_account, store};
use crate::{Identity, deploy_key, group, key, partner, password, secret, session, text, token};
use bascule_core::{Actor, Caller, InstanceRole, Problem, Result, Timestamp, UserId};
use bascule_ledger::facts::identity::{DeployKeyRemoved, UserChanged, UserCreated, UserDeactivated};
use bascule_store::{Query as _, Tx};
use bascule_wire::identity::{CreatedUser, NewUser};

impl Identity {
    /// Creates an account. Without a password a random one is made, and told only in the answer.
    ///
    /// # Errors
    /// The caller may not, the name is taken, or a value breaks a rule.
    pub async fn create_user(&self, caller: &Caller, new: &NewUser) -> Result<CreatedUser> {
        administrator(caller)?;
        let (account, hash, made) = self.prepare_account(new).await?;
        let tx = self.db().begin().await?;
        self.insert_account(&tx, &caller.actor, &account, &hash).await?;
        tx.commit().await?;
        Ok(CreatedUser {
            user: account.into(),
            initial_password: made,
        })
    }

    /// Checks what is wanted of an account: the account, its password's hash, and the password if it was made here.
    pub(crate) async fn prepare_account(&self, new: &NewUser) -> Result<(Account, String, Option<String>)> {
        let display_name = text::line("display name", &new.display_name, 100)?;
        let account = Account {
            id: UserId::new(),
            username: new.username.to_string(),
            display_name: if display_name.is_empty() {
                new.username.to_string()
            } else {
                display_name
            },
            email: text::email(&new.email)?,
            instance_role: new.role,
            active: true,
            created_at: self.now(),
            last_sign_in_at: None,
            ends_at: partner::end_of_account(new.role, new.ends_at, self.now())?,
        };
        let made = new.password.is_none().then(secret::password);
        let password = new
            .password
            .as_ref()
            .or(made.as_ref())
            .map(String::as_str)
            .unwrap_or_default();
        password::check(password, &account.username)?;
        let hash = self.hasher().hash(password).await?;
        Ok((account, hash, made))
    }

    /// Stores a new account with its fact.
    pub(crate) async fn insert_account(
        &self,
        tx: &Tx,
        actor: &Actor,
        account: &Account,
        hash: &str,
    ) -> Result<()> {
        if let Err(error) = store::insert(tx, account, hash).await {
            if error.is_unique_violation() {
                return Err(Problem::conflict(
                    "username_taken",
                    format!("There is an account `{}` already.", account.username),
                )
                .why("A user name stands for one person for ever, also after the account is closed.")
                .next("Choose another name."));
            }
            return Err(error.into());
        }
        self.ledger().append(tx, actor, &created(account)).await?;
        Ok(())
    }

    /// An account by its name.
    ///
    /// # Errors
    /// There is none.
    pub async fn user(&self, username: &str) -> Result<Account> {
        store::by_name(self.db(), username)
            .await?
            .ok_or_else(|| no_account(username))
    }

    /// An account, if it exists.
    ///
    /// # Errors
    /// The database refused.
    pub async fn user_by_id(&self, id: UserId) -> Result<Option<Account>> {
        Ok(store::by_id(self.db(), id).await?)
    }

    /// Open accounts that have one of these e-mail addresses, given in lower case; at most 500 are asked for.
    ///
    /// # Errors
    /// The database refused.
    pub async fn users_by_email(&self, addresses: &[String]) -> Result<Vec<Account>> {
        let some = addresses.get(..500).unwrap_or(addresses);
        Ok(store::by_emails(self.db(), some).await?)
    }

    /// The open account that an administrator gave this e-mail address, in lower case. Who sets an address by themselves
    /// has it for mail and commits, and speaks for nobody by it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn user_of_email(&self, address: &str) -> Result<Option<Account>> {
        Ok(store::by_given_email(self.db(), address).await?)
    }

    /// The open account of this name, if there is one.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open_user(&self, username: &str) -> Result<Option<Account>> {
        Ok(store::by_name(self.db(), username)
            .await?
            .filter(|account| account.is_open(self.now())))
    }

    /// The same by identifier.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open_user_by_id(&self, user: UserId) -> Result<Option<Account>> {
        let found = self.user_by_id(user).await?;
        Ok(found.filter(|account| account.is_open(self.now())))
    }

    /// Accounts by name, those after `after`.
    ///
    /// # Errors
    /// The database refused.
    pub async fn users(&self, after: &str, limit: i64) -> Result<Vec<Account>> {
        Ok(store::list(self.db(), after, limit).await?)
    }

    /// Closes an account: all its sessions, tokens and keys end in the same instant. So do the project
    /// tokens that its holder created, because their secrets were shown to the holder.
    ///
    /// # Errors
    /// The caller may not, or it is their own account or the last administrator's.
    pub async fn deactivate_user(&self, caller: &Caller, username: &str) -> Result<()> {
        administrator(caller)?;
        let tx = self.db().begin().await?;
        let administrators = store::hold_administrators(&tx).await?;
        let account = store::by_name(&tx, username)
            .await?
            .ok_or_else(|| no_account(username))?;
        if !account.active {
            return Ok(());
        }
        if caller.user == Some(account.id) {
            return Err(
                Problem::conflict("own_account", "You cannot close your own account.")
                    .why("The way back would be closed with it.")
                    .next("Ask another administrator."),
            );
        }
        if account.instance_role == InstanceRole::Admin && administrators <= 1 {
            return Err(last_administrator());
        }
        self.close(&tx, &caller.actor, &account, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends every way in: sessions, tokens, keys, and what its holder gave to programs.
    pub(crate) async fn close(&self, tx: &Tx, actor: &Actor, account: &Account, reason: &str) -> Result<()> {
        let count = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
        store::set_active(tx, account.id, false).await?;
        let sessions = session::store::end_all(tx, account.id, "").await?;
        let tokens = token::store::revoke_all(tx, account.id, self.now()).await?;
        let keys = key::store::remove_all(tx, account.id).await?;
        for made in deploy_key::store::remove_made_by(tx, &account.username).await? {
            let fact = DeployKeyRemoved {
                key: made.id,
                project: made.project_id,
                title: made.title,
                fingerprint: made.fingerprint,
            };
            self.ledger().append(tx, actor, &fact).await?;
        }
        let fact = UserDeactivated {
            user: account.id,
            username: account.username.clone(),
            sessions: count(sessions),
            tokens: count(tokens),
            keys: count(keys),
            partner: account.is_partner(),
            reason: reason.to_owned(),
        };
        self.ledger().append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Opens a closed account again. What was ended stays ended: its holder signs in and makes new tokens.
    ///
    /// # Errors
    /// The caller may not, or there is no such account.
    pub async fn activate_user(&self, caller: &Caller, username: &str) -> Result<()> {
        administrator(caller)?;
        let tx = self.db().begin().await?;
        let account = store::by_name(&tx, username)
            .await?
            .ok_or_else(|| no_account(username))?;
        if account.active {
            return Ok(());
        }
        if account.ends_at.is_some_and(|end| end <= self.now()) {
            return Err(Problem::conflict(
                "end_reached",
                format!("The access of {username} has reached its end date."),
            )
            .why("It would be closed again at once.")
            .next("Set a later end first, under Outside partners."));
        }
        store::set_active(&tx, account.id, true).await?;
        self.ledger()
            .append(&tx, &caller.actor, &changed(account.id, username, "active", None))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes an account's standing on the instance.
    ///
    /// # Errors
    /// The caller may not, or it would leave no administrator.
    pub async fn set_instance_role(
        &self,
        caller: &Caller,
        username: &str,
        role: InstanceRole,
    ) -> Result<Account> {
        administrator(caller)?;
        let tx = self.db().begin().await?;
        let administrators = store::hold_administrators(&tx).await?;
        let mut account = store::by_name(&tx, username)
            .await?
            .ok_or_else(|| no_account(username))?;
        if account.instance_role == role {
            return Ok(account);
        }
        if account.active && account.instance_role == InstanceRole::Admin && administrators <= 1 {
            return Err(last_administrator());
        }
        let ends_at = self.end_after(&tx, &account, role).await?;
        store::set_role(&tx, account.id, role, ends_at).await?;
        self.ledger()
            .append(
                &tx,
                &caller.actor,
                &changed(account.id, username, "role", Some(role)),
            )
            .await?;
        tx.commit().await?;
        account.instance_role = role;
        account.ends_at = ends_at;
        Ok(account)
    }

    /// The end of an account that gets another standing. Who becomes an outside partner must hold nothing that
    /// partners cannot have, rather than lose it unseen.
    async fn end_after(&self, tx: &Tx, account: &Account, role: InstanceRole) -> Result<Option<Timestamp>> {
        if role == InstanceRole::External && group::store::above_partner(tx, account.id).await? {
            return Err(Problem::conflict(
                "roles_above_partner",
                format!(
                    "{} holds roles that outside partners cannot have.",
                    account.username
                ),
            )
            .why("A partner is in no group, and no more than developer in a project.")
            .next("Take these roles away first, then give single projects."));
        }
        partner::end_of_account(
            role,
            account.ends_at.filter(|_| role == InstanceRole::External),
            self.now(),
        )
    }

    /// Gives an account a new random password, which is told only here, and ends its sessions.
    ///
    /// # Errors
    /// The caller may not, or there is no such account.
    pub async fn reset_password(&self, caller: &Caller, username: &str) -> Result<String> {
        administrator(caller)?;
        let account = self.user(username).await?;
        let made = secret::password();
        let hash = self.hasher().hash(&made).await?;
        let tx = self.db().begin().await?;
        store::set_password(&tx, account.id, &hash).await?;
        session::store::end_all(&tx, account.id, "").await?;
        self.ledger()
            .append(
                &tx,
                &caller.actor,
                &changed(account.id, username, "password", None),
            )
            .await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Changes what people call the caller, and where to write to them.
    ///
    /// # Errors
    /// A value breaks a rule.
    pub async fn change_profile(&self, caller: &Caller, display_name: &str, email: &str) -> Result<()> {
        let id = holder(caller)?;
        let display_name = text::required("display name", display_name, 100)?;
        let email = text::email(email)?;
        let account = self.holder_account(caller).await?;
        let tx = self.db().begin().await?;
        if !store::set_profile(&tx, id, &display_name, &email).await? {
            return Err(Problem::unauthenticated());
        }
        let fact = changed(id, &account.username, "profile", None);
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The caller's own account.
    ///
    /// # Errors
    /// No account stands behind the request.
    pub async fn holder_account(&self, caller: &Caller) -> Result<Account> {
        store::by_id(self.db(), holder(caller)?)
            .await?
            .ok_or_else(Problem::unauthenticated)
    }

    /// Numbers for the administrator's overview: accounts, and those that are open.
    pub(crate) async fn count_users(&self) -> Result<(i64, i64)> {
        let open = self
            .db()
            .count(
                "SELECT COUNT(*) AS n FROM account WHERE active = TRUE",
                Vec::new(),
            )
            .await?;
        Ok((store::count(self.db()).await?, open))
    }
}

pub(crate) fn created(account: &Account) -> UserCreated {
    UserCreated {
        user: account.id,
        username: account.username.clone(),
        role: account.instance_role,
    }
}

pub(crate) fn changed(user: UserId, username: &str, what: &str, role: Option<InstanceRole>) -> UserChanged {
    UserChanged {
        user,
        username: username.to_owned(),
        changed: what.to_owned(),
        role,
    }
}
