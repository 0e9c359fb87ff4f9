//! `advisory`.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_client::Method;
use bascule_core::Result;
use clap::Subcommand;
use serde_json::Value;
use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

const ADVISORY: &[(&str, &str)] = &[
    ("ADVISORY", "id"),
    ("SEVERITY", "severity"),
    ("RELEASES", "releases"),
    ("CHANGED", "modified"),
    ("WITHDRAWN", "withdrawn"),
    ("SUMMARY", "summary"),
    ("ALSO", "aliases"),
    ("SCORE", "score"),
    ("NOT MATCHED", "unmatched"),
];
const IMPORT: &[(&str, &str)] = &[
    ("READ", "read"),
    ("NEW", "added"),
    ("CHANGED", "changed"),
    ("HERE ALREADY", "unchanged"),
    ("WITHDRAWN", "withdrawn"),
    ("NOT MATCHED", "unmatched"),
    ("OF ECOSYSTEMS", "unmatched_ecosystems"),
    ("REFUSED", "refused"),
    ("FINDINGS OPENED", "opened"),
    ("FINDINGS CLOSED", "closed"),
];
/// Largest file within an archive or a folder, in bytes: one record is far smaller.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes that an archive or a folder comes to.
const ALL_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Deepest folder that is looked into.
const DEPTH: u32 = 8;

/// `bascule advisory …`
#[derive(Debug, Subcommand)]
pub enum Advisory {
    /// Import advisories: a file of records, a folder, an archive such as OSV's `all.zip`, or `-`
    #[command(after_help = "Examples:
  bascule advisory import crates.io/all.zip
  bascule advisory import ./advisory-database/advisories
  unzip -p all.zip | bascule advisory import -

The format is OSV's JSON: one record, several one after the other or in lines, or an array. Nothing is fetched.
The newest state of each advisory counts, so importing again, or an older archive, does no harm.
Exit code 1 when some records could not be read; the others are taken.")]
    Import {
        /// Files, folders, archives; `-` for standard input
        #[arg(required = true)]
        from: Vec<PathBuf>,
    },
    /// List the advisories that are here, by name
    #[command(after_help = "Example:\n  bascule advisory list openssl")]
    List {
        /// Only those whose name, alias or summary holds this
        search: Option<String>,
        /// Only those after this one
        #[arg(long, value_name = "ADVISORY")]
        after: Option<String>,
    },
    /// Show an advisory; with --json its record too
    #[command(after_help = "Example:\n  bascule advisory show GHSA-jfh8-c2jp-5v3q")]
    Show {
        /// Its name
        id: String,
    },
}

impl Advisory {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Import { from } => import(context, &from).await,
            Self::List { search, after } => {
                let path = format!(
                    "/api/v1/advisories?search={}&after={}",
                    bascule_web::url_encode(search.as_deref().unwrap_or_default()),
                    bascule_web::url_encode(after.as_deref().unwrap_or_default())
                );
                context.out.table(&context.get(&path).await?, &ADVISORY[..6]);
                Ok(code::DONE)
            }
            Self::Show { id } => {
                let path = format!("/api/v1/advisories/{}", bascule_web::url_encode(&id));
                context.out.record(&context.get(&path).await?, ADVISORY);
                Ok(code::DONE)
            }
        }
    }
}

async fn import(context: &Context, from: &[PathBuf]) -> Result<u8> {
    // A server that takes many in says nothing until all are matched.
    let client = context.client.clone().patient()?;
    let (mut all, mut refused) = (Vec::new(), false);
    for source in from {
        let gathered = gather(source).map_err(|error| {
            output::usage(
                &format!("{} cannot be read: {error}.", source.display()),
                "Name a file of OSV records, a folder of them, or an archive such as all.zip.",
            )
        })?;
        let path = gathered.as_ref().map_or(source.as_path(), |file| file.path());
        let answer = client
            .request(Method::POST, "/api/v1/advisories")
            .header("content-type", "application/json")
            .file(path)
            .send()
            .await;
        let done: Value = match answer {
            Ok(answer) => answer.json().await?,
            Err(mut problem) => {
                problem.what = format!("{}: {}", source.display(), problem.what);
                return Err(problem);
            }
        };
        refused |= done["refused"].as_i64().unwrap_or(0) > 0;
        if !context.out.is_json() {
            context.out.record(&done, IMPORT);
            for error in done["errors"].as_array().into_iter().flatten() {
                let text = |key: &str| output::printable(error[key].as_str().unwrap_or_default());
                output::line(&format!(
                    "record {} {}: {}",
                    error["record"],
                    text("id"),
                    text("reason")
                ));
            }
        }
        all.push(done);
    }
    if context.out.is_json() {
        let one = all.len() == 1;
        let value = if one { all.remove(0) } else { Value::Array(all) };
        context.out.record(&value, &[]);
    }
    Ok(if refused { code::FAILED } else { code::DONE })
}

