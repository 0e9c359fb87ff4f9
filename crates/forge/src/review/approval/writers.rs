//! Who wrote or pushed a part of a request.

use crate::{
    Forge,
    merge_request::{MergeRequest, store as requests},
};
use bascule_core::{Result, UserId};
use std::collections::BTreeSet;

/// Most commits whose authors are looked at.
const COMMITS: usize = 5_000;
/// Most versions whose pushers are looked at.
const VERSIONS: i64 = 500;

impl Forge {
    /// The accounts behind a request's commits: authors and committers by their addresses, pushers by their
    /// accounts, of this version and of all before it.
    pub(super) async fn writers(&self, request: &MergeRequest) -> Result<BTreeSet<UserId>> {
        let mut writers: BTreeSet<UserId> = super::store::writers(self.db(), request.id)
            .await?
            .into_iter()
            .collect();
        writers.extend(self.present_writers(request).await?);
        Ok(writers)
    }

    /// The same of the present version's commits and of all who pushed.
    pub(crate) async fn present_writers(&self, request: &MergeRequest) -> Result<BTreeSet<UserId>> {
        let (base, head) = (request.base.clone(), request.head.clone());
        let (addresses, commits) = self
            .repositories()
            .read(request.project_id, move |repo| {
                let id = |sha: &str| crate::code::read::object_id(sha).filter(|id| repo.has_object(*id));
                let Some(head) = id(&head) else {
                    return Ok((BTreeSet::new(), Vec::new()));
                };
                let hidden = id(&base);
                let (mut addresses, mut commits) = (BTreeSet::new(), Vec::new());
                let walk = repo.rev_walk([head]).with_hidden(hidden);
                for info in walk.all()?.take(COMMITS) {
                    let commit = repo.find_commit(info.map_err(crate::code::ReadError::git)?.id)?;
                    commits.push(commit.id.to_string());
                    for address in [commit.author()?.email, commit.committer()?.email] {
                        addresses.insert(String::from_utf8_lossy(address).trim().to_lowercase());
                    }
                }
                Ok((addresses, commits))
            })
            .await?;
        let addresses: Vec<String> = addresses.into_iter().filter(|a| !a.is_empty()).collect();
        let mut writers: BTreeSet<UserId> = BTreeSet::new();
        for some in addresses.chunks(200) {
            let known = self.people()?.by_emails(some).await?;
            writers.extend(known.into_iter().map(|(_, known)| known.id));
        }
        // Whoever pushed one of these commits before the request was opened has no version of it.
        for some in commits.chunks(200) {
            let pushers = super::store::pushers(self.db(), request.source_project_id, some).await?;
            writers.extend(pushers);
        }
        let mut pushers: BTreeSet<String> = BTreeSet::new();
        for version in requests::versions(self.db(), request.id, VERSIONS).await? {
            pushers.insert(version.by_name);
        }
        for name in pushers {
            if let Some(known) = self.people()?.by_name(&name).await? {
                writers.insert(known.id);
            }
        }
        Ok(writers)
    }
}
