//! `preview`: what a merge request would deliver, running at an address of its own.

use super::{
    context::Context,
    environments::value_of,
    output::{self, code},
    views::of_clone,
};
use bascule_client::Method;
use bascule_core::Result;
use bascule_web::url_encode as segment;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

const LIST: &[output::Column] = &[
    ("NUMBER", "iid"),
    ("STATE", "state"),
    ("COMMIT", "sha"),
    ("URL", "url"),
    ("WHY", "why"),
    ("ENDS", "ends_at"),
];
const SHOW: &[output::Column] = &[
    ("NUMBER", "iid"),
    ("STATE", "state"),
    ("URL", "url"),
    ("HOST", "host"),
    ("COMMIT", "sha"),
    ("NEWEST", "head"),
    ("LET RUN BY", "allowed_by"),
    ("RULE", "rule"),
    ("WHY", "why"),
    ("NEXT", "next"),
    ("CHANGED", "changed_at"),
    ("ENDS", "ends_at"),
];
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Which project.
#[derive(Debug, Args)]
pub struct Place {
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(long, short)]
    project: Option<String>,
}

impl Place {
    fn path(&self) -> Result<String> {
        let project = match &self.project {
            Some(project) => project.clone(),
            None => of_clone()?,
        };
        output::project(&project)?;
        Ok(format!("/api/v1/projects/{project}"))
    }

    fn one(&self, iid: i64) -> Result<String> {
        Ok(format!("{}/merge-requests/{iid}/preview", self.path()?))
    }
}

/// `bascule preview …`
#[derive(Debug, Subcommand)]
pub enum Preview {
    /// The previews of a project's open merge requests
    #[command(after_help = "Example:
  bascule preview list --project demo/appointments")]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// A merge request's preview: where it answers, or why it does not
    #[command(after_help = "Examples:
  bascule preview show 3
  bascule preview show 3 --wait

Exit code 0 while it runs, 3 otherwise.")]
    Show {
        /// The merge request's number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// Wait until it runs with the newest commit, or does not by itself
        #[arg(long)]
        wait: bool,
    },
    /// Start a preview that was stopped, or let it live on
    #[command(after_help = "Examples:
  bascule preview start 3
  bascule preview start 3 --sha 3f2a91c0…       a fork's commit, which a maintainer has looked at")]
    Start {
        /// The merge request's number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// The commit that you looked at; needed for a fork's
        #[arg(long, default_value = "")]
        sha: String,
    },
    /// Stop a preview until its merge request changes
    #[command(after_help = "Example:
  bascule preview stop 3")]
    Stop {
        /// The merge request's number
        iid: i64,
        #[command(flatten)]
        place: Place,
    },
    /// Secrets of a project's previews; they get no others
    #[command(subcommand)]
    Secret(Secret),
}

/// `bascule preview secret …`
#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Their names; values are never shown
    #[command(after_help = "Example:\n  bascule preview secret list -p demo/appointments")]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Keep a secret, read from standard input or a file
    #[command(after_help = "Example:
  bascule preview secret set TEST_KEY < key.txt

Previews that start from then on have it as the variable TEST_KEY; those of forks do not.")]
    Set {
        /// Its name, and that of the variable
        name: String,
        #[command(flatten)]
        place: Place,
        /// The file that holds the value
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Forget a secret
    #[command(after_help = "Example:\n  bascule preview secret remove API_KEY -p demo/appointments")]
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Whether nothing more comes of a preview by itself.
fn settled(found: &Value) -> bool {
    match found["state"].as_str().unwrap_or_default() {
        "running" => found["sha"] == found["head"] && found["url"].is_string(),
        "waiting" | "starting" | "stopping" => false,
        _ => true,
    }
}

impl Preview {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let found = match self {
            Self::List { place } => {
                let path = format!("{}/previews", place.path()?);
                context.out.table(&context.get(&path).await?, LIST);
                return Ok(code::DONE);
            }
            Self::Secret(verb) => return verb.run(context).await,
            Self::Show { iid, place, wait } => {
                let path = place.one(iid)?;
                let mut found = context.get(&path).await?;
                while wait && !settled(&found) {
                    tokio::time::sleep(LOOK).await;
                    found = context.get(&path).await?;
                }
                found
            }
            Self::Start { iid, place, sha } => {
                let path = format!("{}/start", place.one(iid)?);
                context.post(&path, &json!({ "sha": sha })).await?;
                context.out.say(&format!(
                    "the preview of !{iid} is to run; `bascule preview show {iid} --wait` waits"
                ));
                return Ok(code::DONE);
            }
            Self::Stop { iid, place } => {
                let path = format!("{}/stop", place.one(iid)?);
                context.post(&path, &json!({})).await?;
                context.out.say(&format!("the preview of !{iid} is stopped"));
                return Ok(code::DONE);
            }
        };
        context.out.record(&found, SHOW);
        Ok(if found["state"] == "running" {
            code::DONE
        } else {
            code::REFUSED
        })
    }
}

impl Secret {
    async fn run(self, context: &Context) -> Result<u8> {
        let one = |place: &Place, name: &str| -> Result<String> {
            Ok(format!("{}/preview-secrets/{}", place.path()?, segment(name)))
        };
        match self {
            Self::List { place } => {
                let path = format!("{}/preview-secrets", place.path()?);
                let columns = &[("NAME", "name"), ("SET BY", "actor"), ("AT", "updated_at")];
                context.out.table(&context.get(&path).await?, columns);
            }
            Self::Set { name, place, file } => {
                let value = value_of(file.as_deref())?;
                context
                    .client
                    .request(Method::PUT, &one(&place, &name)?)
                    .json(&json!({ "value": value }))?
                    .send()
                    .await?;
                context.out.say(&format!("the secret {name} of previews is set"));
            }
            Self::Remove { name, place } => {
                context
                    .client
                    .request(Method::DELETE, &one(&place, &name)?)
                    .send()
                    .await?;
                context
                    .out
                    .say(&format!("the secret {name} of previews is removed"));
            }
        }
        Ok(code::DONE)
    }
}
