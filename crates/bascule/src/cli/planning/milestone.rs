//! `milestone`.

use super::place;
use crate::cli::{
    context::Context,
    output::{self, code, usage},
    values::day,
};
use bascule_core::{Problem, Result};
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
    #[command(after_help = "Example:\n  bascule milestone list demo/appointments")]
    List {
        /// group/project, or a group
        place: String,
    },
    /// Show a milestone with its days and issues
    #[command(after_help = "Examples:
  bascule milestone show demo/appointments 1.2
  bascule milestone show demo/appointments 3")]
    Show {
        /// group/project, or a group
        place: String,
        /// Its number or its title
        milestone: String,
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
        #[arg(long, value_parser = day)]
        starts: Option<String>,
        /// The day it is due, YYYY-MM-DD
        #[arg(long, value_parser = day)]
        due: Option<String>,
    },
    /// Change a milestone
    #[command(after_help = "Example:\n  bascule milestone edit demo/appointments 1.2 --due 2026-04-30")]
    Edit {
        /// group/project, or a group
        place: String,
        /// Its number or its title
        milestone: String,
        /// Another title
        #[arg(long)]
        title: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// The day it begins; empty for none
        #[arg(long, value_parser = day)]
        starts: Option<String>,
        /// The day it is due; empty for none
        #[arg(long, value_parser = day)]
        due: Option<String>,
    },
    /// Close a milestone
    #[command(after_help = "Example:\n  bascule milestone close demo/appointments 1.2")]
    Close {
        /// group/project, or a group
        place: String,
        /// Its number or its title
        milestone: String,
    },
    /// Open a closed milestone again
    #[command(after_help = "Example:\n  bascule milestone reopen demo/appointments 1.2")]
    Reopen {
        /// group/project, or a group
        place: String,
        /// Its number or its title
        milestone: String,
    },
}

/// The address of a milestone, by its number in the place, or by its title there or in the project's group.
async fn one(context: &Context, of: &str, wanted: &str) -> Result<String> {
    let found = context.get(&format!("{}/milestones", place(of)?)).await?;
    let all = output::rows_of(&found).cloned().unwrap_or_default();
    let inherited = |one: &Value| of.contains('/') && one["group"] == true;
    let number = wanted.parse::<i64>().ok();
    let chosen = all
        .iter()
        .find(|one| number.is_some() && one["number"].as_i64() == number && !inherited(one))
        .or_else(|| all.iter().find(|one| one["title"] == wanted));
    let Some(chosen) = chosen else {
        let titles: Vec<String> = all
            .iter()
            .filter_map(|one| Some(format!("`{}`", one["title"].as_str()?)))
            .collect();
        let next = if titles.is_empty() {
            "There are none yet; make one with `bascule milestone create`.".to_owned()
        } else {
            format!("There are {}.", titles.join(", "))
        };
        return Err(Problem::not_found("milestone").next(next));
    };
    let of = match of.split_once('/') {
        Some((group, _)) if inherited(chosen) => group,
        _ => of,
    };
    Ok(format!("{}/milestones/{}", place(of)?, chosen["number"]))
}

impl Milestone {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let milestone: Value = match self {
            Self::List { place: of } => {
                let found = context.get(&format!("{}/milestones", place(&of)?)).await?;
                context.out.table(&found, MILESTONE);
                return Ok(code::DONE);
            }
            Self::Show { place: of, milestone } => {
                let found = context.get(&one(context, &of, &milestone).await?).await?;
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
                milestone,
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
                    .patch(&one(context, &of, &milestone).await?, &Value::Object(change))
                    .await?
            }
            Self::Close { place: of, milestone } => {
                context
                    .client
                    .patch(
                        &one(context, &of, &milestone).await?,
                        &json!({ "state": "closed" }),
                    )
                    .await?
            }
            Self::Reopen { place: of, milestone } => {
                context
                    .client
                    .patch(&one(context, &of, &milestone).await?, &json!({ "state": "open" }))
                    .await?
            }
        };
        context.out.record(&milestone, MILESTONE);
        Ok(code::DONE)
    }
}
