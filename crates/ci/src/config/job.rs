//! One job.

use super::{
    AllowFailure, Hooks, Inherit, Job, JobSpec, Pages, Retry, When,
    artifacts::{artifacts, keep},
    cache::caches,
    image::{image, services},
    inputs, job_inputs, needs,
    outcome::{environment, pages, publish, release},
    reader::Reader,
    secrets::{id_tokens, secrets},
    steps,
    top::{Defaults, variables},
    trigger,
};
use crate::{
    fault::{Pos, did_you_mean, shown},
    rules,
    yaml::{Entry, Node, Value},
};

pub(super) const KEYS: &[&str] = &[
    "after_script",
    "allow_failure",
    "artifacts",
    "before_script",
    "cache",
    "coverage",
    "dependencies",
    "environment",
    "except",
    "extends",
    "hooks",
    "id_tokens",
    "image",
    "inherit",
    "inputs",
    "interruptible",
    "manual_confirmation",
    "needs",
    "only",
    "pages",
    "parallel",
    "publish",
    "release",
    "resource_group",
    "retry",
    "rules",
    "run",
    "script",
    "secrets",
    "services",
    "stage",
    "start_in",
    "tags",
    "timeout",
    "trigger",
    "variables",
    "when",
];
/// Keys of GitLab's language that are read, but for which there is nothing here that would act on them.
pub(super) const IDLE: &[(&str, &str)] = &[
    (
        "dast_configuration",
        "no scanner of running sites is part of this platform",
    ),
    ("identity", "take an `id_tokens` token to the cloud instead"),
];
/// Keys that a job which only starts or mirrors a pipeline cannot have.
const NOT_IN_BRIDGE: &[&str] = &[
    "script",
    "before_script",
    "after_script",
    "image",
    "services",
    "artifacts",
    "cache",
    "coverage",
    "dependencies",
    "hooks",
    "id_tokens",
    "inputs",
    "pages",
    "publish",
    "release",
    "retry",
    "run",
    "secrets",
    "tags",
    "timeout",
];
/// Longest `start_in`, in seconds (GitLab's limit).
const DELAY: u64 = 7 * 86_400;
const WHEN: &[&str] = &["on_success", "on_failure", "always", "manual", "delayed", "never"];

