//! `bascule schedule` and `bascule ci`: what starts pipelines by itself, and what groups require of them.

use super::{
    ci::typed,
    context::Context,
    identity::done,
    output::{self, code},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

const SCHEDULE: &[output::Column] = &[
    ("ID", "id"),
    ("FOR", "description"),
    ("WHEN", "cron"),
    ("ZONE", "timezone"),
    ("REF", "ref"),
    ("OWNER", "owner"),
    ("NEXT", "next_run_at"),
    ("LAST", "last_run_at"),
    ("REFUSED", "last_note"),
    ("STOPPED", "stopped"),
];
const PIPELINE: &[output::Column] = &[
    ("ID", "id"),
    ("STATUS", "status"),
    ("REF", "ref"),
    ("SOURCE", "source"),
];
const REQUIRED: &[output::Column] = &[
    ("POLICY", "policy"),
    ("COMMIT", "sha"),
    ("REFUSED", "refused_why"),
    ("SINCE", "changed_at"),
];
const PIPELINES: &[output::Column] = &[
    ("NAME", "name"),
    ("FILE", "file"),
    ("GATE", "gate"),
    ("PROJECTS", "projects"),
    ("EXCEPT", "except"),
    ("JOBS", "jobs"),
];
const FAILURES: &[output::Column] = &[("PROJECT", "project"), ("KIND", "kind"), ("WHY", "reason")];

/// `bascule schedule …`
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// List a project's schedules: when they run next, when they ran last, and why one stopped
    #[command(after_help = "Example:\n  bascule schedule list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Make a schedule; it runs in your name and with your rights
    #[command(after_help = "Examples:
  bascule schedule create demo/appointments \"Nightly build\" --cron \"0 3 * * MON-FRI\" --timezone Europe/Paris
  bascule schedule create demo/appointments \"Weekly scan\" --cron \"30 2 * * SUN\" --variable DEPTH=full --json
  bascule schedule create demo/appointments \"Load test\" --cron \"0 5 * * *\" --input users=200 --input targets='[\"a\"]'")]
    Create {
        /// group/project
        project: String,
        /// What it is for
        description: String,
        /// Minute, hour, day of month, month, day of week
        #[arg(long)]
        cron: String,
        /// Time zone, such as Europe/Paris
        #[arg(long, default_value = "UTC")]
        timezone: String,
        /// Branch or tag; left out: the default branch
        #[arg(long = "ref", default_value = "")]
        reference: String,
        /// Variable for its jobs, as NAME=VALUE
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// Value for an input of the file (`spec:inputs`), as NAME=VALUE; numbers, true, false and lists as in JSON
        #[arg(long = "input", value_name = "NAME=VALUE")]
        inputs: Vec<String>,
    },
    /// Change a schedule of yours; what is not named stays
    #[command(after_help = "Examples:
  bascule schedule change demo/appointments 3 --cron \"0 4 * * *\"
  bascule schedule change demo/appointments 3 --active false")]
    Change {
        /// group/project
        project: String,
        /// Schedule number
        id: i64,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Minute, hour, day of month, month, day of week
        #[arg(long)]
        cron: Option<String>,
        /// Time zone, such as Europe/Paris
        #[arg(long)]
        timezone: Option<String>,
        /// Branch or tag
        #[arg(long = "ref")]
        reference: Option<String>,
        /// All of its variables, each as NAME=VALUE
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Option<Vec<String>>,
        /// All of its inputs, each as NAME=VALUE
        #[arg(long = "input", value_name = "NAME=VALUE")]
        inputs: Option<Vec<String>>,
        /// Whether it runs
        #[arg(long, value_name = "true|false")]
        active: Option<bool>,
    },
    /// Run a schedule of yours now
    #[command(after_help = "Example:\n  bascule schedule play demo/appointments 3")]
    Play {
        /// group/project
        project: String,
        /// Schedule number
        id: i64,
    },
    /// Make another's schedule yours: it runs in your name from now on
    #[command(after_help = "Example:\n  bascule schedule take demo/appointments 3")]
    Take {
        /// group/project
        project: String,
        /// Schedule number
        id: i64,
    },
    /// Remove a schedule
    #[command(after_help = "Example:\n  bascule schedule delete demo/appointments 3")]
    Delete {
        /// group/project
        project: String,
        /// Schedule number
        id: i64,
    },
}

/// `NAME=VALUE` each.
fn named(variables: Vec<String>) -> Result<Map<String, Value>> {
    variables
        .into_iter()
        .map(|variable| match variable.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), Value::from(value))),
            None => Err(output::usage(
                &format!("`{variable}` is no variable."),
                "Write NAME=VALUE.",
            )),
        })
        .collect()
}

