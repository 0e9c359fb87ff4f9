//! `environment`, `deploy`, `rollout`.

use super::{
    context::Context,
    output::{self, code},
    views,
};
use bascule_core::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::time::Duration;

const ENVIRONMENT: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("TIER", "tier"),
    ("SERVING", "serving.version"),
    ("DRIVER", "serving.driver"),
    ("ROLLING OUT", "active.version"),
    ("URL", "url"),
    ("AGENT ONLINE", "agent_online"),
];
const DEPLOYMENT: &[(&str, &str)] = &[
    ("ID", "id"),
    ("ENVIRONMENT", "environment_name"),
    ("VERSION", "version"),
    ("STATUS", "status"),
    ("CAUSE", "cause"),
    ("BY", "actor"),
    ("REASON", "reason"),
    ("ROLLOUT", "rollout"),
];
const ROLLOUT: &[(&str, &str)] = &[
    ("ID", "id"),
    ("ENVIRONMENT", "environment_name"),
    ("VERSION", "version"),
    ("BESIDE", "baseline"),
    ("STATUS", "status"),
    ("WEIGHT %", "weight"),
    ("CAUSE", "cause"),
    ("REASON", "reason"),
];

/// `bascule environment …`
#[derive(Debug, Subcommand)]
pub enum Environment {
    /// List a project's environments
    #[command(after_help = "Example:\n  bascule environment list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Show an environment and its instances
    #[command(after_help = "Example:\n  bascule environment show demo/appointments production")]
    Show {
        /// group/project
        project: String,
        /// Its name
        environment: String,
    },
    /// List deployments, newest first
    #[command(after_help = "Example:\n  bascule environment deployments demo/appointments")]
    Deployments {
        /// group/project
        project: String,
    },
    /// Take a deployment back that serves nobody yet
    #[command(after_help = "Example:
  bascule environment cancel demo/appointments 0199… --reason \"it was meant for staging\"

What takes traffic already is left by `bascule rollout abort`.")]
    Cancel {
        /// group/project
        project: String,
        /// The deployment's id, as `environment deployments` shows it
        id: String,
        /// Why; recorded
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// All environments with their health and how their products stand
    #[command(after_help = "Examples:
  bascule environment map
  bascule environment map site- --state held")]
    Map(views::Filter),
    /// Every product in every environment: what runs, what should, and what holds it
    #[command(after_help = "Examples:
  bascule environment fleet clinic
  bascule environment fleet --state blocked --json")]
    Fleet(views::Filter),
    /// When changes may happen in an environment, and why they are held now
    #[command(after_help = "Example:
  bascule environment windows site-7")]
    Windows {
        /// Its name
        environment: String,
    },
    /// What runs in an environment, by agent, down to the instance
    #[command(after_help = "Example:
  bascule environment tree site-7")]
    Tree {
        /// Its name
        environment: String,
    },
}

impl Environment {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Map(filter) => return views::map(context, &filter).await,
            Self::Fleet(filter) => return views::fleet(context, &filter).await,
            Self::Windows { environment } => return views::windows(context, &environment).await,
            Self::Tree { environment } => return views::tree(context, &environment).await,
            Self::List { project } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/environments");
                let mut all = context.get(&path).await?;
                if !context.out.is_json() {
                    all.as_array_mut().into_iter().flatten().for_each(tell_apart);
                }
                context.out.table(&all, ENVIRONMENT);
            }
            Self::Show { project, environment } => {
                output::project(&project)?;
                let mut shown = context
                    .get(&format!("/api/v1/projects/{project}/environments/{environment}"))
                    .await?;
                if !context.out.is_json() {
                    tell_apart(&mut shown);
                }
                context.out.record(&shown, ENVIRONMENT);
                if !context.out.is_json() {
                    let columns = [
                        ("INSTANCE", "id"),
                        ("VERSION", "version"),
                        ("STATE", "state"),
                        ("WEIGHT %", "weight"),
                        ("RESTARTS", "restarts"),
                        ("MESSAGE", "message"),
                    ];
                    context.out.table(&shown["instances"], &columns);
                }
            }
            Self::Cancel { project, id, reason } => {
                output::project(&project)?;
                let id = bascule_web::url_encode(&id);
                let path = format!("/api/v1/projects/{project}/deployments/{id}/cancel");
                let done = context.post(&path, &json!({ "reason": reason })).await?;
                context.out.record(&done, DEPLOYMENT);
            }
            Self::Deployments { project } => {
                output::project(&project)?;
                context.out.table(
                    &context
                        .get(&format!("/api/v1/projects/{project}/deployments"))
                        .await?,
                    DEPLOYMENT,
                );
            }
        }
        Ok(code::DONE)
    }
}

/// What is known of an environment that no network reaches, in the columns of one that is seen.
fn tell_apart(environment: &mut Value) {
    if environment["apart"] != true {
        return;
    }
    let told = environment["told"].take();
    environment["url"] = match told["at"].as_str() {
        Some(at) => format!("(as reported {at})"),
        None => "(no network reaches it)".to_owned(),
    }
    .into();
    if told["version"]
        .as_str()
        .is_some_and(|version| !version.is_empty())
    {
        environment["serving"] = json!({ "version": told["version"] });
    }
    environment["agent_online"] = Value::Null;
}

/// `bascule deploy …`
#[derive(Debug, Args)]
pub struct Deploy {
    /// group/project
    project: String,
    /// The release's version
    version: String,
    /// The environment
    #[arg(long, value_name = "ENVIRONMENT")]
    to: String,
    /// Deploy although a rule advises against it; needs --reason
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why; recorded
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait until it serves or is undone
    #[arg(long)]
    wait: bool,
}

