//! Required pipelines: what a group lets run in every project of it, whatever the project's own CI file says.
//!
//! A group's settings name a *policy project*. Its file [`FILE`], on its default branch, lists CI files of that
//! project; their jobs join every pipeline of the group's projects. The texts are kept here from the commit on that
//! brought them, so that a pipeline neither waits for another repository nor stops when that is gone, and a faulty
//! commit of the policy is told and changes nothing.
//!
//! What keeps a project from getting round them:
//! - They are planned apart: no global key, no `workflow`, no job of the project's file touches them.
//! - Their names and stages begin with the name of the required pipeline, and give way to nothing.
//! - Their rules, and the jobs themselves, see the predefined variables and their own, never those of the project or
//!   of who starts the pipeline.
//! - They follow stages of their own (see [`Track`](crate::pipeline::state::Track)).
//! - They run where there is no CI file, where it is faulty, where its rules say no, and where CI was to be skipped.

pub(crate) mod api;
mod dry_run;
mod pages;
mod service;
mod standing;
pub(crate) mod store;

pub(crate) use standing::Expected;
pub use standing::{Asked, Demand, Stands};

use crate::{
    config::{Answer, Assembly, Config, Reader, Tree, Wanted},
    fault::{Fault, Faults, Pos, shown},
    plan::{Dependencies, Plan, PlannedJob},
    rules::Glob,
    yaml::{self, Budget, Node},
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The file that lists a policy project's required pipelines.
pub const FILE: &str = "required-pipelines.yml";
/// Most required pipelines of a group.
pub const MOST: usize = 20;
/// Most jobs that all of them may add to one pipeline.
pub const JOBS: usize = 100;
/// Largest size of all their files together, in bytes.
pub const BYTES: usize = 512 * 1024;
/// Sources of pipelines that they do not join: what a bridge makes within a project belongs to its parent, which has
/// them already.
const WITHOUT: &str = crate::pipeline::CHILD;

/// One required pipeline, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What its jobs and stages are called after.
    pub name: String,
    /// The CI file in the policy project.
    pub file: String,
    /// Whether the project's own jobs wait for it.
    #[serde(default)]
    pub gate: bool,
    /// Patterns of the names of projects that it is for; empty is for all.
    #[serde(default)]
    pub projects: Vec<String>,
    /// Patterns of the names of projects that it is not for.
    #[serde(default)]
    pub except: Vec<String>,
}

/// One required pipeline with all that it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// What the list says.
    pub entry: Entry,
    /// Its CI file, then those that it includes, as path and text.
    pub files: Vec<(String, String)>,
}

impl Entry {
    /// Whether it is for the project of this name (without its group).
    #[must_use]
    pub fn is_for(&self, project: &str) -> bool {
        let covers = |pattern: &String| Glob::new(pattern).is_ok_and(|glob| glob.matches(project));
        (self.projects.is_empty() || self.projects.iter().any(covers)) && !self.except.iter().any(covers)
    }
}

/// Reads [`FILE`].
///
/// # Errors
/// All that is wrong with it.
pub fn read(text: &str) -> Result<Vec<Entry>, Faults> {
    let mut reader = Reader::default();
    let mut warnings = Vec::new();
    let tree = yaml::read(text, 0, &mut Budget::default(), &mut warnings).map_err(named)?;
    let mut list = Vec::new();
    if reader.map(&tree, "", &["pipelines"]).is_some() {
        match tree.get("pipelines").map(|node| (node, node.items())) {
            Some((_, Some(items))) => {
                if items.len() > MOST {
                    reader.fault(
                        tree.pos,
                        format!("the file lists {} required pipelines", items.len()),
                        format!("at most {MOST} are allowed"),
                    );
                }
                list.extend(items.iter().filter_map(|item| entry(item, &mut reader)));
            }
            Some((node, None)) => reader.wrong(node, "pipelines", "a list of maps"),
            None => reader.fault(
                tree.pos,
                "the file has no `pipelines`",
                "list them, each with `name` and `file`; `pipelines: []` is none",
            ),
        }
    }
    let mut seen = HashSet::new();
    for entry in &list {
        if !seen.insert(entry.name.as_str()) {
            reader.fault(
                tree.pos,
                format!("two required pipelines are called `{}`", shown(&entry.name)),
                "give each a name of its own",
            );
        }
    }
    if reader.faults.is_empty() {
        Ok(list)
    } else {
        Err(named(Faults(reader.faults)))
    }
}

