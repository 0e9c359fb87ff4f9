//! Where the parts of a release are read from when it is checked.

use super::{KEY_FILE, MANIFEST_FILE, PARTS_FOLDER, is_safe_path};
use bascule_core::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Largest document (manifest, SBOM, provenance) that is read whole, in bytes.
pub(super) const DOCUMENT_BYTES: u64 = 256 * 1024 * 1024;

/// Something that holds the parts of one release.
pub trait PartSource {
    /// The signed manifest's bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    fn manifest(&self) -> io::Result<Vec<u8>>;

    /// The public key's text, if there is one.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    fn key(&self) -> io::Result<Option<Vec<u8>>>;

    /// Digest and size of a part.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn digest(&self, name: &str) -> io::Result<(Digest, u64)>;

    /// A part's bytes.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is too large to be a document.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// The names of all that is there.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn names(&self) -> io::Result<Vec<String>>;
}

/// A folder as `bascule release download` writes it.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at a path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where a part of that name belongs in the folder.
    ///
    /// # Errors
    /// When the name is not a plain relative path.
    pub fn part_path(&self, name: &str) -> io::Result<PathBuf> {
        if !is_safe_path(name) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is not a plain relative path"),
            ));
        }
        Ok(self.0.join(PARTS_FOLDER).join(name))
    }

    /// Opens a file, but nothing that a link points to: a link could lead anywhere.
    fn open(path: &Path) -> io::Result<File> {
        let kind = std::fs::symlink_metadata(path)?.file_type();
        if !kind.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ));
        }
        File::open(path)
    }

    fn read_document(path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Self::open(path)?
            .take(DOCUMENT_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > DOCUMENT_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is too large for a document",
            ));
        }
        Ok(bytes)
    }
}

impl PartSource for Folder {
    fn manifest(&self) -> io::Result<Vec<u8>> {
        Self::read_document(&self.0.join(MANIFEST_FILE))
    }

    fn key(&self) -> io::Result<Option<Vec<u8>>> {
        match Self::read_document(&self.0.join(KEY_FILE)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn digest(&self, name: &str) -> io::Result<(Digest, u64)> {
        let mut file = Self::open(&self.part_path(name)?)?;
        let mut hasher = Sha256::new();
        let size = io::copy(&mut file, &mut hasher)?;
        Ok((Digest::from_hash(&hasher.finalize()), size))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Self::read_document(&self.part_path(name)?)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut folders = vec![(self.0.join(PARTS_FOLDER), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.file_type()?.is_dir() {
                    folders.push((entry.path(), format!("{name}/")));
                } else {
                    names.push(name);
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Parts in memory: the manifest, the key and the parts by name.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The signed manifest.
    pub manifest: Vec<u8>,
    /// The public key's text.
    pub key: Option<Vec<u8>>,
    /// The parts.
    pub parts: BTreeMap<String, Vec<u8>>,
}

impl PartSource for Memory {
    fn manifest(&self) -> io::Result<Vec<u8>> {
        Ok(self.manifest.clone())
    }

    fn key(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.key.clone())
    }

    fn digest(&self, name: &str) -> io::Result<(Digest, u64)> {
        let bytes = self.read(name)?;
        Ok((Digest::of(&bytes), bytes.len() as u64))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.parts
            .get(name)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.parts.keys().cloned().collect())
    }
}
