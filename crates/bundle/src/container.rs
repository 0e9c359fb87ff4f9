//! The tar archive. It is written in one way only, and read strictly: each header must be, byte for byte, the
//! one that would have been written. So links, other paths, sparse files, extensions and false sizes have no
//! form in which they could pass.

use crate::{MANIFEST_FILE, Part, limits, refuse};
use bascule_core::{Digest, Result};
use sha2::{Digest as _, Sha256};
use std::io::{self, ErrorKind, Read, Write};
use tar::{EntryType, Header};

/// Archives are made of blocks of this size.
pub(crate) const BLOCK: u64 = 512;
/// Two empty blocks end an archive.
pub(crate) const END: u64 = 2 * BLOCK;
const COPY: usize = 64 * 1024;

type Block = [u8; 512];

/// What a size takes in the archive, without its header.
pub(crate) const fn padded(size: u64) -> u64 {
    size.saturating_add(BLOCK - 1) / BLOCK * BLOCK
}

fn header(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// Writes an archive.
pub(crate) struct Pack<'a> {
    to: &'a mut dyn Write,
}

impl<'a> Pack<'a> {
    pub(crate) fn new(to: &'a mut dyn Write) -> Self {
        Self { to }
    }

    /// Writes the signed manifest, which comes first.
    pub(crate) fn envelope(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        self.to.write_all(header(MANIFEST_FILE, size)?.as_bytes())?;
        self.to.write_all(bytes)?;
        self.pad(size)
    }

    /// Writes a part and gives the digest of what was written; `None` if `from` has not that many bytes.
    pub(crate) fn part(&mut self, part: &Part, from: &mut dyn Read) -> io::Result<Option<Digest>> {
        self.to
            .write_all(header(&part.file_name(), part.size)?.as_bytes())?;
        let mut hasher = Sha256::new();
        let to = &mut self.to;
        let size = copy(&mut from.take(part.size), |bytes| {
            hasher.update(bytes);
            to.write_all(bytes)
        })?;
        if size != part.size {
            return Ok(None);
        }
        self.pad(size)?;
        Ok(Some(Digest::from_hash(&hasher.finalize())))
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.to.write_all(&[0; END as usize])?;
        self.to.flush()
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros: Block = [0; 512];
        let count = usize::try_from(padded(size) - size).unwrap_or(0);
        self.to.write_all(zeros.get(..count).unwrap_or_default())
    }
}

