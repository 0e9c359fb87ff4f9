//! `bundle`.

use super::{
    context::Context,
    identity::done,
    output::{self, Output, code, line},
};
use bascule_bundle::{Signature, Summary, Trust, inspect, verify};
use bascule_client::Method;
use bascule_core::{Clock as _, Problem, Result, SystemClock, Timestamp, dsse::Verify};
use bascule_ledger::PublicKey;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
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
    Keys,
    /// Believe a key no longer
    Distrust {
        /// Its name, from `bascule bundle keys`
        key: String,
    },
    /// The sites that no network reaches: what was made for them, and what they reported
    Status,
}

/// `bascule bundle export …`
#[derive(Debug, Args)]
pub struct Export {
    /// The site
    #[arg(long, value_name = "SITE")]
    to: String,
    /// Everything, and nothing left out
    #[arg(long, conflicts_with_all = ["since", "checkpoint"])]
    full: bool,
    /// Everything, in the place of all bundles before it
    #[arg(long, conflicts_with = "since")]
    checkpoint: bool,
    /// What changed since the bundle of this number
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// No file is larger than this, such as 650MiB or 4GB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    chunk: Option<u64>,
    /// For how many days it may be imported [default: 90]
    #[arg(long)]
    days: Option<u32>,
    /// A file, or a folder
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
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

const KEY: &[output::Column] = &[("KEY", "id"), ("ROLE", "role"), ("SITE", "site"), ("SINCE", "at")];
const SITE: &[output::Column] = &[
    ("SITE", "site"),
    ("EXPORTED", "exported"),
    ("AT", "exported_at"),
    ("APPLIED THERE", "applied"),
    ("REPORTED", "reported_at"),
];
const OBSERVED: &[output::Column] = &[
    ("PRODUCT", "product"),
    ("RUNS", "version"),
    ("HEALTH", "health"),
    ("PLAN", "plan"),
    ("WHY", "why"),
];

impl Bundle {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let out = context.out;
        match self {
            Self::Inspect(inspect) => return inspect_files(&inspect, out.is_json()),
            Self::Export(export) => {
                let kind = match (export.full, export.checkpoint) {
                    (true, _) => "full",
                    (_, true) => "checkpoint",
                    _ => "auto",
                };
                let wanted = json!({
                    "site": export.to, "kind": kind, "since": export.since, "chunk": export.chunk, "days": export.days,
                });
                let client = context.client.clone().patient()?;
                let made: Value = client.post("/api/v1/bundles/exports", &wanted).await?;
                fetch(context, &made, &export.output).await?;
            }
            Self::Report { output, chunk, days } => {
                let wanted = json!({ "chunk": chunk, "days": days });
                let made = context.post("/api/v1/bundles/reports", &wanted).await?;
                fetch(context, &made, &output).await?;
            }
            Self::Import { files } => return import(context, &files).await,
            Self::Trust { key, here, of } => {
                let (role, site) = match (here, of) {
                    (Some(site), _) => ("hub", site),
                    (None, site) => ("site", site.unwrap_or_default()),
                };
                let new = json!({ "pem": super::read_file(&key)?, "role": role, "site": site });
                let key = context.post("/api/v1/bundles/keys", &new).await?;
                out.record(&key, KEY);
            }
            Self::Keys => out.table(&context.get("/api/v1/bundles/keys").await?, KEY),
            Self::Distrust { key } => {
                let path = format!("/api/v1/bundles/keys/{}", bascule_web::url_encode(&key));
                let answer: Value = context.client.delete(&path).await?;
                done(out, &answer, &format!("The key {key} is believed no longer."));
            }
            Self::Status => {
                let sites = context.get("/api/v1/bundles/sites").await?;
                out.table(&sites, SITE);
                if !out.is_json() {
                    for site in sites.as_array().into_iter().flatten() {
                        if site["observed"].is_object() {
                            line("");
                            line(&format!(
                                "{}, as it told at {}:",
                                output::printable(site["site"].as_str().unwrap_or_default()),
                                output::printable(site["observed"]["at"].as_str().unwrap_or_default())
                            ));
                            out.table(&site["observed"]["installs"], OBSERVED);
                        }
                    }
                }
            }
        }
        Ok(code::DONE)
    }
}

