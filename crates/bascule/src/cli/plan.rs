//! `plan`, `recall`, `approve`, `suppress`: what should run where, what holds it, and what people do about it.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_client::Method;
use bascule_core::{Problem, Result};
use bascule_web::url_encode as segment;
use clap::{Args, Subcommand};
use serde_json::json;

pub(super) const PLAN: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("PRODUCT", "product"),
    ("RUNS", "current"),
    ("SHOULD", "target"),
    ("STATE", "state"),
    ("WHY", "why"),
];
const MEMBER: &[output::Column] = &[("PRODUCT", "product"), ("RUNS", "from"), ("GOES TO", "to")];
const VERDICT: &[output::Column] = &[("KIND", "kind"), ("REASON", "text"), ("UNTIL", "lifts")];

const SUPPRESSED: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("CAUSE", "cause"),
    ("REASON", "reason"),
    ("BY", "actor"),
    ("SINCE", "since"),
    ("UNTIL", "until"),
];
const RECALLED: &[output::Column] = &[("VERSION", "version"), ("REASON", "reason"), ("FLOOR", "floor")];
const APPROVED: &[output::Column] = &[
    ("VERSION", "version"),
    ("SCOPE", "scope"),
    ("TEAM", "team"),
    ("BY", "actor"),
    ("AT", "at"),
];

/// `bascule plan …`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Plan {
    #[command(subcommand)]
    action: Option<Action>,
    /// Of this environment alone
    #[arg(long = "in", value_name = "ENVIRONMENT")]
    environment: Option<String>,
    /// Why this version does not run there: PRODUCT@VERSION
    #[arg(long, value_name = "PRODUCT@VERSION", requires = "environment")]
    why: Option<String>,
    /// What was planned there before, newest first
    #[arg(long, requires = "environment", conflicts_with = "why")]
    log: bool,
    /// What a commit of the environments project, a file or a folder of files would change; nothing is changed
    #[arg(long, value_name = "REV|FILE", conflicts_with_all = ["environment", "why", "log"])]
    diff: Option<String>,
    /// What merging this merge request of the environments project would change; nothing is changed
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["environment", "why", "log", "diff"])]
    request: Option<i64>,
    /// With --request: the environments project; left out in a clone: where its `origin` leads
    #[arg(long, short, requires = "request")]
    project: Option<String>,
}

/// What people do about a plan.
#[derive(Debug, Subcommand)]
enum Action {
    /// Products that can only switch together: show them, or let them switch
    #[command(after_help = "Examples:
  bascule plan switch --in site-7
  bascule plan switch --in site-7 --yes --reason \"the ward is closed tonight\"

Without --yes nothing is done. All of a group end, then all start; where one is not healthy, all go back.")]
    Switch(Switch),
}

impl Plan {
    pub async fn run(self, context: &Context) -> Result<u8> {
        if let Some(Action::Switch(switch)) = self.action {
            return switch.run(context).await;
        }
        if let Some(what) = &self.diff {
            return super::environments::dry_run(context, what).await;
        }
        if let Some(iid) = self.request {
            let project = match self.project {
                Some(project) => project,
                None => super::views::of_clone()?,
            };
            output::project(&project)?;
            return super::environments::dry_run_of_request(context, &project, iid).await;
        }
        let environment = self.environment.unwrap_or_default();
        if let Some(question) = self.why {
            let Some((product, version)) = question.rsplit_once('@') else {
                return Err(output::usage(
                    &format!("`{question}` names no product and version."),
                    "Write PRODUCT@VERSION, such as health/clinic@1.1.0.",
                ));
            };
            let path = format!(
                "/api/v1/plans/{}/why?product={}&version={}",
                segment(&environment),
                segment(product),
                segment(version)
            );
            let why = context.get(&path).await?;
            if context.out.is_json() {
                context.out.record(&why, &[]);
            } else {
                context.out.say(why["sentence"].as_str().unwrap_or_default());
                let rows = verdicts(&why);
                if !rows.is_empty() {
                    context.out.table(&rows.into(), VERDICT);
                }
            }
            return Ok(if why["clear"] == true {
                code::DONE
            } else {
                code::REFUSED
            });
        }
        if self.log {
            let path = format!("/api/v1/plans/{}/log", segment(&environment));
            context.out.table(&context.get(&path).await?, PLAN);
            return Ok(code::DONE);
        }
        let planned = all(context, &environment).await?;
        say_refused(context).await?;
        let nothing = planned.as_array().is_some_and(Vec::is_empty);
        // Programs get an empty list.
        if nothing && !environment.is_empty() && !context.out.is_json() {
            let what = format!(
                "There is nothing in an environment `{}` that you may see.",
                output::printable(&environment)
            );
            return Err(Problem::new(404, "unknown_environment", what)
                .why("It is not declared, or what is installed there is not shown to you.")
                .next("`bascule environment map` lists the environments that you may see."));
        }
        context.out.table(&planned, PLAN);
        Ok(code::DONE)
    }
}

