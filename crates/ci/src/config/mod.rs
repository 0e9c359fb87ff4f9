//! A project's CI configuration, checked: GitLab's language as far as this platform serves it. Nothing here
//! does I/O; included files are supplied by the caller (see [`Assembly`]).

mod artifacts;
mod assemble;
mod expand;
mod job;
mod needs;
mod reader;
mod top;

use crate::{
    fault::{Fault, Faults, Pos},
    rules::{Refs, Rule},
};
use bascule_wire::runner::{Artifact, Cache, Image};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

pub use assemble::Assembly;
pub use reader::duration;
pub use top::{POST, PRE, variable_name};

pub(crate) use job::{allow_failure, when};
pub(crate) use needs::needs;
pub(crate) use reader::Reader;
pub(crate) use top::variables;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The files it was made of; the first is the project's own.
    pub files: Vec<String>,
    /// Stages in order, from `.pre` to `.post`.
    pub stages: Vec<String>,
    /// Variables of all jobs.
    pub variables: Vec<Variable>,
    /// When a pipeline is made at all; `None` is always.
    pub workflow: Workflow,
    /// Jobs in the order of the file, without hidden ones.
    pub jobs: Vec<Job>,
    /// What is accepted but worth telling.
    pub warnings: Vec<Fault>,
}

/// `workflow:`.
#[derive(Clone, Debug, Default)]
pub struct Workflow {
    /// Name of the pipeline, with variables.
    pub name: Option<String>,
    /// When a pipeline is made.
    pub rules: Option<Vec<Rule>>,
}

/// A variable as written in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub key: String,
    /// Its value, not expanded.
    pub value: String,
    /// What it is for, as told to who runs a pipeline by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether `$` in the value is expanded.
    pub expand: bool,
}

/// When a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// If all before it succeeded.
    #[default]
    OnSuccess,
    /// If something before it failed.
    OnFailure,
    /// In any case.
    Always,
    /// When a person starts it.
    Manual,
    /// Not at all.
    Never,
}

impl When {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnSuccess => "on_success",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
            Self::Manual => "manual",
            Self::Never => "never",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::OnSuccess,
            Self::OnFailure,
            Self::Always,
            Self::Manual,
            Self::Never,
        ]
        .into_iter()
        .find(|when| when.as_str() == word)
    }
}

/// Whether a job's failure leaves the pipeline alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowFailure {
    /// It does not.
    #[default]
    No,
    /// It does.
    Yes,
    /// Only with one of these exit codes.
    ExitCodes(Vec<i64>),
}

impl AllowFailure {
    /// Whether the failure of a job that stands so leaves the pipeline alone.
    #[must_use]
    pub fn stands(&self, status: crate::status::JobStatus, exit_code: Option<i64>) -> bool {
        match self {
            Self::ExitCodes(_) => status == crate::status::JobStatus::Failed && self.allows(exit_code),
            allow => *allow == Self::Yes,
        }
    }

    /// Whether a failure with this exit code is allowed.
    #[must_use]
    pub fn allows(&self, exit_code: Option<i64>) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::ExitCodes(codes) => exit_code.is_some_and(|code| codes.contains(&code)),
        }
    }
}

/// A job as written.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub pos: Pos,
    /// Its stage.
    pub stage: String,
    /// Where the stage is named.
    pub stage_pos: Pos,
    /// When it runs, outside rules.
    pub when: When,
    /// `allow_failure`, where written.
    pub allow_failure: Option<AllowFailure>,
    /// Rules, the first that matches counts; `None` where there are none.
    pub rules: Option<Vec<Rule>>,
    /// `only`.
    pub only: Option<Refs>,
    /// `except`.
    pub except: Option<Refs>,
    /// Jobs to wait for instead of the earlier stages.
    pub needs: Option<Vec<Need>>,
    /// Jobs whose artifacts are wanted; `None` is all of the earlier stages.
    pub dependencies: Option<Vec<(String, Pos)>>,
    /// Several jobs of one.
    pub parallel: Option<Parallel>,
    /// Its own variables.
    pub variables: Vec<Variable>,
    /// Which global variables it takes.
    pub inherit_variables: Inherit,
    /// All that the runner is told.
    pub spec: JobSpec,
}

