//! `agents`, `edges`: who is enrolled, and how they are.

use super::{
    context::Context,
    output::{Column, code},
};
use bascule_client::Method;
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};

const AGENT: &[Column] = &[
    ("NAME", "name"),
    ("ENROLLED", "enrolled"),
    ("ONLINE", "online"),
    ("VERSION", "version"),
    ("HEARD OF", "seen_at"),
    ("SKEW MS", "skew_ms"),
    ("DISK FREE", "disk_free_bytes"),
    ("MEMORY FREE", "memory_free_bytes"),
    ("LOAD", "load"),
    ("ENVIRONMENTS", "environments"),
    ("INSTANCES", "instances"),
    ("CODE UNTIL", "code_expires_at"),
];
const EDGE: &[Column] = &[
    ("NAME", "name"),
    ("ENROLLED", "enrolled"),
    ("ONLINE", "online"),
    ("VERSION", "version"),
    ("HEARD OF", "seen_at"),
    ("CODE UNTIL", "code_expires_at"),
];
const CODE: &[Column] = &[
    ("NAME", "name"),
    ("CODE", "code"),
    ("GOOD UNTIL", "expires_at"),
    ("SERVER", "server"),
];

/// `bascule agents …`, `bascule edges …`
#[derive(Debug, Subcommand)]
pub enum Members {
    /// List them, with health, clock skew and what is left of disk and memory
    #[command(after_help = "Examples:\n  bascule agents list\n  bascule edges list")]
    List,
    /// Make a code with which a machine enrols once, within 15 minutes
    #[command(after_help = "Example:
  bascule agents create site-7
then on that machine:
  bascule agent --server https://bascule.example.org --code benr-… --data /var/lib/bascule-agent")]
    Create {
        /// What it will be called; a known name is enrolled anew
        name: String,
    },
    /// Remove one; its token counts no more at once
    #[command(after_help = "Examples:\n  bascule agents remove ward-7\n  bascule edges remove edge-1")]
    Remove {
        /// Its name
        name: String,
        /// Also where it looks after environments: another agent takes them over
        #[arg(long)]
        force: bool,
    },
}

impl Members {
    /// Runs it for one kind, `agent` or `edge`.
    pub async fn run(self, kind: &str, context: &Context) -> Result<u8> {
        match self {
            Self::List => {
                let all = context.get("/api/v1/agents").await?;
                let of_kind = all
                    .as_array()
                    .map(|rows| rows.iter().filter(|row| row["kind"] == kind).cloned().collect())
                    .unwrap_or_default();
                let columns = if kind == "agent" { AGENT } else { EDGE };
                context.out.table(&Value::Array(of_kind), columns);
            }
            Self::Create { name } => {
                let made = context
                    .post("/api/v1/agents", &json!({ "name": name, "kind": kind }))
                    .await?;
                context.out.record(&made, CODE);
                let own = made["server"].as_str().unwrap_or_default();
                let server = match own {
                    "" => context.client.base().as_str().trim_end_matches('/'),
                    own => own,
                };
                context.out.say(&format!(
                    "On the machine: bascule {kind} --server {server} --code {} --data DIR",
                    made["code"].as_str().unwrap_or_default()
                ));
            }
            Self::Remove { name, force } => {
                context
                    .client
                    .request(Method::DELETE, &format!("/api/v1/agents/{name}"))
                    .query("kind", kind)
                    .query("force", if force { "true" } else { "false" })
                    .send()
                    .await?;
                context.out.say(&format!("The {kind} {name} is removed."));
            }
        }
        Ok(code::DONE)
    }
}
