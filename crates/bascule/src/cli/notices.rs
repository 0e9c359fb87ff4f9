//! `todo` and `webhook`.

use super::{
    context::Context,
    output::{code, usage},
    planning::{place, query},
    values::EVENTS,
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

const TODO: &[(&str, &str)] = &[
    ("ID", "id"),
    ("WHY", "action"),
    ("BY", "actor"),
    ("PROJECT", "project"),
    ("NUMBER", "number"),
    ("TITLE", "title"),
    ("AT", "at"),
];
const HOOK: &[(&str, &str)] = &[
    ("ID", "id"),
    ("ADDRESS", "url"),
    ("EVENTS", "events"),
    ("ON", "enabled"),
    ("FAILING SINCE", "failing_since"),
    ("NOTE", "told"),
    ("SECRET", "secret"),
];
const HOOKS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("ADDRESS", "url"),
    ("EVENTS", "events"),
    ("ON", "enabled"),
    ("FAILING SINCE", "failing_since"),
];
const DELIVERY: &[(&str, &str)] = &[
    ("ID", "id"),
    ("EVENT", "event"),
    ("STATE", "state"),
    ("TRIES", "tries"),
    ("CODE", "code"),
    ("MS", "duration_ms"),
    ("WHY", "error"),
    ("AT", "created_at"),
];

/// `bascule todo …`
#[derive(Debug, Subcommand)]
pub enum Todo {
    /// List what waits for you, newest first
    #[command(after_help = "Examples:
  bascule todo list
  bascule todo list --action review_requested
  bascule todo list --done --json")]
    List {
        /// Those that are done
        #[arg(long)]
        done: bool,
        /// One reason: assigned, review_requested, approval_required, mentioned, replied, commented,
        /// review_submitted, unmergeable, merge_train_removed,
        /// auto_merge_dropped, build_failed
        #[arg(long, default_value = "")]
        action: String,
        /// issue or merge_request
        #[arg(long = "type", default_value = "", value_name = "TYPE")]
        target: String,
        /// group/project
        #[arg(long, default_value = "")]
        project: String,
        /// The last of the page before
        #[arg(long, default_value = "")]
        before: String,
    },
    /// Mark to-dos done
    #[command(after_help = "Examples:
  bascule todo done 0198c0de-7c3e-7000-8000-000000000000
  bascule todo done --all")]
    Done {
        /// Their identifiers
        ids: Vec<String>,
        /// All that wait
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

impl Todo {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List {
                done,
                action,
                target,
                project,
                before,
            } => {
                let query = query(&[
                    ("state", if done { "done" } else { "" }),
                    ("action", &action),
                    ("type", &target),
                    ("project", &project),
                    ("before", &before),
                ]);
                let found = context.get(&format!("/api/v1/todos{query}")).await?;
                context.out.table(&found, TODO);
                if let Some(next) = found["next"].as_str() {
                    context.out.say(&format!("More: --before {next}"));
                }
            }
            Self::Done { ids, all } => {
                if ids.is_empty() && !all {
                    return Err(usage(
                        "No to-do is named.",
                        "Give identifiers from `bascule todo list`, or --all.",
                    ));
                }
                let mut done = 0;
                for id in &ids {
                    let path = format!("/api/v1/todos/{}/done", super::planning::segment(id));
                    context.client.post::<_, ()>(&path, &json!({})).await?;
                    done += 1;
                }
                if all {
                    let answer = context.post("/api/v1/todos/done", &json!({})).await?;
                    done = answer["done"].as_i64().unwrap_or(0);
                }
                context.out.record(&json!({ "done": done }), &[("DONE", "done")]);
            }
        }
        Ok(code::DONE)
    }
}