fn entry(node: &Node, reader: &mut Reader) -> Option<Entry> {
    let mut entry = Entry {
        name: String::new(),
        file: String::new(),
        gate: false,
        projects: Vec::new(),
        except: Vec::new(),
    };
    for field in reader.map(node, "pipelines", &["name", "file", "gate", "projects", "except"])? {
        let value = &field.value;
        match field.key.as_str() {
            "name" => entry.name = reader.text(value, "name")?,
            "file" => entry.file = reader.text(value, "file")?,
            "gate" => entry.gate = reader.boolean(value, "gate")?,
            "projects" => entry.projects = patterns(value, "projects", reader),
            "except" => entry.except = patterns(value, "except", reader),
            _ => {}
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if entry.name.is_empty() || entry.name.len() > 60 || !entry.name.chars().all(plain) {
        reader.fault(
            node.pos,
            format!("`{}` cannot be a required pipeline's `name`", shown(&entry.name)),
            "use 1 to 60 letters, digits, `-`, `_` and `.`",
        );
        return None;
    }
    if entry.file.is_empty() {
        reader.fault(
            node.pos,
            format!("the required pipeline `{}` has no `file`", shown(&entry.name)),
            "name a CI file of this project",
        );
        return None;
    }
    entry.file = entry.file.trim_start_matches('/').to_owned();
    Some(entry)
}

fn patterns(node: &Node, place: &str, reader: &mut Reader) -> Vec<String> {
    let list = reader.texts(node, place);
    for text in &list {
        if let Err(why) = Glob::new(text) {
            reader.fault(node.pos, format!("`{}` is no pattern: {why}", shown(text)), "");
        }
    }
    list
}

fn named(faults: impl Into<Faults>) -> Faults {
    let mut faults = faults.into();
    for fault in &mut faults.0 {
        FILE.clone_into(&mut fault.file);
    }
    faults
}

impl Template {
    /// The configuration that its files make.
    ///
    /// # Errors
    /// All that is wrong with them, also what no required pipeline may hold.
    pub fn config(&self) -> Result<Config, Faults> {
        let root = self.file(&self.entry.file).ok_or_else(|| {
            self.named(Faults::one(
                Pos::default(),
                format!(
                    "the file `{}` does not exist in the policy project",
                    shown(&self.entry.file)
                ),
                "name a CI file of the policy project's default branch",
            ))
        })?;
        let mut assembly = Assembly::new(root).map_err(|faults| self.named(faults))?;
        while let Some(wanted) = assembly.wanted().map_err(|faults| self.named(faults))? {
            let answer = match &wanted {
                Wanted::File {
                    tree: Tree::Own,
                    paths,
                } => paths.iter().find_map(|path| self.file(path)).map_or_else(
                    || Answer::missing(&paths.join("` or `")),
                    |text| Answer::Text(text.to_owned()),
                ),
                Wanted::Paths(Tree::Own) => {
                    Answer::Paths(Some(self.files.iter().map(|(path, _)| path.clone()).collect()))
                }
                other => refused(other),
            };
            assembly.supply(wanted, answer);
        }
        let config = assembly.finish().map_err(|faults| self.named(faults))?;
        // What it made would be of the project's own files.
        let bridges: Vec<Fault> = config
            .jobs
            .iter()
            .filter(|job| job.spec.is_bridge())
            .map(|job| {
                Fault::new(
                    job.pos,
                    format!("the job `{}` makes or mirrors another pipeline", shown(&job.name)),
                    "jobs of a required pipeline have a `script`",
                )
            })
            .collect();
        if bridges.is_empty() {
            Ok(config)
        } else {
            Err(self.named(Faults(bridges)))
        }
    }

    fn file(&self, wanted: &str) -> Option<&str> {
        let found = self.files.iter().find(|(path, _)| path == wanted);
        found.map(|(_, text)| text.as_str())
    }

    /// Says in which file of the policy the faults are.
    pub(crate) fn named(&self, mut faults: Faults) -> Faults {
        for fault in &mut faults.0 {
            let file = match fault.file.as_str() {
                "" => &self.entry.file,
                path => path,
            };
            fault.file = format!("required pipeline {}: {file}", self.entry.name);
        }
        faults
    }
}

/// A policy is one commit of one project: what holds must be seen in its history.
fn refused(wanted: &Wanted) -> Answer {
    let what = match wanted {
        Wanted::File { .. } | Wanted::Paths(_) | Wanted::Version(_) => "a file of another project",
        Wanted::Changes(_) => "the changes of a project",
        Wanted::Remote(_) => "an address",
        Wanted::Artifact { .. } => "what a job left",
    };
    Answer::No(
        format!("a required pipeline cannot include {what}"),
        "include files of the policy project, or templates of this server".to_owned(),
    )
}

/// A job of a pipeline, and whose it is.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The job.
    pub job: PlannedJob,
    /// Name of the required pipeline that it belongs to.
    pub required: Option<String>,
    /// Whether the project's own jobs wait for it.
    pub gate: bool,
    /// Its resource group, with variables replaced.
    pub resource_group: Option<String>,
}

/// All jobs of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct PlacedPlan {
    /// Stages in order: of required pipelines that are gates, of the project, of the other required ones.
    pub stages: Vec<String>,
    /// The jobs, by stage.
    pub jobs: Vec<Placed>,
}

