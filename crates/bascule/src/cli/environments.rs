//! `plan --diff`, `prune`, `parity`, `secret`: environments in git.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_client::Method;
use bascule_core::{Problem, Result};
use bascule_web::url_encode as segment;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A secret's value, from a file or from standard input, without the newline at its end.
pub fn value_of(file: Option<&Path>) -> Result<String> {
    let mut value = match file {
        Some(path) => std::fs::read_to_string(path),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
    }
    .map_err(|error| {
        output::usage(
            &format!("The value cannot be read: {error}."),
            "Give it on standard input, or name a file of text.",
        )
    })?;
    if value.ends_with('\n') {
        value.pop();
    }
    Ok(value)
}

/// `bascule plan --request …`: what merging a request of the environments project would change.
pub async fn dry_run_of_request(context: &Context, project: &str, iid: i64) -> Result<u8> {
    let path = format!("/api/v1/projects/{project}/merge-requests/{iid}/dry-run");
    Ok(say(context, &context.get(&path).await?))
}

/// `bascule plan --diff …`: what a commit, a file or a folder of files would change.
pub async fn dry_run(context: &Context, what: &str) -> Result<u8> {
    let told = context.post("/api/v1/plans/dry-run", &given(what)?).await?;
    Ok(say(context, &told))
}

fn say(context: &Context, told: &Value) -> u8 {
    if context.out.is_json() {
        context.out.record(told, &[]);
    } else {
        tell(context, told);
    }
    let refused = told["refused"].as_str().is_some_and(|text| !text.is_empty());
    if refused { code::REFUSED } else { code::DONE }
}

/// A path that is there is sent; anything else names a commit.
fn given(what: &str) -> Result<Value> {
    let path = Path::new(what);
    if path.is_dir() {
        let folder = path.join("environments");
        let folder = if folder.is_dir() { folder } else { path.to_owned() };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
            let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
            if path
                .extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml")
            {
                files.push(file(&path)?);
            }
        }
        files.sort_by_key(|file| file["path"].to_string());
        return Ok(json!({ "files": files, "complete": true }));
    }
    if path.is_file() {
        return Ok(json!({ "files": [file(path)?] }));
    }
    Ok(json!({ "revision": commit(what) }))
}

fn file(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(json!({ "path": format!("environments/{name}"), "text": text }))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    output::usage(
        &format!("{} cannot be read: {error}.", path.display()),
        "Name a file, a folder of files, or a commit of the environments project.",
    )
}

/// The full name of a commit, where the folder is a clone that knows it.
fn commit(name: &str) -> String {
    let found = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
        .arg(format!("{name}^{{commit}}"))
        .output();
    match found {
        Ok(found) if found.status.success() => String::from_utf8_lossy(&found.stdout).trim().to_owned(),
        _ => name.to_owned(),
    }
}

fn tell(context: &Context, told: &Value) {
    let text = |value: &Value| output::printable(value.as_str().unwrap_or_default());
    if let Some(refused) = told["refused"].as_str().filter(|text| !text.is_empty()) {
        context.out.say(&format!(
            "nothing of it would come into force: {}",
            output::printable(refused)
        ));
        return;
    }
    let changes = told["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let hidden = told["hidden"].as_u64().unwrap_or(0);
    if changes.is_empty() && hidden == 0 {
        context.out.say("This would change nothing.");
        return;
    }
    context.out.say("This would change:");
    for change in changes {
        context.out.say(&format!("  {}", text(&change["text"])));
    }
    if hidden > 0 {
        context
            .out
            .say(&format!("  and {hidden} more of products that you may not read"));
    }
    if told["plans"].as_array().is_some_and(|plans| !plans.is_empty()) {
        context.out.say("\nThen:");
        context.out.table(&told["plans"], super::plan::PLAN);
    }
}

/// `bascule prune …`
#[derive(Debug, Args)]
pub struct Prune {
    /// The environment
    #[arg(long = "in", value_name = "ENVIRONMENT")]
    environment: String,
    /// Let go what waits, although it is more than the file lets go at once
    #[arg(long)]
    confirm: bool,
}

impl Prune {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let path = format!("/api/v1/plans/{}/prune", segment(&self.environment));
        let prune = if self.confirm {
            context.post(&path, &json!({})).await?
        } else {
            context.get(&path).await?
        };
        if context.out.is_json() {
            context.out.record(&prune, &[]);
        } else {
            context.out.record(
                &prune,
                &[("STATE", "state"), ("WHY", "reason"), ("HIDDEN", "hidden")],
            );
            if prune["installs"].as_array().is_some_and(|all| !all.is_empty()) {
                context.out.table(
                    &prune["installs"],
                    &[("PRODUCT", "product"), ("RUNS", "version"), ("WAITS", "held")],
                );
            }
        }
        Ok(if prune["state"] == "refused" {
            code::REFUSED
        } else {
            code::DONE
        })
    }
}

