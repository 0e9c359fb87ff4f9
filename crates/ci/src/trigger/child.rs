//! Reading one file out of the archive that a job left.

use crate::fault::shown;
use bascule_core::{Digest, Problem, Result};
use bascule_store::Blobs;
use std::io::{Cursor, Read as _};

/// Largest archive that is opened for this, in bytes: a job that only makes a configuration leaves a small one.
const ARCHIVE: u64 = 32 * 1024 * 1024;

/// The text of a file in an archive, or in words why it cannot be had.
pub(super) async fn file_of(
    blobs: &Blobs,
    digest: &Digest,
    path: &str,
) -> Result<std::result::Result<String, String>> {
    let Some(bytes) = blobs.read(digest, ARCHIVE).await? else {
        return Ok(Err(format!(
            "the archive that should hold `{}` is larger than {ARCHIVE} bytes; let the job leave that file alone",
            shown(path)
        )));
    };
    let path = path.trim_start_matches("./").to_owned();
    tokio::task::spawn_blocking(move || read(&bytes, &path))
        .await
        .map_err(|_| Problem::internal())
}

fn read(archive: &[u8], path: &str) -> std::result::Result<String, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive))
        .map_err(|_| format!("what should hold `{}` is no zip archive", shown(path)))?;
    let file = zip
        .by_name(path)
        .map_err(|_| format!("the job's artifacts hold no `{}`", shown(path)))?;
    let mut text = String::new();
    // Declared sizes are claims; what comes out is counted.
    file.take(super::GENERATED + 1)
        .read_to_string(&mut text)
        .map_err(|_| format!("`{}` is not UTF-8 text", shown(path)))?;
    if text.len() as u64 > super::GENERATED {
        return Err(format!(
            "`{}` is larger than {} bytes",
            shown(path),
            super::GENERATED
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn one_file_is_read_and_a_bomb_is_not() {
        let mut bytes = Vec::new();
        let mut zip = zip::ZipWriter::new(Cursor::new(&mut bytes));
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("out/child.yml", options).unwrap();
        zip.write_all(b"a: {script: x}\n").unwrap();
        zip.start_file("bomb.yml", options).unwrap();
        zip.write_all(&vec![b' '; 3 * 1024 * 1024]).unwrap();
        zip.finish().unwrap();
        assert_eq!(read(&bytes, "out/child.yml").unwrap(), "a: {script: x}\n");
        assert!(read(&bytes, "none.yml").unwrap_err().contains("hold no"));
        assert!(read(&bytes, "bomb.yml").unwrap_err().contains("larger than"));
        assert!(read(b"nothing", "a").unwrap_err().contains("no zip"));
    }
}
