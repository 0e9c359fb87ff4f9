//! Verbs of `mr` that change a request, answer in its threads, or set how a project merges.

use super::{
    context::Context,
    mr::{Place, show},
    output::{self, code, usage},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

/// The verbs of `bascule mr` that change.
#[derive(Debug, Subcommand)]
pub enum Verbs {
    /// Change a merge request's title, text, target, or whether it is a draft
    #[command(after_help = "Examples:
  bascule mr edit 3 --ready
  bascule mr edit 3 --title \"Round times\" --target release/1")]
    Edit {
        /// Its number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// One line
        #[arg(long)]
        title: Option<String>,
        /// Markdown
        #[arg(long)]
        description: Option<String>,
        /// The branch to merge into
        #[arg(long)]
        target: Option<String>,
        /// Not ready to be merged
        #[arg(long, conflicts_with = "ready")]
        draft: bool,
        /// Ready to be merged
        #[arg(long)]
        ready: bool,
    },
    /// Open a closed merge request again
    #[command(after_help = "Example:
  bascule mr reopen 3")]
    Reopen {
        /// Its number
        iid: i64,
        #[command(flatten)]
        place: Place,
    },
    /// Open a merge request that takes a merged one back
    #[command(after_help = "Example:
  bascule mr revert 3")]
    Revert {
        /// The merged one's number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// The branch to take it off; where it was merged to if left out
        #[arg(long)]
        from: Option<String>,
    },
    /// Open a merge request that brings a merged one to another branch
    #[command(after_help = "Example:
  bascule mr cherry-pick 3 --into release/1")]
    CherryPick {
        /// The merged one's number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// The branch to bring it to
        #[arg(long)]
        into: String,
    },
    /// Answer in a thread
    #[command(after_help = "Example:
  bascule mr reply 3 THREAD --body \"Done in the last commit.\"      THREAD: as `mr threads 3` shows it")]
    Reply {
        /// Its number
        iid: i64,
        /// The thread
        thread: String,
        #[command(flatten)]
        place: Place,
        /// Markdown
        #[arg(long, short)]
        body: String,
    },
    /// Settle a thread, or say that it is not settled
    #[command(after_help = "Examples:
  bascule mr resolve 3 THREAD
  bascule mr resolve 3 THREAD --undo")]
    Resolve {
        /// Its number
        iid: i64,
        /// The thread
        thread: String,
        #[command(flatten)]
        place: Place,
        /// It is open again
        #[arg(long)]
        undo: bool,
    },
    /// Commit a suggestion to the source branch
    #[command(after_help = "Example:
  bascule mr apply 3 COMMENT      COMMENT: as `mr threads 3 --json` names it")]
    Apply {
        /// Its number
        iid: i64,
        /// The comments with the suggestions, all applied in one commit
        #[arg(required = true)]
        comments: Vec<String>,
        #[command(flatten)]
        place: Place,
        /// Which suggestion of a comment that has several, from 0
        #[arg(long, default_value_t = 0)]
        number: u32,
        /// The commit's message
        #[arg(long, short)]
        message: Option<String>,
    },
    /// Show how a project merges and what it asks of reviews, or change that
    #[command(after_help = "Examples:
  bascule mr settings
  bascule mr settings --set queue=true --set require_pipeline=true
  bascule mr settings --set approvals=2 --set 'teams=[{\"name\":\"Security\",\"group\":\"security\",\"required\":1}]'")]
    Settings {
        #[command(flatten)]
        place: Place,
        /// A setting, named as the answer names it; its value as JSON, or plain text
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
}