/// Which global variables or defaults a job takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inherit {
    /// All.
    #[default]
    All,
    /// None.
    Nothing,
    /// These.
    Only(Vec<String>),
}

impl Inherit {
    /// Whether the job takes the one of this name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only(names) => names.iter().any(|n| n == name),
        }
    }
}

/// One entry of `needs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The job waited for.
    pub job: String,
    /// Whether its artifacts are taken.
    pub artifacts: bool,
    /// Whether it may be absent from the pipeline.
    pub optional: bool,
    /// Where it stands.
    #[serde(skip)]
    pub pos: Pos,
}

/// `parallel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// As many equal jobs.
    Count(u32),
    /// One job for each combination, as names and values.
    Matrix(Vec<Vec<(String, String)>>),
}

/// What the runner is told of a job, and what the server does with its result. Kept with the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    /// Lines before the script.
    pub before_script: Vec<String>,
    /// The script.
    pub script: Vec<String>,
    /// Lines that run in any case.
    pub after_script: Vec<String>,
    /// Container image.
    pub image: Option<Image>,
    /// Containers beside it.
    pub services: Vec<Image>,
    /// What to keep, archive and reports.
    pub artifacts: Vec<Artifact>,
    /// What to carry from job to job.
    pub cache: Vec<Cache>,
    /// What a runner must offer.
    pub tags: Vec<String>,
    /// Longest run, in seconds; `None` is the platform's default.
    pub timeout: Option<u64>,
    /// Trying again.
    pub retry: Retry,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: bool,
    /// Jobs of one resource group run one at a time.
    pub resource_group: Option<String>,
    /// Pattern of the coverage in the log.
    pub coverage: Option<String>,
    /// Where it deploys to.
    pub environment: Option<Environment>,
    /// The release it makes when it succeeds.
    pub release: Option<Release>,
}

/// `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How often, at most twice.
    pub max: u32,
    /// For which failure reasons; empty or `always` is for all.
    pub when: Vec<String>,
    /// For which exit codes; empty is for all.
    pub exit_codes: Vec<i64>,
}

impl Retry {
    /// Whether a failure is one to try again for.
    #[must_use]
    pub fn covers(&self, reason: &str, exit_code: Option<i64>) -> bool {
        let any = self.when.is_empty() && self.exit_codes.is_empty();
        any || self.when.iter().any(|when| when == "always" || when == reason)
            || exit_code.is_some_and(|code| self.exit_codes.contains(&code))
    }
}

/// `environment`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Its name, with variables.
    pub name: String,
    /// Where it answers, with variables.
    pub url: Option<String>,
    /// `start`, `prepare`, `stop`, `verify`, `access`.
    pub action: String,
}

/// `release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Release {
    /// The tag, with variables.
    pub tag_name: String,
    /// Its name, with variables; empty is the tag.
    pub name: String,
    /// Its description, Markdown, with variables.
    pub description: String,
    /// Links to show, as name and address.
    pub links: BTreeMap<String, String>,
}

/// Reads and checks a CI file that includes no others.
///
/// # Errors
/// All that is wrong, in order of place.
pub fn parse(text: &str) -> Result<Config, Faults> {
    let mut assembly = Assembly::new(text)?;
    while let Some(path) = assembly.wanted() {
        assembly.supply(&path, None)?;
    }
    assembly.finish()
}

/// Seconds of a duration as written (`1h 30m`, `2 days`), or `None` if it cannot be read.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    duration(text).map(|d: Duration| d.as_secs())
}

#[cfg(test)]
mod tests;
