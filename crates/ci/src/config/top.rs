//! The top level of the file: stages, variables, workflow, defaults, and which keys are jobs.

use super::{
    AutoCancel, Config, Inherit, JobSpec, OnJobFailure, OnNewCommit, PIPELINE_BYTES, Variable, Workflow,
    expand::Extends, job, reader::Reader,
};
use crate::{
    fault::{Fault, Pos, did_you_mean, shown},
    rules,
    yaml::{Budget, Entry, Node, Value},
};
use bascule_core::limits;
use std::collections::HashMap;

/// Top-level keys that are not jobs.
pub(super) const TOP: &[&str] = &[
    "stages",
    "default",
    "variables",
    "workflow",
    "include",
    "image",
    "services",
    "before_script",
    "after_script",
    "cache",
    "spec",
];
/// Keys of `default`.
pub(super) const DEFAULT: &[&str] = &[
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "hooks",
    "id_tokens",
    "identity",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
];
/// Stages of a file that names none.
const STAGES: &[&str] = &["build", "test", "deploy"];
/// The stage before all others.
pub const PRE: &str = ".pre";
/// The stage after all others.
pub const POST: &str = ".post";

/// Reads the merged tree. Faults go to the reader; `None` only where the tree is no map.
pub(super) fn read(tree: &Node, budget: &mut Budget, reader: &mut Reader) -> Option<Config> {
    let entries = reader.entries(tree, "")?;
    let mut config = Config {
        files: Vec::new(),
        stages: Vec::new(),
        variables: Vec::new(),
        workflow: Workflow::default(),
        jobs: Vec::new(),
        warnings: Vec::new(),
    };
    let mut defaults = Defaults::default();
    config.stages = stages(tree.get("stages"), reader);
    for Entry { key, key_pos, value } in entries {
        match key.as_str() {
            "stages" | "include" => {}
            "variables" => config.variables = variables(value, "variables", reader),
            "workflow" => config.workflow = workflow(value, reader),
            "default" => {
                for entry in reader.map(value, "default", DEFAULT).unwrap_or_default() {
                    if let Some((_, why)) = job::IDLE.iter().find(|(key, _)| *key == entry.key) {
                        reader.warn(entry.key_pos, format!("`{}` has no effect", entry.key), *why);
                    } else if !entry.value.is_null() {
                        defaults.take(entry, "default", reader);
                    }
                }
            }
            // The old place of defaults.
            "image" | "services" | "before_script" | "after_script" | "cache" => {
                defaults.take(
                    &Entry {
                        key: key.clone(),
                        key_pos: *key_pos,
                        value: value.clone(),
                    },
                    "",
                    reader,
                );
            }
            "spec" => reader.fault(
                *key_pos,
                "`spec` stands among the jobs",
                "it is the file's header: put it at the top, and `---` between it and the rest",
            ),
            _ if key.starts_with('.') => {}
            _ if !matches!(value.value, Value::Mapping(_)) => not_a_job(key, *key_pos, value, reader),
            _ => {}
        }
    }
    let mut extends = Extends::new(entries);
    let (shared, mut taken) = (defaults.spec.bytes(), 0);
    for entry in entries {
        let hidden = entry.key.starts_with('.') || TOP.contains(&entry.key.as_str());
        if hidden || entry.value.entries().is_none() {
            continue;
        }
        if config.jobs.len() >= limits::CI_FILE_JOBS {
            let allowed = format!("at most {} are allowed", limits::CI_FILE_JOBS);
            reader.fault(entry.key_pos, "the file has too many jobs", allowed);
            break;
        }
        let resolved = match entry.value.get("extends") {
            None => None,
            Some(_) => match extends.resolve(&entry.key, budget) {
                Ok(node) => Some(node),
                Err(fault) => {
                    reader.faults.push(fault);
                    continue;
                }
            },
        };
        let node = resolved.as_deref().unwrap_or(&entry.value);
        if let Some(job) = job::read(&entry.key, entry.key_pos, node, &defaults, reader) {
            check_stage(&job, &config.stages, reader);
            config.jobs.push(job);
            taken += shared;
            if taken > PIPELINE_BYTES {
                reader.fault(
                    entry.key_pos,
                    format!("with `{}` the jobs hold too much text together", shown(&entry.key)),
                    format!(
                        "at most {} MiB are allowed, counting what each job takes from `default`; put long texts into files \
                         of the repository",
                        PIPELINE_BYTES / (1024 * 1024)
                    ),
                );
                break;
            }
        }
    }
    stopped_by(&config.jobs, reader);
    if config.jobs.is_empty() && reader.faults.is_empty() {
        reader.fault(
            tree.pos,
            "the file has no job that can run",
            "add a job, a map with a `script`, whose name does not begin with a dot",
        );
    }
    Some(config)
}