/// `bascule webhook …`
#[derive(Debug, Subcommand)]
pub enum Webhook {
    /// List webhooks
    #[command(after_help = "Example:\n  bascule webhook list demo/appointments")]
    List {
        /// group/project, or a group
        place: String,
    },
    /// Make a webhook; its secret is told now and never again
    #[command(after_help = "Examples:
  bascule webhook create demo/appointments https://example.org/hook --event push --event merge_request
  bascule webhook create demo https://example.org/hook --event release        for all projects of the group")]
    Create {
        /// group/project, or a group
        place: String,
        /// Where events are sent
        address: String,
        /// push, tag_push, merge_request, note, issue, confidential_issue, pipeline, job, release or deployment
        #[arg(long = "event", required = true, value_name = "EVENT", value_parser = EVENTS)]
        events: Vec<String>,
        /// A file with the secret; without it one is made
        #[arg(long, value_name = "FILE")]
        secret_file: Option<std::path::PathBuf>,
    },
    /// Show a webhook
    #[command(after_help = "Example:\n  bascule webhook show demo/appointments 0199c2d4-…")]
    Show {
        /// group/project, or a group
        place: String,
        /// Its identifier
        id: String,
    },
    /// Change a webhook, or turn it on or off
    #[command(after_help = "Examples:
  bascule webhook edit demo/appointments ID --event push --event tag_push
  bascule webhook edit demo/appointments ID --on
  bascule webhook edit demo/appointments ID --new-secret")]
    Edit {
        /// group/project, or a group
        place: String,
        /// Its identifier
        id: String,
        /// Another address
        #[arg(long, value_name = "URL")]
        address: Option<String>,
        /// Events; all of them, those not named are told no more
        #[arg(long = "event", value_name = "EVENT", value_parser = EVENTS)]
        events: Option<Vec<String>>,
        /// Turn it on
        #[arg(long)]
        on: bool,
        /// Turn it off
        #[arg(long, conflicts_with = "on")]
        off: bool,
        /// Have another secret made
        #[arg(long)]
        new_secret: bool,
    },
    /// Remove a webhook and its deliveries
    #[command(after_help = "Example:\n  bascule webhook delete demo/appointments 0199c2d4-…")]
    Delete {
        /// group/project, or a group
        place: String,
        /// Its identifier
        id: String,
    },
    /// Send a push of nothing, marked as a test
    #[command(after_help = "Example:\n  bascule webhook test demo/appointments 0199c2d4-…")]
    Test {
        /// group/project, or a group
        place: String,
        /// Its identifier
        id: String,
    },
    /// List the newest deliveries
    #[command(after_help = "Example:
  bascule webhook deliveries demo/appointments ID --state failed")]
    Deliveries {
        /// group/project, or a group
        place: String,
        /// Its identifier
        id: String,
        /// waiting, delivered or failed
        #[arg(long, value_parser = ["waiting", "delivered", "failed"])]
        state: Option<String>,
        /// The last of the page before
        #[arg(long, default_value = "")]
        before: String,
    },
    /// Send a delivery again, as a new one
    #[command(after_help = "Example:
  bascule webhook replay demo/appointments ID DELIVERY")]
    Replay {
        /// group/project, or a group
        place: String,
        /// Its identifier
        id: String,
        /// The delivery's identifier
        delivery: String,
    },
}

fn hooks(of: &str) -> Result<String> {
    Ok(format!("{}/webhooks", place(of)?))
}

fn one(of: &str, id: &str) -> Result<String> {
    Ok(format!("{}/{}", hooks(of)?, super::planning::segment(id)))
}

impl Webhook {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { place } => context.out.table(&context.get(&hooks(&place)?).await?, HOOKS),
            Self::Create {
                place,
                address,
                events,
                secret_file,
            } => {
                let secret = match secret_file {
                    Some(file) => Some(super::read_file(&file)?.trim().to_owned()),
                    None => None,
                };
                let new = json!({ "url": address, "events": events, "secret": secret });
                context
                    .out
                    .record(&context.post(&hooks(&place)?, &new).await?, HOOK);
            }
            Self::Show { place, id } => context.out.record(&context.get(&one(&place, &id)?).await?, HOOK),
            Self::Edit {
                place,
                id,
                address,
                events,
                on,
                off,
                new_secret,
            } => {
                let mut change = Map::new();
                if let Some(address) = address {
                    change.insert("url".to_owned(), json!(address));
                }
                if let Some(events) = events {
                    change.insert("events".to_owned(), json!(events));
                }
                if on || off {
                    change.insert("enabled".to_owned(), json!(on));
                }
                if new_secret {
                    change.insert("secret".to_owned(), json!(""));
                }
                if change.is_empty() {
                    return Err(usage(
                        "Nothing to change.",
                        "Give --address, --event, --on, --off or --new-secret.",
                    ));
                }
                let changed: Value = context
                    .client
                    .patch(&one(&place, &id)?, &Value::Object(change))
                    .await?;
                context.out.record(&changed, HOOK);
            }
            Self::Delete { place, id } => {
                context.client.delete::<()>(&one(&place, &id)?).await?;
                context.out.say("The webhook is removed.");
            }
            Self::Test { place, id } => {
                let path = format!("{}/test", one(&place, &id)?);
                context
                    .out
                    .record(&context.post(&path, &json!({})).await?, DELIVERY);
            }
            Self::Deliveries {
                place,
                id,
                state,
                before,
            } => {
                let state = state.unwrap_or_default();
                let query = query(&[("state", &state), ("before", &before)]);
                let found = context
                    .get(&format!("{}/deliveries{query}", one(&place, &id)?))
                    .await?;
                context.out.table(&found, DELIVERY);
                if let Some(next) = found["next"].as_str() {
                    context.out.say(&format!("More: --before {next}"));
                }
            }
            Self::Replay { place, id, delivery } => {
                let delivery = super::planning::segment(&delivery);
                let path = format!("{}/deliveries/{delivery}/replay", one(&place, &id)?);
                context
                    .out
                    .record(&context.post(&path, &json!({})).await?, DELIVERY);
            }
        }
        Ok(code::DONE)
    }
}
