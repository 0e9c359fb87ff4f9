//! Unpacks what comes from outside without letting it out of its folder.
//!
//! Refused: absolute paths, `..`, links that lead out, entries that go through a link, devices and pipes, and
//! more bytes or entries than allowed, counted as they are written and not as they are announced. Set-user-id
//! bits and owners are not taken over.

mod tarball;
mod zipped;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
};

/// Most bytes that an artifact may become.
pub(crate) const EXPANDED_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Most files, folders and links in an artifact.
pub(crate) const ENTRIES: u64 = 200_000;

/// Why an artifact was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It breaks a rule, or is no archive.
    #[error("{0}")]
    Refused(String),
    /// The disk is full, or the like.
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::Refused(why.into())
}

/// What was read wrongly from an archive is the archive's fault, what was written wrongly the machine's.
fn unreadable(error: &io::Error) -> Failure {
    refused(format!("the archive is damaged: {error}"))
}

/// Unpacks `artifact` into `root`, which must be an empty folder. How is told by `file_name`'s ending.
pub(crate) fn unpack(artifact: &Path, file_name: &str, root: &Path) -> Result<(), Failure> {
    unpack_within(artifact, file_name, root, EXPANDED_BYTES, ENTRIES)
}

fn unpack_within(
    artifact: &Path,
    file_name: &str,
    root: &Path,
    bytes: u64,
    entries: u64,
) -> Result<(), Failure> {
    let mut target = Target {
        root,
        bytes_left: bytes,
        entries_left: entries,
        links: Vec::new(),
    };
    let name = file_name.to_ascii_lowercase();
    let file = File::open(artifact)?;
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        let plain = flate2::read::MultiGzDecoder::new(io::BufReader::new(file));
        tarball::unpack(plain, &mut target)?;
    } else if name.ends_with(".tar") {
        tarball::unpack(io::BufReader::new(file), &mut target)?;
    } else if name.ends_with(".zip") {
        zipped::unpack(file, &mut target)?;
    } else {
        let last = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        target.file(Path::new(last), 0o755, file)?;
    }
    target.check_links()
}

/// The folder that is filled.
struct Target<'a> {
    root: &'a Path,
    bytes_left: u64,
    entries_left: u64,
    links: Vec<PathBuf>,
}

impl Target<'_> {
    fn count_entry(&mut self) -> Result<(), Failure> {
        self.entries_left = self
            .entries_left
            .checked_sub(1)
            .ok_or_else(|| refused("it holds more entries than allowed"))?;
        Ok(())
    }

    /// Where an entry goes, its folders made. Refuses paths that are not plainly inside.
    fn place(&self, name: &Path) -> Result<PathBuf, Failure> {
        let mut place = self.root.to_owned();
        let mut parts = inside(name)?.into_iter().peekable();
        if parts.peek().is_none() {
            return Err(refused(format!("`{}` names no file", name.display())));
        }
        while let Some(part) = parts.next() {
            place.push(part);
            if parts.peek().is_some() {
                make_folder(&place)?;
            }
        }
        Ok(place)
    }

    fn folder(&mut self, name: &Path) -> Result<(), Failure> {
        self.count_entry()?;
        let mut place = self.root.to_owned();
        for part in inside(name)? {
            place.push(part);
            make_folder(&place)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &Path, mode: u32, mut content: impl Read) -> Result<(), Failure> {
        self.count_entry()?;
        let place = self.place(name)?;
        clear(&place)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&place)?;
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(&error)),
            };
            self.bytes_left = self
                .bytes_left
                .checked_sub(read as u64)
                .ok_or_else(|| refused("it expands to more than allowed"))?;
            file.write_all(buffer.get(..read).unwrap_or_default())?;
        }
        // Always readable and writable for the instance that it belongs to, never set-user-id.
        file.set_permissions(fs::Permissions::from_mode((mode & 0o777) | 0o600))?;
        Ok(())
    }

    fn symlink(&mut self, name: &Path, leads_to: &Path) -> Result<(), Failure> {
        self.count_entry()?;
        let out = || refused(format!("the link `{}` leads out of the archive", name.display()));
        let place = self.place(name)?;
        let mut depth = inside(name)?.len().saturating_sub(1);
        for part in leads_to.components() {
            match part {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir => depth = depth.checked_sub(1).ok_or_else(out)?,
                Component::RootDir | Component::Prefix(_) => return Err(out()),
            }
        }
        clear(&place)?;
        symlink(leads_to, &place)?;
        self.links.push(place);
        Ok(())
    }

    /// A second name for a file of the archive.
    fn hard_link(&mut self, name: &Path, of: &Path) -> Result<(), Failure> {
        self.count_entry()?;
        let place = self.place(name)?;
        let source = self.place(of)?;
        match fs::symlink_metadata(&source) {
            Ok(found) if found.is_file() => {}
            _ => {
                return Err(refused(format!(
                    "`{}` is a link to `{}`, which is no file of it",
                    name.display(),
                    of.display()
                )));
            }
        }
        if source != place {
            clear(&place)?;
            fs::hard_link(source, place)?;
        }
        Ok(())
    }

    /// Links over links can add up to a way out that none of them shows alone.
    fn check_links(&self) -> Result<(), Failure> {
        let root = self.root.canonicalize()?;
        for link in &self.links {
            // One that leads nowhere leads not out.
            if let Ok(end) = link.canonicalize()
                && !end.starts_with(&root)
            {
                let name = link.strip_prefix(self.root).unwrap_or(link);
                return Err(refused(format!(
                    "the link `{}` leads out of the archive",
                    name.display()
                )));
            }
        }
        Ok(())
    }
}

/// The parts of a path that stays inside.
fn inside(name: &Path) -> Result<Vec<&std::ffi::OsStr>, Failure> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => {
                return Err(refused(format!(
                    "the path `{}` leads out of the archive",
                    name.display()
                )));
            }
        }
    }
    Ok(parts)
}

/// A folder and not a link to one: what is written through a link could land anywhere.
fn make_folder(place: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(refused(format!(
            "`{}` is used as a folder and is none",
            place.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fs::create_dir(place)?),
        Err(error) => Err(error.into()),
    }
}

/// Makes room for an entry that appears a second time.
fn clear(place: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => Err(refused(format!(
            "`{}` is both a folder and a file",
            place.display()
        ))),
        Ok(_) => Ok(fs::remove_file(place)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
