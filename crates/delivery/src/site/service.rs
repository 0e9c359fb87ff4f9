//! Bringing declared sites into force: on a push to the environments project, all of a commit or nothing of it.

use super::{Declared, FILE_BYTES, FOLDER, SITES, Site, Suppressed, parse, store};
use crate::{Delivery, environment, fleet::Channel, plan::Change};
use bascule_core::{Actor, Caller, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::facts::delivery::{EnvironmentCreated, SiteDeclared, SuppressionChanged};
use bascule_store::{Json, Tx};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Files that are read together, and environments that are told of one by one.
const AT_ONCE: usize = 100;

/// What a person opens a suppression window by.
pub(crate) const BY_HAND: &str = "hand";

impl Delivery {
    /// Reads all declarations at a commit.
    ///
    /// # Errors
    /// The inner one says which file is wrong, where, and what is allowed there.
    pub(crate) async fn read_sites(
        &self,
        project: ProjectId,
        sha: &str,
    ) -> Result<std::result::Result<Vec<Site>, String>> {
        let mut paths: Vec<String> = self
            .ports
            .files
            .list(project, sha)
            .await?
            .into_iter()
            .filter(|path| {
                path.strip_prefix(FOLDER).is_some_and(|name| {
                    !name.contains('/') && (name.ends_with(".yaml") || name.ends_with(".yml"))
                })
            })
            .collect();
        paths.sort();
        if paths.len() > SITES {
            return Ok(Err(format!("more than {SITES} environments are declared")));
        }
        let mut sites = Vec::new();
        for some in paths.chunks(AT_ONCE) {
            let read = match self.ports.files.read_some(project, sha, some, FILE_BYTES).await {
                Ok(read) => read,
                Err(problem) if problem.status == 413 => {
                    return Ok(Err(self.too_large(project, sha, some).await?));
                }
                Err(problem) => return Err(problem),
            };
            for (path, bytes) in some.iter().zip(read) {
                match bytes.map(|bytes| parse(path, &bytes)) {
                    Some(Ok(site)) => sites.push(site),
                    Some(Err(fault)) => return Ok(Err(fault.to_string())),
                    None => {}
                }
            }
        }
        Ok(Ok(sites))
    }

    /// Which of some files is too large.
    async fn too_large(&self, project: ProjectId, sha: &str, paths: &[String]) -> Result<String> {
        for path in paths {
            match self.ports.files.read(project, sha, path, FILE_BYTES).await {
                Err(problem) if problem.status == 413 => return Ok(format!("{path} is too large")),
                Err(problem) => return Err(problem),
                Ok(_) => {}
            }
        }
        Ok("a file is too large".to_owned())
    }

    /// Brings a commit's declarations into force. Idempotent: what is in force already is left.
    pub(crate) async fn sync_sites(&self, project: ProjectId, sha: &str) -> Result<()> {
        let read = self.read_sites(project, sha).await?;
        let now = self.now();
        // What a hub's bundle declares is the hub's, and no push here changes it.
        let (carried, own): (Vec<_>, Vec<_>) = store::all(&self.db)
            .await?
            .into_iter()
            .partition(|declared| declared.origin.is_some());
        let before: BTreeMap<String, Site> = own
            .into_iter()
            .map(|declared| (declared.name, declared.body.0))
            .collect();
        let read =
            read.and_then(
                |sites| match carried.iter().find(|c| sites.iter().any(|s| s.name == c.name)) {
                    Some(declared) => Err(theirs(declared)),
                    None => Ok(sites),
                },
            );
        let mut products: BTreeMap<String, ProjectId> = BTreeMap::new();
        let named = read.as_ref().map_or(&[][..], Vec::as_slice);
        for install in named.iter().flat_map(|site| &site.installs) {
            if !products.contains_key(&install.product)
                && let Some(id) = self.ports.projects.find(&install.product).await?
            {
                products.insert(install.product.clone(), id);
            }
        }
        let sites = match read {
            Ok(sites) => sites,
            Err(reason) => return self.refuse_commit(project, sha, reason).await,
        };
        let tx = self.db.begin().await?;
        self.take_commit(&tx, project, sha).await?;
        // Of thousands that are declared few are touched by a push.
        let stands = stands(&tx).await?;
        let changed: Vec<&Site> = sites
            .iter()
            .filter(|site| before.get(&site.name) != Some(*site) || !all_stand(&stands, site, &products))
            .collect();
        let there: HashSet<&str> = sites.iter().map(|site| site.name.as_str()).collect();
        let gone: Vec<&String> = before
            .keys()
            .filter(|name| !there.contains(name.as_str()))
            .collect();
        // They are set free first: what is still declared is declared again in the same transaction.
        for name in gone.iter().copied().chain(changed.iter().map(|site| &site.name)) {
            environment::store::undeclare(&tx, name, now).await?;
        }
        for site in &changed {
            let known = before.get(&site.name);
            self.declare(&tx, project, sha, None, site, known, &products)
                .await?;
        }
        for name in &gone {
            store::remove(&tx, name, now).await?;
            let fact = declared(project, sha, name, 0, true);
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
        }
        self.note_unknown(&tx, project, &sites, &products, now).await?;
        self.bump(&tx, Channel::Edge).await?;
        // Another agent is to run it: the one before has to end what it runs.
        let moved = |site: &&Site| {
            let before = before.get(&site.name);
            before
                .is_some_and(|before| before.agent != site.agent || before.disconnected != site.disconnected)
        };
        if changed.iter().any(moved) {
            self.bump(&tx, Channel::Agent).await?;
        }
        if changed.len() + gone.len() > AT_ONCE {
            self.replan(&tx).await?;
        } else {
            for name in gone.into_iter().chain(changed.into_iter().map(|site| &site.name)) {
                self.replan_for(&tx, Change::Site(name)).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Brings one declaration into force: the site, what is installed in it, and who runs it.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is declared, by whom, and what stood before it"
    )]
    pub(crate) async fn declare(
        &self,
        tx: &Tx,
        project: ProjectId,
        sha: &str,
        origin: Option<&str>,
        site: &Site,
        before: Option<&Site>,
        products: &BTreeMap<String, ProjectId>,
    ) -> Result<()> {
        let now = self.now();
        if before != Some(site) {
            store::put(tx, site, sha, origin, now).await?;
            let fact = declared(project, sha, &site.name, site.installs.len(), false);
            self.ledger.append(tx, &Actor::system(), &fact).await?;
        }
        for install in &site.installs {
            if let Some(product) = products.get(&install.product) {
                environment::store::declare(tx, *product, &install.product, site, now).await?;
                let known = before.and_then(|before| before.install(&install.product));
                if known.is_some_and(|known| known.hooks != install.hooks) {
                    // What failed with the hooks before may be tried with these.
                    crate::plan::store::forget_failures(tx, &site.name, *product).await?;
                }
            }
        }
        store::assign(tx, site).await?;
        // Others, such as incidents, judge by the tier.
        for untold in store::untold(tx, &site.name).await? {
            let fact = EnvironmentCreated {
                project: untold.project_id,
                environment: untold.id,
                name: untold.name,
                tier: untold.tier,
            };
            self.ledger.append(tx, &Actor::system(), &fact).await?;
        }
        Ok(())
    }

    /// Holds all changes in a site, or in all by `*`, until a time or until someone lets them go on.
    ///
    /// # Errors
    /// There is no such site, or no reason is given.
    pub async fn suppress(
        &self,
        caller: &Caller,
        site: &str,
        reason: &str,
        until: Option<Timestamp>,
    ) -> Result<()> {
        let reason = reason.trim();
        if reason.is_empty() {
            return Err(
                Problem::invalid("reason_missing", "Holding all changes needs a reason.")
                    .why("Whoever waits reads it in the plan.")
                    .next("Say in one sentence why nothing may change."),
            );
        }
        let exists = site == "*" || self.site_exists(site).await?;
        if !exists {
            return Err(unknown_site(site));
        }
        let new = Suppressed {
            site: site.to_owned(),
            cause: BY_HAND.to_owned(),
            reason: crate::deployment::instances::cut(reason, 500),
            actor: caller.actor.name.clone(),
            opened_at: self.now(),
            until_at: until,
        };
        let tx = self.db.begin().await?;
        store::suppress(&tx, &new).await?;
        let fact = SuppressionChanged {
            site: new.site,
            cause: new.cause,
            reason: new.reason,
            open: true,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.replan_for(&tx, change_of(site)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Lets changes go on that a person held.
    ///
    /// # Errors
    /// None were held.
    pub async fn unsuppress(&self, caller: &Caller, site: &str) -> Result<()> {
        let tx = self.db.begin().await?;
        if !store::release(&tx, site, BY_HAND).await? {
            return Err(Problem::conflict(
                "not_suppressed",
                format!("No changes are held in {site} by hand."),
            )
            .next("`bascule plan` says what else holds them."));
        }
        let fact = SuppressionChanged {
            site: site.to_owned(),
            cause: BY_HAND.to_owned(),
            reason: String::new(),
            open: false,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.replan_for(&tx, change_of(site)).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(crate) async fn site_exists(&self, site: &str) -> Result<bool> {
        Ok(store::get(&self.db, site).await?.is_some() || environment::store::named(&self.db, site).await?)
    }

    /// What a file gives a product in an environment, above its own.
    pub(crate) async fn declared_settings(
        &self,
        environment: &environment::Environment,
    ) -> Result<BTreeMap<String, String>> {
        if !environment::store::declared(&self.db, environment.id).await? {
            return Ok(BTreeMap::new());
        }
        let site = self.site(&environment.name).await?;
        Ok(site
            .map(|site| site.settings_of(&environment.project_path))
            .unwrap_or_default())
    }

    /// The declaration of a site, if it is declared.
    pub(crate) async fn site(&self, name: &str) -> Result<Option<Site>> {
        Ok(store::get(&self.db, name).await?.map(|declared| {
            let Json(site) = declared.body;
            site
        }))
    }
}

/// Why a push may not declare an environment.
pub(super) fn theirs(declared: &Declared) -> String {
    format!(
        "the environment {} is declared by the bundles of the hub {}",
        declared.name,
        declared.origin.as_deref().unwrap_or_default()
    )
}

/// What is declared in each environment.
async fn stands(tx: &Tx) -> Result<HashMap<String, HashSet<ProjectId>>> {
    let mut stands: HashMap<String, HashSet<ProjectId>> = HashMap::new();
    for row in environment::store::all_declared(tx).await? {
        stands.entry(row.name).or_default().insert(row.project_id);
    }
    Ok(stands)
}

/// Whether just what a file declares is declared, as far as it exists.
fn all_stand(
    stands: &HashMap<String, HashSet<ProjectId>>,
    site: &Site,
    products: &BTreeMap<String, ProjectId>,
) -> bool {
    let should: HashSet<ProjectId> = site
        .installs
        .iter()
        .filter_map(|install| products.get(&install.product).copied())
        .collect();
    stands
        .get(&site.name)
        .map_or(should.is_empty(), |stand| *stand == should)
}

/// What a suppression window bears on.
fn change_of(site: &str) -> Change<'_> {
    if site == "*" {
        Change::Everything
    } else {
        Change::Site(site)
    }
}

fn declared(project: ProjectId, sha: &str, site: &str, installs: usize, removed: bool) -> SiteDeclared {
    SiteDeclared {
        project,
        site: site.to_owned(),
        sha: sha.to_owned(),
        installs: i64::try_from(installs).unwrap_or(i64::MAX),
        removed,
    }
}

pub(crate) fn unknown_site(site: &str) -> Problem {
    Problem::new(404, "unknown_environment", format!("There is no environment `{site}`."))
        .why("Environments are declared in the environments project, one file each, or made with a product's first release.")
        .next("`bascule plan` lists them.")
}