/// Fetches all files of a bundle that was made.
async fn fetch(context: &Context, made: &Value, to: &Path) -> Result<()> {
    let files: Vec<&Value> = made["files"].as_array().into_iter().flatten().collect();
    for (number, file) in (1..).zip(&files) {
        let name = file["name"].as_str().unwrap_or_default();
        let place = place(to, name, number, files.len())?;
        let size = file["size"].as_u64().unwrap_or(u64::MAX);
        let path = file["path"].as_str().unwrap_or_default();
        let (_, written) = context
            .client
            .request(Method::GET, path)
            .download(&place, None, size)
            .await?;
        context
            .out
            .say(&format!("wrote {} ({written} bytes)", place.display()));
    }
    if context.out.is_json() {
        context.out.record(made, &[]);
        return Ok(());
    }
    for note in made["notes"].as_array().into_iter().flatten() {
        line(&format!(
            "note: {}",
            output::printable(note.as_str().unwrap_or_default())
        ));
    }
    let base = made["base"]
        .as_i64()
        .map(|base| format!(", builds upon {base}"))
        .unwrap_or_default();
    line(&format!(
        "{} {} of the site {}{base}, use before {}",
        made["kind"].as_str().unwrap_or_default(),
        made["sequence"],
        made["site"].as_str().unwrap_or_default(),
        made["expires_at"].as_str().unwrap_or_default()
    ));
    for release in made["releases"].as_array().into_iter().flatten() {
        line(&format!(
            "  {}",
            output::printable(release.as_str().unwrap_or_default())
        ));
    }
    Ok(())
}

/// Where a file goes: into a folder under its own name, or to the name given, numbered where there are several.
fn place(to: &Path, name: &str, number: usize, count: usize) -> Result<PathBuf> {
    if to.is_dir() {
        if !bascule_core::is_safe_path(name) || name.contains('/') {
            return Err(Problem::new(502, "bad_answer", "The server names a file badly."));
        }
        return Ok(to.join(name));
    }
    if count == 1 {
        return Ok(to.to_owned());
    }
    let given = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, ending) = given.split_once('.').unwrap_or((&given, "bundle.tar"));
    let width = count.to_string().len().max(2);
    Ok(to.with_file_name(format!("{stem}-{number:0width$}-of-{count:0width$}.{ending}")))
}

/// Brings files in. The first that is refused ends it.
async fn import(context: &Context, files: &[PathBuf]) -> Result<u8> {
    // A server that takes a large file in says nothing until it has applied it.
    let client = context.client.clone().patient()?;
    let mut all = Vec::new();
    for file in files {
        let taken = client
            .request(Method::POST, "/api/v1/bundles/imports")
            .header("content-type", "application/x-tar")
            .file(file)
            .send()
            .await;
        let taken: Value = match taken {
            Ok(answer) => answer.json().await?,
            Err(mut problem) => {
                problem.what = format!("{}: {}", file.display(), problem.what);
                return Err(problem);
            }
        };
        tell_import(context.out, file, &taken);
        all.push(taken);
    }
    if context.out.is_json() {
        context.out.record(&Value::Array(all), &[]);
    }
    Ok(code::DONE)
}

fn tell_import(out: Output, file: &Path, taken: &Value) {
    let text = |value: &Value| output::printable(value.as_str().unwrap_or_default());
    let already = if taken["already"] == true {
        ", taken before"
    } else {
        ""
    };
    out.say(&format!(
        "{}: {} {} of the site {}, file {} of {}{already}",
        file.display(),
        text(&taken["kind"]),
        taken["sequence"],
        text(&taken["site"]),
        taken["chunk"],
        taken["chunks"]
    ));
    for set in taken["applied"].as_array().into_iter().flatten() {
        out.say(&format!("  applied: {} {}", text(&set["kind"]), set["sequence"]));
        for release in set["releases"].as_array().into_iter().flatten() {
            out.say(&format!("    new       {}", text(release)));
        }
        for recall in set["recalls"].as_array().into_iter().flatten() {
            out.say(&format!("    recalled  {}", text(recall)));
        }
    }
    let waits = text(&taken["waits"]);
    if !waits.is_empty() {
        out.say(&format!("  {waits}"));
    }
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
    fn sizes_have_units_and_several_files_numbers() {
        assert_eq!(size("650MiB"), Ok(650 << 20));
        assert_eq!(size("4 GB"), Ok(4_000_000_000));
        assert_eq!(size("1000"), Ok(1_000));
        for bad in ["", "MiB", "1.5GB", "4 parsec", "99999999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clinic.bundle.tar");
        assert_eq!(place(&file, "x", 1, 1), Ok(file.clone()));
        assert_eq!(
            place(&file, "x", 2, 12),
            Ok(folder.path().join("clinic-02-of-12.bundle.tar"))
        );
        assert_eq!(
            place(folder.path(), "a.tar", 2, 12),
            Ok(folder.path().join("a.tar"))
        );
        assert!(place(folder.path(), "../a.tar", 1, 1).is_err());
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
        assert_eq!(run(&right, None).unwrap_err().code, "bundle_truncated");

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