/// Puts the project's own plan and those of required pipelines together. Names and stages of the project stay as they
/// are; where one is written like a required one, that gets another name, never the project's job its place.
#[must_use]
pub fn place(own: Plan, required: Vec<(Entry, Plan)>) -> PlacedPlan {
    let mut names: HashSet<String> = own.jobs.iter().map(|job| job.name.clone()).collect();
    let mut stages: HashSet<String> = own.stages.iter().cloned().collect();
    let (gates, beside): (Vec<_>, Vec<_>) = required.into_iter().partition(|(entry, _)| entry.gate);
    let mut all = PlacedPlan::default();
    for (entry, plan) in gates {
        all.join(&entry, plan, &mut names, &mut stages);
    }
    let base = all.stages.len();
    all.stages.extend(own.stages);
    all.jobs.extend(own.jobs.into_iter().map(|mut job| {
        job.stage_index += base;
        Placed {
            job,
            required: None,
            gate: false,
            resource_group: None,
        }
    }));
    for (entry, plan) in beside {
        all.join(&entry, plan, &mut names, &mut stages);
    }
    all
}

/// What a required name gets behind it for each time that the project has it too.
const TWICE: &str = " (required)";

/// A name that is not taken yet.
fn free(wanted: String, taken: &mut HashSet<String>) -> String {
    let mut name = wanted;
    while taken.contains(&name) {
        name.push_str(TWICE);
    }
    taken.insert(name.clone());
    name
}

impl PlacedPlan {
    fn join(&mut self, entry: &Entry, plan: Plan, names: &mut HashSet<String>, stages: &mut HashSet<String>) {
        let base = self.stages.len();
        let single = plan.stages.len() == 1;
        self.stages.extend(plan.stages.iter().map(|stage| {
            let wanted = if single {
                entry.name.clone()
            } else {
                format!("{}/{stage}", entry.name)
            };
            free(wanted, stages)
        }));
        let new: HashMap<String, String> = plan
            .jobs
            .iter()
            .map(|job| {
                let name = free(format!("{}/{}", entry.name, job.name), names);
                (job.name.clone(), name)
            })
            .collect();
        let renamed = |name: &mut String| {
            if let Some(to) = new.get(name.as_str()) {
                name.clone_from(to);
            }
        };
        for mut job in plan.jobs {
            renamed(&mut job.name);
            job.stage_index += base;
            if let Some(stage) = self.stages.get(job.stage_index) {
                job.stage.clone_from(stage);
            }
            for need in job.needs.iter_mut().flatten() {
                renamed(&mut need.job);
            }
            // A project's own keys end otherwise, so that none of its jobs can leave here what this job would run.
            for cache in &mut job.spec.cache {
                for key in std::iter::once(&mut cache.key).chain(&mut cache.fallback_keys) {
                    *key = format!("{key}-required-{}", entry.name);
                }
            }
            if let Dependencies::Only(list) = &mut job.dependencies {
                list.iter_mut().for_each(renamed);
            }
            self.jobs.push(Placed {
                job,
                required: Some(entry.name.clone()),
                gate: entry.gate,
                resource_group: None,
            });
        }
    }
}

#[cfg(test)]
mod tests;
