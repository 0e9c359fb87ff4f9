//! `product`: what a `bascule.yaml` asks of others, checked in a pipeline.

use super::{
    context::{Context, Remote},
    output::{self, code},
};
use bascule_core::{Problem, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a lock says of releases that whoever wrote it may not read; a check says nothing of them.
const UNREADABLE: &str = "unknown";
/// The lock's usual name, beside `bascule.yaml`.
const LOCK: &str = "product-dependencies.lock";

/// `bascule product …`
#[derive(Debug, Subcommand)]
pub enum Product {
    /// List products: the newest release of each, and how its environments stand
    #[command(after_help = "Examples:
  bascule product list
  bascule product list health/ --json")]
    List {
        /// Words, each of which stands in the product's path
        words: Vec<String>,
    },
    /// Show a product: its releases, where each runs, and what is waited for
    #[command(after_help = "Example:
  bascule product show health/clinic")]
    Show {
        /// group/project
        project: String,
    },
    /// Say which environments a release would strand, before it is published
    #[command(after_help = "Examples:
  bascule product check health/clinic --version 1.2.0
  bascule product check          in a job: project, version and token are the job's own
  bascule product check --warn   tells, and does not fail

Exit code 3 when an environment would be stranded.")]
    Check(Check),
    /// Write down what there is of the dependencies now, so that changes show in review
    #[command(after_help = "Examples:
  bascule product lock health/clinic
  bascule product lock --check   in a job

With --check: exit code 1 when the file says otherwise, naming what differs.")]
    Lock(Lock),
}

/// `bascule product check …`
#[derive(Debug, Args)]
pub struct Check {
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(env = "CI_PROJECT_PATH")]
    project: Option<String>,
    /// The version that is to be published; in a pipeline for a tag, the tag
    #[arg(long, env = "CI_COMMIT_TAG")]
    version: String,
    /// The product's file
    #[arg(long, value_name = "FILE", default_value = "bascule.yaml")]
    file: PathBuf,
    /// Tell, and do not fail
    #[arg(long)]
    warn: bool,
}

/// `bascule product lock …`
#[derive(Debug, Args)]
pub struct Lock {
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(env = "CI_PROJECT_PATH")]
    project: Option<String>,
    /// The product's file; the lock is written beside it
    #[arg(long, value_name = "FILE", default_value = "bascule.yaml")]
    file: PathBuf,
    /// Change nothing; fail where the file says otherwise
    #[arg(long)]
    check: bool,
}

/// In a job: the server that runs it, as the job itself, unless told otherwise.
pub fn in_job(remote: &Remote) -> Remote {
    let of_job = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let mut remote = remote.clone();
    if of_job("CI_JOB_TOKEN").is_some() && remote.url.is_none() && remote.token.is_none() {
        remote.url = of_job("CI_SERVER_URL");
        remote.token = of_job("CI_JOB_TOKEN");
    }
    remote
}

impl Product {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { words } => super::views::products(context, &words).await,
            Self::Show { project } => super::views::product(context, &project).await,
            Self::Check(check) => check.run(context).await,
            Self::Lock(lock) => lock.run(context).await,
        }
    }
}

impl Check {
    async fn run(self, context: &Context) -> Result<u8> {
        let project = self.project.clone().map_or_else(super::views::of_clone, Ok)?;
        output::project(&project)?;
        let version = self.version.trim().trim_start_matches('v');
        let body = json!({ "version": version, "file": read(&self.file)? });
        let path = format!("/api/v1/projects/{project}/publish-check");
        let found = context.post(&path, &body).await?;
        let stranded = list(&found, "stranded");
        if context.out.is_json() {
            context.out.record(&found, &[]);
        } else {
            for why in &stranded {
                context.out.say(&output::printable(why));
            }
            for warning in list(&found, "warnings") {
                context.out.say(&format!("note: {}", output::printable(&warning)));
            }
            if stranded.is_empty() {
                context.out.say(&format!("{version} strands no environment."));
            } else if self.warn {
                context
                    .out
                    .say(&format!("{version} would be published all the same: --warn"));
            }
        }
        Ok(if stranded.is_empty() || self.warn {
            code::DONE
        } else {
            code::REFUSED
        })
    }
}

