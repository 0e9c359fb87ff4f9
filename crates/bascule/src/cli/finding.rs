//! `finding`.

use super::{
    context::Context,
    output::{self, Column, code, line},
};
use bascule_client::Method;
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};

const FINDING: &[Column] = &[
    ("FINDING", "key"),
    ("SEVERITY", "severity"),
    ("STATE", "state"),
    ("PROJECT", "project"),
    ("ADVISORY", "advisory"),
    ("PACKAGE", "package"),
    ("FIXED IN", "fixed"),
    ("RELEASES", "versions"),
    ("RUNS IN", "environments"),
    ("ALSO", "aliases"),
    ("SUMMARY", "summary"),
    ("SINCE", "opened_at"),
    ("SET ASIDE", "triage.verdict"),
    ("JUSTIFICATION", "triage.justification"),
    ("REASON", "triage.reason"),
    ("BY", "triage.actor"),
    ("UNTIL", "triage.until"),
];

/// `bascule finding …`
#[derive(Debug, Subcommand)]
pub enum Finding {
    /// List findings, worst first: of a project, of one of its releases, or of all you may read
    #[command(after_help = "Examples:
  bascule finding list --severity high
  bascule finding list health/clinic --release 1.4.0
  bascule finding list --search CVE-2026-1234          are we affected, and where does it run?")]
    List {
        /// group/project
        project: Option<String>,
        /// Of this release alone
        #[arg(long, requires = "project", value_name = "VERSION")]
        release: Option<String>,
        /// This severity and worse: low, medium, high, critical
        #[arg(long, default_value = "")]
        severity: String,
        /// open, `set_aside`, standing (both), closed, all
        #[arg(long, default_value = "open")]
        state: String,
        /// Only those whose package, advisory or summary holds this
        #[arg(long, default_value = "")]
        search: String,
        /// Only those after this mark: the `next` of --json
        #[arg(long, default_value = "")]
        after: String,
    },
    /// Show a finding, the releases that have it, and where they run
    #[command(after_help = "Example:\n  bascule finding show demo/appointments 0199c2d4-…")]
    Show {
        /// group/project
        project: String,
        /// The finding
        finding: String,
    },
    /// Set a finding aside, for all releases of the project
    #[command(after_help = "Examples:
  bascule finding waive health/clinic 3f2a91c07d1e44b8 --reason \"behind the gateway until 2.0\" --days 30
  bascule finding waive health/clinic 3f2a91c07d1e44b8 --reason \"we never parse it\" \\
      --not-affected vulnerable_code_not_in_execute_path
  bascule finding waive health/clinic 3f2a91c07d1e44b8 --end")]
    Waive {
        /// group/project
        project: String,
        /// The finding
        finding: String,
        /// Why
        #[arg(long, required_unless_present = "end", default_value = "")]
        reason: String,
        /// For so many days, up to 365; 30 for a waiver unless it says
        #[arg(long)]
        days: Option<u32>,
        /// The product is not exposed to it: why, in VEX's words
        #[arg(long, value_name = "JUSTIFICATION")]
        not_affected: Option<String>,
        /// Let it count again
        #[arg(long, conflicts_with_all = ["reason", "days", "not_affected"])]
        end: bool,
    },
}

impl Finding {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List {
                project,
                release,
                severity,
                state,
                search,
                after,
            } => {
                let base = match (&project, &release) {
                    (None, _) => "/api/v1/findings".to_owned(),
                    (Some(project), None) => {
                        output::project(project)?;
                        format!("/api/v1/projects/{project}/findings")
                    }
                    (Some(project), Some(tag)) => {
                        output::project(project)?;
                        let tag = bascule_web::url_encode(tag);
                        format!("/api/v1/projects/{project}/releases/{tag}/findings")
                    }
                };
                let encode = bascule_web::url_encode;
                let path = format!(
                    "{base}?severity={}&state={}&search={}&after={}",
                    encode(&severity),
                    encode(&state),
                    encode(&search),
                    encode(&after)
                );
                context.out.table(&context.get(&path).await?, &FINDING[..9]);
            }
            Self::Show { project, finding } => {
                let found = context.get(&path(&project, &finding)?).await?;
                show(context, &found);
            }
            Self::Waive {
                project,
                finding,
                reason,
                days,
                not_affected,
                end,
            } => {
                let path = format!("{}/triage", path(&project, &finding)?);
                let found: Value = if end {
                    context.client.delete(&path).await?
                } else {
                    let verdict = if not_affected.is_some() {
                        "not_affected"
                    } else {
                        "waived"
                    };
                    let body = json!({
                        "verdict": verdict, "justification": not_affected.unwrap_or_default(),
                        "reason": reason, "days": days
                    });
                    let answer = context.client.request(Method::PUT, &path).json(&body)?;
                    answer.send().await?.json().await?
                };
                show(context, &found);
            }
        }
        Ok(code::DONE)
    }
}

fn path(project: &str, finding: &str) -> Result<String> {
    output::project(project)?;
    let finding = bascule_web::url_encode(finding);
    Ok(format!("/api/v1/projects/{project}/findings/{finding}"))
}

fn show(context: &Context, found: &Value) {
    context.out.record(found, FINDING);
    if !context.out.is_json() {
        line("");
        context.out.table(
            &found["affected"],
            &[
                ("RELEASE", "version"),
                ("COMPONENT", "purl"),
                ("RUNS IN", "environments"),
                ("CLOSED", "closed_at"),
            ],
        );
    }
}
