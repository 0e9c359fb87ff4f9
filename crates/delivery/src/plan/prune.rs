//! Taking away what a file no longer declares, where the file asks for it: never more than a share of an
//! environment at once without a person's word, never outside its windows, never what others there need.

use super::{Change, assemble::World};
use crate::{
    Delivery,
    deployment::instances,
    fleet::Channel,
    site::{
        self, Site, Suppressed,
        store::{self, Leaving, Pruning},
    },
};
use bascule_core::{Actor, Caller, EnvironmentId, Problem, Result, Timestamp};
use bascule_ledger::facts::delivery::{EnvironmentPruned, PruneConfirmed, PruneRefused};
use bascule_store::Json;
use bascule_wire::environments as dto;
use std::collections::BTreeMap;

/// What may go now, and why the rest may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    free: Vec<EnvironmentId>,
    rest: Vec<EnvironmentId>,
    /// Why the rest is refused; empty where nothing is.
    pub refused: String,
}

/// Decides by number alone. What a person confirmed is free; of the rest either all are, or none.
pub(super) fn decide(
    limit_percent: u8,
    leaving: &[EnvironmentId],
    staying: usize,
    confirmed: &[EnvironmentId],
) -> Decision {
    let (mut free, rest): (Vec<_>, Vec<_>) = leaving.iter().copied().partition(|id| confirmed.contains(id));
    let all = staying + leaving.len();
    if rest.len() * 100 <= usize::from(limit_percent) * all {
        free.extend(rest);
        return Decision {
            free,
            rest: Vec::new(),
            refused: String::new(),
        };
    }
    let percent = (rest.len() * 100).checked_div(all).unwrap_or(0);
    let refused = format!(
        "{} of {all} installs ({percent} %) are no longer declared, and at most {limit_percent} % are taken away at \
         once; a person has to confirm it",
        rest.len()
    );
    Decision { free, rest, refused }
}

/// Why nothing may be taken out of a site at this moment.
fn moment(site: &Site, suppressed: &[Suppressed], now: Timestamp) -> Option<String> {
    if let Some(open) = suppressed
        .iter()
        .find(|open| open.site == site.name || open.site == "*")
    {
        return Some(format!("waits: changes are suppressed ({})", open.reason));
    }
    let Some(calendar) = site.calendar() else {
        return Some("waits: its windows can no longer be read; push its file anew".to_owned());
    };
    if calendar.is_always() || calendar.is_open(now) {
        return None;
    }
    Some(calendar.next_opening(now).map_or_else(
        || "waits for a window, and none opens".to_owned(),
        |opening| format!("waits for the window {}", opening.label),
    ))
}

/// Why one install may not go: what stays needs it, or it is moving.
fn needed(world: &World, one: &Leaving, leaving: &[Leaving]) -> Option<String> {
    if let Some(moving) = &one.moving {
        return Some(format!("waits: {moving} is being deployed"));
    }
    let scene = world.scenes.iter().find(|s| s.environment.name == one.name)?;
    let needs = |place: &&super::store::Place| {
        let version = place.serving_version.as_deref()?.parse().ok()?;
        let product = world.catalogue.find(&place.project_path)?;
        let level = world.catalogue.level(product, &version)?;
        world
            .catalogue
            .dependencies(product, level)
            .iter()
            .any(|dependency| !dependency.optional && dependency.product == one.project_path)
            .then(|| format!("{} {version}", place.project_path))
    };
    let by: Vec<String> = scene
        .places
        .iter()
        .filter(|place| leaving.iter().all(|other| other.id != place.id))
        .filter_map(|place| needs(&place))
        .take(3)
        .collect();
    (!by.is_empty()).then(|| format!("waits: {} needs it", by.join(" and ")))
}

fn by_site(leaving: Vec<Leaving>) -> BTreeMap<String, Vec<Leaving>> {
    let mut all: BTreeMap<String, Vec<Leaving>> = BTreeMap::new();
    for one in leaving {
        all.entry(one.name.clone()).or_default().push(one);
    }
    all
}

fn ids(leaving: &[Leaving]) -> Vec<EnvironmentId> {
    leaving.iter().map(|one| one.id).collect()
}