impl Lock {
    async fn run(self, context: &Context) -> Result<u8> {
        let project = self.project.clone().map_or_else(super::views::of_clone, Ok)?;
        output::project(&project)?;
        let path = format!("/api/v1/projects/{project}/product-lock");
        let found = context.post(&path, &json!({ "file": read(&self.file)? })).await?;
        let text = lock_text(&found);
        let place = self.file.with_file_name(LOCK);
        if !self.check {
            std::fs::write(&place, &text).map_err(|error| {
                Problem::new(
                    500,
                    "not_written",
                    format!("{} cannot be written: {error}.", place.display()),
                )
                .next("Choose a folder that you may write to.")
            })?;
            if context.out.is_json() {
                context.out.record(&found, &[]);
            }
            context.out.say(&format!("wrote {}", place.display()));
            return Ok(code::DONE);
        }
        let before = match std::fs::read_to_string(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unreadable(&place, &error)),
        };
        let differs = differences(&before, &text);
        if context.out.is_json() {
            context.out.record(&json!({ "differs": differs }), &[]);
        } else if differs.is_empty() {
            context
                .out
                .say(&format!("{} says what there is.", place.display()));
        } else {
            context
                .out
                .say(&format!("{} is not what there is now:", place.display()));
            for line in &differs {
                context.out.say(&format!("  {}", output::printable(line)));
            }
            context
                .out
                .say("Run `bascule product lock`, look at what changed, and commit it.");
        }
        Ok(if differs.is_empty() {
            code::DONE
        } else {
            code::FAILED
        })
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    output::usage(
        &format!("{} cannot be read: {error}.", path.display()),
        "Run it where the product's bascule.yaml is, or name it with --file.",
    )
}

fn list(value: &Value, key: &str) -> Vec<String> {
    value[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

/// The lock as text: one block for each dependency, one line for each thing that may change, in a fixed order.
fn lock_text(found: &Value) -> String {
    let mut text =
        "# Written by `bascule product lock`: what there is of the dependencies. Commit it.\n".to_owned();
    for dependency in found["dependencies"].as_array().into_iter().flatten() {
        let word = |key: &str| dependency[key].as_str().unwrap_or_default();
        text.push_str(&format!("\n- product: {}\n", word("product")));
        for key in ["minimum", "maximum", "recommended"] {
            if !word(key).is_empty() {
                text.push_str(&format!("  {key}: {}\n", word(key)));
            }
        }
        if dependency["optional"] == true {
            text.push_str("  optional: true\n");
        }
        for key in ["newest", "stable"] {
            let none = if dependency["readable"] == true {
                "none"
            } else {
                UNREADABLE
            };
            let known = Some(word(key)).filter(|word| !word.is_empty()).unwrap_or(none);
            text.push_str(&format!("  {key}: {known}\n"));
        }
    }
    text
}

/// What two locks differ in, by product and key.
fn differences(before: &str, after: &str) -> Vec<String> {
    let entries = |text: &str| {
        let mut product = String::new();
        let mut all = std::collections::BTreeMap::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("- product: ") {
                name.trim().clone_into(&mut product);
                all.insert((product.clone(), String::new()), String::new());
            } else if let Some((key, value)) = line.trim().split_once(": ")
                && !line.starts_with('#')
            {
                all.insert((product.clone(), key.to_owned()), value.trim().to_owned());
            }
        }
        all
    };
    let (before, after) = (entries(before), entries(after));
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter_map(|at| {
            let (product, key) = at;
            match (before.get(at), after.get(at)) {
                (old, new) if old == new => None,
                (_, Some(new)) if new == UNREADABLE => None,
                (None, Some(_)) if key.is_empty() => Some(format!("{product} is missing in the lock")),
                (Some(_), None) if key.is_empty() => {
                    Some(format!("{product} is in the lock and no dependency"))
                }
                (Some(old), Some(new)) => Some(format!("{product}: {key} is {new}, the lock says {old}")),
                // The product's own line tells the rest.
                (None, Some(_)) if !before.contains_key(&(product.clone(), String::new())) => None,
                (Some(_), None) if !after.contains_key(&(product.clone(), String::new())) => None,
                (None, Some(new)) => Some(format!("{product}: {key} is {new}, and is missing in the lock")),
                (Some(old), None) => Some(format!("{product}: {key} is unset, the lock says {old}")),
                (None, None) => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(newest: &str) -> Value {
        json!({ "dependencies": [
            { "product": "health/auth", "minimum": "2.1.0", "maximum": "2.x.x", "recommended": "", "optional": false,
              "newest": newest, "stable": "", "readable": !newest.is_empty() },
        ]})
    }

    #[test]
    fn the_lock_is_the_same_for_the_same_and_tells_what_differs() {
        let text = lock_text(&found("2.3.0"));
        assert_eq!(
            text,
            "# Written by `bascule product lock`: what there is of the dependencies. Commit it.\n\n\
             - product: health/auth\n  minimum: 2.1.0\n  maximum: 2.x.x\n  newest: 2.3.0\n  stable: none\n"
        );
        assert!(differences(&text, &lock_text(&found("2.3.0"))).is_empty());
        assert_eq!(
            differences(&text, &lock_text(&found("2.4.0"))),
            ["health/auth: newest is 2.4.0, the lock says 2.3.0"]
        );
        assert_eq!(differences("", &text), ["health/auth is missing in the lock"]);
        assert_eq!(
            differences(&text, ""),
            ["health/auth is in the lock and no dependency"]
        );
        // A job that may not read the other project says nothing of its releases.
        assert!(differences(&text, &lock_text(&found(""))).is_empty());
        let least = text.replace("2.1.0", "2.0.0");
        assert_eq!(
            differences(&least, &text),
            ["health/auth: minimum is 2.1.0, the lock says 2.0.0"]
        );
    }
}
