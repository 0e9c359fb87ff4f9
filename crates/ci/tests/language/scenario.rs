//! Running one case: gather, plan, compare.

use crate::case::{Case, Scenario};
use bascule_ci::{
    config::{AllowFailure, Answer, Assembly, Config, Facts, Tree, Wanted},
    plan::{Context, Dependencies, Plan, PlannedJob, plan},
    rules::{Elsewhere, Surroundings},
    variables::resolve,
};
use bascule_wire::runner::Variable;
use serde_json::{Value, json};

/// What a pipeline is asked for.
struct World {
    reference: String,
    tag: bool,
    source: String,
    merge_request: bool,
    protected: bool,
    /// `None`: nothing to compare with.
    changed: Option<Vec<String>>,
    files: Vec<String>,
    elsewhere: Elsewhere,
    person: Vec<Variable>,
    project: Vec<Variable>,
    inputs: bascule_ci::config::Inputs,
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

impl World {
    fn new(case: &Case, on: &[String]) -> Result<Self, String> {
        let mut world = Self {
            reference: "main".to_owned(),
            tag: false,
            source: "push".to_owned(),
            merge_request: false,
            protected: false,
            changed: Some(Vec::new()),
            files: case
                .files
                .keys()
                .filter(|path| !path.contains('@'))
                .cloned()
                .collect(),
            elsewhere: Elsewhere::default(),
            person: Vec::new(),
            project: Vec::new(),
            inputs: bascule_ci::config::Inputs::new(),
        };
        for word in on {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "branch" => value.clone_into(&mut world.reference),
                "tag" => {
                    value.clone_into(&mut world.reference);
                    world.tag = true;
                }
                "source" => value.clone_into(&mut world.source),
                "merge_request" => {
                    world.merge_request = true;
                    "merge_request_event".clone_into(&mut world.source);
                    world.person.push(Variable::public("CI_MERGE_REQUEST_IID", "7"));
                }
                "protected" => world.protected = true,
                "changed" => world.changed = Some(list(value)),
                "unknown-changes" => world.changed = None,
                "files" => world.files.extend(list(value)),
                "input" => {
                    let (name, value) = value.split_once('=').ok_or("an input is name=value")?;
                    world.inputs.insert(
                        name.to_owned(),
                        serde_json::from_str(value).unwrap_or_else(|_| json!(value)),
                    );
                }
                _ => {
                    if let Some(to) = key.strip_prefix("since:") {
                        world.elsewhere.changes.insert(to.to_owned(), list(value));
                    } else if let Some(place) = key.strip_prefix("files:") {
                        let (project, reference) = match place.split_once('@') {
                            Some((project, reference)) => (project, Some(reference.to_owned())),
                            None => (place, None),
                        };
                        world
                            .elsewhere
                            .files
                            .insert((project.to_owned(), reference), list(value));
                    } else if let Some(name) = key.strip_prefix("project:") {
                        world.project.push(Variable::public(name, value));
                    } else if key.starts_with(|c: char| c.is_ascii_uppercase()) {
                        world.person.push(Variable::public(key, value));
                    } else {
                        return Err(format!("`{word}` is not known behind `on:`"));
                    }
                }
            }
        }
        Ok(world)
    }

    fn predefined(&self) -> Vec<Variable> {
        let mut list = vec![
            ("CI", "true"),
            ("CI_SERVER_FQDN", "ci.example.org"),
            ("CI_DEFAULT_BRANCH", "main"),
            ("CI_PROJECT_PATH", "clinic/app"),
            ("CI_PROJECT_NAME", "app"),
            ("CI_COMMIT_SHORT_SHA", "0123abcd"),
            ("CI_PIPELINE_SOURCE", &self.source),
            ("CI_COMMIT_REF_NAME", &self.reference),
            ("CI_COMMIT_REF_SLUG", &self.reference),
            (
                "CI_COMMIT_REF_PROTECTED",
                if self.protected { "true" } else { "false" },
            ),
        ];
        if self.tag {
            list.push(("CI_COMMIT_TAG", &self.reference));
        } else if !self.merge_request {
            list.push(("CI_COMMIT_BRANCH", &self.reference));
        }
        list.into_iter()
            .map(|(key, value)| Variable::public(key, value))
            .collect()
    }

    fn over(&self) -> Vec<Variable> {
        [self.project.clone(), self.person.clone()].concat()
    }
}

