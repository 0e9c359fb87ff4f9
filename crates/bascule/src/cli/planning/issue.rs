//! `issue`.

use super::{place, project, query};
use crate::cli::{
    context::Context,
    output::{self, code, usage},
    read_file,
    values::day,
};
use bascule_client::Method;
use bascule_core::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const ISSUE: &[(&str, &str)] = &[
    ("NUMBER", "number"),
    ("COLUMN", "column"),
    ("TITLE", "title"),
    ("LABELS", "labels"),
    ("ASSIGNEES", "assignees"),
    ("DUE", "due_on"),
    ("PROJECT", "project"),
    ("MILESTONE", "milestone"),
    ("CONFIDENTIAL", "confidential"),
    ("AUTHOR", "author"),
    ("OPENED", "created_at"),
    ("CLOSED", "closed_at"),
    ("CLOSED BY", "closed_by"),
    ("HOW", "closed_how"),
];

/// `bascule issue …`
#[derive(Debug, Subcommand)]
pub enum Issue {
    /// List issues of a project or a group, most important first
    #[command(after_help = "Examples:
  bascule issue list demo/appointments
  bascule issue list demo --label priority::critical --assignee none
  bascule issue list demo/appointments --state all --search login --sort updated")]
    List(List),
    /// Show an issue with its links, comments and history
    #[command(after_help = "Example:\n  bascule issue show demo/appointments 3")]
    Show {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
    /// Open an issue
    #[command(after_help = "Examples:
  bascule issue create demo/appointments \"Nobody can sign in\" --label type::bug --label priority::high
  bascule issue create demo/appointments \"Print a list\" --description-file why.md --assign developer --due 2026-03-31")]
    Create(Create),
    /// Change an issue
    #[command(after_help = "Example:
  bascule issue edit demo/appointments 3 --add-label priority::critical --milestone 1.2 --due \"\"

A label of a family replaces the other of that family. An empty text takes milestone or day away.")]
    Edit(Edit),
    /// Give an issue to people, instead of who has it; from Open it goes to To do
    #[command(after_help = "Examples:
  bascule issue assign demo/appointments 3 developer sre
  bascule issue assign demo/appointments 3            to nobody")]
    Assign {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// User names
        people: Vec<String>,
    },
    /// Move an issue over the board, or in the order
    #[command(after_help = "Examples:
  bascule issue move demo/appointments 3 doing
  bascule issue move demo/appointments 3 --before 1     more important than issue 1")]
    Move {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// open, todo, doing or done
        column: Option<String>,
        /// Before this issue: its number, or group/project#number
        #[arg(long, value_name = "ISSUE")]
        before: Option<String>,
        /// After this issue
        #[arg(long, value_name = "ISSUE", conflicts_with = "before")]
        after: Option<String>,
    },
    /// Close an issue
    #[command(after_help = "Example:\n  bascule issue close demo/appointments 3")]
    Close {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
    /// Open a closed issue again
    #[command(after_help = "Example:\n  bascule issue reopen demo/appointments 3")]
    Reopen {
        /// group/project
        project: String,
        /// Its number
        number: i64,
    },
    /// Comment on an issue
    #[command(after_help = "Example:
  bascule issue comment demo/appointments 3 \"Seen on staging too, @sre\"")]
    Comment {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// Markdown
        text: String,
    },
    /// Link an issue to another
    #[command(after_help = "Example:
  bascule issue link demo/appointments 3 blocked_by demo/clinic#7")]
    Link {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// relates, blocks or blocked_by
        #[arg(value_parser = ["relates", "blocks", "blocked_by"])]
        kind: String,
        /// The other: a number, or group/project#number
        to: String,
    },
    /// Take a link away
    #[command(after_help = "Example:\n  bascule issue unlink demo/appointments 3 demo/clinic#7")]
    Unlink {
        /// group/project
        project: String,
        /// Its number
        number: i64,
        /// The other: a number, or group/project#number
        to: String,
    },
    /// Open an issue for each row of a CSV file: for all, or for none
    #[command(after_help = "Examples:
  bascule issue import demo/appointments list.csv --dry-run
  bascule issue import demo/appointments list.csv

