//! A report as runners send it: gzipped files one after the other, a zip, or a file as it is.

use super::{FILES, UNPACKED_BYTES, one_line};
use flate2::bufread::GzDecoder;
use std::io::{Cursor, Read};

/// One file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name, for people; may be empty.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Takes a report apart. What it holds is seen from its first bytes and not from what it is called.
///
/// # Errors
/// It cannot be unpacked, or is more than is allowed.
pub fn unpack(bytes: Vec<u8>) -> Result<Vec<Document>, String> {
    match bytes.get(..4) {
        Some([0x1f, 0x8b, ..]) => gzipped(&bytes),
        Some(b"PK\x03\x04" | b"PK\x05\x06") => zipped(&bytes),
        _ if bytes.len() > UNPACKED_BYTES => Err(too_large()),
        _ => Ok(vec![Document {
            name: String::new(),
            bytes,
        }]),
    }
}

fn too_large() -> String {
    format!("it is larger than {} MiB unpacked", UNPACKED_BYTES / 1024 / 1024)
}

fn too_many() -> String {
    format!("it holds more than {FILES} files")
}

/// Reads to the end, or refuses before it would be more than is left.
fn read(from: &mut impl Read, left: &mut usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    from.take(*left as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| format!("it cannot be unpacked: {error}"))?;
    *left = left.checked_sub(out.len()).ok_or_else(too_large)?;
    Ok(out)
}

fn gzipped(mut bytes: &[u8]) -> Result<Vec<Document>, String> {
    let mut left = UNPACKED_BYTES;
    let mut found = Vec::new();
    while bytes.starts_with(&[0x1f, 0x8b]) {
        if found.len() == FILES {
            return Err(too_many());
        }
        let mut member = GzDecoder::new(bytes);
        let content = read(&mut member, &mut left)?;
        let name = member
            .header()
            .and_then(|header| header.filename())
            .map(|name| one_line(&String::from_utf8_lossy(name), 200))
            .unwrap_or_default();
        bytes = member.into_inner();
        found.push(Document { name, bytes: content });
    }
    Ok(found)
}

fn zipped(bytes: &[u8]) -> Result<Vec<Document>, String> {
    let broken = |error: zip::result::ZipError| format!("it cannot be unpacked: {error}");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    if archive.len() > FILES {
        return Err(too_many());
    }
    let mut left = UNPACKED_BYTES;
    let mut found = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(broken)?;
        if entry.is_dir() {
            continue;
        }
        let content = read(&mut entry, &mut left)?;
        found.push(Document {
            name: one_line(entry.name(), 200),
            bytes: content,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gz(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::GzBuilder::new()
            .filename(name)
            .write(Vec::new(), flate2::Compression::best());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn every_way_of_sending_is_read() {
        let two = [gz("a.xml", b"one"), gz("../b\n.xml", b"two")].concat();
        let found = unpack(two).unwrap();
        let pairs: Vec<(&str, &[u8])> = found
            .iter()
            .map(|one| (one.name.as_str(), one.bytes.as_slice()))
            .collect();
        assert_eq!(pairs, [("a.xml", &b"one"[..]), ("../b .xml", b"two")]);
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options: zip::write::SimpleFileOptions = zip::write::FileOptions::default();
        zip.start_file("r/a.xml", options).unwrap();
        zip.write_all(b"three").unwrap();
        let found = unpack(zip.finish().unwrap().into_inner()).unwrap();
        assert_eq!(
            (found[0].name.as_str(), found[0].bytes.as_slice()),
            ("r/a.xml", &b"three"[..])
        );
        assert_eq!(unpack(b"<x/>".to_vec()).unwrap()[0].bytes, b"<x/>");
        assert_eq!(unpack(Vec::new()).unwrap().len(), 1);
    }

    #[test]
    fn what_expands_without_end_is_refused_with_its_limit() {
        let bomb = gz("bomb", &vec![0; UNPACKED_BYTES + 1]);
        assert!(bomb.len() < 200_000);
        assert!(unpack(bomb).unwrap_err().contains("64 MiB"));
        let many: Vec<u8> = (0..=FILES).flat_map(|_| gz("x", b"")).collect();
        assert!(unpack(many).unwrap_err().contains("1000 files"));
        assert!(unpack(b"\x1f\x8bgarbage".to_vec()).is_err());
        assert!(unpack(b"PK\x03\x04garbage".to_vec()).is_err());
    }
}
