//! Looking through what a push brings, file by file: each content once, however many commits bring it. Most pushes
//! hold no secret, and then this is all there is to ask; git is asked who added a line only where there is something.

use super::secret;
use crate::{
    code::{ReadError, Reading},
    storage::{Files, pack},
};
use gix::{ObjectId, objs::FindExt as _, odb::pack::cache::lru::MemoryCappedHashmap};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Largest file that is looked at, in bytes. Larger ones are generated; git's own differences leave them out too.
const LARGEST: u64 = 5 << 20;
/// Most that is looked at, in bytes, and for how long: whoever pushes waits for it.
const ALL: u64 = 2 << 30;
const PATIENCE: Duration = Duration::from_secs(10);
/// What each thread keeps of what others are told as differences to, in bytes.
const KEPT: usize = 4 << 20;
/// Bytes at a file's beginning in which a zero says that it is no text, as git has it.
const BEGINNING: usize = 8_000;
/// Most threads.
const THREADS: usize = 4;

/// What a look through the files of a push came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// There is no secret.
    Clean,
    /// It is too much to be looked at so.
    TooMuch,
    /// Something looks like one.
    Suspect,
}

/// Looks at all files of a push, until something looks like a secret.
///
/// # Errors
/// An object cannot be read.
pub(crate) fn look(quarantine: &Path, files: &Files) -> Reading<Look> {
    let begun = Instant::now();
    let small = files.ids.iter().filter(|(_, size)| *size <= LARGEST);
    let all: u64 = small.clone().map(|(_, size)| size).sum();
    if files.cut || all > ALL {
        return Ok(Look::TooMuch);
    }
    let objects = pack::open(quarantine)?;
    let ids: Vec<ObjectId> = small.map(|(id, _)| *id).collect();
    // One core is left to git, which follows the commits meanwhile: whoever pushes waits for the later of both.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.saturating_sub(1).clamp(1, THREADS);
    let enough = AtomicBool::new(false);
    let share = ids.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        // Neighbours stay together, since they are told as differences to each other.
        let work: Vec<_> = ids
            .chunks(share)
            .map(|ids| {
                let mut objects = objects.clone();
                let enough = &enough;
                scope.spawn(move || {
                    objects.set_pack_cache(|| Box::new(MemoryCappedHashmap::new(KEPT)));
                    share_through(&objects, ids, enough, begun)
                })
            })
            .collect();
        work.into_iter().try_fold(Look::Clean, |worst, thread| {
            let look = thread
                .join()
                .map_err(|_| ReadError::git(std::io::Error::other("a thread ended early")))??;
            Ok(worst.max(look))
        })
    })
}

fn share_through(
    objects: &gix::odb::Handle,
    ids: &[ObjectId],
    enough: &AtomicBool,
    begun: Instant,
) -> Reading<Look> {
    let mut buffer = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        // Another has seen what it takes; its look counts.
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let file = objects.find_blob(id, &mut buffer).map_err(ReadError::git)?;
        let look = if has_secret(file.data) {
            Look::Suspect
        } else if number % 64 == 63 && begun.elapsed() > PATIENCE {
            Look::TooMuch
        } else {
            continue;
        };
        enough.store(true, Ordering::Relaxed);
        return Ok(look);
    }
    Ok(Look::Clean)
}

/// Whether a line of a text holds a secret.
fn has_secret(text: &[u8]) -> bool {
    let beginning = text.get(..BEGINNING).unwrap_or(text);
    !beginning.contains(&0)
        && secret::may_hold(text)
        && text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok())
            .any(|line| secret::in_line(line).is_some())
}
