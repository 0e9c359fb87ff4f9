//! Taking bundles in: in any order, as often as one likes, stopped at any moment.

use crate::{
    Direction, Kind, Manifest, Ready, Set, SetStatus, Standing, Trust,
    container::Unpack,
    disk, limits, refuse,
    staging::{Applied, Staging},
};
use bascule_core::{Digest, Name, Result, Timestamp};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Whose bundles an importer takes.
pub struct Lane {
    site: Name,
    direction: Direction,
    trust: Trust,
    holds: Box<dyn Fn(&Digest) -> bool + Send + Sync>,
}

impl Lane {
    /// Bundles of one site, travelling one way, signed by a trusted key. `holds` tells whether this instance
    /// has a blob of its own that a bundle left out.
    #[must_use]
    pub fn new(
        site: Name,
        direction: Direction,
        trust: Trust,
        holds: impl Fn(&Digest) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            site,
            direction,
            trust,
            holds: Box::new(holds),
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("site", &self.site)
            .field("direction", &self.direction)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The set's sequence number.
    pub sequence: u64,
    /// The set's name.
    pub id: Digest,
    /// What the set is for.
    pub kind: Kind,
    /// Which chunk the file was.
    pub chunk: u32,
    /// Of how many.
    pub chunks: u32,
    /// Whether this chunk had been taken before.
    pub already: bool,
    /// What the set waits for now.
    pub standing: Standing,
}

/// A set that is being gathered.
#[derive(Debug)]
struct Staged {
    id: Digest,
    set: Set,
    folder: PathBuf,
}

/// A staging area that takes bundles. One at a time has it open.
#[derive(Debug)]
pub struct Importer {
    staging: Staging,
    lane: Lane,
    applied: Applied,
    sets: BTreeMap<u64, Staged>,
    room: Option<u64>,
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn fault(error: io::Error) -> bascule_core::Problem {
    refuse::disk(&error)
}

impl Importer {
    /// Opens the staging area in a folder, made if missing, and goes on where the last importer stopped. A set
    /// whose signer is no longer trusted is removed.
    ///
    /// # Errors
    /// Another importer has it open, or the disk cannot be read or written.
    pub fn open(folder: &Path, lane: Lane) -> Result<Self> {
        let staging = Staging::open(folder)?;
        let mut importer = Self {
            applied: staging.applied()?,
            staging,
            lane,
            sets: BTreeMap::new(),
            room: None,
        };
        for folder in importer.staging.set_folders().map_err(fault)? {
            let bytes = disk::read(&folder.join("set.json"), limits::MANIFEST_BYTES).map_err(fault)?;
            let manifest = bytes.and_then(|bytes| importer.lane.trust.open(&bytes).ok());
            match manifest {
                Some(found) if found.set.sequence > importer.applied.sequence => {
                    importer.hold(found, folder);
                }
                _ => disk::remove(&folder).map_err(fault)?,
            }
        }
        importer.settle()?;
        importer.tidy()?;
        Ok(importer)
    }

    /// Lets blobs and parts take at most so many bytes in the staging area.
    #[must_use]
    pub fn with_room(mut self, bytes: u64) -> Self {
        self.room = Some(bytes);
        self
    }

    /// How far this site is.
    #[must_use]
    pub fn position(&self) -> &Applied {
        &self.applied
    }

    /// Notes that a set was applied that this staging area does not know of, because it was lost and the
    /// database was not.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn catch_up(&mut self, sequence: u64, id: &Digest, is_checkpoint: bool) -> Result<()> {
        if self.applied.history.get(&sequence) == Some(id) || sequence == 0 {
            return Ok(());
        }
        self.applied.record(sequence, id, is_checkpoint);
        self.staging.write_applied(&self.applied)?;
        self.forget()
    }

