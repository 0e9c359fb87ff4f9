//! `milestone`.

use super::place;
use crate::cli::{
    context::Context,
    output::{code, usage},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

const MILESTONE: &[(&str, &str)] = &[
    ("NUMBER", "number"),
    ("TITLE", "title"),
    ("STATE", "state"),
    ("BEGINS", "starts_on"),
    ("DUE", "due_on"),
    ("ISSUES", "total"),
    ("DONE", "closed"),
    ("OF GROUP", "group"),
];

/// `bascule milestone …`
#[derive(Debug, Subcommand)]
pub enum Milestone {
    /// List milestones of a project (its group's too) or a group
    List {
        /// group/project, or a group
        place: String,
    },
    /// Show a milestone with its days and issues
    Show {
        /// group/project, or a group
        place: String,
        /// Its number
        number: i64,
    },
    /// Make a milestone
    #[command(after_help = "Examples:
  bascule milestone create demo/appointments 1.2 --due 2026-03-31
  bascule milestone create demo \"Audit\" --starts 2026-02-01 --due 2026-02-28     for all projects of the group")]
    Create {
        /// group/project, or a group
        place: String,
        /// Its title
        title: String,
        /// What it is for, Markdown
        #[arg(long, default_value = "")]
        description: String,
        /// The day it begins, YYYY-MM-DD
        #[arg(long)]
        starts: Option<String>,
        /// The day it is due, YYYY-MM-DD
        #[arg(long)]
        due: Option<String>,
    },
    /// Change a milestone
    Edit {
        /// group/project, or a group
        place: String,
        /// Its number
        number: i64,
        /// Another title
        #[arg(long)]
        title: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// The day it begins; empty for none
        #[arg(long)]
        starts: Option<String>,
        /// The day it is due; empty for none
        #[arg(long)]
        due: Option<String>,
    },
    /// Close a milestone
    Close {
        /// group/project, or a group
        place: String,
        /// Its number
        number: i64,
    },
    /// Open a closed milestone again
    Reopen {
        /// group/project, or a group
        place: String,
        /// Its number
        number: i64,
    },
}

impl Milestone {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let one =
            |of: &str, number: i64| -> Result<String> { Ok(format!("{}/milestones/{number}", place(of)?)) };
        let milestone: Value = match self {
            Self::List { place: of } => {
                let found = context.get(&format!("{}/milestones", place(&of)?)).await?;
                context.out.table(&found, MILESTONE);
                return Ok(code::DONE);
            }
            Self::Show { place: of, number } => {
                let found = context.get(&one(&of, number)?).await?;
                context.out.record(&found, MILESTONE);
                if !context.out.is_json() {
                    let issues = [
                        ("PROJECT", "project"),
                        ("NUMBER", "number"),
                        ("COLUMN", "column"),
                        ("TITLE", "title"),
                    ];
                    context.out.table(&found["issues"], &issues);
                }
                return Ok(code::DONE);
            }
            Self::Create {
                place: of,
                title,
                description,
                starts,
                due,
            } => {
                let new =
                    json!({ "title": title, "description": description, "starts_on": starts, "due_on": due });
                context.post(&format!("{}/milestones", place(&of)?), &new).await?
            }
            Self::Edit {
                place: of,
                number,
                title,
                description,
                starts,
                due,
            } => {
                let mut change = Map::new();
                let texts = [
                    ("title", title),
                    ("description", description),
                    ("starts_on", starts),
                    ("due_on", due),
                ];
                for (key, value) in texts {
                    if let Some(value) = value {
                        change.insert(key.to_owned(), json!(value));
                    }
                }
                if change.is_empty() {
                    return Err(usage(
                        "Nothing to change.",
                        "Give --title, --description, --starts or --due.",
                    ));
                }
                context
                    .client
                    .patch(&one(&of, number)?, &Value::Object(change))
                    .await?
            }
            Self::Close { place: of, number } => {
                context
                    .client
                    .patch(&one(&of, number)?, &json!({ "state": "closed" }))
                    .await?
            }
            Self::Reopen { place: of, number } => {
                context
                    .client
                    .patch(&one(&of, number)?, &json!({ "state": "open" }))
                    .await?
            }
        };
        context.out.record(&milestone, MILESTONE);
        Ok(code::DONE)
    }
}