/// The chain of reasons, a line for each thing that holds by itself.
fn verdicts(why: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut rows = Vec::new();
    for link in why["links"].as_array().into_iter().flatten() {
        match link["holds"].as_array() {
            Some(holds) if holds.len() > 1 => rows.extend(holds.iter().cloned()),
            _ => rows.push(link.clone()),
        }
    }
    rows
}

/// Says on standard error that the newest commit of the environments project is not in force: otherwise whoever pushed
/// it would look for its effect in vain.
async fn say_refused(context: &Context) -> Result<()> {
    let refused = context.get("/api/v1/plans/refused").await?;
    if let Some(sentence) = refused["sentence"].as_str() {
        output::warn(sentence);
    }
    Ok(())
}

/// All pages of what is planned, in one environment or in all.
async fn all(context: &Context, environment: &str) -> Result<serde_json::Value> {
    let mut entries = Vec::new();
    loop {
        let after = entries
            .last()
            .map_or_else(String::new, |last: &serde_json::Value| {
                let text = |field: &str| last[field].as_str().unwrap_or_default().to_owned();
                segment(&format!("{}/{}", text("environment"), text("product")))
            });
        let only = if environment.is_empty() {
            String::new()
        } else {
            format!("&environment={}", segment(environment))
        };
        let page = context.get(&format!("/api/v1/plans?after={after}{only}")).await?;
        match page {
            serde_json::Value::Array(page) if !page.is_empty() => entries.extend(page),
            _ => return Ok(entries.into()),
        }
    }
}

/// `bascule plan switch …`
#[derive(Debug, Args)]
struct Switch {
    /// The environment
    #[arg(long = "in", value_name = "ENVIRONMENT")]
    environment: String,
    /// The group that this product belongs to, where there is more than one
    #[arg(long, value_name = "GROUP/PROJECT")]
    product: Option<String>,
    /// Let it switch now
    #[arg(long, requires = "reason")]
    yes: bool,
    /// Why now; it is recorded
    #[arg(long, default_value = "")]
    reason: String,
    /// Set aside what holds it at this moment
    #[arg(long, requires = "yes")]
    force: bool,
}

impl Switch {
    async fn run(self, context: &Context) -> Result<u8> {
        let path = format!("/api/v1/plans/{}", segment(&self.environment));
        let found = context.get(&format!("{path}/groups")).await?;
        let mut groups = found.as_array().cloned().unwrap_or_default();
        if let Some(product) = &self.product {
            groups.retain(|group| members(group).any(|member| member["product"] == product.as_str()));
        }
        if !self.yes {
            if context.out.is_json() {
                context.out.record(&groups.into(), &[]);
                return Ok(code::DONE);
            }
            if groups.is_empty() {
                context
                    .out
                    .say(&format!("nothing in {} has to switch together", self.environment));
            }
            for group in &groups {
                context.out.table(&group["members"], MEMBER);
                context.out.say(&format!(
                    "about {} seconds without service; take it with --yes --reason \"…\"",
                    group["downtime_seconds"]
                ));
                for why in group["tried"].as_array().into_iter().flatten() {
                    context
                        .out
                        .say(&format!("tried before: {}", why.as_str().unwrap_or_default()));
                }
                for why in group["held"].as_array().into_iter().flatten() {
                    context
                        .out
                        .say(&format!("held: {}", why.as_str().unwrap_or_default()));
                }
            }
            return Ok(code::DONE);
        }
        let [group] = groups.as_slice() else {
            let what = if groups.is_empty() {
                "There is no such group."
            } else {
                "There is more than one group."
            };
            return Err(output::usage(
                what,
                "Look at them without --yes, and name one by --product GROUP/PROJECT.",
            ));
        };
        let all: Vec<String> = members(group)
            .map(|member| {
                let text = |field: &str| member[field].as_str().unwrap_or_default();
                format!("{}@{}", text("product"), text("to"))
            })
            .collect();
        let body = json!({ "members": all, "reason": self.reason, "force": self.force });
        let switched = context.post(&format!("{path}/switch"), &body).await?;
        if context.out.is_json() {
            context.out.record(&switched, &[]);
        } else {
            context.out.say(&format!(
                "{} switch together in {}: `bascule plan --in {}` shows how far they are",
                all.join(", "),
                self.environment,
                self.environment
            ));
        }
        Ok(code::DONE)
    }
}

fn members(group: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    group["members"].as_array().into_iter().flatten()
}

/// `bascule recall …`
#[derive(Debug, Args)]
pub struct Recall {
    /// group/project
    project: String,
    /// One version, or a family such as 1.2.x
    #[arg(required_unless_present = "list", default_value = "")]
    versions: String,
    /// What is wrong with them, or why they may run again; everyone who is held or moved by it reads it
    #[arg(long, required_unless_present = "list", default_value = "")]
    reason: String,
    /// The releases that were recalled
    #[arg(long, conflicts_with_all = ["versions", "reason", "floor"])]
    list: bool,
    /// The oldest version that may be gone back to where nothing newer may be there; without it only forward
    #[arg(long, default_value = "", value_name = "VERSION")]
    floor: String,
    /// Lift the recall instead: environments take them again
    #[arg(long, conflicts_with = "floor")]
    lift: bool,
}

