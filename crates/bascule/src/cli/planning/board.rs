//! `board`.

use super::{place, project, segment};
use crate::cli::{context::Context, output::code, values::day};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};

/// `bascule board …`
#[derive(Debug, Subcommand)]
pub enum Board {
    /// Show the board of a project, or of a group over its projects
    #[command(after_help = "Examples:
  bascule board show demo/appointments
  bascule board show demo")]
    Show {
        /// group/project, or a group
        place: String,
    },
    /// Set what happens beyond one issue in Doing for each member who is there: refuse, warn or off
    #[command(after_help = "Example:
  bascule board limit demo/appointments warn")]
    Limit {
        /// group/project
        project: String,
        /// refuse, warn or off
        #[arg(value_parser = ["refuse", "warn", "off"])]
        rule: String,
    },
    /// Say that a member is away, so that nobody counts on them
    #[command(after_help = "Example:
  bascule board away demo/appointments developer --until 2026-08-14")]
    Away {
        /// group/project
        project: String,
        /// The user name
        username: String,
        /// The last day away, YYYY-MM-DD
        #[arg(long, value_parser = day)]
        until: Option<String>,
    },
    /// Say that a member is back
    #[command(after_help = "Example:\n  bascule board back demo/appointments developer")]
    Back {
        /// group/project
        project: String,
        /// The user name
        username: String,
    },
}

impl Board {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let of_group = matches!(&self, Self::Show { place } if !place.contains('/'));
        let board: Value = match self {
            Self::Show { place: of } => context.get(&format!("{}/board", place(&of)?)).await?,
            Self::Limit { project: of, rule } => {
                let address = format!("{}/board", project(&of)?);
                context.client.put(&address, &json!({ "wip": rule })).await?
            }
            Self::Away {
                project: of,
                username,
                until,
            } => {
                let address = format!("{}/board/members/{}", project(&of)?, segment(&username));
                context
                    .client
                    .put(&address, &json!({ "away": true, "until": until }))
                    .await?
            }
            Self::Back {
                project: of,
                username,
            } => {
                let address = format!("{}/board/members/{}", project(&of)?, segment(&username));
                context.client.put(&address, &json!({ "away": false })).await?
            }
        };
        show(context, &board, of_group);
        Ok(code::DONE)
    }
}

fn show(context: &Context, board: &Value, of_group: bool) {
    if context.out.is_json() {
        context.out.record(board, &[]);
        return;
    }
    let mut columns = vec![
        ("NUMBER", "number"),
        ("TITLE", "title"),
        ("ASSIGNEES", "assignees"),
        ("LABELS", "labels"),
    ];
    if of_group {
        columns.insert(0, ("PROJECT", "project"));
    }
    for column in board["columns"].as_array().into_iter().flatten() {
        let name = column["column"].as_str().unwrap_or_default();
        let count = column["count"].as_i64().unwrap_or(0);
        let limit = match (name, of_group) {
            ("doing", false) => format!(" of {}", board["limit"]),
            _ => String::new(),
        };
        context.out.say(&format!("\n{name}: {count}{limit}"));
        if count > 0 {
            context.out.table(&column["issues"], &columns);
        }
    }
    context.out.say("");
    let members = [
        ("MEMBER", "username"),
        ("THERE", "available"),
        ("AWAY UNTIL", "away_until"),
        ("DOING", "doing"),
    ];
    context.out.table(&board["members"], &members);
}
