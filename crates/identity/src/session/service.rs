//! What can be done with sessions.

use super::{
    store::{self, Session},
    throttle::{self, Subject, Verdict},
};
use crate::{
    Identity, password, secret,
    user::{self, holder, service::changed},
};
use bascule_core::{Actor, ActorKind, Caller, Problem, Result, SessionId, Timestamp, UserId, limits};
use bascule_ledger::facts::identity::{SignInRefused, SignedIn, SignedOut};
use std::net::IpAddr;

/// A try to sign in.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: &'a str,
    /// The secret of the session that the browser came with: it ends, so that one planted there is worth
    /// nothing.
    pub(crate) old_session: Option<&'a str>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Name and password do not fit, or the account is closed; which of these is not told.
    Credentials,
    /// Too many failures: seconds to wait.
    TooMany(u64),
    /// Anything else.
    Other(Problem),
}

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Refused {
    /// What the person is told.
    pub(crate) fn problem(self) -> (Problem, Option<u64>) {
        match self {
            Self::Credentials => (
                Problem::new(401, "bad_credentials", "This user name and password do not fit, or the account is closed.")
                    .why("Which of these is not told, so that nobody can find out which accounts exist.")
                    .next("Check both and try again, or ask an administrator for a new password."),
                None,
            ),
            Self::TooMany(seconds) => (
                Problem::new(429, "rate_limited", format!("There were too many failed attempts; wait {seconds} seconds."))
                    .why("Each further failure doubles the wait, up to 15 minutes, so that passwords cannot be guessed.")
                    .next("Wait, then try again; access tokens and open sessions keep working meanwhile."),
                Some(seconds),
            ),
            Self::Other(problem) => (problem, None),
        }
    }
}