/// `bascule parity …`
#[derive(Debug, Args)]
pub struct Parity {
    /// group/project; all products where it is left out
    product: Option<String>,
    /// Also what is the same everywhere
    #[arg(long)]
    all: bool,
}

impl Parity {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let mut after = String::new();
        loop {
            let mut path = format!("/api/v1/parity?after={}", segment(&after));
            if let Some(product) = &self.product {
                output::project(product)?;
                path.push_str(&format!("&product={}", segment(product)));
            }
            let page = context.get(&path).await?;
            if context.out.is_json() {
                context.out.record(&page, &[]);
            } else {
                for item in page["items"].as_array().into_iter().flatten() {
                    self.tell(context, item);
                }
            }
            match page["next"].as_str() {
                Some(next) if !context.out.is_json() => next.clone_into(&mut after),
                _ => return Ok(code::DONE),
            }
        }
    }

    fn tell(&self, context: &Context, item: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let differences = item["differences"].as_u64().unwrap_or(0);
        context
            .out
            .say(&format!("{}: {differences} differences", text(&item["product"])));
        let names: Vec<String> = item["environments"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|environment| text(&environment["name"]))
            .collect();
        let lines: Vec<Value> = item["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|line| self.all || line["differs"] == true)
            .map(|line| {
                let cells = line["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
                let each: Vec<String> = names
                    .iter()
                    .zip(cells)
                    .map(|(name, cell)| format!("{name}: {}", text(cell)))
                    .collect();
                json!({
                    "differs": if line["differs"] == true { "differs" } else { "same" },
                    "name": line["name"],
                    "cells": each.join("; "),
                })
            })
            .collect();
        if !lines.is_empty() {
            context.out.table(
                &Value::Array(lines),
                &[("", "differs"), ("WHAT", "name"), ("WHERE", "cells")],
            );
        }
    }
}

/// `bascule secret …`
#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Names of the secrets of an environment; values are never shown
    #[command(after_help = "Example:
  bascule secret list site-7")]
    List {
        /// The environment; `*` for those of all
        environment: String,
    },
    /// Keep a secret, read from standard input or a file, so that it stands in no shell's history
    #[command(after_help = "Examples:
  bascule secret set site-7 DB_PASSWORD < password.txt
  bascule secret set '*' SMTP_PASSWORD --file password.txt

In environments/site-7.yaml: `variables: {DATABASE_PASSWORD: \"secret:DB_PASSWORD\"}`. One newline at the end is
left out.")]
    Set {
        /// The environment; `*` for all
        environment: String,
        /// The name by which `secret:NAME` refers to it
        name: String,
        /// The file that holds the value
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Forget a secret
    #[command(after_help = "Example:
  bascule secret remove site-7 DB_PASSWORD")]
    Remove {
        /// The environment; `*` for all
        environment: String,
        /// Its name
        name: String,
    },
}

impl Secret {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let place = |environment: &str, name: &str| {
            format!("/api/v1/sites/{}/secrets/{}", segment(environment), segment(name))
        };
        match self {
            Self::List { environment } => {
                let path = format!("/api/v1/sites/{}/secrets", segment(&environment));
                context.out.table(
                    &context.get(&path).await?,
                    &[
                        ("NAME", "name"),
                        ("ENVIRONMENT", "environment"),
                        ("SET BY", "actor"),
                        ("AT", "updated_at"),
                    ],
                );
            }
            Self::Set {
                environment,
                name,
                file,
            } => {
                let value = value_of(file.as_deref())?;
                context
                    .client
                    .request(Method::PUT, &place(&environment, &name))
                    .json(&json!({ "value": value }))?
                    .send()
                    .await?;
                context
                    .out
                    .say(&format!("the secret {name} of {environment} is set"));
            }
            Self::Remove { environment, name } => {
                context
                    .client
                    .request(Method::DELETE, &place(&environment, &name))
                    .send()
                    .await?;
                context
                    .out
                    .say(&format!("the secret {name} of {environment} is removed"));
            }
        }
        Ok(code::DONE)
    }
}