impl Schedule {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let base = |project: &str| -> Result<String> {
            output::project(project)?;
            Ok(format!("/api/v1/projects/{project}/schedule"))
        };
        match self {
            Self::List { project } => {
                let all = context.get(&format!("{}s", base(&project)?)).await?;
                context.out.table(&all, SCHEDULE);
            }
            Self::Create {
                project,
                description,
                cron,
                timezone,
                reference,
                variables,
                inputs,
            } => {
                let body = json!({
                    "description": description, "cron": cron, "timezone": timezone, "ref": reference,
                    "variables": named(variables)?, "inputs": typed(&inputs)?,
                });
                let made = context.post(&base(&project)?, &body).await?;
                context.out.record(&made, SCHEDULE);
            }
            Self::Change {
                project,
                id,
                description,
                cron,
                timezone,
                reference,
                variables,
                inputs,
                active,
            } => {
                let body = json!({
                    "description": description, "cron": cron, "timezone": timezone, "ref": reference,
                    "variables": variables.map(named).transpose()?,
                    "inputs": inputs.as_deref().map(typed).transpose()?, "active": active,
                });
                let path = format!("{}s/{id}", base(&project)?);
                let changed: Value = context.client.patch(&path, &body).await?;
                context.out.record(&changed, SCHEDULE);
            }
            Self::Play { project, id } => {
                let path = format!("{}s/{id}/play", base(&project)?);
                let started = context.post(&path, &json!({})).await?;
                context.out.record(&started, PIPELINE);
            }
            Self::Take { project, id } => {
                let path = format!("{}s/{id}/take", base(&project)?);
                let taken = context.post(&path, &json!({})).await?;
                context.out.record(&taken, SCHEDULE);
            }
            Self::Delete { project, id } => {
                let path = format!("{}s/{id}", base(&project)?);
                let answer: Value = context.client.delete(&path).await?;
                done(context.out, &answer, "Removed.");
            }
        }
        Ok(code::DONE)
    }
}

/// `bascule ci …`
#[derive(Debug, Subcommand)]
pub enum Ci {
    /// What a group requires of all its projects' pipelines: show it, try it, set it
    #[command(after_help = "Examples:
  bascule ci required health                                        what holds now
  bascule ci required health --dry-run                              what it would fail, tried on every project
  bascule ci required health --dry-run --policy security/policy --ref stricter
  bascule ci required health --policy security/policy               from now on
  bascule ci required health --none                                 nothing is required any more

The policy project lists its pipelines in required-pipelines.yml on its default branch; each commit there holds from
the next pipeline on. With --dry-run: exit code 0 when no project would fail, 3 when some would.")]
    Required {
        /// The group
        group: String,
        /// Say what would fail, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The policy project, as group/project
        #[arg(long, conflicts_with = "none")]
        policy: Option<String>,
        /// A branch, tag or commit of it to try; left out: its default branch
        #[arg(long = "ref", requires = "dry_run")]
        reference: Option<String>,
        /// Require nothing any more
        #[arg(long, conflicts_with = "dry_run")]
        none: bool,
    },
}

impl Ci {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let Self::Required {
            group,
            dry_run,
            policy,
            reference,
            none,
        } = self;
        let path = format!("/api/v1/groups/{}/ci/required", bascule_web::url_encode(&group));
        if dry_run {
            let body = json!({ "policy": policy, "ref": reference });
            let tried = context.post(&format!("{path}/dry-run"), &body).await?;
            return Ok(told(context, &tried));
        }
        let held: Value = if none || policy.is_some() {
            context.client.put(&path, &json!({ "policy": policy })).await?
        } else {
            context.get(&path).await?
        };
        context.out.record(&held, REQUIRED);
        if !context.out.is_json() {
            context.out.say("");
            context.out.table(&held["pipelines"], PIPELINES);
        }
        Ok(code::DONE)
    }
}

fn told(context: &Context, tried: &Value) -> u8 {
    if context.out.is_json() {
        context.out.record(tried, REQUIRED);
    } else {
        context
            .out
            .say(&output::printable(tried["summary"].as_str().unwrap_or_default()));
        for fault in tried["faults"].as_array().into_iter().flatten() {
            context.out.say(&format!(
                "{}:{}:{}: {}",
                output::printable(fault["file"].as_str().unwrap_or_default()),
                fault["line"],
                fault["column"],
                output::printable(fault["message"].as_str().unwrap_or_default())
            ));
        }
        context.out.table(&tried["failures"], FAILURES);
    }
    let faulty = tried["faults"]
        .as_array()
        .is_some_and(|faults| !faults.is_empty());
    let failing = tried["would_fail"].as_i64().unwrap_or_default() > 0;
    if faulty || failing {
        code::REFUSED
    } else {
        code::DONE
    }
}
