//! `queue` and `runners`: what waits for a runner and why, and who runs it.

use super::{
    context::Context,
    identity::done,
    output::{self, Column, code},
};
use bascule_client::Method;
use bascule_core::{Problem, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const QUEUE: &[Column] = &[
    ("PLACE", "place"),
    ("JOB", "id"),
    ("PROJECT", "project"),
    ("NAME", "name"),
    ("REF", "ref"),
    ("SINCE", "queued_at"),
    ("STARTS IN S", "estimate"),
    ("WHY IT WAITS", "reason"),
];
const RUNNER: &[Column] = &[
    ("NUMBER", "number"),
    ("DESCRIPTION", "description"),
    ("FOR", "scope"),
    ("TAGS", "tags"),
    ("UNTAGGED", "run_untagged"),
    ("PROTECTED", "protected"),
    ("ONLINE", "online"),
    ("PAUSED", "paused"),
    ("JOBS", "held"),
    ("EXECUTOR", "executor"),
    ("VERSION", "version"),
];
const MADE: &[Column] = &[
    ("NUMBER", "runner.number"),
    ("DESCRIPTION", "runner.description"),
    ("TOKEN", "token"),
];

/// Whose runners or jobs are meant; nothing is the whole instance.
#[derive(Debug, Args)]
pub struct Of {
    /// Those of a project: group/project
    #[arg(long, short, conflicts_with = "group")]
    project: Option<String>,
    /// Those of a group
    #[arg(long, short)]
    group: Option<String>,
}

impl Of {
    /// What comes before `/queue`, `/runners` or `/runner`.
    pub fn base(&self) -> Result<String> {
        Ok(match (&self.project, &self.group) {
            (Some(project), _) => {
                output::project(project)?;
                format!("/api/v1/projects/{project}")
            }
            (None, Some(group)) => format!("/api/v1/groups/{}", bascule_web::url_encode(group)),
            (None, None) => "/api/v1".to_owned(),
        })
    }
}

/// `bascule queue`
#[derive(Debug, Args)]
pub struct Queue {
    #[command(flatten)]
    of: Of,
    /// Leave out so many at the front
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

impl Queue {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let path = format!("{}/queue?offset={}", self.of.base()?, self.offset);
        let queue = context.get(&path).await?;
        context.out.table(&queue, QUEUE);
        context.out.say(&format!(
            "{} wait, {} run, {} runners online",
            queue["waiting"], queue["held"], queue["runners_online"]
        ));
        Ok(code::DONE)
    }
}

/// What a new runner is, or what is to change in one.
#[derive(Debug, Args)]
pub struct Traits {
    /// Its tags, comma separated
    #[arg(long, value_delimiter = ',')]
    tags: Option<Vec<String>>,
    /// Whether it takes jobs without tags
    #[arg(long, value_name = "true|false")]
    untagged: Option<bool>,
    /// Whether it takes jobs of protected branches and tags only
    #[arg(long, value_name = "true|false")]
    protected: Option<bool>,
    /// Whether it is never lent to another project
    #[arg(long, value_name = "true|false")]
    locked: Option<bool>,
    /// Longest job it takes, in seconds, at least 600
    #[arg(long, value_name = "SECONDS")]
    maximum_timeout: Option<i64>,
}

impl Traits {
    fn into_json(self) -> serde_json::Map<String, Value> {
        let mut map = serde_json::Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        put("tags", self.tags.map(|tags| json!(tags)));
        put("run_untagged", self.untagged.map(Value::from));
        put("protected", self.protected.map(Value::from));
        put("locked", self.locked.map(Value::from));
        put("maximum_timeout", self.maximum_timeout.map(Value::from));
        map
    }
}

/// `bascule runners …`
#[derive(Debug, Subcommand)]
pub enum Runners {
    /// List runners, with how many jobs they have
    #[command(after_help = "Examples:\n  bascule runners list\n  bascule runners list -p demo/appointments")]
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Make a runner; its token is shown this once
    #[command(after_help = "Examples:
  bascule runners add \"build machine 3\" --tags linux,podman
  bascule runners add \"deploys\" -p demo/appointments --tags production --untagged false --protected true
then on that machine:
  bascule runner --server https://bascule.example.org --runner-token glrt-… --data /var/lib/bascule-runner")]
    Add {
        /// What people call it
        description: String,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        traits: Traits,
    },
    /// Change a runner; what is not named stays as it is
    #[command(after_help = "Example:\n  bascule runners change 3 --tags linux,gpu --untagged false")]
    Change {
        /// Its number
        runner: String,
        #[command(flatten)]
        of: Of,
        /// What people call it
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        traits: Traits,
    },
    /// Let a runner take no more jobs; those that it has go on
    #[command(after_help = "Example:\n  bascule runners pause 3")]
    Pause {
        /// Its number
        runner: String,
        #[command(flatten)]
        of: Of,
    },
    /// Let a paused runner take jobs again
    #[command(after_help = "Example:\n  bascule runners resume 3")]
    Resume {
        /// Its number
        runner: String,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a runner; jobs that it has are given up and tried again elsewhere
    #[command(after_help = "Example:\n  bascule runners remove 3")]
    Remove {
        /// Its number
        runner: String,
        #[command(flatten)]
        of: Of,
    },
    /// Make a token with which programs register themselves as runners; the one before ends
    #[command(after_help = "Example:\n  bascule runners registration-token -g demo")]
    RegistrationToken {
        #[command(flatten)]
        of: Of,
    },
    /// Show or set how many jobs of a group may run at once
    #[command(after_help = "Examples:
  bascule runners limit demo
  bascule runners limit demo 20
  bascule runners limit demo --lift")]
    Limit {
        /// The group
        group: String,
        /// The most jobs at once
        jobs: Option<i64>,
        /// Let the group run as many as there are runners for
        #[arg(long, conflicts_with = "jobs")]
        lift: bool,
    },
}

/// The path of a runner that is named by its number or its identifier.
async fn path_of(context: &Context, of: &Of, runner: &str) -> Result<String> {
    let base = format!("{}/runners", of.base()?);
    let Ok(number) = runner.trim_start_matches('#').parse::<i64>() else {
        return Ok(format!("{base}/{}", bascule_web::url_encode(runner)));
    };
    let list = context.get(&base).await?;
    let found = list
        .as_array()
        .into_iter()
        .flatten()
        .find(|row| row["number"] == number)
        .and_then(|row| row["id"].as_str());
    found.map(|id| format!("{base}/{id}")).ok_or_else(|| {
        Problem::not_found("runner")
            .next("See `bascule runners list`, with -p or -g where it is a project's or group's.")
    })
}

impl Runners {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { of } => {
                let list = context.get(&format!("{}/runners", of.base()?)).await?;
                context.out.table(&list, RUNNER);
            }
            Self::Add {
                description,
                of,
                traits,
            } => {
                let mut body = traits.into_json();
                body.insert("description".to_owned(), Value::from(description));
                let answer = context
                    .post(&format!("{}/runner", of.base()?), &Value::Object(body))
                    .await?;
                context.out.record(&answer, MADE);
            }
            Self::Change {
                runner,
                of,
                description,
                traits,
            } => {
                let mut body = traits.into_json();
                if let Some(description) = description {
                    body.insert("description".to_owned(), Value::from(description));
                }
                return change(context, &of, &runner, &Value::Object(body)).await;
            }
            Self::Pause { runner, of } => {
                return change(context, &of, &runner, &json!({ "paused": true })).await;
            }
            Self::Resume { runner, of } => {
                return change(context, &of, &runner, &json!({ "paused": false })).await;
            }
            Self::Remove { runner, of } => {
                let path = path_of(context, &of, &runner).await?;
                context.client.request(Method::DELETE, &path).send().await?;
                done(context.out, &json!({}), &format!("Removed runner {runner}."));
            }
            Self::RegistrationToken { of } => {
                let path = format!("{}/runners/registration-token", of.base()?);
                let answer = context.post(&path, &json!({})).await?;
                context.out.record(&answer, &[("TOKEN", "token")]);
            }
            Self::Limit { group, jobs, lift } => {
                let path = format!("/api/v1/groups/{}/ci/limit", bascule_web::url_encode(&group));
                let answer = if jobs.is_some() || lift {
                    let body = json!({ "running": jobs });
                    context
                        .client
                        .request(Method::PUT, &path)
                        .json(&body)?
                        .send()
                        .await?
                        .json()
                        .await?
                } else {
                    context.get(&path).await?
                };
                let text = match answer["running"].as_i64() {
                    Some(jobs) => format!("At most {jobs} jobs of {group} run at once."),
                    None => format!("No limit is set for {group}."),
                };
                done(context.out, &answer, &text);
            }
        }
        Ok(code::DONE)
    }
}

async fn change(context: &Context, of: &Of, runner: &str, body: &Value) -> Result<u8> {
    let path = path_of(context, of, runner).await?;
    let answer: Value = context
        .client
        .request(Method::PATCH, &path)
        .json(body)?
        .send()
        .await?
        .json()
        .await?;
    context.out.record(&answer, RUNNER);
    Ok(code::DONE)
}