/// Reads a job whose `extends` is resolved.
pub(super) fn read(
    name: &str,
    pos: Pos,
    node: &Node,
    defaults: &Defaults,
    reader: &mut Reader,
) -> Option<Job> {
    let entries = reader.entries(node, name)?;
    if name.is_empty() || name.chars().count() > 255 {
        reader.fault(
            pos,
            format!("`{}` cannot be a job's name", shown(name)),
            "use 1 to 255 characters",
        );
    }
    let mut job = Job {
        name: name.to_owned(),
        pos,
        stage: "test".to_owned(),
        stage_pos: pos,
        when: When::OnSuccess,
        allow_failure: None,
        rules: None,
        only: None,
        except: None,
        needs: None,
        dependencies: None,
        parallel: None,
        variables: Vec::new(),
        inherit_variables: Inherit::All,
        spec: JobSpec::default(),
    };
    let mut inherit_default = Inherit::All;
    let faults_before = reader.faults.len();
    for entry in entries {
        // `null` takes away what `extends` brought; `default` fills in again.
        if entry.value.is_null() && KEYS.contains(&entry.key.as_str()) {
            continue;
        }
        let place = format!("{name}:{}", entry.key);
        if let Some((_, why)) = IDLE.iter().find(|(key, _)| *key == entry.key) {
            reader.warn(entry.key_pos, format!("`{}` has no effect", entry.key), *why);
        } else if !KEYS.contains(&entry.key.as_str()) {
            reader.unknown_key(&entry.key, entry.key_pos, name, KEYS);
        } else if entry.key == "inherit" {
            inherit(
                &entry.value,
                &mut inherit_default,
                &mut job.inherit_variables,
                reader,
            );
        } else if !shared_key(entry, &place, &mut job.spec, reader) {
            job_key(entry, &place, &mut job, reader);
        }
    }
    defaults.fill(&mut job.spec, entries, &inherit_default);
    // A misspelt key was told already; that the script is then missing would only distract.
    let told = reader.faults.len() > faults_before;
    if job.spec.is_bridge() {
        bridge(&job, entries, reader);
        // Scripts and all that goes with them are not inherited by a job that has none.
        job.spec = JobSpec {
            trigger: job.spec.trigger,
            outside_needs: job.spec.outside_needs,
            resource_group: job.spec.resource_group,
            environment: job.spec.environment,
            interruptible: job.spec.interruptible,
            manual_confirmation: job.spec.manual_confirmation,
            start_in: job.spec.start_in,
            ..JobSpec::default()
        };
    } else if !told {
        script(&job, node, reader);
    }
    if let Some(run) = node.get("run").filter(|run| !run.is_null()) {
        instead_of_script(run.pos, entries, &mut job, reader);
    }
    job_inputs::check(&job, node, reader);
    if name == "pages" && job.spec.pages.is_none() && node.get("pages").is_none() {
        // The old way: the job's name makes it one.
        job.spec.pages = Some(Pages {
            publish: "public".to_owned(),
            ..Pages::default()
        });
    }
    if let Some(pages) = &job.spec.pages {
        let folder = pages.publish.clone();
        keep(&mut job.spec, &folder);
    }
    delay(&job, node, reader);
    let written = |key: &str| node.get(key).filter(|value| !value.is_null());
    if let (Some(_), Some(at)) = (&job.rules, written("only").or_else(|| written("except"))) {
        reader.fault(
            at.pos,
            format!(
                "the job `{}` has both `rules` and `only` or `except`",
                shown(name)
            ),
            "use `rules` alone",
        );
    }
    Some(job)
}

fn script(job: &Job, node: &Node, reader: &mut Reader) {
    if !job.spec.script.is_empty() {
        return;
    }
    let name = &job.name;
    if let Some(script) = node.get("script") {
        reader.fault(
            script.pos,
            format!("the `script` of `{}` is empty", shown(name)),
            "write at least one line",
        );
        return;
    }
    let hint = did_you_mean(name, ["variables", "stages", "default", "workflow", "include"])
        .map_or_else(String::new, |word| {
            format!("did you mean the top-level key `{word}`? ")
        });
    reader.fault(
        job.pos,
        format!("the job `{}` has no `script`", shown(name)),
        format!("{hint}Give it a `script` or a `trigger`, or hide it by a dot before its name"),
    );
}

/// Steps have no script around them.
fn instead_of_script(pos: Pos, entries: &[Entry], job: &mut Job, reader: &mut Reader) {
    let beside = entries.iter().find(|entry| {
        matches!(entry.key.as_str(), "script" | "before_script" | "after_script") && !entry.value.is_null()
    });
    if let Some(beside) = beside {
        reader.fault(
            pos,
            format!(
                "the job `{}` has both `run` and `{}`",
                shown(&job.name),
                beside.key
            ),
            "make the script a step, or the steps a script",
        );
    }
    job.spec.before_script.clear();
    job.spec.after_script.clear();
}

/// A job that starts or mirrors a pipeline runs nothing of its own.
fn bridge(job: &Job, entries: &[Entry], reader: &mut Reader) {
    for entry in entries {
        if NOT_IN_BRIDGE.contains(&entry.key.as_str()) && !entry.value.is_null() {
            reader.fault(
                entry.key_pos,
                format!(
                    "`{}` cannot stand in the job `{}`, which {} a pipeline",
                    entry.key,
                    shown(&job.name),
                    if job.spec.trigger.is_some() {
                        "starts"
                    } else {
                        "mirrors"
                    },
                ),
                "move it to a job of its own",
            );
        }
    }
}

