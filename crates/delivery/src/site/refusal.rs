//! A commit of the environments project that is wrong changes nothing. That is said wherever people look, until a
//! later commit is taken: whoever pushed would otherwise wait for what never comes.

use super::{FOLDER, parse, store};
use crate::Delivery;
use bascule_core::{Actor, Caller, ProjectId, Result};
use bascule_ledger::facts::delivery::SiteRefused;
use bascule_store::Tx;
use bascule_wire::environments::RefusedCommit;

/// Digits of a commit in a sentence.
const SHORT: usize = 8;

impl Delivery {
    /// Notes that a commit is not in force. Told once, however often the push is offered.
    pub(super) async fn refuse_commit(&self, project: ProjectId, sha: &str, reason: String) -> Result<()> {
        let tx = self.db.begin().await?;
        let before = store::sync(&tx, project).await?;
        if before
            .as_ref()
            .is_some_and(|sync| sync.refused_sha == sha && sync.reason == reason)
        {
            return Ok(());
        }
        let sync = store::Synced {
            project_id: project,
            taken_sha: before.map(|sync| sync.taken_sha).unwrap_or_default(),
            refused_sha: sha.to_owned(),
            reason: reason.clone(),
            at: self.now(),
        };
        store::put_sync(&tx, &sync).await?;
        let fact = SiteRefused {
            project,
            sha: sha.to_owned(),
            reason,
        };
        self.ledger.append(&tx, &Actor::system(), &fact).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Notes that a commit is in force, and with it that none is refused.
    pub(super) async fn take_commit(&self, tx: &Tx, project: ProjectId, sha: &str) -> Result<()> {
        let sync = store::Synced {
            project_id: project,
            taken_sha: sha.to_owned(),
            refused_sha: String::new(),
            reason: String::new(),
            at: self.now(),
        };
        Ok(store::put_sync(tx, &sync).await?)
    }

    /// The commit that is not in force, for who may read the environments project.
    ///
    /// # Errors
    /// The database refused.
    pub async fn refused_commit(&self, caller: &Caller) -> Result<Option<RefusedCommit>> {
        match self.reads_declarations(caller).await? {
            Some(home) => self.refused_in(home).await,
            None => Ok(None),
        }
    }

    /// The commit of a project that is not in force, if it is the environments project and has one.
    ///
    /// # Errors
    /// The database refused.
    pub async fn refused_in(&self, project: ProjectId) -> Result<Option<RefusedCommit>> {
        let sync = store::sync(&self.db, project).await?;
        let Some(sync) = sync.filter(|sync| !sync.refused_sha.is_empty()) else {
            return Ok(None);
        };
        if self.ports.projects.find(&self.ports.environments).await? != Some(project) {
            return Ok(None);
        }
        let short = |sha: &str| sha.chars().take(SHORT).collect::<String>();
        let in_force = if sync.taken_sha.is_empty() {
            "what was in force before stays in force".to_owned()
        } else {
            format!("in force is {}", short(&sync.taken_sha))
        };
        Ok(Some(RefusedCommit {
            project: self.ports.environments.clone(),
            sentence: format!(
                "{} at {} is not in force: {}; {in_force}",
                self.ports.environments,
                short(&sync.refused_sha),
                sync.reason
            ),
            commit: sync.refused_sha,
            at: sync.at,
            reason: sync.reason,
            in_force: sync.taken_sha,
        }))
    }

    /// The folder of a project that declares environments; `None`: the project declares none.
    ///
    /// # Errors
    /// The database refused.
    pub async fn declares(&self, project: ProjectId) -> Result<Option<&'static str>> {
        let home = self.ports.projects.find(&self.ports.environments).await?;
        Ok((home == Some(project)).then_some(FOLDER))
    }

    /// What would be wrong with files of the environments project, before they are there.
    ///
    /// # Errors
    /// The database refused.
    pub async fn try_files(&self, files: &[(String, Vec<u8>)]) -> Result<Option<String>> {
        let carried: Vec<_> = store::all(&self.db)
            .await?
            .into_iter()
            .filter(|declared| declared.origin.is_some())
            .collect();
        let yaml = |path: &str| {
            path.strip_prefix(FOLDER).is_some_and(|name| {
                !name.contains('/') && (name.ends_with(".yaml") || name.ends_with(".yml"))
            })
        };
        for (path, bytes) in files.iter().filter(|(path, _)| yaml(path)) {
            match parse(path, bytes) {
                Err(fault) => return Ok(Some(fault.to_string())),
                Ok(site) => {
                    if let Some(theirs) = carried.iter().find(|declared| declared.name == site.name) {
                        return Ok(Some(super::service::theirs(theirs)));
                    }
                }
            }
        }
        Ok(None)
    }
}
