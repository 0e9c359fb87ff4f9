//! Looking at a push before git asks about it. Once git has all objects of a push, it follows each commit to its end
//! to see that nothing is missing, and calls the hook only then. What the hook will ask of the objects themselves is
//! found out meanwhile: nothing writes to a pack whose index is there.

use crate::{
    Forge,
    code::quarantines,
    storage::{Measured, pack},
    workflow::look,
};
use bascule_core::ProjectId;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;

/// How often a push that is on its way is looked for in the repository. A small one is over before the first time.
const OFTEN: Duration = Duration::from_millis(100);

/// What is known, or being found out, of quarantines.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<HashMap<PathBuf, Seen>>);

#[derive(Debug)]
enum Seen {
    /// Being looked through.
    Now(JoinHandle<Option<Measured>>),
    /// Asked for already.
    Taken,
}

/// Looks for the push as long as this is kept.
#[derive(Debug)]
pub(crate) struct Lookout(JoinHandle<()>);

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ahead {
    /// What a quarantine holds, if it was looked through before and nothing came to it since.
    pub(crate) async fn take(&self, quarantine: &Path) -> Option<Measured> {
        let seen = self.seen().insert(quarantine.to_owned(), Seen::Taken);
        let Some(Seen::Now(work)) = seen else {
            return None;
        };
        let measured = work.await.ok().flatten()?;
        let place = quarantine.to_owned();
        let bytes = tokio::task::spawn_blocking(move || pack::on_disk(&place)).await;
        (bytes.ok() == Some(measured.bytes)).then_some(measured)
    }

    fn begin(&self, quarantine: PathBuf) {
        let place = quarantine.clone();
        self.seen()
            .entry(quarantine)
            .or_insert_with(|| Seen::Now(tokio::task::spawn_blocking(move || look_through(&place))));
    }

    /// Forgets the quarantines of a repository that are no longer there.
    fn forget(&self, objects: &Path) {
        self.seen()
            .retain(|quarantine, _| quarantine.parent() != Some(objects) || quarantine.exists());
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forge {
    /// Begins to look for what is being pushed to a project.
    pub(crate) fn look_out(&self, project: ProjectId) -> Lookout {
        let forge = self.clone();
        Lookout(tokio::spawn(async move {
            let objects = forge.repositories().path(project).join("objects");
            // As the hook names it.
            let Ok(objects) = tokio::fs::canonicalize(objects).await else {
                return;
            };
            loop {
                tokio::time::sleep(OFTEN).await;
                let place = objects.clone();
                let found = tokio::task::spawn_blocking(move || arrived(&place));
                for quarantine in found.await.unwrap_or_default() {
                    forge.pushes().ahead().begin(quarantine);
                }
            }
        }))
    }

    /// Ends looking for a push that has ended.
    pub(crate) async fn looked_out(&self, project: ProjectId, lookout: Lookout) {
        drop(lookout);
        let objects = self.repositories().path(project).join("objects");
        let forge = self.clone();
        let forgotten = tokio::task::spawn_blocking(move || {
            if let Ok(objects) = objects.canonicalize() {
                forge.pushes().ahead().forget(&objects);
            }
        });
        drop(forgotten.await);
    }
}

/// Quarantines of a repository in which a pack is whole: git gives it its index last.
fn arrived(objects: &Path) -> Vec<PathBuf> {
    let mut found = quarantines(objects);
    found.retain(|quarantine| !pack::indexes(quarantine).is_empty());
    found
}

/// Measures what lies in a quarantine and looks for secrets in it.
fn look_through(quarantine: &Path) -> Option<Measured> {
    let mut measured = pack::measure(quarantine).ok()?;
    if let Some(files) = &mut measured.files {
        files.look = look::look(quarantine, files).ok();
    }
    Some(measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_testkit::Git;
    use look::Look;

    /// A repository with a quarantine in which a pack is on its way; what completes it.
    fn arriving(text: &str) -> (Git, PathBuf, impl FnOnce() + use<>) {
        let git = Git::init();
        std::fs::write(git.path().join("file"), text).unwrap();
        git.ok(&["add", "."]);
        git.ok(&["commit", "-qm", "One"]);
        git.ok(&["repack", "-adq"]);
        let objects = git.path().join(".git/objects").canonicalize().unwrap();
        let quarantine = objects.join("tmp_objdir-incoming-x");
        std::fs::create_dir_all(quarantine.join("pack")).unwrap();
        for file in std::fs::read_dir(objects.join("pack")).unwrap().flatten() {
            std::fs::rename(file.path(), quarantine.join("pack").join(file.file_name())).unwrap();
        }
        let index = pack::indexes(&quarantine).remove(0);
        let away = objects.join("index");
        std::fs::rename(&index, &away).unwrap();
        (git, quarantine, move || std::fs::rename(away, index).unwrap())
    }

    #[tokio::test]
    async fn what_is_there_before_git_asks_is_looked_through_once() {
        let key = ["AKIA", "IOSFODNN7ABCDEFG"].concat();
        for (text, found) in [("plain\n", Look::Clean), (key.as_str(), Look::Suspect)] {
            let (_git, quarantine, complete) = arriving(text);
            let objects = quarantine.parent().unwrap();
            assert!(arrived(objects).is_empty(), "a pack without index is not whole");
            complete();
            assert_eq!(arrived(objects), std::slice::from_ref(&quarantine));
            let ahead = Ahead::default();
            ahead.begin(quarantine.clone());
            let measured = ahead.take(&quarantine).await.unwrap();
            let asked = pack::measure(&quarantine).unwrap();
            assert_eq!((measured.bytes, &measured.largest), (asked.bytes, &asked.largest));
            assert_eq!(measured.files.unwrap().look, Some(found));
            ahead.begin(quarantine.clone());
            assert!(ahead.take(&quarantine).await.is_none(), "looked through twice");
        }
    }

    #[tokio::test]
    async fn what_came_later_is_not_passed_over() {
        let (_git, quarantine, complete) = arriving("plain\n");
        complete();
        let ahead = Ahead::default();
        ahead.begin(quarantine.clone());
        let work = ahead.seen().remove(&quarantine);
        let Some(Seen::Now(work)) = work else {
            panic!("nothing was begun")
        };
        let measured = work.await.unwrap();
        std::fs::write(quarantine.join("more"), "x").unwrap();
        let again = tokio::task::spawn_blocking(move || measured);
        ahead.seen().insert(quarantine.clone(), Seen::Now(again));
        assert!(ahead.take(&quarantine).await.is_none());
        std::fs::remove_dir_all(&quarantine).unwrap();
        ahead.forget(quarantine.parent().unwrap());
        assert!(ahead.seen().is_empty());
    }
}