/// Values that jobs take where they have none of their own.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    pub spec: JobSpec,
    /// Which keys are set.
    pub set: Vec<String>,
}

impl Defaults {
    fn take(&mut self, entry: &Entry, place: &str, reader: &mut Reader) {
        let name = if place.is_empty() {
            entry.key.clone()
        } else {
            format!("{place}:{}", entry.key)
        };
        if job::shared_key(entry, &name, &mut self.spec, reader) {
            self.set.push(entry.key.clone());
        }
    }

    /// Fills in what the job neither sets itself nor declines to inherit.
    pub fn fill(&self, spec: &mut JobSpec, own: &[Entry], inherit: &Inherit) {
        let from = &self.spec;
        for key in &self.set {
            let written = |entry: &Entry| &entry.key == key && !entry.value.is_null();
            if own.iter().any(written) || !inherit.takes(key) {
                continue;
            }
            match key.as_str() {
                "image" => spec.image.clone_from(&from.image),
                "services" => spec.services.clone_from(&from.services),
                "before_script" => spec.before_script.clone_from(&from.before_script),
                "after_script" => spec.after_script.clone_from(&from.after_script),
                "artifacts" => {
                    spec.artifacts.clone_from(&from.artifacts);
                    spec.artifacts_access = from.artifacts_access;
                    spec.artifacts_expose_as.clone_from(&from.artifacts_expose_as);
                }
                "cache" => {
                    spec.cache.clone_from(&from.cache);
                    spec.cache_rules.clone_from(&from.cache_rules);
                }
                "hooks" => spec.hooks.clone_from(&from.hooks),
                "id_tokens" => spec.id_tokens.clone_from(&from.id_tokens),
                "tags" => spec.tags.clone_from(&from.tags),
                "timeout" => spec.timeout = from.timeout,
                "retry" => spec.retry.clone_from(&from.retry),
                "interruptible" => spec.interruptible = from.interruptible,
                _ => {}
            }
        }
    }
}

fn stages(node: Option<&Node>, reader: &mut Reader) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    match node {
        None => named = STAGES.iter().map(|s| (*s).to_owned()).collect(),
        Some(node) => {
            for (stage, _) in reader.placed_texts(node, "stages") {
                // Twice the same is one, as in GitLab.
                if !named.contains(&stage) && stage != PRE && stage != POST {
                    named.push(stage);
                }
            }
        }
    }
    named.insert(0, PRE.to_owned());
    named.push(POST.to_owned());
    named
}

fn check_stage(job: &super::Job, stages: &[String], reader: &mut Reader) {
    if stages.contains(&job.stage) {
        return;
    }
    let hint = did_you_mean(&job.stage, stages.iter().map(String::as_str))
        .map_or_else(String::new, |word| format!("did you mean `{word}`? "));
    reader.fault(
        job.stage_pos,
        format!(
            "the job `{}` names the stage `{}`, which does not exist",
            shown(&job.name),
            shown(&job.stage)
        ),
        format!("{hint}Stages are: {}", stages.join(", ")),
    );
}

/// `environment:on_stop` names a job that stops the same environment.
fn stopped_by(jobs: &[super::Job], reader: &mut Reader) {
    let mut by_name: Option<HashMap<&str, &super::Job>> = None;
    for job in jobs {
        let Some((environment, stop)) = job
            .spec
            .environment
            .as_ref()
            .and_then(|environment| Some((environment, environment.on_stop.as_ref()?)))
        else {
            continue;
        };
        let known = by_name.get_or_insert_with(|| jobs.iter().map(|job| (job.name.as_str(), job)).collect());
        let Some(other) = known.get(stop.as_str()) else {
            let hint = did_you_mean(stop, known.keys().copied());
            reader.fault(
                job.pos,
                format!(
                    "`on_stop` of `{}` names the unknown job `{}`",
                    shown(&job.name),
                    shown(stop)
                ),
                hint.map_or_else(String::new, |word| format!("did you mean `{word}`?")),
            );
            continue;
        };
        let same = other
            .spec
            .environment
            .as_ref()
            .is_some_and(|of| of.action == "stop" && of.name == environment.name);
        if !same {
            reader.fault(
                other.pos,
                format!(
                    "`{}` is to stop the environment of `{}`, but does not say so",
                    shown(stop),
                    shown(&job.name)
                ),
                "give it the same `environment:name`, and `action: stop`",
            );
        }
    }
}