impl Delivery {
    /// Takes away what may go, as planned from an epoch; whether something waits. A kill in between costs nothing:
    /// each install is one transaction.
    pub(super) async fn prune_left(&self, mut epoch: i64) -> Result<bool> {
        let leaving = by_site(store::leaving(&self.db, None).await?);
        let mut notes: BTreeMap<String, Pruning> = store::prunings(&self.db)
            .await?
            .into_iter()
            .map(|note| (note.site.clone(), note))
            .collect();
        if leaving.is_empty() && notes.is_empty() {
            return Ok(false);
        }
        let waiting = !leaving.is_empty();
        let names: Vec<String> = leaving.keys().cloned().collect();
        let world = self.world_in(&names).await?;
        let staying: BTreeMap<String, i64> = store::staying(&self.db)
            .await?
            .into_iter()
            .map(|row| (row.name, row.n))
            .collect();
        let sites: BTreeMap<String, Site> = store::pruners(&self.db)
            .await?
            .into_iter()
            .map(|declared| (declared.name, declared.body.0))
            .collect();
        let now = self.now();
        let suppressed = store::suppressed(&self.db, now).await?;
        for (name, installs) in leaving {
            let note = notes.remove(&name);
            let Some(site) = sites.get(&name) else { continue };
            let staying = staying.get(&name).copied().unwrap_or(0);
            let confirmed = note.as_ref().map_or(&[][..], |note| note.confirmed.0.as_slice());
            let decision = decide(
                site.prune_limit_percent,
                &ids(&installs),
                usize::try_from(staying).unwrap_or(0),
                confirmed,
            );
            self.note_refusal(&name, note.as_ref(), &decision, now).await?;
            if moment(site, &suppressed, now).is_some() {
                continue;
            }
            for one in installs.iter().filter(|one| decision.free.contains(&one.id)) {
                if needed(&world, one, &installs).is_none() {
                    match self.take_away(one, epoch, now).await? {
                        Some(now) => epoch = now,
                        // What it was decided from has changed: the next pass decides anew.
                        None => return Ok(true),
                    }
                }
            }
        }
        for name in notes.keys() {
            let tx = self.db.begin().await?;
            store::pruning_over(&tx, name).await?;
            tx.commit().await?;
        }
        Ok(waiting)
    }

