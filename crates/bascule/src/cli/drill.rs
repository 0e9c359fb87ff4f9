//! `drill`.

use super::{
    advisory::minutes,
    context::Context,
    output::{Column, code},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::json;

const DRILL: &[Column] = &[
    ("DRILL", "number"),
    ("STATE", "state"),
    ("ENVIRONMENT", "environment"),
    ("REASON", "reason"),
    ("STARTED", "started_at"),
    ("UNTIL", "until"),
    ("ENDED", "ended_at"),
    ("BY", "started_by"),
    ("ENDED BY", "ended_by"),
];

/// `bascule drill …`
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// Start a drill: nothing else changes in the environment until it ends, at its time at the latest
    #[command(after_help = "Example:
  bascule drill start --in site-7 --for 45m --reason \"the database's first server is switched off\"")]
    Start {
        /// The environment
        #[arg(long = "in", value_name = "ENVIRONMENT")]
        environment: String,
        /// How long, up to a day
        #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = minutes)]
        time: u32,
        /// What is made to fail
        #[arg(long)]
        reason: String,
    },
    /// End a drill before its time
    #[command(after_help = "Example:\n  bascule drill end 3")]
    End {
        /// Its number
        number: i64,
    },
    /// List drills, newest first
    #[command(after_help = "Example:\n  bascule drill list")]
    List {
        /// Only those with a smaller number
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
    },
}

impl Drill {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Start {
                environment,
                time,
                reason,
            } => {
                let body = json!({ "environment": environment, "minutes": time, "reason": reason });
                context
                    .out
                    .record(&context.post("/api/v1/drills", &body).await?, DRILL);
            }
            Self::End { number } => {
                let path = format!("/api/v1/drills/{number}/end");
                context.out.record(&context.post(&path, &json!({})).await?, DRILL);
            }
            Self::List { before } => {
                let path = before.map_or_else(
                    || "/api/v1/drills".to_owned(),
                    |before| format!("/api/v1/drills?before={before}"),
                );
                context.out.table(&context.get(&path).await?, &DRILL[..7]);
            }
        }
        Ok(code::DONE)
    }
}
