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
    List {
        /// group/project
        project: Option<String>,
    },
    /// Show an incident with its timeline
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
        #[arg(long, default_value = "major")]
        severity: String,
    },
    /// Take an incident
    Acknowledge {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
    /// Say that the cause is known
    Identify {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// The cause, Markdown
        cause: String,
    },
    /// Add a comment
    Comment {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// Markdown
        text: String,
    },
    /// Say that service is back; the post-mortem's draft follows
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
