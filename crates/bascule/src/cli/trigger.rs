//! `bascule trigger`: tokens with which other programs start pipelines.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};

const TRIGGER: &[output::Column] = &[
    ("ID", "id"),
    ("FOR", "description"),
    ("BEGINS", "hint"),
    ("OWNER", "owner"),
    ("MADE", "created_at"),
    ("LAST USED", "last_used"),
];

/// `bascule trigger …`
#[derive(Debug, Subcommand)]
pub enum Trigger {
    /// List a project's trigger tokens, without the tokens themselves
    #[command(after_help = "Example:\n  bascule trigger list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Make a trigger token; it runs with your rights and is shown this once
    #[command(after_help = "Examples:
  bascule trigger create demo/appointments \"The web shop\"
  bascule trigger create demo/appointments \"Nightly data\" --json

Used so:
  curl --fail -X POST -F token=TOKEN -F ref=main -F \"variables[NAME]=value\" \\
    https://bascule.example.org/api/v4/projects/demo%2Fappointments/trigger/pipeline")]
    Create {
        /// group/project
        project: String,
        /// Who is to use it
        description: String,
    },
    /// Take a trigger token back, at once
    #[command(after_help = "Example:\n  bascule trigger delete demo/appointments 3")]
    Delete {
        /// group/project
        project: String,
        /// Number of the token
        id: i64,
    },
}

impl Trigger {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let base = |project: &str| -> Result<String> {
            output::project(project)?;
            Ok(format!("/api/v1/projects/{project}/ci/triggers"))
        };
        match self {
            Self::List { project } => context.out.table(&context.get(&base(&project)?).await?, TRIGGER),
            Self::Create { project, description } => {
                let body = json!({ "description": description });
                let made = context.post(&base(&project)?, &body).await?;
                context.out.record(&made, TRIGGER);
                if !context.out.is_json() {
                    context.out.say("");
                    context.out.say("The token, shown this once:");
                    context
                        .out
                        .say(&output::printable(made["token"].as_str().unwrap_or_default()));
                }
            }
            Self::Delete { project, id } => {
                let answer: Value = context
                    .client
                    .delete(&format!("{}/{id}", base(&project)?))
                    .await?;
                done(context.out, &answer, "Removed.");
            }
        }
        Ok(code::DONE)
    }
}