/// `when: delayed` and `start_in` go together.
fn delay(job: &Job, node: &Node, reader: &mut Reader) {
    let start_in = node.get("start_in").filter(|at| !at.is_null());
    match (job.when, start_in) {
        (When::Delayed, None) => reader.fault(
            node.get("when").map_or(job.pos, |when| when.pos),
            format!("the job `{}` is delayed but has no `start_in`", shown(&job.name)),
            "say after how long it starts, such as `start_in: 30 minutes`",
        ),
        (When::Delayed, Some(_)) | (_, None) => {}
        (_, Some(at)) => reader.fault(
            at.pos,
            format!("the job `{}` has `start_in` but is not delayed", shown(&job.name)),
            "write `when: delayed`",
        ),
    }
}

/// Seconds of a `start_in`.
pub(crate) fn start_in(node: &Node, place: &str, reader: &mut Reader) -> Option<u64> {
    let seconds = reader.seconds(node, place)?;
    if seconds > DELAY {
        reader.fault(
            node.pos,
            format!("`{place}` is longer than a week"),
            "at most 1 week is allowed",
        );
        return None;
    }
    Some(seconds)
}

/// Keys that `default` may hold too. Whether it was one.
pub(super) fn shared_key(entry: &Entry, place: &str, spec: &mut JobSpec, reader: &mut Reader) -> bool {
    let value = &entry.value;
    match entry.key.as_str() {
        "before_script" => spec.before_script = reader.script(value, place),
        "after_script" => spec.after_script = reader.script(value, place),
        "tags" => spec.tags = reader.texts(value, place),
        "timeout" => spec.timeout = reader.seconds(value, place),
        "interruptible" => spec.interruptible = reader.boolean(value, place).unwrap_or_default(),
        "retry" => spec.retry = retry(value, place, reader),
        "hooks" => {
            spec.hooks = Hooks::default();
            for hook in reader.map(value, place, HOOKS).unwrap_or_default() {
                spec.hooks.pre_get_sources_script =
                    reader.script(&hook.value, &format!("{place}:{}", hook.key));
            }
        }
        "id_tokens" => spec.id_tokens = id_tokens(value, place, reader),
        "image" => spec.image = image(value, place, reader),
        "services" => spec.services = services(value, place, reader),
        "artifacts" => artifacts(value, place, spec, reader),
        "cache" => (spec.cache, spec.cache_rules) = caches(value, place, reader),
        _ => return false,
    }
    true
}

fn job_key(entry: &Entry, place: &str, job: &mut Job, reader: &mut Reader) {
    let value = &entry.value;
    match entry.key.as_str() {
        "script" => job.spec.script = reader.script(value, place),
        "run" => job.spec.script = steps::steps(value, place, reader),
        "inputs" => job.spec.inputs = inputs::of_job(value, place, reader),
        "stage" => {
            job.stage_pos = value.pos;
            if let Some(stage) = reader.text(value, place) {
                job.stage = stage;
            }
        }
        "when" => job.when = when(value, place, WHEN, reader).unwrap_or_default(),
        "allow_failure" => job.allow_failure = allow_failure(value, place, reader),
        "rules" => job.rules = Some(rules::read(value, place, rules::Place::Job, reader)),
        "only" => job.only = rules::read_refs(value, place, reader),
        "except" => job.except = rules::read_refs(value, place, reader),
        "needs" => {
            let needs = needs::needs(value, place, reader);
            // Who only mirrors a pipeline waits like any job of its stage.
            let mirrors = needs.outside.iter().any(|need| need.job.is_none());
            job.needs = (!mirrors || !needs.jobs.is_empty()).then_some(needs.jobs);
            job.spec.outside_needs = needs.outside;
        }
        "dependencies" => job.dependencies = Some(reader.placed_texts(value, place)),
        "parallel" => job.parallel = needs::parallel(value, place, reader),
        "variables" => job.variables = variables(value, place, reader),
        "coverage" => {
            if let Some(text) = reader.text(value, place) {
                if let Err(why) = reader.pattern(&text) {
                    reader.fault(
                        value.pos,
                        format!("`{}` is no pattern: {why}", shown(&text)),
                        "write `/…/`",
                    );
                }
                job.spec.coverage = Some(text);
            }
        }
        "resource_group" => job.spec.resource_group = reader.text(value, place),
        "environment" => job.spec.environment = environment(value, place, reader),
        "release" => job.spec.release = release(value, place, reader),
        "manual_confirmation" => job.spec.manual_confirmation = reader.text(value, place),
        "start_in" => job.spec.start_in = start_in(value, place, reader),
        "secrets" => job.spec.secrets = secrets(value, place, reader),
        "trigger" => job.spec.trigger = trigger::read(value, place, reader),
        "pages" => job.spec.pages = pages(value, place, reader),
        "publish" => {
            if let Some(publish) = publish(value, place, reader) {
                let pages = job.spec.pages.get_or_insert_with(Pages::default);
                pages.publish = publish;
            }
        }
        _ => {}
    }
}

