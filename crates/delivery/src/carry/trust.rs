//! Whose bundles and reports are believed: keys that a person named beforehand, never one that came with a bundle.

use super::{Carry, Role, site_name, store};
use bascule_bundle::Trust;
use bascule_core::{Actor, Name, Problem, Result, dsse::Verify};
use bascule_ledger::{PublicKey, facts::bundles::BundleKeyChanged};
use bascule_wire::bundle::{BundleKey, NewBundleKey};
use std::{collections::BTreeMap, sync::Arc};

/// What is believed here.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted {
    /// The site that this instance is, and the keys of its hub.
    pub(super) here: Option<(Name, Vec<PublicKey>)>,
    /// The keys of each site that reports here.
    pub(super) sites: BTreeMap<Name, Vec<PublicKey>>,
}

/// Keys as the importer takes them.
pub(super) fn trust(keys: &[PublicKey]) -> Trust {
    Trust::new(keys.iter().map(|key| Arc::new(key.clone()) as Arc<dyn Verify>))
}

impl Trusted {
    /// All keys that are believed, whomever for.
    pub(super) fn all(&self) -> Trust {
        let hub = self.here.iter().flat_map(|(_, keys)| keys);
        let keys: Vec<PublicKey> = hub.chain(self.sites.values().flatten()).cloned().collect();
        trust(&keys)
    }
}

impl Carry {
    pub(super) async fn trusted(&self) -> Result<Trusted> {
        let mut trusted = Trusted::default();
        for kept in store::keys(&self.delivery.db).await? {
            let key =
                PublicKey::from_pem(&kept.pem).map_err(|error| super::damaged("a public key", error))?;
            let site = site_name(&kept.site)?;
            if kept.is(Role::Hub) {
                trusted.here.get_or_insert_with(|| (site, Vec::new())).1.push(key);
            } else {
                trusted.sites.entry(site).or_default().push(key);
            }
        }
        Ok(trusted)
    }

    /// The keys that are believed.
    ///
    /// # Errors
    /// The database refused.
    pub async fn keys(&self) -> Result<Vec<BundleKey>> {
        let keys = store::keys(&self.delivery.db).await?;
        Ok(keys
            .into_iter()
            .map(|key| BundleKey {
                id: key.id,
                role: key.role,
                site: key.site,
                at: key.at,
            })
            .collect())
    }

    /// Believes a key from now on.
    ///
    /// # Errors
    /// It is no key, this instance's own, or this instance is another site.
    pub async fn believe(&self, actor: &Actor, new: &NewBundleKey) -> Result<BundleKey> {
        let key = PublicKey::from_pem(&new.pem).map_err(|error| {
            Problem::invalid("bad_key", format!("This is no public key: {error}."))
                .next("Use what `bascule release key` prints on the other instance.")
        })?;
        let site = site_name(&new.site)?;
        let role = [Role::Hub, Role::Site]
            .into_iter()
            .find(|role| role.as_str() == new.role)
            .ok_or_else(|| {
                Problem::invalid("bad_role", format!("`{}` is no role of a key.", new.role))
                    .next("Use `hub` or `site`.")
            })?;
        if key == self.delivery.ledger.key().public() {
            return Err(
                Problem::invalid("own_key", "This is the key of this very instance.")
                    .why("A hub and its site are two instances, each with a key of its own.")
                    .next("Run `bascule release key` on the other instance, and give what it prints."),
            );
        }
        if let (Role::Hub, Some((here, _))) = (role, self.trusted().await?.here)
            && here != site
        {
            return Err(Problem::conflict(
                "other_site",
                format!("This instance is the site {here} already."),
            )
            .why("An instance is one site: what is in force there comes from one declaration.")
            .next(format!(
                "Name {here}, or take back the keys of its hub first (`bascule bundle keys`)."
            )));
        }
        let kept = store::Key {
            id: key.id().to_owned(),
            pem: key.to_pem(),
            role: role.as_str().to_owned(),
            site: site.to_string(),
            at: self.now(),
        };
        let tx = self.delivery.db.begin().await?;
        store::put_key(&tx, &kept).await?;
        self.key_changed(&tx, actor, &kept, true).await?;
        tx.commit().await?;
        Ok(BundleKey {
            id: kept.id,
            role: kept.role,
            site: kept.site,
            at: kept.at,
        })
    }

    /// Believes a key no longer. What is being gathered of it is dropped with the next import.
    ///
    /// # Errors
    /// It was not believed.
    pub async fn doubt(&self, actor: &Actor, id: &str) -> Result<()> {
        let keys = store::keys(&self.delivery.db).await?;
        let key = keys
            .into_iter()
            .find(|key| key.id == id)
            .ok_or_else(|| Problem::not_found("trusted key"))?;
        let tx = self.delivery.db.begin().await?;
        store::remove_key(&tx, id).await?;
        self.key_changed(&tx, actor, &key, false).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn key_changed(
        &self,
        tx: &bascule_store::Tx,
        actor: &Actor,
        key: &store::Key,
        trusted: bool,
    ) -> Result<()> {
        let fact = BundleKeyChanged {
            key: key.id.clone(),
            role: key.role.clone(),
            site: key.site.clone(),
            trusted,
        };
        self.delivery.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }
}
