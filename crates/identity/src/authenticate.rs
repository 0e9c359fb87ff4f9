//! Who asks: one indexed query per request, and nothing remembered between requests, so that what is ended
//! is ended at once, on every replica.

use crate::{
    Identity,
    credential::Credential,
    secret::{self, TOKEN_PREFIX},
    session::{self, service::person},
    token,
};
use bascule_core::{Actor, ActorKind, Caller, InstanceRole, Problem, Result, Timestamp, limits};
use bascule_wire::runner::{GIT_USER, JOB_TOKEN_PREFIX};
use http::{header, request::Parts};
use std::{sync::PoisonError, time::Duration};

/// Uses are noted to the minute, so that reading does not become writing.
pub(crate) const TOUCH: Duration = Duration::from_secs(60);

impl Identity {
    /// Who sent the request. Without credentials that is nobody; with bad ones it is an error, never nobody.
    ///
    /// # Errors
    /// The credentials are unknown, revoked, expired, or of a closed account.
    pub async fn authenticate(&self, parts: &Parts) -> Result<Caller> {
        match Credential::of(&parts.headers)? {
            None => Ok(Caller::anonymous()),
            Some(Credential::Session(secret)) => self.by_session(&secret).await,
            Some(Credential::Token(secret)) => self.by_token(&secret).await,
            Some(Credential::Basic { username, password }) => {
                // `https://TOKEN@host/` puts the token where the name belongs.
                let lone = password.is_empty() || password == "x-oauth-basic";
                let secret = if lone && username.starts_with(TOKEN_PREFIX) {
                    username
                } else {
                    password
                };
                // These count with a user name of their own, before this is asked.
                if secret.starts_with(JOB_TOKEN_PREFIX) {
                    return Err(nameless_job());
                }
                if !secret.starts_with(TOKEN_PREFIX) {
                    return Err(no_passwords());
                }
                let mut caller = self.by_token(&secret).await?;
                // A browser that was once asked for a password repeats it by itself, as it does a cookie.
                caller.by_cookie = parts.headers.contains_key("sec-fetch-site")
                    || parts.headers.contains_key(header::ORIGIN);
                Ok(caller)
            }
        }
    }

    async fn by_session(&self, secret: &str) -> Result<Caller> {
        let now = self.now();
        let oldest = now.minus(limits::SESSION_IDLE);
        let Some(live) = session::store::live(self.db(), &secret::hash(secret), oldest, now).await? else {
            return Err(Problem::new(401, "session_ended", "Your session has ended.")
                .why("Sessions end by sign-out, after a week without use, and when the password changes or the account is closed or reaches its end.")
                .next("Sign in again."));
        };
        if live.last_used_at < now.minus(TOUCH) {
            self.touch(Used::Session(live.id), now);
        }
        Ok(person(live.user_id, &live.username, live.instance_role))
    }

    async fn by_token(&self, secret: &str) -> Result<Caller> {
        let now = self.now();
        // What was never made here is not looked up.
        let found = if secret.starts_with(TOKEN_PREFIX) {
            token::store::by_hash(self.db(), &secret::hash(secret)).await?
        } else {
            None
        };
        let Some(found) = found else {
            return Err(bad_token(
                "There is no such access token.",
                "It was mistyped, or belongs to another instance.",
            ));
        };
        if found.revoked_at.is_some() {
            return Err(bad_token(
                "The access token was revoked.",
                "Someone ended it, or its account was closed.",
            ));
        }
        if let Some(end) = found.expires_at.filter(|end| *end <= now) {
            return Err(bad_token(
                &format!("The access token expired at {end}."),
                "Tokens end, so that forgotten ones do no harm.",
            ));
        }
        let over = found.account_ends_at.is_some_and(|end| end <= now);
        if found.user_id.is_some() && (found.active != Some(true) || over) {
            return Err(bad_token(
                "The access token belongs to a closed account.",
                "Whoever leaves loses every way in at once.",
            ));
        }
        if found.last_used_at.is_none_or(|last| last < now.minus(TOUCH)) {
            self.touch(Used::Token(found.id), now);
        }
        let scopes = Some(found.scopes.0);
        Ok(match (found.user_id, found.project_id.zip(found.role)) {
            (Some(user), _) => Caller {
                actor: Actor::new(ActorKind::Token, found.id, found.username.unwrap_or(found.name)),
                user: Some(user),
                instance_role: found.instance_role.unwrap_or(InstanceRole::External),
                scopes,
                ..Caller::anonymous()
            },
            (None, Some(only)) => Caller {
                // The colon keeps it apart from people: no user name holds one.
                actor: Actor::new(ActorKind::Token, found.id, format!("token:{}", found.name)),
                scopes,
                only_project: Some(only),
                ..Caller::anonymous()
            },
            (None, None) => return Err(Problem::internal()),
        })
    }

    /// Notes a use beside the request, never twice at once for the same thing. A failure to note it is no
    /// reason to refuse the request.
    pub(crate) fn touch(&self, used: Used, now: Timestamp) {
        let mut busy = self.touching().lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(used) {
            return;
        }
        drop(busy);
        let identity = self.clone();
        tokio::spawn(async move {
            if let Err(error) = identity.note_use(used, now).await {
                tracing::warn!(%error, "noting the use of a session, token or key");
            }
            identity
                .touching()
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&used);
        });
    }

    async fn note_use(&self, used: Used, now: Timestamp) -> bascule_store::Result<()> {
        let tx = self.db().begin().await?;
        let unless_since = now.minus(TOUCH);
        match used {
            Used::Session(id) => session::store::touch(&tx, id, now, unless_since).await?,
            Used::Token(id) => token::store::touch(&tx, id, now, unless_since).await?,
            Used::DeployKey(id) => {
                crate::deploy_key::store::touch(&tx, id, now, unless_since).await?;
            }
            Used::Key(id) => crate::key::store::touch(&tx, id, now, unless_since).await?,
        }
        tx.commit().await
    }
}

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Used {
    /// A session.
    Session(bascule_core::SessionId),
    /// An access token.
    Token(bascule_core::TokenId),
    /// An SSH key.
    Key(bascule_core::KeyId),
    /// A deploy key.
    DeployKey(bascule_core::DeployKeyId),
}

fn bad_token(what: &str, why: &str) -> Problem {
    Problem::new(401, "bad_token", what)
        .why(why)
        .next("Create a token under Settings, Access tokens, and use that.")
}

fn nameless_job() -> Problem {
    Problem::new(
        401,
        "job_token_without_name",
        format!("A job's token counts with the user name `{GIT_USER}` alone."),
    )
    .why("So it is told apart from a person's token.")
    .next(format!(
        "Use `https://{GIT_USER}:$CI_JOB_TOKEN@…`, as `$CI_REPOSITORY_URL` does."
    ))
}

fn no_passwords() -> Problem {
    Problem::new(401, "password_not_accepted", "Passwords are not accepted here; use an access token.")
        .why("A password opens everything and cannot be limited. A token has scopes and an end, and can be revoked alone.")
        .next(
            "Create a token with the scope `write_repository` under Settings, Access tokens (/settings/tokens), \
             and give it as the password; any user name will do.",
        )
}
