//! `release`.

use super::{
    context::Context,
    output::{self, Output, code, line},
};
use bascule_client::Method;
use bascule_core::{Digest, Problem, Result};
use bascule_ledger::PublicKey;
use bascule_supplychain::bundle::{Folder, KEY_FILE, MANIFEST_FILE, verify_folder};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::{Path, PathBuf};

const RELEASE: &[(&str, &str)] = &[
    ("VERSION", "version"),
    ("TAG", "tag"),
    ("COMMIT", "sha"),
    ("COMPONENTS", "components"),
    ("COMMITS", "commit_count"),
    ("PUBLISHED", "at"),
    ("PREVIOUS", "previous"),
    ("SIGNED BY KEY", "key_id"),
];

/// `bascule release …`
#[derive(Debug, Subcommand)]
pub enum Release {
    /// List a project's releases, newest first
    #[command(after_help = "Example:\n  bascule release list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Show a release and its parts
    #[command(after_help = "Example:\n  bascule release show demo/appointments 1.1.0")]
    Show {
        /// group/project
        project: String,
        /// Its tag
        tag: String,
    },
    /// Fetch a release with all its evidence into a folder
    #[command(after_help = "Example:
  bascule release download demo/appointments 1.0.0 --output ./appointments-1.0.0
  bascule release verify ./appointments-1.0.0")]
    Download {
        /// group/project
        project: String,
        /// Its tag
        tag: String,
        /// A folder, created if missing
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Check a downloaded release: signatures, digests, provenance, SBOM. Needs no network
    #[command(after_help = "Example:
  bascule release verify ./appointments-1.0.0 --key instance.pem

Without --key the key in the folder is used, which proves that the folder is whole, not who made it.")]
    Verify(Verify),
    /// Print the instance's public key, or that of an instance whose releases came here in a bundle
    #[command(after_help = "Examples:
  bascule release key > hub.pem
  bascule release key 9f86d081884c7d65    the key that `bascule release show` names")]
    Key {
        /// The key's name
        id: Option<String>,
    },
}

/// `bascule release verify …`
#[derive(Debug, Args)]
pub struct Verify {
    /// The folder
    folder: PathBuf,
    /// The instance's public key, from `bascule release key`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Release {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { project } => {
                output::project(&project)?;
                context.out.table(
                    &context
                        .get(&format!("/api/v1/projects/{project}/releases"))
                        .await?,
                    &RELEASE[..6],
                );
            }
            Self::Show { project, tag } => {
                output::project(&project)?;
                let release = context
                    .get(&format!("/api/v1/projects/{project}/releases/{tag}"))
                    .await?;
                context.out.record(&release, RELEASE);
                if !context.out.is_json() {
                    context.out.table(
                        &release["parts"],
                        &[("PART", "name"), ("SIZE", "size"), ("DIGEST", "digest")],
                    );
                }
            }
            Self::Download { project, tag, output } => download(context, &project, &tag, &output).await?,
            Self::Key { id } => {
                let keys = context.get("/api/v1/keys").await?;
                if context.out.is_json() {
                    context.out.record(&keys, &[]);
                    return Ok(code::DONE);
                }
                // The instance's own comes first.
                let key = keys["keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|key| id.as_ref().is_none_or(|id| key["id"] == **id))
                    .ok_or_else(|| Problem::not_found("key"))?;
                output::raw(key["pem"].as_str().unwrap_or_default());
            }
            Self::Verify(verify) => return self::verify(&verify, context.out.is_json()),
        }
        Ok(code::DONE)
    }
}

async fn download(context: &Context, project: &str, tag: &str, folder: &Path) -> Result<()> {
    output::project(project)?;
    let base = format!("/api/v1/projects/{project}/releases/{tag}");
    let release = context.get(&base).await?;
    let place = Folder::new(folder);
    let unwritable = |error: std::io::Error| {
        Problem::new(
            500,
            "not_written",
            format!("The release cannot be written: {error}."),
        )
        .next("Choose another folder, or free some space.")
    };
    let mut fetch: Vec<(PathBuf, String, u64)> = vec![(
        folder.join(MANIFEST_FILE),
        text(&release, "manifest"),
        release["manifest_size"].as_u64().unwrap_or(u64::MAX),
    )];
    for part in release["parts"].as_array().into_iter().flatten() {
        let path = place.part_path(&text(part, "name")).map_err(unwritable)?;
        fetch.push((
            path,
            text(part, "digest"),
            part["size"].as_u64().unwrap_or(u64::MAX),
        ));
    }
    for (path, digest, size) in fetch {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(unwritable)?;
        }
        let expected: Digest = digest.parse().map_err(|reason: String| {
            Problem::new(502, "bad_answer", "The server names a bad digest.").why(reason)
        })?;
        context
            .client
            .request(Method::GET, &format!("{base}/parts/{expected}"))
            .download(&path, Some(&expected), size)
            .await?;
        context.out.say(&format!("fetched {}", path.display()));
    }
    let keys = context.get("/api/v1/keys").await?;
    let signed_by = text(&release, "key_id");
    let pem = keys["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|key| key["id"] == *signed_by);
    std::fs::write(
        folder.join(KEY_FILE),
        pem.map(|key| text(key, "pem")).unwrap_or_default(),
    )
    .map_err(unwritable)?;
    context.out.say(&format!(
        "Check it with: bascule release verify {}",
        folder.display()
    ));
    if context.out.is_json() {
        context.out.record(&release, &[]);
    }
    Ok(())
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Checks a folder, without any server.
pub fn verify(verify: &Verify, json: bool) -> Result<u8> {
    let key = match &verify.key {
        None => None,
        Some(file) => Some(PublicKey::from_pem(&super::read_file(file)?).map_err(|error| {
            output::usage(
                &format!("{} holds no public key: {error}.", file.display()),
                "Use what `bascule release key` prints.",
            )
        })?),
    };
    let report = verify_folder(&verify.folder, key.as_ref());
    if json {
        Output::new(true).record(&serde_json::to_value(&report).unwrap_or_default(), &[]);
    } else {
        for check in &report.checks {
            line(&format!(
                "{}  {}: {}",
                if check.passed { "ok  " } else { "FAIL" },
                check.name,
                output::printable(&check.detail)
            ));
        }
        line(if report.passed() {
            "The release is whole and signed."
        } else {
            "The release is NOT what was signed."
        });
    }
    Ok(if report.passed() { code::DONE } else { code::FAILED })
}
