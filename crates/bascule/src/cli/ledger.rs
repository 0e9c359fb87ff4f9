//! `ledger`.

use super::{
    context::Context,
    output::{self, Output, code, line},
};
use bascule_core::{Problem, Result, SystemClock};
use bascule_ledger::{InstanceKey, Ledger as Facts, PublicKey, Verification};
use bascule_store::{Db, DbOptions};
use clap::{Args, Subcommand};
use std::{path::PathBuf, sync::Arc};

const FACT: &[(&str, &str)] = &[
    ("NO.", "seq"),
    ("AT", "at"),
    ("WHO", "actor.name"),
    ("KIND", "kind"),
    ("WHAT", "summary"),
];

/// `bascule ledger …`
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// List facts, newest first
    #[command(after_help = "Examples:
  bascule ledger list --kind 'deployment.*' --project demo/appointments
  bascule ledger list --actor developer --json")]
    List {
        /// Only facts of this kind; `noun.*` for every kind of a noun
        #[arg(long)]
        kind: Option<String>,
        /// Only facts of this project
        #[arg(long, value_name = "GROUP/PROJECT")]
        project: Option<String>,
        /// Only facts by this actor
        #[arg(long)]
        actor: Option<String>,
        /// Only facts whose sentence has this text
        #[arg(long)]
        text: Option<String>,
        /// Only facts before this number
        #[arg(long)]
        before: Option<i64>,
    },
    /// Show one fact
    #[command(after_help = "Example:\n  bascule ledger show 1204")]
    Show {
        /// Its number
        number: i64,
    },
    /// Prove that no fact was changed, removed or slipped in
    #[command(after_help = "Examples:
  bascule ledger verify                                     ask the server to
  bascule ledger verify --data ./data                       read the database yourself
  bascule ledger verify --data ./data --key instance.pem    with a key that you kept elsewhere

Exit code 1 names the first broken entry.")]
    Verify(Verify),
}

/// `bascule ledger verify …`
#[derive(Debug, Args)]
pub struct Verify {
    /// The server's data directory, to read the database without the server
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// postgres://… where the facts are, with --data for the key
    #[arg(long, value_name = "URL", requires = "data")]
    database: Option<String>,
    /// The instance's public key (PEM), instead of the one in the data directory
    #[arg(long, value_name = "FILE", requires = "data")]
    key: Option<PathBuf>,
}

impl Ledger {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List {
                kind,
                project,
                actor,
                text,
                before,
            } => {
                let mut path = "/api/v1/ledger?".to_owned();
                let before = before.map(|number| number.to_string());
                for (name, value) in [
                    ("kind", kind),
                    ("project", project),
                    ("actor", actor),
                    ("text", text),
                    ("before", before),
                ] {
                    if let Some(value) = value {
                        path = format!("{path}{name}={}&", bascule_web::url_encode(&value));
                    }
                }
                context
                    .out
                    .table(&context.get(path.trim_end_matches(['?', '&'])).await?, FACT);
            }
            Self::Show { number } => {
                let fact = context.get(&format!("/api/v1/ledger/{number}")).await?;
                context.out.record(
                    &fact,
                    &[
                        FACT,
                        &[("SUBJECT", "subject"), ("BODY", "body"), ("HASH", "hash")],
                    ]
                    .concat(),
                );
            }
            Self::Verify(_) => {
                let answer = context.get("/api/v1/ledger/verify").await?;
                let found = Found {
                    entries: answer["entries"].as_i64().unwrap_or_default(),
                    checkpoints: answer["checkpoints"].as_i64().unwrap_or_default(),
                    fault: answer["fault_seq"]
                        .as_i64()
                        .map(|seq| (seq, answer["fault"].as_str().unwrap_or_default().to_owned())),
                };
                if context.out.is_json() {
                    context.out.record(&answer, &[]);
                    return Ok(if found.fault.is_some() {
                        code::FAILED
                    } else {
                        code::DONE
                    });
                }
                return Ok(found.tell());
            }
        }
        Ok(code::DONE)
    }
}

struct Found {
    entries: i64,
    checkpoints: i64,
    fault: Option<(i64, String)>,
}

impl Found {
    fn tell(&self) -> u8 {
        match &self.fault {
            None => {
                line(&format!(
                    "Clean: {} entries, {} signed checkpoints.",
                    self.entries, self.checkpoints
                ));
                code::DONE
            }
            Some((seq, reason)) => {
                line(&format!("BROKEN at entry {seq}: {}", output::printable(reason)));
                line(&format!(
                    "The {} entries before it are as they were written.",
                    seq - 1
                ));
                code::FAILED
            }
        }
    }
}

/// Reads the database itself, so that a server that lies cannot hide it.
pub async fn verify_offline(verify: &Verify, json: bool) -> Result<u8> {
    let data = verify.data.clone().unwrap_or_default();
    let file = data.join("bascule.db");
    let options = match &verify.database {
        Some(url) => DbOptions::Postgres(url.clone()),
        None if file.is_file() => DbOptions::Sqlite(file),
        None => {
            return Err(output::usage(
                &format!("There is no database in {}.", data.display()),
                "Check --data.",
            ));
        }
    };
    let own = data.join("instance.key");
    let no_key = |reason: String| {
        Problem::new(
            400,
            "usage",
            format!("The instance's key cannot be read: {reason}."),
        )
        .next("Give the public key with --key, or a data directory that holds instance.key.")
    };
    let key: PublicKey = match &verify.key {
        Some(file) => PublicKey::from_pem(&super::read_file(file)?).map_err(|e| no_key(e.to_string()))?,
        None if own.is_file() => InstanceKey::load_or_create(&own)
            .map_err(|e| no_key(e.to_string()))?
            .public(),
        None => return Err(no_key(format!("{} does not exist", own.display()))),
    };
    let db = Db::open(&options).await?;
    let ledger = Facts::new(db, Arc::new(SystemClock), InstanceKey::generate());
    let found: Verification = ledger.verify(&key).await?;
    if json {
        Output::new(true).record(&serde_json::to_value(&found).unwrap_or_default(), &[]);
        return Ok(if found.fault.is_some() {
            code::FAILED
        } else {
            code::DONE
        });
    }
    let fault = found.fault.map(|fault| (fault.seq, fault.reason));
    Ok(Found {
        entries: found.entries,
        checkpoints: found.checkpoints,
        fault,
    }
    .tell())
}