    /// Takes a file. Its signature is checked first, then each blob before it has its name. What was checked
    /// stays, even if the file turns out to be cut: import it again, and only the rest is written.
    ///
    /// # Errors
    /// The file is refused, for a reason of its own code (`bundle_untrusted_key`, `bundle_tampered`,
    /// `bundle_truncated`, `bundle_hostile`, `bundle_wrong_site`, `bundle_wrong_direction`, `bundle_replayed`,
    /// `bundle_stale`, `bundle_unknown_format`, `bundle_other_base`, `bundle_sequence_taken`,
    /// `bundle_bad_manifest`, `bundle_not_a_bundle`), or the disk cannot be written (`bundle_disk_full`).
    pub fn accept(&mut self, file: impl Read, now: Timestamp) -> Result<Progress> {
        let mut archive = Unpack::new(file);
        let envelope = archive.envelope()?;
        let manifest = self.lane.trust.open(&envelope)?;
        drop_expired_rival(self, &manifest, now)?;
        self.admit(&manifest, now)?;

        let (sequence, chunk) = (manifest.set.sequence, manifest.chunk);
        let folder = self.staging.set_folder(sequence, &manifest.id);
        if !self.sets.contains_key(&sequence) {
            disk::create_folder(&folder).map_err(fault)?;
            disk::write(&self.staging.drafts(), &folder.join("set.json"), &envelope).map_err(fault)?;
            self.hold(manifest.clone(), folder.clone());
        }
        drop(envelope);
        let missing = |folder: &Path| Staging::missing(folder, Some(chunk.count)).map_err(fault);
        let already = !missing(&folder)?.contains(&chunk.index) && self.has_parts(&manifest)?;
        if !already {
            self.take_parts(&mut archive, &manifest)?;
            archive.end()?;
            self.staging
                .mark(&folder, chunk.index, chunk.count)
                .map_err(fault)?;
        }
        self.settle_set(sequence)?;
        let standing = match self.sets.get(&sequence) {
            Some(staged) => match (self.standing(staged, now)?, missing(&folder)?) {
                // Of this file's division, rather than of the one that lacks least.
                (Standing::WaitsForChunks { .. }, missing) if !missing.is_empty() => {
                    Standing::WaitsForChunks { missing }
                }
                (standing, _) => standing,
            },
            None => Standing::WaitsForChunks {
                missing: missing(&folder)?,
            },
        };
        Ok(Progress {
            sequence,
            id: manifest.id,
            kind: manifest.set.kind,
            chunk: chunk.index,
            chunks: chunk.count,
            already,
            standing,
        })
    }

    /// Everything that is being gathered, by sequence number, and what each waits for.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn status(&self, now: Timestamp) -> Result<Vec<SetStatus>> {
        self.sets
            .values()
            .map(|staged| {
                let (here, missing) = Staging::gathered(&staged.folder).map_err(fault)?;
                Ok(SetStatus {
                    here,
                    missing,
                    sequence: staged.set.sequence,
                    id: staged.id.clone(),
                    kind: staged.set.kind,
                    created_at: staged.set.created_at,
                    standing: self.standing(staged, now)?,
                })
            })
            .collect()
    }

