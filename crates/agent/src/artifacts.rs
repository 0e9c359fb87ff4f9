//! Artifacts by their digest: fetched once, checked each time before use.

use bascule_client::{Client, Method, Retry};
use bascule_core::{Digest, Problem};
use bascule_wire::agent::ArtifactSource;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Artifacts kept besides those in use, for a rollback without a download.
const SPARE: usize = 3;

/// Why an artifact is not there.
#[derive(Debug)]
pub(crate) enum Missing {
    /// It will not be there however often it is tried: gone, or not what it should be.
    Forever(Problem),
    /// The server is away, the disk full.
    ForNow(Problem),
}

/// The artifacts on this machine.
#[derive(Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
    client: Client,
    /// One fetch at a time for each digest.
    busy: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Artifacts {
    /// Opens the folder; halves of files from an earlier life go.
    pub(crate) fn open(folder: PathBuf, client: Client) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "part") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self {
            folder,
            client,
            busy: Mutex::default(),
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// The artifact's file, its digest checked just now.
    pub(crate) async fn get(&self, source: &ArtifactSource) -> Result<PathBuf, Missing> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(source.digest.clone()).or_default())
        };
        let _alone = lock.lock().await;
        let path = self.path(&source.digest);
        if path.exists() {
            match is(&path, &source.digest).await {
                Ok(true) => return Ok(path),
                Ok(false) => {
                    tracing::warn!(digest = %source.digest, "a kept artifact is damaged; fetching it again");
                }
                Err(error) => return Err(Missing::ForNow(unreadable(&path, &error))),
            }
            fs::remove_file(&path).map_err(|error| Missing::ForNow(unreadable(&path, &error)))?;
        }
        let request = self.client.request(Method::GET, &source.path).retry(Retry::NONE);
        match request.download(&path, Some(&source.digest), source.size).await {
            Ok(_) => Ok(path),
            Err(problem) => Err(sort(problem)),
        }
    }

    /// Removes artifacts that are not in use, except the newest few.
    pub(crate) fn collect_garbage(&self, used: &BTreeSet<Digest>) -> io::Result<()> {
        let used: BTreeSet<&str> = used.iter().map(Digest::hex).collect();
        let mut unused = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // A fetch may be under way to a `.part`.
            if name.len() == 64 && !used.contains(&*name) {
                unused.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        unused.sort_unstable();
        let most = unused.len().saturating_sub(SPARE);
        for (_, path) in unused.into_iter().take(most) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Whether trying again can help.
fn sort(problem: Problem) -> Missing {
    let forever = matches!(
        problem.code.as_str(),
        "wrong_digest" | "too_large" | "bad_address"
    ) || matches!(problem.status, 400 | 404 | 410 | 413 | 422);
    if forever {
        Missing::Forever(problem)
    } else {
        Missing::ForNow(problem)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        500,
        "unreadable",
        format!("The kept artifact {} cannot be read.", path.display()),
    )
    .why(error.to_string())
    .next("Check the disk and the permissions of the agent's data directory.")
}

/// Whether a file's bytes have this digest.
async fn is(path: &Path, digest: &Digest) -> io::Result<bool> {
    let path = path.to_owned();
    let hash = tokio::task::spawn_blocking(move || digest_of(&path));
    Ok(hash.await.map_err(io::Error::other)?? == *digest)
}

/// The digest of a file's bytes.
pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash, mut buffer) = (fs::File::open(path)?, Sha256::new(), vec![0_u8; 128 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_hash(&hash.finalize())),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Least time between two looks for garbage.
pub(crate) const GARBAGE_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_in_use_and_the_newest_others_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new("http://127.0.0.1:1", None).unwrap();
        let artifacts = Artifacts::open(folder.path().to_owned(), client).unwrap();
        let digests: Vec<_> = (0_u8..8).map(|n| Digest::of(&[n])).collect();
        for (age, digest) in digests.iter().enumerate() {
            let path = artifacts.path(digest);
            let file = fs::File::create(&path).unwrap();
            let age = u64::try_from(age).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 - age))
                .unwrap();
        }
        artifacts
            .collect_garbage(&BTreeSet::from([digests[7].clone()]))
            .unwrap();
        let left: Vec<bool> = digests
            .iter()
            .map(|digest| artifacts.path(digest).exists())
            .collect();
        assert_eq!(left, [true, true, true, false, false, false, false, true]);
    }
}
