//! What is to travel, gathered.

use crate::{Base, Entry, EntryKind, Inventory, Kind, Plan, Set, plan, validate};
use bascule_core::{Digest, Name, Problem, Result, Timestamp, dsse::Sign};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Cursor, Read, Seek as _, SeekFrom},
    ops::Range,
    path::PathBuf,
};

/// Where an export reads blobs from.
pub trait BlobSource {
    /// The bytes of a blob from `range.start` to `range.end`.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    fn open(&self, digest: &Digest, range: Range<u64>) -> io::Result<Box<dyn Read + '_>>;
}

/// Blobs in memory, by digest.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobs(BTreeMap<Digest, Vec<u8>>);

/// Blobs in a folder, each a file named by its digest's hexadecimal digits, or laid out as the server does:
/// `sha256/<first two digits>/<all digits>`.
#[derive(Clone, Debug)]
pub struct FolderBlobs(PathBuf);

impl MemoryBlobs {
    /// Adds a blob and gives its digest.
    pub fn add(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.0.insert(digest.clone(), bytes);
        digest
    }
}

impl BlobSource for MemoryBlobs {
    fn open(&self, digest: &Digest, range: Range<u64>) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.0.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(slice(bytes, &range)))
    }
}

impl FolderBlobs {
    /// The blobs in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }
}

impl BlobSource for FolderBlobs {
    fn open(&self, digest: &Digest, range: Range<u64>) -> io::Result<Box<dyn Read + '_>> {
        let hex = digest.hex();
        let nested = self
            .0
            .join("sha256")
            .join(hex.get(..2).unwrap_or_default())
            .join(hex);
        let mut file = match File::open(nested) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(self.0.join(hex))?,
            outcome => outcome?,
        };
        file.seek(SeekFrom::Start(range.start))?;
        Ok(Box::new(file.take(range.end.saturating_sub(range.start))))
    }
}

fn slice<'a>(bytes: &'a [u8], range: &Range<u64>) -> Cursor<&'a [u8]> {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
    Cursor::new(bytes.get(at(range.start)..at(range.end)).unwrap_or_default())
}

/// What is to travel. Small documents are given as bytes, blobs by digest; everything has a kind from a
/// closed list.
#[derive(Clone, Debug)]
pub struct Export {
    kind: Kind,
    site: Name,
    sequence: u64,
    base: Option<Base>,
    created_at: Timestamp,
    expires_at: Timestamp,
    entries: BTreeMap<(EntryKind, String), Entry>,
    documents: BTreeMap<Digest, Vec<u8>>,
    held: BTreeSet<Digest>,
}

impl Export {
    /// Begins an export for a site; of a report, from it.
    #[must_use]
    pub fn new(kind: Kind, site: Name, sequence: u64, created_at: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            kind,
            site,
            sequence,
            base: None,
            created_at,
            expires_at,
            entries: BTreeMap::new(),
            documents: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// Names the set that must have been applied before. An incremental export needs one.
    #[must_use]
    pub fn since(mut self, sequence: u64, id: Digest) -> Self {
        self.base = Some(Base { sequence, id });
        self
    }

    /// Adds a document.
    ///
    /// # Errors
    /// Something else has that kind and name.
    pub fn document(&mut self, kind: EntryKind, name: &str, bytes: Vec<u8>) -> Result<()> {
        let digest = Digest::of(&bytes);
        self.add(kind, name, digest.clone(), bytes.len() as u64, None)?;
        self.documents.insert(digest, bytes);
        Ok(())
    }

    /// Adds a blob, whose bytes are read when the export is planned and written.
    ///
    /// # Errors
    /// Something else has that kind and name.
    pub fn blob(&mut self, kind: EntryKind, name: &str, digest: Digest, size: u64) -> Result<()> {
        self.add(kind, name, digest, size, None)
    }

    /// Adds a file of the site's declaration, as it stands at a git commit.
    ///
    /// # Errors
    /// Something else has that name.
    pub fn desired_state(&mut self, path: &str, commit: &str, bytes: Vec<u8>) -> Result<()> {
        let digest = Digest::of(&bytes);
        self.add(
            EntryKind::DesiredState,
            path,
            digest.clone(),
            bytes.len() as u64,
            Some(commit),
        )?;
        self.documents.insert(digest, bytes);
        Ok(())
    }

    /// Adds a site's inventory to its report.
    ///
    /// # Errors
    /// It has one already.
    pub fn inventory(&mut self, inventory: &Inventory) -> Result<()> {
        self.document(EntryKind::Inventory, "inventory", inventory.to_bytes())
    }

    /// Leaves out the blobs that the target has; entries still name them.
    pub fn leave_out(&mut self, inventory: &Inventory) {
        self.held.extend(inventory.iter().cloned());
    }

    fn add(
        &mut self,
        kind: EntryKind,
        name: &str,
        digest: Digest,
        size: u64,
        commit: Option<&str>,
    ) -> Result<()> {
        let entry = Entry {
            kind,
            name: name.to_owned(),
            digest,
            size,
            commit: commit.map(str::to_owned),
        };
        match self.entries.get(&(kind, name.to_owned())) {
            Some(known) if *known == entry => Ok(()),
            Some(_) => Err(Problem::conflict(
                "bundle_named_twice",
                format!("The {kind} `{name}` is to travel twice, with other content."),
            )
            .why("The target could not know which of them is meant.")
            .next("Give each its own name.")),
            None => {
                self.entries.insert((kind, name.to_owned()), entry);
                Ok(())
            }
        }
    }

    /// Divides the export into files of at most `chunk` bytes, one file without it. Blobs that must be split
    /// are read once for it. The same export, signed with the same key, always gives the same bytes.
    ///
    /// # Errors
    /// The export breaks a rule of the format, `chunk` is too small, or a blob cannot be read or is not what
    /// its digest says.
    pub fn plan<'a>(
        self,
        chunk: Option<u64>,
        blobs: &'a dyn BlobSource,
        key: &'a dyn Sign,
    ) -> Result<Plan<'a>> {
        let named: BTreeSet<&Digest> = self.entries.values().map(|entry| &entry.digest).collect();
        let held = self
            .held
            .iter()
            .filter(|digest| named.contains(digest))
            .cloned()
            .collect();
        let set = Set {
            kind: self.kind,
            source: key.key_id().to_owned(),
            site: self.site,
            sequence: self.sequence,
            base: self.base,
            created_at: self.created_at,
            expires_at: self.expires_at,
            entries: self.entries.into_values().collect(),
            held,
        };
        validate::set(&set).map_err(|why| {
            Problem::invalid("bundle_bad_export", format!("This cannot be exported: {why}."))
                .why("The format's rules are the same for who writes and who reads, so that what is exported can be imported.")
                .next("Correct what is named, and export again.")
        })?;
        plan::divide(set, self.documents, chunk.unwrap_or(u64::MAX), blobs, key)
    }
}

/// A blob's bytes, from the documents at hand or the source.
pub(crate) fn open<'a>(
    documents: &'a BTreeMap<Digest, Vec<u8>>,
    blobs: &'a dyn BlobSource,
    digest: &Digest,
    range: Range<u64>,
) -> io::Result<Box<dyn Read + 'a>> {
    match documents.get(digest) {
        Some(bytes) => Ok(Box::new(slice(bytes, &range))),
        None => blobs.open(digest, range),
    }
}