The first row names the columns: title, and whichever there is of description, labels, assignees, milestone, due_date,
confidential, state. Exit code 3 where rows are wrong; each is named, and nothing is opened.")]
    Import {
        /// group/project
        project: String,
        /// The file
        file: PathBuf,
        /// Only look, and say what is wrong
        #[arg(long)]
        dry_run: bool,
    },
    /// Print issues as CSV that the import reads
    #[command(after_help = "Example:\n  bascule issue export demo/appointments > list.csv")]
    Export {
        /// group/project
        project: String,
    },
    /// List the project's templates for issues
    #[command(after_help = "Example:\n  bascule issue templates demo/appointments")]
    Templates {
        /// group/project
        project: String,
    },
}

/// `bascule issue list …`
#[derive(Debug, Args)]
pub struct List {
    /// group/project, or a group
    place: String,
    /// open, closed or all
    #[arg(long, value_parser = ["open", "closed", "all"])]
    state: Option<String>,
    /// open, todo, doing or done
    #[arg(long)]
    column: Option<String>,
    /// With this label; may be given more than once
    #[arg(long = "label")]
    labels: Vec<String>,
    /// A user name, none or any
    #[arg(long, default_value = "")]
    assignee: String,
    /// A user name
    #[arg(long, default_value = "")]
    author: String,
    /// A milestone's title, none or any
    #[arg(long, default_value = "")]
    milestone: String,
    /// Words in title or description, or a number
    #[arg(long, default_value = "")]
    search: String,
    /// priority, created, updated or due
    #[arg(long, value_parser = ["priority", "created", "updated", "due"])]
    sort: Option<String>,
    /// The mark of a page before
    #[arg(long, default_value = "")]
    after: String,
}

/// `bascule issue create …`
#[derive(Debug, Args)]
pub struct Create {
    /// group/project
    project: String,
    /// What is to be done, in a few words
    title: String,
    /// Markdown
    #[arg(long)]
    description: Option<String>,
    /// Markdown, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "description")]
    description_file: Option<PathBuf>,
    /// A template of the project, for the description; without any, the one named Default is taken where there is one
    #[arg(long, conflicts_with_all = ["description", "description_file"])]
    template: Option<String>,
    /// A label; may be given more than once
    #[arg(long = "label")]
    labels: Vec<String>,
    /// A user name; may be given more than once
    #[arg(long = "assign")]
    assignees: Vec<String>,
    /// A milestone's title
    #[arg(long)]
    milestone: Option<String>,
    /// The day it is due, YYYY-MM-DD
    #[arg(long, value_parser = day)]
    due: Option<String>,
    /// Seen by members from reporter up, its author and its assignees alone
    #[arg(long)]
    confidential: bool,
}

/// `bascule issue edit …`
#[derive(Debug, Args)]
pub struct Edit {
    /// group/project
    project: String,
    /// Its number
    number: i64,
    /// Another title
    #[arg(long)]
    title: Option<String>,
    /// Another description, Markdown
    #[arg(long)]
    description: Option<String>,
    /// One more label; may be given more than once
    #[arg(long = "add-label")]
    add: Vec<String>,
    /// One label less; may be given more than once
    #[arg(long = "remove-label")]
    remove: Vec<String>,
    /// A milestone's title
    #[arg(long)]
    milestone: Option<String>,
    /// The day it is due, YYYY-MM-DD
    #[arg(long, value_parser = day)]
    due: Option<String>,
    /// true or false
    #[arg(long)]
    confidential: Option<bool>,
}

/// Prints an issue after a change, and what to mind.
fn told(context: &Context, issue: &Value) {
    context.out.record(issue, ISSUE);
    for warning in issue["warnings"].as_array().into_iter().flatten() {
        context
            .out
            .say(&format!("mind: {}", warning.as_str().unwrap_or_default()));
    }
}

