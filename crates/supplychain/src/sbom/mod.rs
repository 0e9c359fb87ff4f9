//! What a release is made of: components read from the lockfiles of its tree, written as a CycloneDX 1.6
//! and an SPDX 2.3 document. Everything here is pure: bytes in, values out, no clock and no I/O.

mod cargo;
mod checksum;
mod component;
pub mod cyclonedx;
mod gosum;
mod npm;
mod poetry;
mod requirements;
pub mod spdx;
#[cfg(test)]
mod tests;

pub use checksum::{Algorithm, Checksum};
pub(crate) use component::normalise_pypi;
pub use component::{Component, Ecosystem, Inventory, Need, Note};

use bascule_core::limits::LOCKFILE_BYTES;

/// Folders whose lockfiles belong to somebody else's package, not to the project.
const FOREIGN_FOLDERS: [&str; 4] = ["node_modules", "vendor", "target", ".git"];

/// The lockfile formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lockfile {
    /// `Cargo.lock`, formats 1 to 4.
    Cargo,
    /// `package-lock.json` (and `npm-shrinkwrap.json`), formats 1 to 3.
    Npm,
    /// `requirements.txt`.
    Requirements,
    /// `poetry.lock`.
    Poetry,
    /// `go.sum`.
    GoSum,
}

/// A lockfile that cannot be read, with the place of the fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", self.position())]
pub struct LockfileError {
    /// Path of the file in the tree.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl LockfileError {
    /// `file:line`, or the file alone.
    #[must_use]
    pub fn position(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.clone(),
        }
    }
}

impl Lockfile {
    /// Which lockfile a path of the tree is, if it is one that counts: nested ones do, those inside
    /// installed or vendored packages do not.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if folder
            .split('/')
            .any(|segment| FOREIGN_FOLDERS.contains(&segment))
        {
            return None;
        }
        match name {
            "Cargo.lock" => Some(Self::Cargo),
            "package-lock.json" | "npm-shrinkwrap.json" => Some(Self::Npm),
            "poetry.lock" => Some(Self::Poetry),
            "go.sum" => Some(Self::GoSum),
            "requirements.txt" => Some(Self::Requirements),
            _ => None,
        }
    }

    /// Reads one lockfile.
    ///
    /// # Errors
    /// Names the file, the line where it is known, and what is wrong there.
    pub fn read(self, path: &str, bytes: &[u8]) -> Result<Inventory, LockfileError> {
        let source = Source::new(path, bytes)?;
        match self {
            Self::Cargo => cargo::read(&source),
            Self::Npm => npm::read(&source),
            Self::Requirements => requirements::read(&source),
            Self::Poetry => poetry::read(&source),
            Self::GoSum => gosum::read(&source),
        }
    }
}

/// A lockfile's text, able to say where in it a fault is.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, bytes: &'a [u8]) -> Result<Self, LockfileError> {
        let refuse = |line, reason: String| {
            Err(LockfileError {
                file: path.to_owned(),
                line,
                reason,
            })
        };
        if bytes.len() > LOCKFILE_BYTES {
            let (size, limit) = (bytes.len(), LOCKFILE_BYTES);
            return refuse(
                None,
                format!("it has {size} bytes; lockfiles up to {limit} bytes are read"),
            );
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self {
                path,
                text: text.strip_prefix('\u{feff}').unwrap_or(text),
            }),
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                refuse(Some(count_lines(before)), "it is not UTF-8 text".to_owned())
            }
        }
    }

    fn error(&self, line: Option<usize>, reason: impl Into<String>) -> LockfileError {
        LockfileError {
            file: self.path.to_owned(),
            line,
            reason: reason.into(),
        }
    }

    /// An error at the first place where one of `needles` stands; the formats' own readers do not say where
    /// a value came from, but its text does.
    fn error_at(&self, needles: &[&str], reason: impl Into<String>) -> LockfileError {
        let line = needles
            .iter()
            .filter(|needle| !needle.is_empty())
            .find_map(|needle| self.text.find(needle))
            .map(|offset| self.line_at(offset));
        self.error(line, reason)
    }

    fn line_at(&self, offset: usize) -> usize {
        count_lines(self.text.as_bytes().get(..offset).unwrap_or_default())
    }

    fn toml<T: serde::de::DeserializeOwned>(&self) -> Result<T, LockfileError> {
        toml::from_str(self.text).map_err(|error| {
            let line = error.span().map(|span| self.line_at(span.start));
            self.error(line, format!("it is not a valid lockfile: {}", error.message()))
        })
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, LockfileError> {
        serde_json::from_str(self.text).map_err(|error| {
            let line = (error.line() > 0).then_some(error.line());
            self.error(line, format!("it is not a valid lockfile: {error}"))
        })
    }
}

fn count_lines(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Reads all lockfiles of a tree into one inventory.
///
/// # Errors
/// The first lockfile that cannot be read.
pub fn read_all<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Inventory, LockfileError> {
    let mut all = Inventory::default();
    for (path, bytes) in files {
        if let Some(kind) = Lockfile::at(path) {
            all.merge(kind.read(path, bytes)?);
        }
    }
    Ok(all)
}