impl Verbs {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let done: Value = match self {
            Self::Edit {
                iid,
                place,
                title,
                description,
                target,
                draft,
                ready,
            } => {
                let change = [
                    ("title", title.map(Value::from)),
                    ("description", description.map(Value::from)),
                    ("target_branch", target.map(Value::from)),
                    ("draft", (draft || ready).then_some(Value::from(draft))),
                ];
                let change: Map<_, _> = change
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                    .collect();
                if change.is_empty() {
                    return Err(usage(
                        "Nothing is to be changed.",
                        "Give --title, --description, --target, --draft or --ready.",
                    ));
                }
                context.client.patch(&place.one(iid)?, &change).await?
            }
            Self::Reopen { iid, place } => {
                let path = format!("{}/reopen", place.one(iid)?);
                context.post(&path, &json!({})).await?
            }
            Self::Revert { iid, place, from } => {
                let path = format!("{}/revert", place.one(iid)?);
                context.post(&path, &json!({ "target_branch": from })).await?
            }
            Self::CherryPick { iid, place, into } => {
                let path = format!("{}/cherry-pick", place.one(iid)?);
                context.post(&path, &json!({ "target_branch": into })).await?
            }
            Self::Reply {
                iid,
                thread,
                place,
                body,
            } => {
                let path = format!("{}/comments", of_thread(&place, iid, &thread)?);
                let done = context.post(&path, &json!({ "body": body })).await?;
                context
                    .out
                    .record(&done, &[("THREAD", "id"), ("RESOLVED BY", "resolved_by")]);
                return Ok(code::DONE);
            }
            Self::Resolve {
                iid,
                thread,
                place,
                undo,
            } => {
                let path = of_thread(&place, iid, &thread)?;
                let change = json!({ "resolved": !undo });
                let done: Value = context.client.put(&path, &change).await?;
                context
                    .out
                    .record(&done, &[("THREAD", "id"), ("RESOLVED BY", "resolved_by")]);
                return Ok(code::DONE);
            }
            Self::Apply {
                iid,
                comments,
                place,
                number,
                message,
            } => {
                let all: Vec<Value> = comments
                    .iter()
                    .map(|comment| json!({ "comment": comment, "number": number }))
                    .collect();
                let path = format!("{}/suggestions", place.one(iid)?);
                let order = json!({ "suggestions": all, "message": message });
                let done = context.post(&path, &order).await?;
                context.out.record(&done, &[("COMMIT", "commit")]);
                return Ok(code::DONE);
            }
            Self::Settings { place, set } => return settings(context, &place.path()?, &set).await,
        };
        show(context, done);
        Ok(code::DONE)
    }
}

fn of_thread(place: &Place, iid: i64, thread: &str) -> Result<String> {
    let thread = bascule_web::url_encode(thread);
    Ok(format!("{}/threads/{thread}", place.one(iid)?))
}

/// The two settings of a project as one; each name is sent to where it belongs.
async fn settings(context: &Context, project: &str, set: &[String]) -> Result<u8> {
    let paths = [
        format!("{project}/merge-settings"),
        format!("{project}/review-settings"),
    ];
    let mut now = [context.get(&paths[0]).await?, context.get(&paths[1]).await?];
    let mut changes = [Map::new(), Map::new()];
    for one in set {
        let (name, value) = one
            .split_once('=')
            .ok_or_else(|| usage(&format!("`{one}` is no setting."), "Give NAME=VALUE."))?;
        let Some(side) = now.iter().position(|settings| settings.get(name).is_some()) else {
            let known: Vec<&str> = now
                .iter()
                .filter_map(Value::as_object)
                .flat_map(|settings| settings.keys().map(String::as_str))
                .collect();
            return Err(usage(
                &format!("There is no setting `{}`.", output::printable(name)),
                &format!("Choose one of {}.", known.join(", ")),
            ));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        changes[side].insert(name.to_owned(), value);
    }
    for ((path, change), now) in paths.iter().zip(&changes).zip(&mut now) {
        if !change.is_empty() {
            *now = context.client.patch(path, change).await?;
        }
    }
    let mut all = Map::new();
    for settings in now {
        if let Value::Object(settings) = settings {
            all.extend(settings);
        }
    }
    if context.out.is_json() {
        context.out.record(&Value::Object(all), &[]);
    } else {
        for (name, value) in &all {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), output::printable);
            context.out.say(&format!("{name} = {value}"));
        }
    }
    Ok(code::DONE)
}
