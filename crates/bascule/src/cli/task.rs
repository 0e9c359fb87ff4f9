//! `task`: a command run once in an environment.

use super::{
    context::Context,
    output::{self, code, usage},
};
use bascule_client::Method;
use bascule_core::{Problem, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{io::Write as _, time::Duration};

const TASK: &[(&str, &str)] = &[
    ("ID", "id"),
    ("ENVIRONMENT", "environment_name"),
    ("VERSION", "version"),
    ("COMMAND", "command"),
    ("STATUS", "status"),
    ("EXIT CODE", "exit_code"),
    ("BY", "actor"),
    ("REASON", "reason"),
    ("MESSAGE", "message"),
    ("ASKED FOR", "created_at"),
    ("ENDED", "finished_at"),
];
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// `bascule task …`
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run a command once, in the release and with the variables that serve in an environment
    #[command(after_help = "Examples:
  bascule task run --in production health/clinic -- ./manage migrate --check
  bascule task run --in site-7 health/clinic --reason \"lost index\" --timeout 3600 -- ./manage reindex

It needs the right to deploy to production, and the approvals that the environment's declaration asks for. Command,
reason, who, approvals and result are recorded; keep secrets out of the command. Its output is printed as it comes,
up to 4 MiB. The exit code is the command's own; where it has none (cancelled, lost, out of time) it is 1. Ctrl-C
leaves the task running: `bascule task cancel` ends it.")]
    Run(Run),
    /// List a project's tasks, newest first
    #[command(after_help = "Example:\n  bascule task list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Show a task
    #[command(after_help = "Example:\n  bascule task show demo/appointments 0199c2d4-…")]
    Show {
        /// group/project
        project: String,
        /// The task
        id: String,
    },
    /// Print what a task wrote
    #[command(after_help = "Example:\n  bascule task output demo/appointments 0199c2d4-…")]
    Output {
        /// group/project
        project: String,
        /// The task
        id: String,
        /// Go on until the task ends; the exit code is then the command's
        #[arg(short, long)]
        follow: bool,
    },
    /// Approve a task in a team's name
    #[command(after_help = "Example:\n  bascule task approve health/clinic 0198f7c2-… --as security")]
    Approve {
        /// group/project
        project: String,
        /// The task
        id: String,
        /// In the name of this team: a group to which you belong
        #[arg(long = "as", value_name = "TEAM")]
        team: String,
    },
    /// End a task, or have it not begun
    #[command(after_help = "Example:\n  bascule task cancel demo/appointments 0199c2d4-…")]
    Cancel {
        /// group/project
        project: String,
        /// The task
        id: String,
    },
}

/// What `task run` takes.
#[derive(Debug, Args)]
pub struct Run {
    /// group/project
    project: String,
    /// The environment
    #[arg(long = "in", value_name = "ENVIRONMENT")]
    environment: String,
    /// Why; recorded
    #[arg(long, default_value = "")]
    reason: String,
    /// Time that it may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Do not wait for it
    #[arg(long)]
    detach: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Task {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Run(run) => run.run(context).await,
            Self::List { project } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/tasks");
                let mut tasks = context.get(&path).await?;
                for task in tasks.as_array_mut().into_iter().flatten() {
                    readable(context, task);
                }
                context.out.table(&tasks, TASK);
                Ok(code::DONE)
            }
            Self::Show { project, id } => {
                let task = context.get(&address(&project, &id, "")?).await?;
                Ok(show(context, task))
            }
            Self::Output { project, id, follow } => {
                let path = address(&project, &id, "")?;
                if follow {
                    return to_its_end(context, &path).await;
                }
                let mut at = 0;
                while print(context, &path, &mut at).await? {}
                Ok(code::DONE)
            }
            Self::Approve { project, id, team } => {
                let body = json!({ "team": team });
                let task = context.post(&address(&project, &id, "/approve")?, &body).await?;
                Ok(show(context, task))
            }
            Self::Cancel { project, id } => {
                let task = context
                    .post(&address(&project, &id, "/cancel")?, &json!({}))
                    .await?;
                Ok(show(context, task))
            }
        }
    }
}