/// Gathers the files of a case.
fn gather(case: &Case, world: &World) -> Result<Config, bascule_ci::fault::Faults> {
    let known = resolve(&[world.predefined(), world.over()].concat());
    let facts = Facts {
        open_variables: known.clone(),
        variables: known,
        host: "ci.example.org".to_owned(),
        reference: world.reference.clone(),
        tag: world.tag,
        source: world.source.clone(),
        inputs: world.inputs.clone(),
        input_texts: false,
    };
    let mut assembly = Assembly::with(&case.text, facts)?;
    while let Some(wanted) = assembly.wanted()? {
        let answer = match &wanted {
            Wanted::File { tree, paths } => {
                let named = |path: &String| match tree {
                    Tree::Project { project, reference } => {
                        let reference = reference.as_deref().unwrap_or("main");
                        format!("{project}@{reference}:{path}")
                    }
                    _ => path.clone(),
                };
                match paths.iter().find_map(|path| case.files.get(&named(path))) {
                    Some(text) => Answer::Text(text.clone()),
                    None => Answer::missing(&named(&paths[0])),
                }
            }
            Wanted::Version(Tree::Project { reference, .. }) => {
                let reference = reference.clone().unwrap_or_default();
                Answer::Version {
                    sha: format!("sha-of-{reference}"),
                    version: reference
                        .starts_with(|c: char| c.is_ascii_digit())
                        .then(|| format!("{reference}.9")),
                }
            }
            Wanted::Version(_) => Answer::Paths(None),
            Wanted::Paths(_) => Answer::Paths(Some(world.files.clone())),
            Wanted::Changes(None) => Answer::Paths(world.changed.clone()),
            Wanted::Changes(Some(to)) => Answer::Paths(world.elsewhere.changes.get(to).cloned()),
            Wanted::Remote(name) | Wanted::Artifact { file: name, .. } => match case.files.get(name) {
                Some(text) => Answer::Text(text.clone()),
                None => Answer::missing(name),
            },
        };
        assembly.supply(wanted, answer);
    }
    assembly.finish()
}

fn planned(case: &Case, world: &World) -> Result<(Config, Plan), bascule_ci::fault::Faults> {
    let config = gather(case, world)?;
    let mut around = Surroundings::new(
        &world.reference,
        world.tag,
        &world.source,
        world.changed.as_deref(),
        &world.files,
    );
    around.project = "clinic/app";
    around.merge_request = world.merge_request;
    around.elsewhere = Some(&world.elsewhere);
    let mut context = Context::new(around, world.predefined(), world.over());
    context.file_keys = world
        .files
        .iter()
        .flat_map(|path| {
            [("digest", false), ("commit", true)]
                .map(|(what, commits)| ((path.clone(), commits), format!("{what} of {path}")))
        })
        .collect();
    let plan = plan(&config, &context)?;
    Ok((config, plan))
}

/// A job as JSON, with what its specification holds beside what was planned.
fn view(job: &PlannedJob) -> Value {
    let mut value = serde_json::to_value(&job.spec).unwrap();
    let map = value.as_object_mut().unwrap();
    map.insert("stage".into(), json!(job.stage));
    map.insert("when".into(), json!(job.when.as_str()));
    map.insert(
        "allow_failure".into(),
        match &job.allow_failure {
            AllowFailure::No => json!(false),
            AllowFailure::Yes => json!(true),
            AllowFailure::ExitCodes(codes) => json!(codes),
        },
    );
    let needs = job.needs.as_ref();
    map.insert(
        "needs".into(),
        json!(needs.map(|needs| needs.iter().map(|need| need.job.clone()).collect::<Vec<_>>())),
    );
    let without = |needs: &Vec<bascule_ci::config::Need>| {
        needs
            .iter()
            .filter(|need| !need.artifacts)
            .map(|need| need.job.clone())
            .collect::<Vec<_>>()
    };
    map.insert("needs_without_artifacts".into(), json!(needs.map(without)));
    map.insert(
        "dependencies".into(),
        match &job.dependencies {
            Dependencies::Default => Value::Null,
            Dependencies::Only(names) => json!(names),
        },
    );
    map.insert("variables".into(), json!(resolve(&job.variables)));
    map.insert("reason".into(), json!(job.reason));
    value
}

/// Whether all that is wanted is there: of maps a part, of everything else the whole.
fn holds(wanted: &Value, found: &Value, at: &str) -> Result<(), String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let missing = Value::Null;
                holds(value, found.get(key).unwrap_or(&missing), &format!("{at}.{key}"))?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .try_for_each(|(i, (wanted, found))| holds(wanted, found, &format!("{at}[{i}]"))),
        _ if wanted == found => Ok(()),
        _ => Err(format!("{at} is {found}, promised is {wanted}")),
    }
}