impl Issue {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let one =
            |path: &str, number: i64| -> Result<String> { Ok(format!("{}/issues/{number}", project(path)?)) };
        let issue = match self {
            Self::List(list) => return list.run(context).await,
            Self::Show { project, number } => return show(context, &one(&project, number)?).await,
            Self::Create(create) => create.run(context).await?,
            Self::Edit(edit) => edit.run(context).await?,
            Self::Assign {
                project,
                number,
                people,
            } => {
                context
                    .client
                    .patch(&one(&project, number)?, &json!({ "assignees": people }))
                    .await?
            }
            Self::Move {
                project,
                number,
                column,
                before,
                after,
            } => {
                if column.is_none() && before.is_none() && after.is_none() {
                    return Err(usage(
                        "Nowhere to move it.",
                        "Name a column, or give --before or --after.",
                    ));
                }
                let to = column.as_deref().map(column_of).transpose()?;
                let body = json!({ "to": to, "before": before, "after": after });
                context
                    .post(&format!("{}/move", one(&project, number)?), &body)
                    .await?
            }
            Self::Close { project, number } => {
                context
                    .post(&format!("{}/close", one(&project, number)?), &json!({}))
                    .await?
            }
            Self::Reopen { project, number } => {
                context
                    .post(&format!("{}/reopen", one(&project, number)?), &json!({}))
                    .await?
            }
            Self::Comment {
                project,
                number,
                text,
            } => {
                let to = format!("{}/comments", one(&project, number)?);
                context.post(&to, &json!({ "body": text })).await?
            }
            Self::Link {
                project,
                number,
                kind,
                to,
            } => {
                let address = format!("{}/links", one(&project, number)?);
                context.post(&address, &json!({ "kind": kind, "to": to })).await?
            }
            Self::Unlink { project, number, to } => {
                let address = format!("{}/unlink", one(&project, number)?);
                context.post(&address, &json!({ "kind": "", "to": to })).await?
            }
            Self::Import {
                project,
                file,
                dry_run,
            } => return import(context, &project, &file, dry_run).await,
            Self::Export { project } => {
                let address = format!("{}/issues/export", super::project(&project)?);
                output::raw(
                    &context
                        .client
                        .request(Method::GET, &address)
                        .send()
                        .await?
                        .text()
                        .await?,
                );
                return Ok(code::DONE);
            }
            Self::Templates { project } => {
                let found = context
                    .get(&format!("{}/issue-templates", super::project(&project)?))
                    .await?;
                context.out.table(&found, &[("NAME", "name")]);
                return Ok(code::DONE);
            }
        };
        told(context, &issue);
        Ok(code::DONE)
    }
}

/// A column's name as the API writes it.
fn column_of(text: &str) -> Result<&'static str> {
    bascule_wire::planning::Column::parse(text)
        .map(bascule_wire::planning::Column::as_str)
        .ok_or_else(|| {
            usage(
                &format!("`{text}` is no column."),
                "Use open, todo, doing or done.",
            )
        })
}