    /// Says once that something is refused.
    async fn note_refusal(
        &self,
        site: &str,
        note: Option<&Pruning>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<()> {
        let same = match note {
            Some(note) => note.refused == decision.refused && note.installs.0 == decision.rest,
            None => decision.refused.is_empty(),
        };
        if same {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        let new = Pruning {
            site: site.to_owned(),
            refused: decision.refused.clone(),
            installs: Json(decision.rest.clone()),
            confirmed: Json(note.map(|note| note.confirmed.0.clone()).unwrap_or_default()),
            at: now,
        };
        store::put_pruning(&tx, &new).await?;
        let home = self.ports.projects.find(&self.ports.environments).await?;
        if let (Some(project), false) = (home, decision.refused.is_empty()) {
            let fact = PruneRefused {
                project,
                site: site.to_owned(),
                installs: i64::try_from(decision.rest.len()).unwrap_or(i64::MAX),
                reason: new.refused,
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Takes an install out of traffic and out of its site; its instances drain once the edges know. The epoch
    /// after it, or `None` where it has changed since.
    async fn take_away(&self, one: &Leaving, epoch: i64, now: Timestamp) -> Result<Option<i64>> {
        let tx = self.db.begin().await?;
        if !super::store::claim_epoch(&tx, epoch).await? {
            return Ok(None);
        }
        if !store::pruned(&tx, one.id, now).await? {
            return Ok(Some(epoch));
        }
        let revision = self.bump(&tx, Channel::Edge).await?;
        let all: Vec<_> = instances::in_environments(&tx, &[one.id])
            .await?
            .iter()
            .map(|instance| instance.id)
            .collect();
        instances::retire(&tx, &all, now, revision).await?;
        let fact = EnvironmentPruned {
            project: one.project_id,
            environment: one.id,
            site: one.name.clone(),
            version: one.version.clone().unwrap_or_default(),
        };
        self.ledger.append(&tx, &Actor::system(), &fact).await?;
        self.replan_for(&tx, Change::Site(&one.name)).await?;
        let epoch = super::store::epoch(&tx).await?;
        tx.commit().await?;
        tracing::info!(site = %one.name, product = %one.project_path, "what is no longer declared is taken away");
        Ok(Some(epoch))
    }

    /// What an environment no longer declares, and what becomes of it, as far as the caller may read it.
    ///
    /// # Errors
    /// There is no such environment that the caller may read.
    pub async fn prune_view(&self, caller: &Caller, name: &str) -> Result<dto::Prune> {
        let visible = self.visible(caller).await?;
        let seen = |one: &Leaving| visible.as_ref().is_none_or(|all| all.contains(&one.project_id));
        let leaving = store::leaving(&self.db, Some(name)).await?;
        let declared = store::last(&self.db, name).await?;
        let reads = self.reads_declarations(caller).await?.is_some()
            || leaving.iter().any(seen)
            || !self.plans_after(caller, Some(name), "", 1).await?.is_empty();
        let Some(Json(site)) = declared.map(|declared| declared.body).filter(|_| reads) else {
            return Err(site::service::unknown_site(name));
        };
        let notes = store::prunings(&self.db).await?;
        let confirmed = notes
            .iter()
            .find(|note| note.site == name)
            .map_or(&[][..], |note| note.confirmed.0.as_slice());
        let staying = store::staying(&self.db)
            .await?
            .into_iter()
            .find(|row| row.name == name)
            .map_or(0, |row| row.n);
        let decision = decide(
            site.prune_limit_percent,
            &ids(&leaving),
            usize::try_from(staying).unwrap_or(0),
            confirmed,
        );
        let now = self.now();
        let held = moment(&site, &store::suppressed(&self.db, now).await?, now);
        let (state, reason) = match (&held, leaving.is_empty()) {
            (_, true) if !site.prune => (
                "left",
                "its file does not ask for it (`prune: true`): what is no longer declared is left as it is"
                    .to_owned(),
            ),
            (_, true) => ("none", "everything that is here is declared".to_owned()),
            (_, false) if !decision.refused.is_empty() => ("refused", decision.refused.clone()),
            (Some(held), false) => ("held", held.clone()),
            (None, false) => ("due", "it is drained and taken away".to_owned()),
        };
        let world = if leaving.is_empty() {
            None
        } else {
            Some(self.world_in(&[name.to_owned()]).await?)
        };
        let helds: Vec<String> = leaving
            .iter()
            .map(|one| {
                let held = world.as_ref().and_then(|world| needed(world, one, &leaving));
                held.unwrap_or_default()
            })
            .collect();
        let texts: Vec<&str> = helds.iter().map(String::as_str).collect();
        let veil = self.veil(visible.as_ref(), &texts).await?;
        let installs: Vec<dto::PruneInstall> = leaving
            .iter()
            .zip(&helds)
            .filter(|(one, _)| seen(one))
            .map(|(one, held)| dto::PruneInstall {
                product: one.project_path.clone(),
                version: one.version.clone().unwrap_or_default(),
                held: veil.over(held),
            })
            .collect();
        Ok(dto::Prune {
            environment: name.to_owned(),
            state: state.to_owned(),
            reason,
            limit_percent: site.prune_limit_percent,
            hidden: u64::try_from(leaving.len() - installs.len()).unwrap_or(0),
            installs,
        })
    }

    /// Lets go what was refused for being too much at once: just what there is now, not what comes later.
    ///
    /// # Errors
    /// Nothing there waits for a person's word.
    pub async fn confirm_prune(&self, caller: &Caller, name: &str) -> Result<()> {
        let leaving = store::leaving(&self.db, Some(name)).await?;
        if leaving.is_empty() {
            return Err(Problem::conflict(
                "nothing_to_prune",
                format!("Nothing in {name} waits to be taken away."),
            )
            .why("Only what its file no longer declares goes, and only where the file says `prune: true`.")
            .next(format!("`bascule prune --in {name}` says how it stands.")));
        }
        let tx = self.db.begin().await?;
        let new = Pruning {
            site: name.to_owned(),
            refused: String::new(),
            installs: Json(Vec::new()),
            confirmed: Json(ids(&leaving)),
            at: self.now(),
        };
        store::put_pruning(&tx, &new).await?;
        if let Some(project) = self.ports.projects.find(&self.ports.environments).await? {
            let fact = PruneConfirmed {
                project,
                site: name.to_owned(),
                installs: i64::try_from(leaving.len()).unwrap_or(i64::MAX),
            };
            self.ledger.append(&tx, &caller.actor, &fact).await?;
        }
        self.replan_for(&tx, Change::Site(name)).await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_decides_and_a_persons_word_counts_for_what_it_was_given_for() {
        let all: Vec<EnvironmentId> = (0..4).map(|_| EnvironmentId::new()).collect();
        let free = decide(30, &all[..3], 7, &[]);
        assert_eq!((free.free.len(), free.refused.as_str()), (3, ""));
        let refused = decide(30, &all, 8, &[]);
        assert!(refused.free.is_empty() && refused.rest.len() == 4);
        assert!(
            refused.refused.starts_with("4 of 12 installs (33 %)"),
            "{}",
            refused.refused
        );
        // Three were confirmed; a fourth that came later is within the limit by itself.
        let later = decide(30, &all, 0, &all[..3]);
        assert_eq!((later.free.len(), later.refused.as_str()), (4, ""));
        let later = decide(10, &all, 0, &all[..3]);
        assert_eq!(
            (later.free.as_slice(), later.rest.as_slice()),
            (&all[..3], &all[3..])
        );
    }
}
