//! One job.

use super::{
    AllowFailure, Environment, Inherit, Job, JobSpec, Release, Retry, When, needs,
    reader::Reader,
    top::{self, Defaults, variables},
};
use crate::{
    fault::{Pos, did_you_mean, shown},
    rules,
    yaml::{Entry, Node, Value},
};

const KEYS: &[&str] = &[
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
    "interruptible",
    "manual_confirmation",
    "needs",
    "only",
    "pages",
    "parallel",
    "release",
    "resource_group",
    "retry",
    "rules",
    "script",
    "services",
    "stage",
    "tags",
    "timeout",
    "variables",
    "when",
];
/// Keys of GitLab's language that a later version serves; better refused than half done.
const LATER: &[&str] = &[
    "trigger",
    "secrets",
    "start_in",
    "run",
    "inputs",
    "identity",
    "dast_configuration",
];
const WHEN: &[&str] = &["on_success", "on_failure", "always", "manual", "never"];

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
        let place = format!("{name}:{}", entry.key);
        if LATER.contains(&entry.key.as_str()) {
            reader.fault(
                entry.key_pos,
                format!("`{}` is not served yet", entry.key),
                "remove it",
            );
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
    if job.spec.script.is_empty() && !entries.iter().any(|entry| entry.key == "script") {
        if told {
            return Some(job);
        }
        let hint = did_you_mean(name, ["variables", "stages", "default", "workflow", "include"])
            .map_or_else(String::new, |word| {
                format!("did you mean the top-level key `{word}`? ")
            });
        reader.fault(
            pos,
            format!("the job `{}` has no `script`", shown(name)),
            format!("{hint}Give it a `script`, or hide it by a dot before its name"),
        );
    } else if job.spec.script.is_empty() && !told {
        let place = node.get("script").map_or(pos, |script| script.pos);
        reader.fault(
            place,
            format!("the `script` of `{}` is empty", shown(name)),
            "write at least one line",
        );
    }
    if let (Some(_), Some(at)) = (&job.rules, node.get("only").or_else(|| node.get("except"))) {
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
        "hooks" | "id_tokens" => {
            if reader.entries(value, place).is_some() {
                reader.warn(entry.key_pos, format!("`{}` has no effect yet", entry.key), "");
            }
        }
        _ => return top::shared(entry, place, spec, reader),
    }
    true
}

fn job_key(entry: &Entry, place: &str, job: &mut Job, reader: &mut Reader) {
    let value = &entry.value;
    match entry.key.as_str() {
        "script" => job.spec.script = reader.script(value, place),
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
        "needs" => job.needs = Some(needs::needs(value, place, reader)),
        "dependencies" => job.dependencies = Some(reader.placed_texts(value, place)),
        "parallel" => job.parallel = needs::parallel(value, place, reader),
        "variables" => job.variables = variables(value, place, reader),
        "coverage" => {
            if let Some(text) = reader.text(value, place) {
                if let Err(why) = rules::pattern(&text) {
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
        "manual_confirmation" => drop(reader.text(value, place)),
        "pages" => reader.warn(entry.key_pos, "`pages` has no effect yet", ""),
        _ => {}
    }
}

/// `when`, with a special word for what is not served yet.
pub(crate) fn when(node: &Node, place: &str, allowed: &[&str], reader: &mut Reader) -> Option<When> {
    if node.scalar() == Some("delayed") {
        reader.fault(
            node.pos,
            "`when: delayed` is not served yet",
            format!("use one of: {}", allowed.join(", ")),
        );
        return None;
    }
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
    for entry in reader
        .map(node, place, &["max", "when", "exit_codes"])
        .unwrap_or_default()
    {
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

fn inherit(node: &Node, default: &mut Inherit, variables: &mut Inherit, reader: &mut Reader) {
    for entry in reader
        .map(node, "inherit", &["default", "variables"])
        .unwrap_or_default()
    {
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

const ENVIRONMENT: &[&str] = &[
    "name",
    "url",
    "on_stop",
    "action",
    "auto_stop_in",
    "deployment_tier",
    "kubernetes",
];
const ACTIONS: &[&str] = &["start", "prepare", "stop", "verify", "access"];
const TIERS: &[&str] = &["production", "staging", "testing", "development", "other"];

fn environment(node: &Node, place: &str, reader: &mut Reader) -> Option<Environment> {
    let mut environment = Environment {
        action: "start".to_owned(),
        ..Environment::default()
    };
    if let Some(name) = node.scalar() {
        name.clone_into(&mut environment.name);
        return Some(environment);
    }
    for entry in reader.map(node, place, ENVIRONMENT)? {
        let value = &entry.value;
        match entry.key.as_str() {
            "name" => environment.name = reader.text(value, "environment:name")?,
            "url" => environment.url = reader.text(value, "environment:url"),
            "action" => environment.action = reader.word(value, "environment:action", ACTIONS)?,
            "on_stop" => drop(reader.text(value, "environment:on_stop")),
            "auto_stop_in" => drop(reader.text(value, "environment:auto_stop_in")),
            "deployment_tier" => drop(reader.word(value, "environment:deployment_tier", TIERS)),
            _ => {}
        }
    }
    if environment.name.is_empty() {
        reader.fault(node.pos, "this environment has no `name`", "name it");
        return None;
    }
    Some(environment)
}

const RELEASE: &[&str] = &[
    "tag_name",
    "tag_message",
    "name",
    "description",
    "ref",
    "milestones",
    "released_at",
    "assets",
];

fn release(node: &Node, place: &str, reader: &mut Reader) -> Option<Release> {
    let mut release = Release::default();
    for entry in reader.map(node, place, RELEASE)? {
        let value = &entry.value;
        match entry.key.as_str() {
            "tag_name" => release.tag_name = reader.text(value, "release:tag_name").unwrap_or_default(),
            "name" => release.name = reader.text(value, "release:name").unwrap_or_default(),
            "description" => {
                release.description = reader.text(value, "release:description").unwrap_or_default();
            }
            "assets" => {
                for links in reader
                    .map(value, "release:assets", &["links"])
                    .unwrap_or_default()
                {
                    let Some(items) = links.value.items() else {
                        reader.wrong(&links.value, "release:assets:links", "a list of maps");
                        continue;
                    };
                    for item in items {
                        link(item, &mut release, reader);
                    }
                }
            }
            "milestones" => drop(reader.texts(value, "release:milestones")),
            _ => drop(reader.text(value, &entry.key)),
        }
    }
    for (value, key) in [
        (&release.tag_name, "tag_name"),
        (&release.description, "description"),
    ] {
        if value.is_empty() {
            reader.fault(
                node.pos,
                format!("this release has no `{key}`"),
                "`tag_name` and `description` are needed",
            );
        }
    }
    Some(release)
}

fn link(node: &Node, release: &mut Release, reader: &mut Reader) {
    let place = "release:assets:links";
    if reader
        .map(node, place, &["name", "url", "filepath", "link_type"])
        .is_none()
    {
        return;
    }
    match (
        node.get("name").and_then(Node::scalar),
        node.get("url").and_then(Node::scalar),
    ) {
        (Some(name), Some(url)) => drop(release.links.insert(name.to_owned(), url.to_owned())),
        _ => reader.fault(node.pos, "this link has no `name` or no `url`", "both are needed"),
    }
}
