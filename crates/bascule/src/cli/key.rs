//! `key`: SSH keys of one's own, and deploy keys of projects.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
    read_file,
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

const OWN: &[(&str, &str)] = &[
    ("ID", "id"),
    ("TITLE", "title"),
    ("ALGORITHM", "algorithm"),
    ("FINGERPRINT", "fingerprint"),
    ("LAST USED", "last_used_at"),
];

const DEPLOY: &[(&str, &str)] = &[
    ("ID", "id"),
    ("TITLE", "title"),
    ("FINGERPRINT", "fingerprint"),
    ("WRITES", "writes"),
    ("LAST USED", "last_used_at"),
];

/// `bascule key …`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List your SSH keys, or a project's deploy keys
    #[command(after_help = "Examples:\n  bascule key list\n  bascule key list --project demo/appointments")]
    List {
        /// group/project
        #[arg(long)]
        project: Option<String>,
    },
    /// Add an SSH key to your account, or a deploy key to a project
    #[command(after_help = "Examples:
  bascule key add ~/.ssh/id_ed25519.pub
  bascule key add mirror.pub --project demo/appointments --writes")]
    Add {
        /// The file that ends in .pub
        file: PathBuf,
        /// What to call it; the key's own comment if left out
        #[arg(long, default_value = "")]
        title: String,
        /// group/project that the key is to reach
        #[arg(long)]
        project: Option<String>,
        /// Whether a deploy key may push
        #[arg(long, requires = "project")]
        writes: bool,
    },
    /// Remove a key, at once
    #[command(after_help = "Example:
  bascule key remove 0199c2d4-…      its id is in `bascule key list`")]
    Remove {
        /// Its id, as `bascule key list` shows it
        key: String,
        /// group/project, for a deploy key
        #[arg(long)]
        project: Option<String>,
    },
    /// Show where git over SSH is served, and the server's fingerprint
    #[command(after_help = "Example:\n  bascule key server")]
    Server,
}

fn place(project: Option<&str>) -> Result<(String, &'static [(&'static str, &'static str)])> {
    Ok(match project {
        Some(project) => {
            output::project(project)?;
            (format!("/api/v1/projects/{project}/deploy-keys"), DEPLOY)
        }
        None => ("/api/v1/user/keys".to_owned(), OWN),
    })
}

impl Key {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { project } => {
                let (path, columns) = place(project.as_deref())?;
                context.out.table(&context.get(&path).await?, columns);
            }
            Self::Add {
                file,
                title,
                project,
                writes,
            } => {
                let (path, columns) = place(project.as_deref())?;
                let key = read_file(&file)?;
                let mut body = json!({ "key": key.trim(), "title": title });
                if project.is_some() {
                    body["writes"] = json!(writes);
                }
                context.out.record(&context.post(&path, &body).await?, columns);
            }
            Self::Remove { key, project } => {
                let (path, _) = place(project.as_deref())?;
                let key = bascule_web::url_encode(&key);
                let answer: Value = context.client.delete(&format!("{path}/{key}")).await?;
                done(context.out, &answer, "Removed the key.");
            }
            Self::Server => {
                let answer = context.get("/api/v1/ssh").await?;
                let columns = [
                    ("ADDRESS", "example"),
                    ("FINGERPRINT", "fingerprint"),
                    ("KNOWN HOSTS", "known_hosts"),
                ];
                if answer.is_null() {
                    done(context.out, &answer, "git over SSH is off on this instance.");
                } else {
                    context.out.record(&answer, &columns);
                }
            }
        }
        Ok(code::DONE)
    }
}
