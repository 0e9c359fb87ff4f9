//! `incident`.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::json;

const INCIDENT: &[(&str, &str)] = &[
    ("NUMBER", "number"),
    ("STATUS", "status"),
    ("SEVERITY", "severity"),
    ("PROJECT", "project"),
    ("TITLE", "title"),
    ("BEGAN", "began_at"),
    ("DETECTED", "detected_at"),
    ("ACKNOWLEDGED", "acknowledged_at"),
    ("RESOLVED", "resolved_at"),
];

/// `bascule incident …`
#[derive(Debug, Subcommand)]
pub enum Incident {
    /// List incidents: of a project, or of all you may see
    #[command(after_help = "Examples:\n  bascule incident list\n  bascule incident list demo/appointments")]
    List {
        /// group/project
        project: Option<String>,
    },
    /// Show an incident with its timeline
    #[command(after_help = "Example:\n  bascule incident show demo/appointments 2")]
    Show {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
    /// Declare an incident
    #[command(
        after_help = "Example:\n  bascule incident declare demo/appointments \"No page loads\" --severity critical"
    )]
    Declare {
        /// group/project
        project: String,
        /// What users notice
        title: String,
        /// critical, major or minor
        #[arg(long, default_value = "major", value_parser = ["critical", "major", "minor"])]
        severity: String,
    },
    /// Take an incident
    #[command(after_help = "Example:\n  bascule incident acknowledge demo/appointments 2")]
    Acknowledge {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
    /// Say that the cause is known
    #[command(after_help = "Example:
  bascule incident identify demo/appointments 2 \"The certificate has ended\"")]
    Identify {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// The cause, Markdown
        cause: String,
    },
    /// Add a comment
    #[command(after_help = "Example:
  bascule incident comment demo/appointments 2 \"The other ward sees it too\"")]
    Comment {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// Markdown
        text: String,
    },
    /// Say that service is back; the post-mortem's draft follows
    #[command(after_help = "Example:\n  bascule incident resolve demo/appointments 2")]
    Resolve {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
}

impl Incident {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let base = |project: &str| -> Result<String> {
            output::project(project)?;
            Ok(format!("/api/v1/projects/{project}/incidents"))
        };
        let act = match self {
            Self::List { project: None } => {
                context
                    .out
                    .table(&context.get("/api/v1/incidents").await?, &INCIDENT[..6]);
                return Ok(code::DONE);
            }
            Self::List {
                project: Some(project),
            } => {
                context
                    .out
                    .table(&context.get(&base(&project)?).await?, &INCIDENT[..6]);
                return Ok(code::DONE);
            }
            Self::Show { project, number } => {
                let incident = context.get(&format!("{}/{number}", base(&project)?)).await?;
                context.out.record(&incident, INCIDENT);
                if !context.out.is_json() {
                    context.out.table(
                        &incident["timeline"],
                        &[("AT", "at"), ("WHO", "actor"), ("WHAT", "text")],
                    );
                }
                return Ok(code::DONE);
            }
            Self::Declare {
                project,
                title,
                severity,
            } => (base(&project)?, json!({ "title": title, "severity": severity })),
            Self::Acknowledge { project, number } => {
                (format!("{}/{number}/acknowledge", base(&project)?), json!({}))
            }
            Self::Identify {
                project,
                number,
                cause,
            } => (
                format!("{}/{number}/identify", base(&project)?),
                json!({ "root_cause": cause }),
            ),
            Self::Comment {
                project,
                number,
                text,
            } => (
                format!("{}/{number}/comments", base(&project)?),
                json!({ "body": text }),
            ),
            Self::Resolve { project, number } => (format!("{}/{number}/resolve", base(&project)?), json!({})),
        };
        context.out.record(&context.post(&act.0, &act.1).await?, INCIDENT);
        Ok(code::DONE)
    }
}