    /// The next set to be applied: the newest checkpoint that is whole, or else the first in order that waits
    /// for nothing.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn ready(&self, now: Timestamp) -> Result<Option<Ready>> {
        for staged in self.sets.values() {
            // Sets before a ready checkpoint stand as superseded, so the first that is ready is the one.
            if self.standing(staged, now)? == Standing::Ready {
                return Ok(Some(Ready {
                    set: staged.set.clone(),
                    id: staged.id.clone(),
                    blobs: self.staging.blobs(),
                }));
            }
        }
        Ok(None)
    }

    /// Notes that a set was applied. It and all before it are removed, and refused from now on.
    ///
    /// # Errors
    /// The disk cannot be written; the same set is given again then.
    pub fn applied(&mut self, ready: Ready) -> Result<()> {
        let Ready { set, id, .. } = ready;
        let mut applied = self.applied.clone();
        applied.record(set.sequence, &id, set.kind == Kind::Checkpoint);
        self.staging.write_applied(&applied)?;
        self.applied = applied;
        self.forget()
    }

    /// Removes a set that is being gathered. `false`: there is none of that number.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn discard(&mut self, sequence: u64) -> Result<bool> {
        let Some(staged) = self.sets.remove(&sequence) else {
            return Ok(false);
        };
        disk::remove(&staged.folder).map_err(fault)?;
        self.tidy()?;
        Ok(true)
    }

    /// Refuses a set that has no place here, before any of it is written.
    fn admit(&self, manifest: &Manifest, now: Timestamp) -> Result<()> {
        let set = &manifest.set;
        if set.kind.direction() != self.lane.direction {
            return Err(refuse::wrong_direction(set, self.lane.direction));
        }
        if set.site != self.lane.site {
            return Err(refuse::wrong_site(&set.site, &self.lane.site));
        }
        if let Some(checkpoint) = self.applied.checkpoint
            && set.sequence < checkpoint
        {
            return Err(refuse::superseded(set.sequence, checkpoint));
        }
        if set.sequence <= self.applied.sequence {
            return Err(refuse::replayed(set.sequence, self.applied.sequence));
        }
        if set.is_stale(now) {
            return Err(refuse::expired(set.sequence, set.expires_at));
        }
        if let Some((base, found)) = self.other_base(set) {
            return Err(refuse::other_base(set.sequence, base.sequence, &base.id, found));
        }
        if let Some(staged) = self.sets.get(&set.sequence)
            && staged.id != manifest.id
        {
            return Err(refuse::sequence_taken(set.sequence, staged.id.short()));
        }
        Ok(())
    }

    /// What was applied in the place of the set's base, if that is another set.
    fn other_base<'a>(&'a self, set: &'a Set) -> Option<(&'a crate::Base, &'a Digest)> {
        let base = set.base.as_ref()?;
        let found = self.applied.history.get(&base.sequence)?;
        (*found != base.id).then_some((base, found))
    }

    fn hold(&mut self, manifest: Manifest, folder: PathBuf) {
        let staged = Staged {
            id: manifest.id,
            set: manifest.set,
            folder,
        };
        self.sets.insert(staged.set.sequence, staged);
    }

    /// Whether all of a chunk is there; a disk may have lost what was taken.
    fn has_parts(&self, manifest: &Manifest) -> Result<bool> {
        let sizes: HashMap<&Digest, u64> = manifest.set.carried().into_iter().collect();
        for part in &manifest.parts {
            let whole = sizes.get(&part.blob).copied().unwrap_or(part.size);
            if disk::size(&self.staging.part(part)).map_err(fault)? != Some(part.size)
                && !self.staging.has(&part.blob, whole).map_err(fault)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_parts<R: Read>(&self, archive: &mut Unpack<R>, manifest: &Manifest) -> Result<()> {
        let sizes: HashMap<&Digest, u64> = manifest.set.carried().into_iter().collect();
        let mut used = self.staging.used().map_err(fault)?;
        for part in &manifest.parts {
            let path = self.staging.part(part);
            let whole = sizes.get(&part.blob).copied().unwrap_or(part.size);
            let there = disk::size(&path).map_err(fault)? == Some(part.size)
                || self.staging.has(&part.blob, whole).map_err(fault)?;
            if there {
                archive.part(part, &mut |_| Ok(()))?;
                continue;
            }
            used = used.saturating_add(part.size);
            self.check_room(used)?;
            if !part.is_whole()
                && let Some(folder) = path.parent()
            {
                disk::create_folder(folder).map_err(fault)?;
            }
            let mut draft = disk::Draft::new(&self.staging.drafts()).map_err(fault)?;
            archive.part(part, &mut |bytes| draft.write(bytes).map_err(fault))?;
            draft.keep(&path).map_err(fault)?;
        }
        Ok(())
    }

    fn check_room(&self, needed: u64) -> Result<()> {
        match self.room {
            Some(room) if needed > room => Err(refuse::no_room(room, needed)),
            _ => Ok(()),
        }
    }

    /// Joins what an importer that died had gathered whole and not joined.
    fn settle(&mut self) -> Result<()> {
        let sequences: Vec<u64> = self.sets.keys().copied().collect();
        for sequence in sequences {
            match self.settle_set(sequence) {
                // The set is gone; it must be imported again, and nothing else suffers.
                Err(problem) if problem.code == "bundle_tampered" => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Joins the blobs of a set whose parts are all there. A set whose parts do not fit is removed.
    fn settle_set(&mut self, sequence: u64) -> Result<()> {
        let Some(staged) = self.sets.get(&sequence) else {
            return Ok(());
        };
        for (digest, size) in staged.set.carried() {
            if let Err(problem) = self.staging.join(digest, size) {
                if problem.code == "bundle_tampered" {
                    self.discard(sequence)?;
                }
                return Err(problem);
            }
        }
        Ok(())
    }

    fn standing(&self, staged: &Staged, now: Timestamp) -> Result<Standing> {
        let own = self.own_standing(staged, now)?;
        // What a checkpoint replaces need not be looked at further.
        for later in self.sets.range(staged.set.sequence + 1..).map(|(_, later)| later) {
            if later.set.kind == Kind::Checkpoint && self.own_standing(later, now)? == Standing::Ready {
                return Ok(Standing::Superseded {
                    by: later.set.sequence,
                });
            }
        }
        Ok(own)
    }

    fn own_standing(&self, staged: &Staged, now: Timestamp) -> Result<Standing> {
        let set = &staged.set;
        if set.is_stale(now) {
            return Ok(Standing::Stale {
                since: set.expires_at,
            });
        }
        if let Some((base, _)) = self.other_base(set) {
            return Ok(Standing::OtherBase { base: base.sequence });
        }
        let missing = Staging::missing(&staged.folder, None).map_err(fault)?;
        if !missing.is_empty() {
            return Ok(Standing::WaitsForChunks { missing });
        }
        for (digest, size) in set.carried() {
            if !self.staging.has(digest, size).map_err(fault)? {
                // All chunks were taken and a blob is gone: the disk lost it, and only importing helps.
                return Ok(Standing::WaitsForBlobs {
                    count: 1,
                    first: digest.clone(),
                });
            }
        }
        if let Some(base) = &set.base
            && base.sequence > self.applied.sequence
        {
            return Ok(Standing::WaitsForBase {
                sequence: set.sequence,
                base: base.sequence,
            });
        }
        let mut lacking = set.held.iter().filter(|digest| !(self.lane.holds)(digest));
        Ok(match lacking.next() {
            Some(first) => Standing::WaitsForBlobs {
                count: 1 + lacking.count(),
                first: first.clone(),
            },
            None => Standing::Ready,
        })
    }

    /// Removes what was applied or overtaken.
    fn forget(&mut self) -> Result<()> {
        let later = self.sets.split_off(&(self.applied.sequence + 1));
        for staged in std::mem::replace(&mut self.sets, later).into_values() {
            disk::remove(&staged.folder).map_err(fault)?;
        }
        self.tidy()
    }

    fn tidy(&self) -> Result<()> {
        self.staging
            .tidy(self.sets.values().map(|staged| &staged.set))
            .map_err(fault)
    }
}

/// A set that became stale while it was gathered does not hold its number against a new one.
fn drop_expired_rival(importer: &mut Importer, manifest: &Manifest, now: Timestamp) -> Result<()> {
    let sequence = manifest.set.sequence;
    let stale = importer
        .sets
        .get(&sequence)
        .is_some_and(|staged| staged.id != manifest.id && staged.set.is_stale(now));
    if stale {
        importer.discard(sequence)?;
    }
    Ok(())
}
