//! Tar, with GNU's and POSIX's long names. Those are read here and not by the library, which would take a
//! name of any length into memory.

use super::{Failure, Target, refused, unreadable};
use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};
use tar::{Archive, EntryType, PaxExtensions};

/// Longest name, in bytes; the system takes 4,096.
const NAME_BYTES: u64 = 64 * 1024;

/// Names that stand before the entry they belong to.
#[derive(Default)]
struct Ahead {
    path: Option<PathBuf>,
    link: Option<PathBuf>,
}

pub(super) fn unpack(archive: impl Read, target: &mut Target<'_>) -> Result<(), Failure> {
    // Headers and padding count too; nothing makes them more than this for the entries allowed.
    let most = target
        .bytes_left
        .saturating_add(target.entries_left.saturating_mul(4096));
    let mut archive = Archive::new(archive.take(most));
    let mut ahead = Ahead::default();
    for entry in archive.entries().map_err(|error| unreadable(&error))?.raw(true) {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                ahead.path = Some(name(&mut entry)?);
                continue;
            }
            EntryType::GNULongLink => {
                ahead.link = Some(name(&mut entry)?);
                continue;
            }
            EntryType::XHeader => {
                pax(&short(&mut entry)?, &mut ahead)?;
                continue;
            }
            EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let ahead = std::mem::take(&mut ahead);
        let path = match ahead.path {
            Some(path) => path,
            None => entry
                .header()
                .path()
                .map_err(|error| unreadable(&error))?
                .into_owned(),
        };
        let mode = entry.header().mode().unwrap_or(0o644);
        let link = match ahead.link {
            Some(link) => Some(link),
            None => entry
                .header()
                .link_name()
                .map_err(|error| unreadable(&error))?
                .map(Into::into),
        };
        match (kind, link) {
            (EntryType::Regular | EntryType::Continuous, _) => target.file(&path, mode, &mut entry)?,
            (EntryType::Directory, _) => target.folder(&path)?,
            (EntryType::Symlink, Some(link)) => target.symlink(&path, &link)?,
            (EntryType::Link, Some(link)) => target.hard_link(&path, &link)?,
            _ => {
                return Err(refused(format!(
                    "`{}` is neither file, folder nor link",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// The whole of a short entry.
fn short(entry: &mut impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = entry
        .take(NAME_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error: io::Error| unreadable(&error))?;
    if read as u64 > NAME_BYTES {
        return Err(refused("a name in it is too long"));
    }
    Ok(bytes)
}

fn name(entry: &mut impl Read) -> Result<PathBuf, Failure> {
    let mut bytes = short(entry)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(Path::new(&OsString::from_vec(bytes)).to_owned())
}

fn pax(bytes: &[u8], ahead: &mut Ahead) -> Result<(), Failure> {
    for extension in PaxExtensions::new(bytes) {
        let extension = extension.map_err(|error| unreadable(&error))?;
        let value = || PathBuf::from(OsString::from_vec(extension.value_bytes().to_vec()));
        match extension.key_bytes() {
            b"path" => ahead.path = Some(value()),
            b"linkpath" => ahead.link = Some(value()),
            // The header then holds another size, and all that follows would be read wrongly.
            b"size" => return Err(refused("a file in it is larger than allowed")),
            key if key.starts_with(b"GNU.sparse") => return Err(refused("sparse files are not taken")),
            _ => {}
        }
    }
    Ok(())
}