impl Recall {
    pub async fn run(self, context: &Context) -> Result<u8> {
        output::project(&self.project)?;
        let mut path = format!("/api/v1/projects/{}/recalls", self.project);
        if self.list {
            context.out.table(&context.get(&path).await?, RECALLED);
            return Ok(code::DONE);
        }
        if self.lift {
            path.push_str("/lift");
            let body = json!({ "versions": self.versions, "reason": self.reason });
            let lifted = context.post(&path, &body).await?;
            context.out.record(&lifted, &[("MAY RUN AGAIN", "versions")]);
            return Ok(code::DONE);
        }
        let body = json!({ "versions": self.versions, "reason": self.reason, "floor": self.floor });
        let recalled = context.post(&path, &body).await?;
        context.out.record(&recalled, &[("RECALLED", "versions")]);
        Ok(code::DONE)
    }
}

/// `bascule approve …`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub struct Approve {
    /// group/project
    project: String,
    /// The version
    #[arg(required_unless_present = "list", default_value = "")]
    version: String,
    /// In the name of this team: a group to which you belong
    #[arg(
        long = "as",
        value_name = "TEAM",
        required_unless_present = "list",
        default_value = ""
    )]
    team: String,
    /// The approvals that were given
    #[arg(long, group = "scope", conflicts_with_all = ["version", "team"])]
    list: bool,
    /// For this environment
    #[arg(long = "in", value_name = "ENVIRONMENT", group = "scope")]
    environment: Option<String>,
    /// For this channel
    #[arg(long, value_name = "CHANNEL", group = "scope")]
    channel: Option<String>,
}

impl Approve {
    pub async fn run(self, context: &Context) -> Result<u8> {
        output::project(&self.project)?;
        if self.list {
            let path = format!("/api/v1/projects/{}/approvals", self.project);
            context.out.table(&context.get(&path).await?, APPROVED);
            return Ok(code::DONE);
        }
        let scope = match (&self.environment, &self.channel) {
            (Some(name), _) => format!("environment:{name}"),
            (None, name) => format!("channel:{}", name.as_deref().unwrap_or_default()),
        };
        let body = json!({ "version": self.version, "scope": scope, "team": self.team });
        let path = format!("/api/v1/projects/{}/approvals", self.project);
        context
            .client
            .request(Method::POST, &path)
            .json(&body)?
            .send()
            .await?;
        context.out.say(&format!(
            "approved {} for {}",
            self.version,
            scope.replace(':', " ")
        ));
        Ok(code::DONE)
    }
}

/// `bascule suppress …`
#[derive(Debug, Args)]
pub struct Suppress {
    /// The environment; `*` for all of them
    #[arg(required_unless_present = "list", default_value = "")]
    environment: String,
    /// Why nothing may change there
    #[arg(long, required_unless_present_any = ["end", "list"], default_value = "")]
    reason: String,
    /// For so many minutes; without it until ended
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u32>,
    /// Let changes go on
    #[arg(long, conflicts_with_all = ["reason", "minutes"])]
    end: bool,
    /// Where changes are held, and why
    #[arg(long, conflicts_with_all = ["environment", "reason", "minutes", "end"])]
    list: bool,
}

impl Suppress {
    pub async fn run(self, context: &Context) -> Result<u8> {
        if self.list {
            context
                .out
                .table(&context.get("/api/v1/suppressions").await?, SUPPRESSED);
            return Ok(code::DONE);
        }
        let path = format!("/api/v1/plans/{}/suppression", segment(&self.environment));
        if self.end {
            context.client.request(Method::DELETE, &path).send().await?;
        } else {
            let body = json!({ "reason": self.reason, "minutes": self.minutes });
            context
                .client
                .request(Method::PUT, &path)
                .json(&body)?
                .send()
                .await?;
        }
        context.out.say(&if self.end {
            format!("changes in {} go on", self.environment)
        } else {
            format!("changes in {} are held: {}", self.environment, self.reason)
        });
        Ok(code::DONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_holds_has_a_line_with_its_own_end() {
        let why = json!({ "links": [
            { "kind": "dependency", "text": "1.1.0 needs g/b", "lifts": "", "holds": [] },
            { "kind": "approval+maintenance_window", "text": "g/b 1.1.0 waits", "lifts": "both", "holds": [
                { "kind": "approval", "text": "1.1.0 waits for approval by security", "lifts": "approval by security" },
                { "kind": "maintenance_window", "text": "1.1.0 waits for the window", "lifts": "2026-11-28T21:00:00Z" },
            ] },
        ] });
        let rows = verdicts(&why);
        let lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let text = |field: &str| row[field].as_str().unwrap_or_default();
                format!("{} until {}", text("kind"), text("lifts"))
            })
            .collect();
        assert_eq!(
            lines,
            [
                "dependency until ",
                "approval until approval by security",
                "maintenance_window until 2026-11-28T21:00:00Z"
            ]
        );
    }
}