/// `line:column text`.
fn fault_is(faults: &[bascule_ci::fault::Fault], promised: &str) -> Result<(), String> {
    let (place, text) = promised.split_once(' ').unwrap_or((promised, ""));
    let found = faults
        .iter()
        .any(|fault| fault.position() == place && fault.reason().contains(text));
    if found {
        return Ok(());
    }
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Err(format!("promised is `{promised}`, told is {told:?}"))
}

pub fn run(case: &Case) -> Result<(), String> {
    for scenario in &case.scenarios {
        one(case, scenario)
            .map_err(|why| format!("line {} ({}): {why}", scenario.line, scenario.on.join(" ")))?;
    }
    Ok(())
}

fn one(case: &Case, scenario: &Scenario) -> Result<(), String> {
    let world = World::new(case, &scenario.on)?;
    let promises = &scenario.promises;
    let (config, plan) = match planned(case, &world) {
        Ok(planned) => planned,
        Err(faults) => {
            let promised: Vec<&String> = promises
                .iter()
                .filter(|(k, _)| k == "fault")
                .map(|(_, v)| v)
                .collect();
            if promised.is_empty() {
                return Err(format!("faults that are not promised: {faults}"));
            }
            return promised
                .into_iter()
                .try_for_each(|promised| fault_is(&faults.0, promised));
        }
    };
    for (key, value) in promises {
        match key.as_str() {
            "fault" => return Err(format!("promised is the fault `{value}`, there is none")),
            "none" => match &plan.none {
                Some(why) if why.contains(value.as_str()) => {}
                other => return Err(format!("promised is no pipeline ({value}), found {other:?}")),
            },
            "jobs" => {
                let names: Vec<&str> = plan.jobs.iter().map(|job| job.name.as_str()).collect();
                let wanted: Vec<&str> = value
                    .split(';')
                    .map(str::trim)
                    .filter(|n| !n.is_empty())
                    .collect();
                if names != wanted || plan.none.is_some() {
                    return Err(format!(
                        "jobs are {names:?} ({:?}), promised are {wanted:?}",
                        plan.none
                    ));
                }
            }
            "count" => {
                if plan.jobs.len().to_string() != *value {
                    return Err(format!("{} jobs, promised are {value}", plan.jobs.len()));
                }
            }
            "stages" => {
                let wanted: Vec<&str> = value.split(';').map(str::trim).collect();
                if plan.stages != wanted {
                    return Err(format!("stages are {:?}, promised are {wanted:?}", plan.stages));
                }
            }
            "name" => {
                if plan.name.as_deref() != Some(value.as_str()) {
                    return Err(format!("the name is {:?}, promised is `{value}`", plan.name));
                }
            }
            "auto_cancel" => {
                let wanted: Value = serde_json::from_str(value).map_err(|error| error.to_string())?;
                holds(
                    &wanted,
                    &serde_json::to_value(plan.auto_cancel).unwrap(),
                    "auto_cancel",
                )?;
            }
            "warns" => fault_is(&config.warnings, value)?,
            "variable" => {
                let (name, rest) = value.split_once(' ').unwrap_or((value, "{}"));
                let wanted: Value = serde_json::from_str(rest).map_err(|error| error.to_string())?;
                let found = config.variables.iter().find(|variable| variable.key == name);
                let found = found.ok_or_else(|| format!("there is no variable {name}"))?;
                holds(&wanted, &serde_json::to_value(found).unwrap(), name)?;
            }
            _ => {
                if let Some(name) = key.strip_prefix("job ") {
                    let job = plan.jobs.iter().find(|job| job.name == name);
                    let job = job.ok_or_else(|| format!("there is no job `{name}`"))?;
                    let wanted: Value = serde_json::from_str(value)
                        .map_err(|error| format!("`{value}` is no JSON: {error}"))?;
                    holds(&wanted, &view(job), name)?;
                } else if let Some(name) = key.strip_prefix("out ") {
                    let out = plan.left_out.iter().find(|(out, _)| out == name);
                    match out {
                        Some((_, why)) if why.contains(value.as_str()) => {}
                        other => {
                            return Err(format!(
                                "`{name}` is promised to be out ({value}), found {other:?}"
                            ));
                        }
                    }
                } else {
                    return Err(format!("`{key}` is no promise"));
                }
            }
        }
    }
    Ok(())
}
