//! A project's CI configuration, checked: GitLab's language as far as this platform serves it. Nothing here
//! does I/O; included files are supplied by the caller (see [`Assembly`]).

mod address;
mod artifacts;
mod ask;
mod assemble;
mod cache;
mod expand;
mod image;
mod include;
mod inputs;
mod interpolate;
mod job;
mod job_inputs;
mod keywords;
mod merge;
mod needs;
mod outcome;
mod reader;
mod secrets;
mod spec;
mod steps;
mod top;
mod trigger;

use crate::{
    fault::{Fault, Faults, Pos},
    rules::{Refs, Rule},
    yaml,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use ask::{Answer, Facts, Tree, Wanted};
pub use assemble::Assembly;
pub use include::{Include, Source};
pub(crate) use inputs::as_text;
pub use inputs::{Inputs, asked, lacking};
pub use keywords::{SCHEMA, keywords};
pub use reader::duration;
pub use spec::{
    ArtifactAccess, AutoCancel, CacheRule, Environment, Forward, Hooks, IdToken, JobInput, JobSpec,
    OnJobFailure, OnNewCommit, OutsideNeed, PIPELINE_BYTES, Pages, Release, ReleaseLink, Retry, Secret,
    Strategy, Trigger, tier_of,
};
pub use top::{POST, PRE, variable_name};

pub(crate) use job::{allow_failure, start_in, when};
pub(crate) use needs::{copy_name, needs};
pub(crate) use reader::Reader;
pub(crate) use top::{auto_cancel, variables};

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
    /// What is cancelled when.
    pub auto_cancel: AutoCancel,
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
    /// The values to choose from, for who runs a pipeline by hand; empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
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
    /// Some time after all before it succeeded (`start_in`).
    Delayed,
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
            Self::Delayed => "delayed",
            Self::Never => "never",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|when| when.as_str() == word)
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
    /// Of a `parallel:matrix`, only the jobs with these values; `None` is all. Each row is names and values.
    #[serde(default, skip_serializing)]
    pub matrix: Option<Vec<MatrixRow>>,
    /// Where it stands.
    #[serde(skip)]
    pub pos: Pos,
}

/// Names and values of one combination of a `parallel:matrix`.
pub type MatrixRow = Vec<(String, String)>;

/// `parallel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// As many equal jobs.
    Count(u32),
    /// One job for each combination, as names and values.
    Matrix(Vec<MatrixRow>),
}

/// The merged file as YAML, with `extends` resolved.
#[must_use]
pub fn merged_text(tree: &yaml::Node) -> String {
    yaml::emit(&expand::extended(tree))
}

/// Reads and checks a CI file that includes no others.
///
/// # Errors
/// All that is wrong, in order of place.
pub fn parse(text: &str) -> Result<Config, Faults> {
    let mut assembly = Assembly::new(text)?;
    while let Some(wanted) = assembly.wanted()? {
        let answer = match &wanted {
            Wanted::Paths(_) | Wanted::Changes(_) | Wanted::Version(_) => Answer::Paths(None),
            Wanted::File { paths, .. } => Answer::missing(paths.first().map_or("", String::as_str)),
            Wanted::Remote(name) | Wanted::Artifact { file: name, .. } => Answer::missing(name),
        };
        assembly.supply(wanted, answer);
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
