//! `label`.

use super::{place, project, segment};
use crate::cli::{
    context::Context,
    output::{code, usage},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

const LABEL: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("COLOUR", "colour"),
    ("OF GROUP", "group"),
    ("SUBSCRIBED", "subscribed"),
    ("DESCRIPTION", "description"),
];

/// `bascule label …`
#[derive(Debug, Subcommand)]
pub enum Label {
    /// List labels of a project (its group's too) or a group
    #[command(after_help = "Example:\n  bascule label list demo/appointments")]
    List {
        /// group/project, or a group
        place: String,
    },
    /// Make a label; of a family, as in type::bug, an issue has one
    #[command(after_help = "Examples:
  bascule label create demo/appointments area::printing --description \"What comes out of printers\"
  bascule label create demo team::north --colour teal        for all projects of the group")]
    Create {
        /// group/project, or a group
        place: String,
        /// Its name
        name: String,
        /// What it means
        #[arg(long, default_value = "")]
        description: String,
        /// blue, azure, indigo, purple, pink, red, orange, yellow, lime, green, teal or cyan
        #[arg(long, value_parser = bascule_planning::label::PALETTE)]
        colour: Option<String>,
    },
    /// Change a label
    #[command(after_help = "Example:\n  bascule label edit demo/appointments area::printing --colour teal")]
    Edit {
        /// group/project, or a group
        place: String,
        /// Its name
        name: String,
        /// Another name, of the same family
        #[arg(long)]
        rename: Option<String>,
        /// What it means
        #[arg(long)]
        description: Option<String>,
        /// Another colour
        #[arg(long, value_parser = bascule_planning::label::PALETTE)]
        colour: Option<String>,
    },
    /// Remove a label, also from issues that have it
    #[command(after_help = "Example:\n  bascule label delete demo/appointments area::printing")]
    Delete {
        /// group/project, or a group
        place: String,
        /// Its name
        name: String,
    },
    /// Hear of issues that get a label
    #[command(after_help = "Example:\n  bascule label subscribe demo/appointments priority::critical")]
    Subscribe {
        /// group/project
        project: String,
        /// Its name
        name: String,
    },
    /// Hear of them no longer
    #[command(after_help = "Example:\n  bascule label unsubscribe demo/appointments priority::critical")]
    Unsubscribe {
        /// group/project
        project: String,
        /// Its name
        name: String,
    },
}

impl Label {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let one = |of: &str, name: &str| -> Result<String> {
            Ok(format!("{}/labels/{}", place(of)?, segment(name)))
        };
        match self {
            Self::List { place: of } => {
                context
                    .out
                    .table(&context.get(&format!("{}/labels", place(&of)?)).await?, LABEL);
            }
            Self::Create {
                place: of,
                name,
                description,
                colour,
            } => {
                let new = json!({ "name": name, "description": description, "colour": colour });
                context.out.record(
                    &context.post(&format!("{}/labels", place(&of)?), &new).await?,
                    LABEL,
                );
            }
            Self::Edit {
                place: of,
                name,
                rename,
                description,
                colour,
            } => {
                let mut change = Map::new();
                for (key, value) in [("name", rename), ("description", description), ("colour", colour)] {
                    if let Some(value) = value {
                        change.insert(key.to_owned(), json!(value));
                    }
                }
                if change.is_empty() {
                    return Err(usage(
                        "Nothing to change.",
                        "Give --rename, --description or --colour.",
                    ));
                }
                let changed: Value = context
                    .client
                    .patch(&one(&of, &name)?, &Value::Object(change))
                    .await?;
                context.out.record(&changed, LABEL);
            }
            Self::Delete { place: of, name } => {
                context.client.delete::<()>(&one(&of, &name)?).await?;
                context.out.say(&format!("{name} is removed."));
            }
            Self::Subscribe { project: of, name } => {
                let address = format!("{}/labels/{}/subscription", project(&of)?, segment(&name));
                context.client.put::<_, ()>(&address, &json!({})).await?;
                context.out.say(&format!("You hear of issues that get {name}."));
            }
            Self::Unsubscribe { project: of, name } => {
                let address = format!("{}/labels/{}/subscription", project(&of)?, segment(&name));
                context.client.delete::<()>(&address).await?;
                context.out.say(&format!("You hear of {name} no longer."));
            }
        }
        Ok(code::DONE)
    }
}
