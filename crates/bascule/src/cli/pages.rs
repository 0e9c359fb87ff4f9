//! `bascule pages`: the static sites that a project's jobs made.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::Value;

const SITE: &[output::Column] = &[
    ("PREFIX", "prefix"),
    ("ADDRESS", "url"),
    ("JOB", "job"),
    ("SINCE", "deployed_at"),
    ("UNTIL", "expires_at"),
];

/// `bascule pages …`
#[derive(Debug, Subcommand)]
pub enum Pages {
    /// List a project's sites with their addresses
    #[command(after_help = "Example:\n  bascule pages list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Serve a site no more
    #[command(
        after_help = "Examples:\n  bascule pages delete demo/appointments\n  bascule pages delete demo/appointments --prefix review-7"
    )]
    Delete {
        /// group/project
        project: String,
        /// The site under this prefix; left out: the main one
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
}

impl Pages {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let base = |project: &str| -> Result<String> {
            output::project(project)?;
            Ok(format!("/api/v1/projects/{project}/ci/pages"))
        };
        match self {
            Self::List { project } => context.out.table(&context.get(&base(&project)?).await?, SITE),
            Self::Delete { project, prefix } => {
                let path = format!("{}?prefix={}", base(&project)?, bascule_web::url_encode(&prefix));
                let answer: Value = context.client.delete(&path).await?;
                done(context.out, &answer, "Removed.");
            }
        }
        Ok(code::DONE)
    }
}