impl List {
    async fn run(&self, context: &Context) -> Result<u8> {
        let labels = self.labels.join(",");
        let column = self.column.as_deref().map(column_of).transpose()?;
        let query = query(&[
            ("state", self.state.as_deref().unwrap_or_default()),
            ("column", column.unwrap_or_default()),
            ("labels", &labels),
            ("assignee", &self.assignee),
            ("author", &self.author),
            ("milestone", &self.milestone),
            ("search", &self.search),
            ("sort", self.sort.as_deref().unwrap_or_default()),
            ("after", &self.after),
        ]);
        let found = context
            .get(&format!("{}/issues{query}", place(&self.place)?))
            .await?;
        let columns = if self.place.contains('/') {
            &ISSUE[..6]
        } else {
            &ISSUE[..7]
        };
        context.out.table(&found, columns);
        Ok(code::DONE)
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<Value> {
        let base = project(&self.project)?;
        let description = match (self.description, &self.description_file) {
            (Some(text), _) => text,
            (None, Some(file)) => read_file(file)?,
            (None, None) => template(context, &base, self.template.as_deref()).await?,
        };
        let new = json!({
            "title": self.title, "description": description, "labels": self.labels, "assignees": self.assignees,
            "milestone": self.milestone, "due_on": self.due, "confidential": self.confidential,
        });
        context.post(&format!("{base}/issues"), &new).await
    }
}

/// A template's text: the named one, or the one that is taken by itself; empty where there is none.
async fn template(context: &Context, base: &str, wanted: Option<&str>) -> Result<String> {
    let found = match context.get(&format!("{base}/issue-templates")).await {
        Err(problem) if wanted.is_none() && matches!(problem.status, 403 | 404) => return Ok(String::new()),
        found => found?,
    };
    let all = found["items"].as_array().cloned().unwrap_or_default();
    let name = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
    let chosen = all.iter().find(|one| match wanted {
        Some(wanted) => name(one) == wanted,
        None => name(one).eq_ignore_ascii_case("default"),
    });
    if let (None, Some(wanted)) = (chosen, wanted) {
        let names: Vec<String> = all.iter().map(|one| format!("`{}`", name(one))).collect();
        let next = if names.is_empty() {
            "The project has none; templates are files in .bascule/issue_templates/ on its default branch."
                .to_owned()
        } else {
            format!("There are {}.", names.join(", "))
        };
        return Err(usage(&format!("There is no template `{wanted}`."), &next));
    }
    let text = chosen.and_then(|one| one["text"].as_str());
    Ok(text.unwrap_or_default().to_owned())
}

impl Edit {
    async fn run(self, context: &Context) -> Result<Value> {
        let mut change = Map::new();
        let texts = [
            ("title", self.title),
            ("description", self.description),
            ("milestone", self.milestone),
            ("due_on", self.due),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                change.insert(name.to_owned(), json!(text));
            }
        }
        if let Some(confidential) = self.confidential {
            change.insert("confidential".to_owned(), json!(confidential));
        }
        for (name, labels) in [("add_labels", self.add), ("remove_labels", self.remove)] {
            if !labels.is_empty() {
                change.insert(name.to_owned(), json!(labels));
            }
        }
        if change.is_empty() {
            return Err(usage(
                "Nothing to change.",
                "Give what is to change, such as --title or --add-label.",
            ));
        }
        let address = format!("{}/issues/{}", project(&self.project)?, self.number);
        context.client.patch(&address, &Value::Object(change)).await
    }
}

async fn show(context: &Context, address: &str) -> Result<u8> {
    let issue = context.get(address).await?;
    context.out.record(&issue, ISSUE);
    if context.out.is_json() {
        return Ok(code::DONE);
    }
    for line in issue["description"].as_str().unwrap_or_default().lines() {
        context.out.say(&format!("  {}", output::printable(line)));
    }
    let links = [
        ("LINK", "kind"),
        ("PROJECT", "project"),
        ("NUMBER", "number"),
        ("STATE", "state"),
        ("TITLE", "title"),
    ];
    if issue["links"].as_array().is_some_and(|links| !links.is_empty()) {
        context.out.table(&issue["links"], &links);
    }
    if issue["merge_requests"]
        .as_array()
        .is_some_and(|all| !all.is_empty())
    {
        let requests = [
            ("CLOSED BY REQUEST", "number"),
            ("STATE", "state"),
            ("TITLE", "title"),
        ];
        context.out.table(&issue["merge_requests"], &requests);
    }
    context.out.table(
        &issue["history"],
        &[("AT", "at"), ("WHO", "actor"), ("WHAT", "text")],
    );
    Ok(code::DONE)
}

async fn import(context: &Context, project: &str, file: &Path, dry_run: bool) -> Result<u8> {
    let bytes = std::fs::read(file).map_err(|error| {
        usage(
            &format!("{} cannot be read: {error}.", file.display()),
            "Check the path.",
        )
    })?;
    let address = format!("{}/issues/import?dry_run={dry_run}", super::project(project)?);
    let report: Value = context
        .client
        .request(Method::POST, &address)
        .header("content-type", "text/csv")
        .bytes(bytes)
        .send()
        .await?
        .json()
        .await?;
    context
        .out
        .record(&report, &[("ROWS", "rows"), ("OPENED", "created")]);
    let wrong = report["errors"]
        .as_array()
        .is_some_and(|errors| !errors.is_empty());
    if wrong && !context.out.is_json() {
        context.out.table(
            &report["errors"],
            &[("ROW", "row"), ("COLUMN", "column"), ("WHAT", "what")],
        );
    }
    Ok(if wrong { code::REFUSED } else { code::DONE })
}