impl Identity {
    /// Signs in with a password; gives the new session's secret.
    pub(crate) async fn sign_in(&self, attempt: Attempt<'_>) -> Result<String, Refused> {
        let subjects = throttle::subjects(attempt.username, attempt.address);
        // Nothing that is no name can be an account's; asking the database anyway costs the same time.
        let lock = user::store::lock_of(self.db(), attempt.username).await?;
        // A name that is no account's may be a password in the wrong field; the ledger keeps it for ever.
        let shown = lock
            .as_ref()
            .map_or_else(|| "(unknown)".to_owned(), |lock| lock.username.clone());
        self.admit(&subjects, &shown).await?;
        let hash = lock.as_ref().map(|lock| lock.password_hash.clone());
        let right = self.hasher().matches(attempt.password, hash).await?;
        let Some(lock) = lock.filter(|lock| right && lock.active) else {
            let rule = if right { "deactivated" } else { "bad_credentials" };
            self.tell_refusal(&shown, rule).await?;
            return Err(Refused::Credentials);
        };

        let now = self.now();
        let secret = secret::random();
        let session = Session {
            id: SessionId::new(),
            secret_hash: secret::hash(&secret),
            created_at: now,
            last_used_at: now,
            address: attempt
                .address
                .map(|address| address.to_canonical().to_string())
                .unwrap_or_default(),
            user_agent: attempt
                .user_agent
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
        };
        let actor = Actor::new(ActorKind::User, lock.id, lock.username.as_str());
        let tx = self.db().begin().await?;
        if !user::store::mark_sign_in(&tx, lock.id, &lock.password_hash, now).await? {
            // Closed, or given another password, while this one was being checked.
            return Err(Refused::Credentials);
        }
        throttle::forgive(&tx, &subjects).await?;
        store::prune(&tx, now.minus(limits::SESSION_IDLE)).await?;
        if let Some(old) = attempt.old_session {
            let oldest = now.minus(limits::SESSION_IDLE);
            if let Some(old) = store::live(&tx, &secret::hash(old), oldest, now).await? {
                store::end(&tx, old.user_id, old.id).await?;
                let before = Actor::new(ActorKind::User, old.user_id, old.username.as_str());
                self.ledger()
                    .append(
                        &tx,
                        &before,
                        &SignedOut {
                            user: old.user_id,
                            session: old.id,
                        },
                    )
                    .await?;
            }
        }
        store::insert(&tx, lock.id, &session).await?;
        self.ledger()
            .append(
                &tx,
                &actor,
                &SignedIn {
                    user: lock.id,
                    session: session.id,
                },
            )
            .await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// Counts an attempt, or refuses it for the failures before it.
    async fn admit(&self, subjects: &[Subject], shown: &str) -> Result<(), Refused> {
        let now = self.now();
        let wait = |until: Timestamp| Refused::TooMany(until.since(now).as_secs().max(1));
        // Reading first keeps a flood away from the one writer.
        if let Some((until, told)) = throttle::look(self.db(), subjects, now).await? {
            if !told {
                let tx = self.db().begin().await?;
                if throttle::mark_told(&tx, subjects, now).await? {
                    let fact = SignInRefused {
                        username: shown.to_owned(),
                        rule: "rate_limited".to_owned(),
                    };
                    self.ledger().append(&tx, &Actor::anonymous(), &fact).await?;
                    tx.commit().await?;
                }
            }
            return Err(wait(until));
        }
        let tx = self.db().begin().await?;
        match throttle::count(&tx, subjects, now).await? {
            Verdict::Go => Ok(tx.commit().await?),
            Verdict::Wait(until) => Err(wait(until)),
        }
    }

    async fn tell_refusal(&self, shown: &str, rule: &str) -> Result<()> {
        let tx = self.db().begin().await?;
        let fact = SignInRefused {
            username: shown.to_owned(),
            rule: rule.to_owned(),
        };
        self.ledger().append(&tx, &Actor::anonymous(), &fact).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends the session of this secret, if there is one.
    pub(crate) async fn sign_out(&self, secret: &str) -> Result<()> {
        let tx = self.db().begin().await?;
        let now = self.now();
        let oldest = now.minus(limits::SESSION_IDLE);
        if let Some(live) = store::live(&tx, &secret::hash(secret), oldest, now).await? {
            store::end(&tx, live.user_id, live.id).await?;
            let actor = Actor::new(ActorKind::User, live.user_id, live.username.as_str());
            self.ledger()
                .append(
                    &tx,
                    &actor,
                    &SignedOut {
                        user: live.user_id,
                        session: live.id,
                    },
                )
                .await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// The caller's sessions, the one used last first.
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>> {
        let oldest = self.now().minus(limits::SESSION_IDLE);
        Ok(store::of_user(self.db(), holder(caller)?, oldest).await?)
    }

    /// Ends one of the caller's sessions.
    pub(crate) async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<()> {
        let user = holder(caller)?;
        let tx = self.db().begin().await?;
        if !store::end(&tx, user, id).await? {
            return Err(Problem::not_found("session"));
        }
        self.ledger()
            .append(&tx, &caller.actor, &SignedOut { user, session: id })
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes the caller's password. All other sessions end; the present one gets the new secret that is
    /// returned.
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        current: &str,
        new: &str,
        session: &str,
        address: Option<IpAddr>,
    ) -> Result<String, Refused> {
        let account = self.holder_account(caller).await?;
        password::check(new, &account.username)?;
        // A stolen session must not be a way to guess the password.
        let subjects = throttle::subjects(&account.username, address);
        self.admit(&subjects, &account.username).await?;
        let kept = self.kept_hash(&account.username).await?;
        if !self.hasher().matches(current, kept).await? {
            self.tell_refusal(&account.username, "bad_credentials").await?;
            return Err(
                Problem::invalid("wrong_password", "The present password is another.")
                    .why("It is asked for, so that nobody who finds your screen open can lock you out.")
                    .next("Go back and type it again.")
                    .into(),
            );
        }
        let hash = self.hasher().hash(new).await?;
        let (old, secret) = (secret::hash(session), secret::random());
        let tx = self.db().begin().await?;
        if !user::store::hold_open(&tx, account.id).await? {
            return Err(Problem::unauthenticated().into());
        }
        throttle::forgive(&tx, &subjects).await?;
        user::store::set_password(&tx, account.id, &hash).await?;
        store::end_all(&tx, account.id, &old).await?;
        store::rotate(&tx, &old, &secret::hash(&secret)).await?;
        let fact = changed(account.id, &account.username, "password", None);
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(secret)
    }

    async fn kept_hash(&self, username: &str) -> Result<Option<String>> {
        Ok(user::store::lock_of(self.db(), username)
            .await?
            .map(|lock| lock.password_hash))
    }
}

/// Whether a session in the list is the one that the request came with.
pub(crate) fn is_present(session: &Session, secret: Option<&str>) -> bool {
    secret.is_some_and(|secret| session.secret_hash == secret::hash(secret))
}

/// A person's own caller, as a session gives it.
pub(crate) fn person(id: UserId, username: &str, role: bascule_core::InstanceRole) -> Caller {
    Caller {
        actor: Actor::new(ActorKind::User, id, username),
        user: Some(id),
        instance_role: role,
        by_cookie: true,
        ..Caller::anonymous()
    }
}
