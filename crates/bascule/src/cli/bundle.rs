//! `bundle`.

use super::output::{self, Output, code, line};
use bascule_bundle::{Signature, Summary, Trust, inspect, verify};
use bascule_core::{Clock as _, Result, SystemClock, Timestamp, dsse::Verify};
use bascule_ledger::PublicKey;
use clap::{Args, Subcommand};
use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

/// `bascule bundle …`
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Say what is in a bundle; with a key, check every byte of it. Needs no network
    #[command(after_help = "Examples:
  bascule bundle inspect site-7-000001-snapshot-01-of-01.bundle.tar
  bascule bundle inspect *.bundle.tar --key hub.pem

Without --key only the list is shown, and nothing of it is proven. With it, the exit code is 0 if every file is
whole, signed by that key and not stale.")]
    Inspect(Inspect),
    /// Make a bundle for a site that no network reaches
    #[command(after_help = "Examples:
  bascule bundle export --to clinic -o clinic.bundle.tar
  bascule bundle export --to clinic --full --chunk 650MiB -o /media/stick
  bascule bundle export --to clinic --since 4 -o clinic.bundle.tar

Without --full, --checkpoint or --since it holds what changed since the bundle that the site reported last, and
everything where it has reported none. -o names a file, or a folder where files get names of their own; several
files (--chunk) of a name get a number each.")]
    Export(Export),
    /// Take bundles of the hub, or reports of sites, in any order
    #[command(after_help = "Example:
  bascule bundle import /media/stick/*.bundle.tar

Import again whatever was cut or killed: what was taken stays, and only the rest is written. Exit code 3: refused.")]
    Import {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make a report for the hub: what runs at this site, and what it has
    #[command(after_help = "Example:
  bascule bundle report -o clinic-report.bundle.tar")]
    Report {
        /// A file, or a folder
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// No file is larger than this
        #[arg(long, value_name = "SIZE", value_parser = size)]
        chunk: Option<u64>,
        /// For how many days it may be imported [default: 90]
        #[arg(long)]
        days: Option<u32>,
    },
    /// Believe another instance's key, which came another way than with a bundle
    #[command(after_help = "Examples:
  bascule bundle trust hub.pem --as clinic       here is the site clinic, and this is its hub's key
  bascule bundle trust clinic.pem --of clinic    here is the hub, and this is the key of its site clinic

The file is what `bascule release key` prints on the other instance.")]
    Trust {
        /// The other instance's public key
        key: PathBuf,
        /// This instance is that site, and the key is its hub's
        #[arg(
            long = "as",
            value_name = "SITE",
            conflicts_with = "of",
            required_unless_present = "of"
        )]
        here: Option<String>,
        /// The key is that site's
        #[arg(long, value_name = "SITE")]
        of: Option<String>,
    },
    /// List the keys that are believed
    #[command(after_help = "Example:\n  bascule bundle keys")]
    Keys,
    /// Believe a key no longer
    #[command(after_help = "Example:
  bascule bundle distrust 3f2a91c0      as `bascule bundle keys` names it")]
    Distrust {
        /// Its name, from `bascule bundle keys`
        key: String,
    },
    /// The sites that no network reaches: what was made for them, and what they reported
    #[command(after_help = "Example:\n  bascule bundle status")]
    Status,
}

/// `bascule bundle export …`
#[derive(Debug, Args)]
pub struct Export {
    /// The site
    #[arg(long, value_name = "SITE")]
    pub(super) to: String,
    /// Everything, and nothing left out
    #[arg(long, conflicts_with_all = ["since", "checkpoint"])]
    pub(super) full: bool,
    /// Everything, in the place of all bundles before it
    #[arg(long, conflicts_with = "since")]
    pub(super) checkpoint: bool,
    /// What changed since the bundle of this number
    #[arg(long, value_name = "SEQ")]
    pub(super) since: Option<u64>,
    /// No file is larger than this, such as 650MiB or 4GB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) chunk: Option<u64>,
    /// For how many days it may be imported [default: 90]
    #[arg(long)]
    pub(super) days: Option<u32>,
    /// A file, or a folder
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
}

/// Bytes, with or without a unit.
fn size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(format!("`{unit}` is no unit: use KiB, MiB, GiB, kB, MB or GB")),
    };
    let number: u64 = digits
        .trim()
        .parse()
        .map_err(|_| "write a size such as 650MiB".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "that is more than there is".to_owned())
}

/// `bascule bundle inspect …`
#[derive(Debug, Args)]
pub struct Inspect {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The public key of the instance that made them, from `bascule release key`
    #[arg(long, value_name = "PUBKEY")]
    key: Option<PathBuf>,
}

/// Looks into files, without any server. The first that is refused ends it.
pub fn inspect_files(inspect: &Inspect, json: bool) -> Result<u8> {
    let trust = match &inspect.key {
        None => None,
        Some(file) => {
            let key = PublicKey::from_pem(&super::read_file(file)?).map_err(|error| {
                output::usage(
                    &format!("{} holds no public key: {error}.", file.display()),
                    "Use what `bascule release key` prints on the instance that made the bundle.",
                )
            })?;
            Some(Trust::new([Arc::new(key) as Arc<dyn Verify>]))
        }
    };
    let now = SystemClock.now();
    let mut summaries = Vec::new();
    for file in &inspect.files {
        summaries.push(look_into(file, trust.as_ref(), now).map_err(|mut problem| {
            problem.what = format!("{}: {}", file.display(), problem.what);
            problem
        })?);
    }
    if json {
        Output::new(true).record(&serde_json::to_value(&summaries).unwrap_or_default(), &[]);
    } else {
        for (file, summary) in inspect.files.iter().zip(&summaries) {
            tell(file, summary);
        }
    }
    let stale = trust.is_some() && summaries.iter().any(|summary| summary.stale);
    Ok(if stale { code::REFUSED } else { code::DONE })
}

fn look_into(file: &Path, trust: Option<&Trust>, now: Timestamp) -> Result<Summary> {
    let open = File::open(file)
        .map_err(|error| output::usage(&format!("It cannot be read: {error}."), "Check the path."))?;
    let reader = BufReader::new(open);
    match trust {
        Some(trust) => verify(reader, trust, now),
        None => inspect(reader, &Trust::default(), now),
    }
}

fn tell(file: &Path, summary: &Summary) {
    line(&output::printable(&file.display().to_string()));
    for text in summary.to_string().lines() {
        line(&format!("  {}", output::printable(text)));
    }
    if matches!(summary.signature, Signature::Untrusted { .. }) {
        line("  Check it with: --key and the public key of the instance that made it.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_bundle::{EntryKind, Export, Kind, MemoryBlobs};
    use bascule_core::{Name, Problem};
    use bascule_ledger::InstanceKey;
    use std::time::Duration;

    /// A bundle of the instance's own key, used before `expires_at`.
    fn write(folder: &Path, key: &InstanceKey, made: Timestamp, expires_at: Timestamp) -> PathBuf {
        let mut export = Export::new(Kind::Snapshot, Name::new("clinic").unwrap(), 1, made, expires_at);
        export
            .document(EntryKind::Release, "clinic/portal@1.0.0", b"{}".to_vec())
            .unwrap();
        let blobs = MemoryBlobs::default();
        let plan = export.plan(None, &blobs, key).unwrap();
        let path = folder.join(plan.file_name(1));
        plan.write(1, &mut File::create(&path).unwrap()).unwrap();
        path
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("650MiB"), Ok(650 << 20));
        assert_eq!(size("4 GB"), Ok(4_000_000_000));
        assert_eq!(size("1000"), Ok(1_000));
        for bad in ["", "MiB", "1.5GB", "4 parsec", "99999999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    fn run(file: &Path, key: Option<&Path>) -> Result<u8, Problem> {
        inspect_files(
            &Inspect {
                files: vec![file.to_owned()],
                key: key.map(Path::to_owned),
            },
            false,
        )
    }

    #[test]
    fn a_bundle_is_shown_without_a_key_and_proven_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, other) = (InstanceKey::generate(), InstanceKey::generate());
        let now = SystemClock.now();
        let file = write(folder.path(), &hub, now, now.plus(Duration::from_secs(3_600)));
        let pem = |key: &InstanceKey, name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, key.public().to_pem()).unwrap();
            path
        };
        let (right, wrong) = (pem(&hub, "hub.pem"), pem(&other, "other.pem"));
        assert_eq!(run(&file, None), Ok(code::DONE));
        assert_eq!(run(&file, Some(&right)), Ok(code::DONE));
        assert_eq!(run(&file, Some(&wrong)).unwrap_err().code, "bundle_untrusted_key");
        assert_eq!(run(&file, Some(&file)).unwrap_err().code, "usage");
        assert_eq!(run(&right, None).unwrap_err().code, "bundle_not_a_bundle");

        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(run(&file, Some(&right)).unwrap_err().code, "bundle_tampered");

        let stale = write(
            folder.path(),
            &hub,
            now.minus(Duration::from_secs(9)),
            now.minus(Duration::from_secs(1)),
        );
        assert_eq!(run(&stale, Some(&right)), Ok(code::REFUSED));
    }
}