fn not_a_job(key: &str, pos: Pos, value: &Node, reader: &mut Reader) {
    let hint = did_you_mean(key, TOP.iter().copied())
        .map_or_else(String::new, |word| format!("did you mean `{word}`? "));
    reader.faults.push(Fault::new(
        pos,
        format!(
            "the key `{}` is unknown at the top level, and its value is {}",
            shown(key),
            value.describe()
        ),
        format!(
            "{hint}A job is a map; other keys allowed here: {}",
            TOP.join(", ")
        ),
    ));
}

pub(super) const VARIABLE: &[&str] = &["value", "description", "expand", "options"];

/// Reads `variables` of the top level, of a job, or of a rule.
pub(crate) fn variables(node: &Node, place: &str, reader: &mut Reader) -> Vec<Variable> {
    let mut list = Vec::new();
    for entry in reader.entries(node, place).unwrap_or_default() {
        if !variable_name(&entry.key) {
            reader.fault(
                entry.key_pos,
                format!("`{}` cannot be a variable's name", shown(&entry.key)),
                "use letters, digits and `_`, not beginning with a digit",
            );
            continue;
        }
        let mut variable = Variable {
            key: entry.key.clone(),
            value: String::new(),
            description: String::new(),
            expand: true,
            options: Vec::new(),
        };
        match &entry.value.value {
            Value::Scalar { .. } => entry
                .value
                .scalar()
                .unwrap_or_default()
                .clone_into(&mut variable.value),
            Value::Mapping(_) => {
                let name = format!("{place}:{}", entry.key);
                for inner in reader.map(&entry.value, &name, VARIABLE).unwrap_or_default() {
                    match inner.key.as_str() {
                        "value" => variable.value = reader.text(&inner.value, "value").unwrap_or_default(),
                        "description" | "options" if place != "variables" => reader.fault(
                            inner.key_pos,
                            format!("`{name}:{}` stands where nobody is asked", inner.key),
                            "`description` and `options` belong to the top level's variables",
                        ),
                        "description" => {
                            variable.description =
                                reader.text(&inner.value, "description").unwrap_or_default();
                        }
                        "expand" => variable.expand = reader.boolean(&inner.value, "expand").unwrap_or(true),
                        "options" => variable.options = reader.texts(&inner.value, "options"),
                        _ => {}
                    }
                }
                if !variable.options.is_empty() && !variable.options.contains(&variable.value) {
                    let at = entry.value.get("value").map_or(entry.key_pos, |value| value.pos);
                    reader.fault(
                        at,
                        format!("the value of `{name}` is not one of its `options`"),
                        format!("one of: {}", variable.options.join(", ")),
                    );
                }
            }
            _ => reader.wrong(
                &entry.value,
                &entry.key,
                "a text or number, or a map with `value`, `description`, `expand`",
            ),
        }
        list.push(variable);
    }
    list
}

/// Whether a text can name a variable.
#[must_use]
pub fn variable_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) const WORKFLOW: &[&str] = &["name", "rules", "auto_cancel"];
pub(super) const AUTO_CANCEL: &[&str] = &["on_new_commit", "on_job_failure"];

fn workflow(node: &Node, reader: &mut Reader) -> Workflow {
    let mut workflow = Workflow::default();
    for entry in reader.map(node, "workflow", WORKFLOW).unwrap_or_default() {
        match entry.key.as_str() {
            "name" => workflow.name = reader.text(&entry.value, "workflow:name"),
            "rules" => {
                workflow.rules = Some(rules::read(
                    &entry.value,
                    "workflow:rules",
                    rules::Place::Workflow,
                    reader,
                ));
            }
            "auto_cancel" => workflow.auto_cancel = auto_cancel(&entry.value, "workflow:auto_cancel", reader),
            _ => {}
        }
    }
    workflow
}

/// `auto_cancel` of the workflow or of one of its rules.
pub(crate) fn auto_cancel(node: &Node, place: &str, reader: &mut Reader) -> AutoCancel {
    let mut auto_cancel = AutoCancel::default();
    for entry in reader.map(node, place, AUTO_CANCEL).unwrap_or_default() {
        let name = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "on_new_commit" => {
                let words = &["conservative", "interruptible", "none"];
                auto_cancel.on_new_commit = match reader.word(&entry.value, &name, words).as_deref() {
                    Some("interruptible") => OnNewCommit::Interruptible,
                    Some("none") => OnNewCommit::None,
                    _ => OnNewCommit::Conservative,
                };
            }
            "on_job_failure" => {
                auto_cancel.on_job_failure =
                    match reader.word(&entry.value, &name, &["none", "all"]).as_deref() {
                        Some("all") => OnJobFailure::All,
                        _ => OnJobFailure::None,
                    };
            }
            _ => {}
        }
    }
    auto_cancel
}
