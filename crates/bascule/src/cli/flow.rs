//! `bascule flow`: the workflow policy of groups and projects.

use super::{
    context::Context,
    output::{self, code},
    views::of_clone,
};
use bascule_core::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

const POLICY: &[output::Column] = &[
    ("FLOW", "flow_title"),
    ("MOST LINES", "most_lines"),
    ("DAYS OF A REVIEW", "review_days"),
    ("BRANCHES", "branch_patterns"),
    ("LOCKED", "locked"),
];
const RULES: &[output::Column] = &[
    ("RULE", "rule"),
    ("DOES", "level"),
    ("AS IT COMES", "inherited"),
    ("DEMANDS", "title"),
];

/// Whose policy.
#[derive(Debug, Args)]
pub struct Place {
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(conflicts_with = "group")]
    project: Option<String>,
    /// A group's, which holds for all its projects
    #[arg(long)]
    group: Option<String>,
}

impl Place {
    fn path(self) -> Result<String> {
        if let Some(group) = self.group {
            return Ok(format!(
                "/api/v1/groups/{}/workflow",
                bascule_web::url_encode(&group)
            ));
        }
        let project = match self.project {
            Some(project) => project,
            None => of_clone()?,
        };
        output::project(&project)?;
        Ok(format!("/api/v1/projects/{project}/workflow"))
    }
}

/// `bascule flow …`
#[derive(Debug, Subcommand)]
pub enum Flow {
    /// Show the flow, every rule and what it does
    #[command(after_help = "Examples:
  bascule flow show demo/appointments
  bascule flow show --group demo --json")]
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Choose a flow, set single rules and limits
    #[command(after_help = "Examples:
  bascule flow set demo/appointments --flow gitflow
  bascule flow set demo/appointments --rule issue_in_commit=refuse --rule change_size=off --most-lines 400
  bascule flow set --group demo --flow flexible --rule no_secrets=refuse --lock true
  bascule flow set demo/appointments --rule issue_in_commit=inherit

Flows: flexible, github, gitlab, trunk_based, gitflow. Levels: off, warn, refuse. `inherit` takes a setting back.
What is not named stays as it is.")]
    Set {
        #[command(flatten)]
        place: Place,
        /// The flow, which sets all rules; `inherit` for what comes from the group
        #[arg(long)]
        flow: Option<String>,
        /// A single rule, such as issue_in_commit=refuse; may be given several times
        #[arg(long, value_name = "RULE=LEVEL")]
        rule: Vec<String>,
        /// Most lines that a change should add and remove; 0 takes it back
        #[arg(long, value_name = "LINES")]
        most_lines: Option<u32>,
        /// Days after which a review has grown old; 0 takes it back
        #[arg(long, value_name = "DAYS")]
        review_days: Option<u32>,
        /// A pattern for names of branches, such as feature/*; all of them, an empty one takes them back
        #[arg(long, value_name = "PATTERN")]
        branch: Option<Vec<String>>,
        /// A group's: whether its projects may not set it otherwise
        #[arg(long, value_name = "true|false")]
        lock: Option<bool>,
    },
}

impl Flow {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let answer = match self {
            Self::Show { place } => context.get(&place.path()?).await?,
            Self::Set {
                place,
                flow,
                rule,
                most_lines,
                review_days,
                branch,
                lock,
            } => {
                let patterns = branch.map(|all| -> Vec<String> {
                    all.into_iter().filter(|pattern| !pattern.is_empty()).collect()
                });
                let body = json!({
                    "flow": flow, "levels": levels(&rule)?, "most_lines": most_lines,
                    "review_days": review_days, "branch_patterns": patterns, "locked": lock,
                });
                let path = place.path()?;
                context.client.patch(&path, &body).await?
            }
        };
        context.out.record(&answer, POLICY);
        if !context.out.is_json() {
            context.out.say("");
            context.out.table(&answer["rules"], RULES);
        }
        Ok(code::DONE)
    }
}

fn levels(rules: &[String]) -> Result<Value> {
    let mut levels = Map::new();
    for text in rules {
        let (rule, level) = text.split_once('=').ok_or_else(|| {
            output::usage(
                &format!("`{text}` does not say what the rule does."),
                "Write RULE=LEVEL, such as issue_in_commit=refuse.",
            )
        })?;
        levels.insert(rule.trim().to_owned(), json!(level.trim()));
    }
    Ok(Value::Object(levels))
}