impl Deploy {
    pub async fn run(self, context: &Context) -> Result<u8> {
        output::project(&self.project)?;
        let body = json!({ "version": self.version, "environment": self.to, "force": self.force, "reason": self.reason });
        let path = format!("/api/v1/projects/{}/deployments", self.project);
        let mut deployment = loop {
            match context.post(&path, &body).await {
                // It is on its way to staging: that is waited for as well.
                Err(problem) if self.wait && problem.code == "staging_not_done" => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                outcome => break outcome?,
            }
        };
        let mut told = String::new();
        while self.wait && deployment["finished_at"].is_null() {
            tokio::time::sleep(Duration::from_millis(300)).await;
            deployment = context
                .get(&format!(
                    "{path}/{}",
                    deployment["id"].as_str().unwrap_or_default()
                ))
                .await?;
            if let Some(rollout) = deployment["rollout"].as_str() {
                let rollout = context
                    .get(&format!("/api/v1/projects/{}/rollouts/{rollout}", self.project))
                    .await?;
                tell(context, &rollout, &mut told);
            }
        }
        context.out.record(&deployment, DEPLOYMENT);
        let good = !self.wait || deployment["status"] == "succeeded";
        Ok(if good { code::DONE } else { code::FAILED })
    }
}

/// Tells a rollout's progress when it changed.
fn tell(context: &Context, rollout: &Value, told: &mut String) {
    let text = format!(
        "{} at {} % ({}): new {} requests, {} errors; old {} requests, {} errors",
        rollout["version"].as_str().unwrap_or_default(),
        rollout["weight"],
        rollout["status"].as_str().unwrap_or_default(),
        rollout["numbers"]["new_requests"],
        rollout["numbers"]["new_errors"],
        rollout["numbers"]["old_requests"],
        rollout["numbers"]["old_errors"],
    );
    let key = format!("{}{}", rollout["weight"], rollout["status"]);
    if *told != key {
        *told = key;
        context.out.say(&text);
    }
}

/// `bascule rollout …`
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// List rollouts, newest first
    #[command(after_help = "Example:\n  bascule rollout list demo/appointments")]
    List {
        /// group/project
        project: String,
    },
    /// Show a rollout and the numbers it is judged by
    #[command(after_help = "Example:\n  bascule rollout show demo/appointments 0199c2d4-…")]
    Show {
        /// group/project
        project: String,
        /// Its id
        id: String,
        /// Wait until it ends; exit code 1 if it was undone
        #[arg(long)]
        wait: bool,
    },
    /// Give the new version all traffic now
    #[command(after_help = "Example:
  bascule rollout promote demo/appointments 0199c2d4-… --reason \"the numbers are good\"")]
    Promote(Act),
    /// Hold the present share of traffic
    #[command(after_help = "Example:
  bascule rollout pause demo/appointments 0199c2d4-… --reason \"the help desk looks at it\"")]
    Pause(Act),
    /// Go on after a pause
    #[command(after_help = "Example:\n  bascule rollout resume demo/appointments 0199c2d4-…")]
    Resume(Act),
    /// Put all traffic back to the old version now
    #[command(
        after_help = "Example:\n  bascule rollout abort demo/appointments 0199… --reason \"support lines are full\""
    )]
    Abort(Act),
}

/// Which rollout, and why.
#[derive(Debug, Args)]
pub struct Act {
    /// group/project
    project: String,
    /// The rollout's id
    id: String,
    /// Why; recorded
    #[arg(long, default_value = "")]
    reason: String,
}

impl Rollout {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { project } => {
                output::project(&project)?;
                context.out.table(
                    &context
                        .get(&format!("/api/v1/projects/{project}/rollouts"))
                        .await?,
                    ROLLOUT,
                );
            }
            Self::Show { project, id, wait } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/rollouts/{id}");
                let mut rollout = context.get(&path).await?;
                let mut told = String::new();
                while wait && rollout["finished_at"].is_null() {
                    tell(context, &rollout, &mut told);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    rollout = context.get(&path).await?;
                }
                context.out.record(&rollout, ROLLOUT);
                if !context.out.is_json() {
                    let mut numbers = rollout["numbers"].take();
                    for name in ["error_evidence", "slow_evidence"] {
                        if let Some(evidence) = numbers[name].as_f64() {
                            numbers[name] = format!("{evidence:.2}").into();
                        }
                    }
                    context.out.record(&numbers, NUMBERS);
                }
                if wait && rollout["status"] != "promoted" {
                    return Ok(code::FAILED);
                }
            }
            Self::Promote(act) => return act.post(context, "promote").await,
            Self::Pause(act) => return act.post(context, "pause").await,
            Self::Resume(act) => return act.post(context, "resume").await,
            Self::Abort(act) => return act.post(context, "abort").await,
        }
        Ok(code::DONE)
    }
}

const NUMBERS: &[(&str, &str)] = &[
    ("NEW REQUESTS", "new_requests"),
    ("NEW ERRORS", "new_errors"),
    ("OLD REQUESTS", "old_requests"),
    ("OLD ERRORS", "old_errors"),
    ("SLICES", "slices"),
    ("EVIDENCE (ERRORS)", "error_evidence"),
    ("EVIDENCE (SLOW)", "slow_evidence"),
    ("UNDONE AT", "threshold"),
];

impl Act {
    async fn post(self, context: &Context, verb: &str) -> Result<u8> {
        output::project(&self.project)?;
        let path = format!("/api/v1/projects/{}/rollouts/{}/{verb}", self.project, self.id);
        context.out.record(
            &context.post(&path, &json!({ "reason": self.reason })).await?,
            ROLLOUT,
        );
        Ok(code::DONE)
    }
}