/// Everything of a folder, an archive or standard input in one file; `None` where the source is such a file already.
fn gather(source: &Path) -> io::Result<Option<tempfile::NamedTempFile>> {
    let mut out = Gathering {
        file: tempfile::NamedTempFile::new()?,
        bytes: 0,
    };
    if source == Path::new("-") {
        let mut spool = tempfile::tempfile()?;
        io::copy(&mut io::stdin().lock().take(ALL_BYTES), &mut spool)?;
        spool.seek(SeekFrom::Start(0))?;
        out.file_or_archive(spool, ALL_BYTES)?;
    } else if source.is_dir() {
        out.folder(source, 0)?;
    } else {
        let file = File::open(source)?;
        if !is_archive(&file)? {
            return Ok(None);
        }
        out.archive(file)?;
    }
    out.file.flush()?;
    Ok(Some(out.file))
}

/// Whether a file begins as a zip archive does.
fn is_archive(mut file: &File) -> io::Result<bool> {
    let mut first = Vec::new();
    file.take(4).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(first == b"PK\x03\x04" || first == b"PK\x05\x06")
}

struct Gathering {
    file: tempfile::NamedTempFile,
    bytes: u64,
}

impl Gathering {
    fn add(&mut self, from: impl Read, most: u64) -> io::Result<()> {
        let mut out = BufWriter::new(&mut self.file);
        let copied = io::copy(&mut from.take(most + 1), &mut out)?;
        out.write_all(b"\n")?;
        out.flush()?;
        drop(out);
        self.bytes = self.bytes.saturating_add(copied);
        if copied > most || self.bytes > ALL_BYTES {
            return Err(io::Error::other("it is larger than any advisories are"));
        }
        Ok(())
    }

    fn file_or_archive(&mut self, file: File, most: u64) -> io::Result<()> {
        if is_archive(&file)? {
            self.archive(file)
        } else {
            self.add(file, most)
        }
    }

    fn archive(&mut self, file: File) -> io::Result<()> {
        let mut archive = zip::ZipArchive::new(file).map_err(io::Error::other)?;
        for at in 0..archive.len() {
            let entry = archive.by_index(at).map_err(io::Error::other)?;
            if entry.is_file() && is_records(Path::new(entry.name())) {
                self.add(entry, FILE_BYTES)?;
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path, depth: u32) -> io::Result<()> {
        let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::path);
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() && depth < DEPTH {
                self.folder(&path, depth + 1)?;
            } else if kind.is_file() && (is_records(&path) || has_ending(&path, "zip")) {
                self.file_or_archive(File::open(&path)?, FILE_BYTES)?;
            }
        }
        Ok(())
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|known| known.eq_ignore_ascii_case(ending))
}

fn is_records(path: &Path) -> bool {
    ["json", "jsonl", "ndjson"]
        .into_iter()
        .any(|ending| has_ending(path, ending))
}

/// What `--for 30m` means, in whole minutes.
pub fn minutes(text: &str) -> std::result::Result<u32, String> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u32 = number
        .parse()
        .map_err(|_| "write a time such as 30m or 2h".to_owned())?;
    let minutes = match unit {
        "m" | "" => Some(number),
        "h" => number.checked_mul(60),
        "d" => number.checked_mul(1_440),
        _ => None,
    };
    minutes.ok_or_else(|| "write a time such as 30m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &Path) -> Option<String> {
        let file = gather(source).unwrap()?;
        Some(std::fs::read_to_string(file.path()).unwrap())
    }

    #[test]
    fn folders_and_archives_become_one_stream_of_records() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("b");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(folder.path().join("a.json"), "{\"id\":1}").unwrap();
        std::fs::write(folder.path().join("README.md"), "no").unwrap();
        let mut zip = zip::ZipWriter::new(File::create(inner.join("all.zip")).unwrap());
        for (name, bytes) in [("x/c.json", "{\"id\":2}"), ("note.txt", "no")] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(bytes.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        assert_eq!(text(folder.path()).unwrap(), "{\"id\":1}\n{\"id\":2}\n");
        assert_eq!(text(&inner.join("all.zip")).unwrap(), "{\"id\":2}\n");
        assert_eq!(text(&folder.path().join("a.json")), None, "sent as it is");
        assert!(gather(&folder.path().join("none")).is_err());
    }

    #[test]
    fn times() {
        assert_eq!(minutes("30m"), Ok(30));
        assert_eq!(minutes("2h"), Ok(120));
        assert_eq!(minutes("45"), Ok(45));
        assert!(minutes("soon").is_err() && minutes("4s").is_err() && minutes("9999999999h").is_err());
    }
}
