//! What can be done with SSH keys.

use super::{
    MOST, parse,
    store::{self, Key},
};
use crate::{
    Identity,
    authenticate::{TOUCH, Used},
    deploy_key,
    session::service::person,
    text,
    user::{self, holder},
};
use bascule_core::{Caller, KeyId, Problem, Result};
use bascule_ledger::facts::identity::{KeyAdded, KeyRemoved};
use bascule_wire::identity as wire;
use std::collections::HashSet;

impl Identity {
    /// Adds a public key to the caller's account.
    ///
    /// # Errors
    /// The key cannot be used, or belongs to an account already.
    pub async fn add_key(&self, caller: &Caller, new: &wire::NewKey) -> Result<wire::Key> {
        let user = holder(caller)?;
        let parsed = parse(&new.key)?;
        let title = text::line("title", &new.title, 100)?;
        let title = if title.is_empty() {
            text::line("title", &parsed.comment, 100)?
        } else {
            title
        };
        let key = Key {
            id: KeyId::new(),
            title: if title.is_empty() {
                parsed.description.clone()
            } else {
                title
            },
            algorithm: parsed.description,
            fingerprint: parsed.fingerprint,
            created_at: self.now(),
            last_used_at: None,
        };
        let tx = self.db().begin().await?;
        if !user::store::hold_open(&tx, user).await? {
            return Err(Problem::unauthenticated());
        }
        if store::count(&tx, user).await? >= MOST {
            return Err(
                Problem::conflict("too_many_keys", format!("There are {MOST} keys already."))
                    .next("Remove those that are not used."),
            );
        }
        if deploy_key::store::by_fingerprint(&tx, &key.fingerprint)
            .await?
            .is_some()
        {
            return Err(
                Problem::conflict("key_taken", "This key is a deploy key of a project.")
                    .why("A key stands for one holder, who is found by it.")
                    .next("Make a new one with `ssh-keygen -t ed25519`."),
            );
        }
        if let Err(error) = store::insert(&tx, user, &key, &parsed.line).await {
            if error.is_unique_violation() {
                return Err(
                    Problem::conflict("key_taken", "This key belongs to an account already.")
                        .why("A key stands for one person, who is found by it.")
                        .next("Make a new one with `ssh-keygen -t ed25519`."),
                );
            }
            return Err(error.into());
        }
        let fact = KeyAdded {
            key: key.id,
            user,
            fingerprint: key.fingerprint.clone(),
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(key.into())
    }

    /// The caller's keys.
    pub(crate) async fn keys(&self, caller: &Caller) -> Result<Vec<Key>> {
        Ok(store::of_user(self.db(), holder(caller)?).await?)
    }

    /// Removes one of the caller's keys.
    pub(crate) async fn remove_key(&self, caller: &Caller, id: KeyId) -> Result<()> {
        let user = holder(caller)?;
        let tx = self.db().begin().await?;
        let fingerprint = store::remove(&tx, user, id)
            .await?
            .ok_or_else(|| Problem::not_found("key"))?;
        self.ledger()
            .append(
                &tx,
                &caller.actor,
                &KeyRemoved {
                    key: id,
                    user,
                    fingerprint,
                },
            )
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Which of these keys still open something: an open account, or a project. One query for each kind, so
    /// that an SSH server can ask about all its connections twice a second.
    ///
    /// # Errors
    /// The database refused.
    pub async fn keys_alive(&self, fingerprints: &[String]) -> Result<HashSet<String>> {
        Ok(store::alive(self.db(), fingerprints, self.now())
            .await?
            .into_iter()
            .collect())
    }

    /// Of these keys those that belong to open accounts, with the account's e-mail address: who signed a commit.
    ///
    /// # Errors
    /// The database refused.
    pub async fn key_addresses(&self, fingerprints: &[String]) -> Result<Vec<(String, String)>> {
        Ok(store::addresses(self.db(), fingerprints).await?)
    }

    /// Whose key this is, for an SSH server that has checked that the other side holds it: a person, or a
    /// program that is limited to one project.
    ///
    /// # Errors
    /// It belongs to no open account and no project.
    pub async fn authenticate_key(&self, fingerprint: &str) -> Result<Caller> {
        let now = self.now();
        let Some(found) = store::by_fingerprint(self.db(), fingerprint, now).await? else {
            if let Some(caller) = self.by_deploy_key(fingerprint).await? {
                return Ok(caller);
            }
            return Err(
                Problem::new(401, "unknown_key", "This key belongs to no account.")
                    .why("Who you are is found by your key.")
                    .next("Add its public half under Settings, SSH keys."),
            );
        };
        if found.last_used_at.is_none_or(|last| last < now.minus(TOUCH)) {
            self.touch(Used::Key(found.id), now);
        }
        Ok(Caller {
            by_cookie: false,
            ..person(found.user_id, &found.username, found.instance_role)
        })
    }
}
