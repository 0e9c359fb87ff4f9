//! Secrets of a project's previews: apart from those of environments, of which a preview gets none.

use super::secrets_of;
use crate::{Delivery, fleet::Channel, secret};
use bascule_core::{Caller, Problem, ProjectId, Result};
use bascule_ledger::facts::preview::PreviewSecretChanged;
use bascule_wire::preview as dto;

/// Whether a name can be that of a variable, which a preview's secret becomes.
fn is_variable(name: &str) -> bool {
    secret::is_name(name)
        && name != "PORT"
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

impl Delivery {
    /// The names of the secrets of a project's previews.
    ///
    /// # Errors
    /// The database refused.
    pub async fn preview_secrets(&self, project: ProjectId) -> Result<Vec<dto::PreviewSecret>> {
        let known = secret::store::of_site(&self.db, &secrets_of(project)).await?;
        Ok(known
            .into_iter()
            .map(|known| dto::PreviewSecret {
                name: known.name,
                actor: known.actor,
                updated_at: known.updated_at,
            })
            .collect())
    }

    /// Keeps a secret for a project's previews; those that start from then on have it as a variable of its name.
    ///
    /// # Errors
    /// The name or the value is none.
    pub async fn set_preview_secret(
        &self,
        caller: &Caller,
        project: ProjectId,
        name: &str,
        value: &str,
    ) -> Result<()> {
        if !is_variable(name) {
            return Err(
                Problem::invalid("bad_secret_name", "This cannot name a secret of previews.")
                    .why("It becomes a variable of that name; PORT is the platform's own.")
                    .next("Use letters, digits and `_`, beginning with a letter."),
            );
        }
        let place = secrets_of(project);
        let sealed = secret::sealed_for(self.ledger.key(), &place, name, value)?;
        let tx = self.db.begin().await?;
        secret::store::put(&tx, &place, name, &sealed, &caller.actor.name, self.now()).await?;
        let fact = PreviewSecretChanged {
            project,
            name: name.to_owned(),
            removed: false,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.bump(&tx, Channel::Agent).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a secret of a project's previews.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn remove_preview_secret(&self, caller: &Caller, project: ProjectId, name: &str) -> Result<()> {
        let tx = self.db.begin().await?;
        if !secret::store::remove(&tx, &secrets_of(project), name).await? {
            return Err(Problem::not_found("secret"));
        }
        let fact = PreviewSecretChanged {
            project,
            name: name.to_owned(),
            removed: true,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.bump(&tx, Channel::Agent).await?;
        tx.commit().await?;
        Ok(())
    }
}
