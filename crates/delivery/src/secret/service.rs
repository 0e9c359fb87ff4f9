//! Setting secrets, and opening them for the agents that need them.

use super::{EVERYWHERE, VALUE_BYTES, is_name, reference, seal, store, takes_everywhere};
use crate::{Delivery, fleet::Channel};
use bascule_core::{Caller, Name, Problem, Result};
use bascule_ledger::{InstanceKey, facts::delivery::SecretChanged};
use bascule_wire::environments as dto;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Secrets that were opened, by environment and name. Has no `Debug`, so that none gets into a log.
#[derive(Default)]
pub(crate) struct Opened(HashMap<(String, String), String>);

impl Opened {
    fn get(&self, site: &str, name: &str) -> Option<&String> {
        let everywhere = takes_everywhere(site).then_some(EVERYWHERE);
        std::iter::once(site)
            .chain(everywhere)
            .find_map(|site| self.0.get(&(site.to_owned(), name.to_owned())))
    }

    /// Puts values in the place of references. What refers to a secret that is gone is left out: no instance gets
    /// the reference for a value.
    pub fn fill(
        &self,
        site: &str,
        settings: &BTreeMap<String, String>,
        variables: &mut BTreeMap<String, String>,
    ) {
        for (variable, value) in settings {
            let Some(name) = reference(value) else { continue };
            match self.get(site, name) {
                Some(value) => {
                    variables.insert(variable.clone(), value.clone());
                }
                None => {
                    variables.remove(variable);
                }
            }
        }
    }
}

fn place(site: &str, name: &str) -> Result<()> {
    if site != EVERYWHERE {
        Name::new(site).map_err(|bad| {
            Problem::invalid("bad_environment", format!("{bad}."))
                .next("Name an environment, or `*` for all of them.")
        })?;
    }
    if !is_name(name) {
        return Err(Problem::invalid("bad_secret_name", "This cannot name a secret.")
            .why("A file refers to it as secret:NAME.")
            .next("Use letters, digits, `_`, `-` and `.`, at most 100 of them."));
    }
    Ok(())
}

/// A value, sealed for its place and name.
///
/// # Errors
/// It cannot be the value of a variable.
pub(crate) fn sealed_for(key: &InstanceKey, site: &str, name: &str, value: &str) -> Result<String> {
    if value.is_empty() || value.len() > VALUE_BYTES || value.contains('\0') {
        return Err(Problem::invalid(
            "bad_secret",
            format!("A secret is a text of 1 to {VALUE_BYTES} bytes, without a zero byte."),
        )
        .why("It becomes the value of an environment variable.")
        .next("Encode what is no text, such as in base64."));
    }
    seal::seal(key, site, name, value)
}

impl Delivery {
    /// The names of the secrets of an environment.
    ///
    /// # Errors
    /// The database refused.
    pub async fn secrets(&self, site: &str) -> Result<Vec<dto::Secret>> {
        Ok(store::of_site(&self.db, site)
            .await?
            .into_iter()
            .map(|known| dto::Secret {
                name: known.name,
                environment: known.site,
                actor: known.actor,
                updated_at: known.updated_at,
            })
            .collect())
    }

    /// Keeps a secret. Agents get it with what they should run; an instance that runs keeps what it was started
    /// with.
    ///
    /// # Errors
    /// The name or the value is none.
    pub async fn set_secret(&self, caller: &Caller, site: &str, name: &str, value: &str) -> Result<()> {
        place(site, name)?;
        let sealed = sealed_for(self.ledger.key(), site, name, value)?;
        let tx = self.db.begin().await?;
        store::put(&tx, site, name, &sealed, &caller.actor.name, self.now()).await?;
        let fact = SecretChanged {
            site: site.to_owned(),
            name: name.to_owned(),
            removed: false,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.bump(&tx, Channel::Agent).await?;
        self.replan(&tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a secret.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn remove_secret(&self, caller: &Caller, site: &str, name: &str) -> Result<()> {
        place(site, name)?;
        let tx = self.db.begin().await?;
        if !store::remove(&tx, site, name).await? {
            return Err(Problem::not_found("secret"));
        }
        let fact = SecretChanged {
            site: site.to_owned(),
            name: name.to_owned(),
            removed: true,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.bump(&tx, Channel::Agent).await?;
        self.replan(&tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Opens what the variables of some environments refer to, and nothing else.
    pub(crate) async fn open_secrets(&self, given: &[(&str, &BTreeMap<String, String>)]) -> Result<Opened> {
        let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (environment, settings) in given {
            for name in settings.values().filter_map(|value| reference(value)) {
                named.insert((environment, name));
            }
        }
        if named.is_empty() {
            return Ok(Opened::default());
        }
        let mut sites: BTreeSet<String> = named.iter().map(|(site, _)| (*site).to_owned()).collect();
        sites.insert(EVERYWHERE.to_owned());
        let sites: Vec<String> = sites.into_iter().collect();
        let mut opened = Opened::default();
        for sealed in store::sealed(&self.db, &sites).await? {
            let asked = named.iter().any(|(site, name)| {
                let here = sealed.site == *site || (sealed.site == EVERYWHERE && takes_everywhere(site));
                *name == sealed.name && here
            });
            if !asked {
                continue;
            }
            match seal::open(self.ledger.key(), &sealed.site, &sealed.name, &sealed.sealed) {
                Some(value) => {
                    opened.0.insert((sealed.site, sealed.name), value);
                }
                None => {
                    tracing::error!(site = %sealed.site, name = %sealed.name, "a secret does not open: it was sealed under another instance key; set it anew");
                }
            }
        }
        Ok(opened)
    }
}