/// For people: the command as a shell would read it.
fn readable(context: &Context, task: &mut Value) {
    if context.out.is_json() {
        return;
    }
    let words: Vec<&str> = task["command"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                (*word).to_owned()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect();
    if let Some(fields) = task.as_object_mut() {
        fields.insert("command".to_owned(), quoted.join(" ").into());
    }
}

fn show(context: &Context, mut task: Value) -> u8 {
    readable(context, &mut task);
    context.out.record(&task, TASK);
    code::DONE
}

fn address(project: &str, id: &str, act: &str) -> Result<String> {
    output::project(project)?;
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Err(usage(
            &format!("`{id}` is no task."),
            "`bascule task list` shows them.",
        ));
    }
    Ok(format!("/api/v1/projects/{project}/tasks/{id}{act}"))
}

impl Run {
    async fn run(self, context: &Context) -> Result<u8> {
        output::project(&self.project)?;
        let body = json!({
            "environment": self.environment,
            "command": self.command,
            "reason": self.reason,
            "timeout_seconds": self.timeout,
        });
        let path = format!("/api/v1/projects/{}/tasks", self.project);
        let task = context.post(&path, &body).await?;
        if self.detach {
            return Ok(show(context, task));
        }
        let id = task["id"].as_str().unwrap_or_default();
        if !context.out.is_json() {
            tell(&format!(
                "Task {id} in {} ({}).",
                self.environment,
                text(&task, "version")
            ));
        }
        to_its_end(context, &address(&self.project, id, "")?).await
    }
}

/// A line beside the output of the command, which has standard output for itself.
fn tell(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn text<'a>(task: &'a Value, field: &str) -> &'a str {
    task[field].as_str().unwrap_or_default()
}

/// Prints some of the output; whether there may be more.
async fn print(context: &Context, path: &str, at: &mut u64) -> Result<bool> {
    let request = context.client.request(Method::GET, &format!("{path}/output"));
    let mut chunks = request.query("offset", &at.to_string()).send().await?.chunks();
    let before = *at;
    while let Some(chunk) = chunks.next().await? {
        *at += chunk.len() as u64;
        if !context.out.is_json() {
            let mut out = std::io::stdout().lock();
            drop(out.write_all(&chunk).and_then(|()| out.flush()));
        }
    }
    Ok(*at > before)
}

/// Prints the output as it comes, until the task has ended; its exit code.
async fn to_its_end(context: &Context, path: &str) -> Result<u8> {
    let (mut at, mut told) = (0, String::new());
    loop {
        // The task first: what was written before it ended is then all there.
        let task = context.get(path).await?;
        while print(context, path, &mut at).await? {}
        if !task["finished_at"].is_null() {
            if context.out.is_json() {
                context.out.record(&task, TASK);
            }
            return result(&task);
        }
        let standing = standing(&task);
        if standing != told && !context.out.is_json() {
            tell(&standing);
        }
        told = standing;
        tokio::time::sleep(LOOK).await;
    }
}

/// What a task waits for, in words.
fn standing(task: &Value) -> String {
    let missing: Vec<&str> = task["approvals"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|approval| text(approval, "actor").is_empty())
        .filter_map(|approval| approval["team"].as_str())
        .collect();
    match text(task, "status") {
        "waiting" => format!("It waits for approval by {}.", missing.join(" and ")),
        "queued" => "It waits for the environment's agent.".to_owned(),
        _ => "It runs.".to_owned(),
    }
}

fn result(task: &Value) -> Result<u8> {
    if let Some(exit) = task["exit_code"].as_i64() {
        let message = text(task, "message");
        if !message.is_empty() {
            tell(&output::printable(message));
        }
        return Ok(u8::try_from(exit).unwrap_or(code::FAILED));
    }
    let what = format!(
        "The task ended without an exit code: it is {}.",
        text(task, "status")
    );
    Err(Problem::new(500, "task_ended", what).why(text(task, "message").to_owned()))
}