/// `when`, one of these words.
pub(crate) fn when(node: &Node, place: &str, allowed: &[&str], reader: &mut Reader) -> Option<When> {
    reader
        .word(node, place, allowed)
        .and_then(|word| When::parse(&word))
}

/// `allow_failure`: true, false, or exit codes.
pub(crate) fn allow_failure(node: &Node, place: &str, reader: &mut Reader) -> Option<AllowFailure> {
    if let Value::Mapping(_) = &node.value {
        let entries = reader.map(node, place, &["exit_codes"])?;
        let codes = entries.iter().find(|entry| entry.key == "exit_codes")?;
        return Some(AllowFailure::ExitCodes(exit_codes(&codes.value, place, reader)));
    }
    reader
        .boolean(node, place)
        .map(|yes| if yes { AllowFailure::Yes } else { AllowFailure::No })
}

fn exit_codes(node: &Node, place: &str, reader: &mut Reader) -> Vec<i64> {
    match node.items() {
        Some(items) => items
            .iter()
            .filter_map(|item| reader.integer(item, place, 0, 255))
            .collect(),
        None => reader.integer(node, place, 0, 255).into_iter().collect(),
    }
}

pub(super) const HOOKS: &[&str] = &["pre_get_sources_script"];
pub(super) const RETRY: &[&str] = &["max", "when", "exit_codes"];
const RETRY_WHEN: &[&str] = &[
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "runner_provisioning_timeout",
];

fn retry(node: &Node, place: &str, reader: &mut Reader) -> Retry {
    let mut retry = Retry::default();
    let count = |node: &Node, reader: &mut Reader| {
        reader
            .integer(node, place, 0, 2)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_default()
    };
    if !matches!(node.value, Value::Mapping(_)) {
        retry.max = count(node, reader);
        return retry;
    }
    for entry in reader.map(node, place, RETRY).unwrap_or_default() {
        match entry.key.as_str() {
            "max" => retry.max = count(&entry.value, reader),
            "when" => {
                let items = entry.value.items().unwrap_or(std::slice::from_ref(&entry.value));
                retry.when = items
                    .iter()
                    .filter_map(|item| reader.word(item, "retry:when", RETRY_WHEN))
                    .collect();
            }
            "exit_codes" => retry.exit_codes = exit_codes(&entry.value, place, reader),
            _ => {}
        }
    }
    retry
}

pub(super) const INHERIT: &[&str] = &["default", "variables"];

fn inherit(node: &Node, default: &mut Inherit, variables: &mut Inherit, reader: &mut Reader) {
    for entry in reader.map(node, "inherit", INHERIT).unwrap_or_default() {
        let value = match (entry.value.boolean(), entry.value.items()) {
            (Some(true), _) => Inherit::All,
            (Some(false), _) => Inherit::Nothing,
            (None, Some(_)) => Inherit::Only(reader.texts(&entry.value, "inherit")),
            (None, None) => {
                reader.wrong(&entry.value, &entry.key, "true, false, or a list of names");
                continue;
            }
        };
        if entry.key == "default" {
            *default = value;
        } else {
            *variables = value;
        }
    }
}