/// Copies all of `from`, in small pieces.
pub(crate) fn copy(from: &mut dyn Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut buffer = vec![0; COPY];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                to(buffer.get(..count).unwrap_or_default())?;
                total += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads an archive.
pub(crate) struct Unpack<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: Read> Unpack<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            buffer: vec![0; COPY],
        }
    }

    /// The signed manifest's bytes.
    pub(crate) fn envelope(&mut self) -> Result<Vec<u8>> {
        let block = self.first()?;
        let found = Header::from_byte_slice(&block);
        if found.path_bytes().as_ref() != MANIFEST_FILE.as_bytes() {
            return Err(diagnose(&block).unwrap_or_else(|| {
                refuse::not_a_bundle(&format!("its first entry is not `{MANIFEST_FILE}`"))
            }));
        }
        let size = found
            .entry_size()
            .map_err(|_| refuse::tampered("the header of its manifest is damaged"))?;
        if header(MANIFEST_FILE, size).map_or(true, |header| header.as_bytes() != &block) {
            return Err(strange(&block, MANIFEST_FILE));
        }
        if size > limits::MANIFEST_BYTES {
            return Err(refuse::too_large(size));
        }
        // Grows with what is really there: a claimed size alone takes no memory.
        let mut bytes = Vec::new();
        self.bytes(size, MANIFEST_FILE, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads a part, gives its bytes piece by piece, and refuses it if they are not what was signed. What
    /// `to` was given counts only if this returns without a refusal.
    pub(crate) fn part(&mut self, part: &Part, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let name = part.file_name();
        let block = self.block(&name)?;
        if header(&name, part.size).map_or(true, |header| header.as_bytes() != &block) {
            return Err(strange(&block, &name));
        }
        let mut hasher = Sha256::new();
        self.bytes(part.size, &name, &mut |piece| {
            hasher.update(piece);
            to(piece)
        })?;
        if Digest::from_hash(&hasher.finalize()) == part.digest {
            Ok(())
        } else {
            Err(refuse::tampered(&format!("the content of `{name}` was changed")))
        }
    }

    /// Refuses whatever follows the last entry.
    pub(crate) fn end(&mut self) -> Result<()> {
        for _ in 0..END / BLOCK {
            let block = self.block("its end")?;
            if block.iter().any(|byte| *byte != 0) {
                return Err(diagnose(&block)
                    .unwrap_or_else(|| refuse::tampered("it has an entry that its manifest does not name")));
            }
        }
        match self.read(1) {
            Ok(0) => Ok(()),
            Ok(_) => Err(refuse::tampered("something follows its end")),
            Err(error) => Err(refuse::unreadable(&error)),
        }
    }

    fn bytes(&mut self, size: u64, name: &str, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(COPY).min(COPY);
            let count = self.read(want).map_err(|error| refuse::unreadable(&error))?;
            if count == 0 {
                return Err(refuse::truncated(&format!("`{name}`")));
            }
            to(self.buffer.get(..count).unwrap_or_default())?;
            left -= count as u64;
        }
        let mut left = usize::try_from(padded(size) - size).unwrap_or(0);
        while left > 0 {
            let count = self.read(left).map_err(|error| refuse::unreadable(&error))?;
            if count == 0 {
                return Err(refuse::truncated(&format!("`{name}`")));
            }
            if self.buffer.iter().take(count).any(|byte| *byte != 0) {
                return Err(refuse::tampered(&format!("something is hidden behind `{name}`")));
            }
            left -= count;
        }
        Ok(())
    }

    /// Reads at most `want` bytes into the buffer.
    fn read(&mut self, want: usize) -> io::Result<usize> {
        let buffer = self.buffer.get_mut(..want).unwrap_or_default();
        loop {
            match self.from.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// The first block; what is too short for one was cut only if it begins as a bundle does.
    fn first(&mut self) -> Result<Block> {
        let mut found = Vec::new();
        let block = (&mut self.from).take(BLOCK).read_to_end(&mut found);
        block.map_err(|error| refuse::unreadable(&error))?;
        Block::try_from(found.as_slice()).map_err(|_| {
            let name = MANIFEST_FILE.as_bytes();
            let known = name.len().min(found.len());
            if found.get(..known) == name.get(..known) {
                refuse::truncated("its first entry")
            } else {
                refuse::not_a_bundle("it does not begin as one")
            }
        })
    }

    fn block(&mut self, place: &str) -> Result<Block> {
        let mut block: Block = [0; 512];
        self.from
            .read_exact(&mut block)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => refuse::truncated(place),
                _ => refuse::unreadable(&error),
            })?;
        Ok(block)
    }
}

/// The refusal of a header that is not the expected one.
fn strange(block: &Block, expected: &str) -> bascule_core::Problem {
    diagnose(block).unwrap_or_else(|| {
        if block.iter().all(|byte| *byte == 0) {
            return refuse::tampered(&format!("`{expected}` is missing"));
        }
        let found = Header::from_byte_slice(block);
        let name = String::from_utf8_lossy(&found.path_bytes()).into_owned();
        if name == expected {
            refuse::tampered(&format!("the header of `{expected}` was changed"))
        } else {
            refuse::tampered(&format!(
                "where `{expected}` should be, `{}` is",
                refuse::short(&name)
            ))
        }
    })
}

/// Names what is hostile in a header, if it is that rather than damage.
fn diagnose(block: &Block) -> Option<bascule_core::Problem> {
    let header = Header::from_byte_slice(block);
    let mut check = header.clone();
    check.set_cksum();
    if block.iter().all(|byte| *byte == 0) || header.cksum().ok() != check.cksum().ok() {
        return None;
    }
    let what = match header.entry_type() {
        EntryType::Regular => None,
        EntryType::Symlink | EntryType::Link => Some("a link"),
        EntryType::Directory => Some("a folder"),
        EntryType::XHeader | EntryType::XGlobalHeader => Some("an extended (pax) header"),
        EntryType::GNUSparse => Some("a sparse file"),
        EntryType::GNULongName | EntryType::GNULongLink => Some("a long name"),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Some("a device"),
        _ => Some("an entry of an unknown type"),
    };
    if let Some(what) = what {
        return Some(refuse::hostile(what));
    }
    let path = header.path_bytes();
    if path.first() == Some(&b'/') {
        return Some(refuse::hostile("an absolute path"));
    }
    if path.split(|byte| *byte == b'/').any(|segment| segment == b"..") {
        return Some(refuse::hostile("a path that leaves its folder"));
    }
    None
}
