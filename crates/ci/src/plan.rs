//! From a configuration and a commit to the jobs of a pipeline. Pure: all that is asked of the world comes
//! in as values, so the lint page and the real pipeline cannot differ.

use crate::{
    config::{AllowFailure, AutoCancel, Config, Job, JobSpec, Need, Parallel, Variable, When},
    fault::{Fault, Faults, did_you_mean, name_files, shown},
    rules::{Rule, Surroundings},
    variables::{expand, of_file, resolve},
};
use bascule_core::limits;
use bascule_wire::runner;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a pipeline is planned for.
#[derive(Debug)]
pub struct Context<'a> {
    /// What rules are judged by.
    pub around: Surroundings<'a>,
    /// Variables that the file may replace: the predefined ones.
    pub predefined: Vec<runner::Variable>,
    /// Variables that count over those of the file: the project's, then those of who starts the pipeline.
    pub over: Vec<runner::Variable>,
}

/// The jobs of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The pipeline's name, if the file gives one.
    pub name: Option<String>,
    /// What is cancelled when.
    pub auto_cancel: AutoCancel,
    /// Stages that have jobs, in order.
    pub stages: Vec<String>,
    /// The jobs, by stage and then in the order of the file.
    pub jobs: Vec<PlannedJob>,
    /// Jobs that are left out, with the reason.
    pub left_out: Vec<(String, String)>,
    /// Set: no pipeline is made, and why.
    pub none: Option<String>,
}

/// One job of a pipeline.
#[derive(Clone, Debug)]
pub struct PlannedJob {
    /// Its name, unique in the pipeline.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Index of the stage in [`Plan::stages`].
    pub stage_index: usize,
    /// When it runs.
    pub when: When,
    /// Whether its failure leaves the pipeline alone.
    pub allow_failure: AllowFailure,
    /// Jobs to wait for; `None` is all of the earlier stages.
    pub needs: Option<Vec<Need>>,
    /// Jobs whose artifacts are wanted.
    pub dependencies: Dependencies,
    /// Variables of file, job, matrix and rule, in that order.
    pub variables: Vec<runner::Variable>,
    /// What the runner is told.
    pub spec: JobSpec,
    /// Why it is in the pipeline, in plain words.
    pub reason: String,
}

/// Whose artifacts a job takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dependencies {
    /// All jobs of earlier stages, or those it needs.
    #[default]
    Default,
    /// These.
    Only(Vec<String>),
}

struct Chosen {
    when: When,
    start_in: Option<u64>,
    allow_failure: Option<AllowFailure>,
    variables: Vec<Variable>,
    needs: Option<Vec<Need>>,
    interruptible: Option<bool>,
    reason: String,
}

/// Plans a pipeline.
///
/// # Errors
/// What can only be seen for this commit: a needed job that is left out, a circle, too many jobs.
pub fn plan(config: &Config, context: &Context<'_>) -> Result<Plan, Faults> {
    let mut plan = Plan {
        auto_cancel: config.workflow.auto_cancel,
        ..Plan::default()
    };
    let globals: Vec<runner::Variable> = config.variables.iter().map(of_file).collect();
    let mut base = context.predefined.clone();
    base.extend(globals.iter().cloned());
    base.extend(context.over.iter().cloned());
    let base_values = resolve(&base);
    let mut workflow_variables = Vec::new();
    if let Some(rules) = &config.workflow.rules {
        match rules
            .iter()
            .find(|rule| rule.matches(&context.around, &base_values))
        {
            Some(rule) if rule.when != Some(When::Never) => {
                workflow_variables = rule.variables.iter().map(of_file).collect();
                plan.auto_cancel = rule.auto_cancel.unwrap_or(plan.auto_cancel);
            }
            Some(rule) => plan.none = Some(format!("the workflow rule at {} says never", rule.pos)),
            None => plan.none = Some("no workflow rule matches".to_owned()),
        }
        if plan.none.is_some() {
            return Ok(plan);
        }
    }
    base.extend(workflow_variables.iter().cloned());
    plan.name = config
        .workflow
        .name
        .as_ref()
        .map(|name| expand(name, &resolve(&base)))
        .filter(|n| !n.is_empty());
    let mut places = HashMap::new();
    let mut made: HashMap<String, Vec<String>> = HashMap::new();
    for job in &config.jobs {
        let own: Vec<runner::Variable> = globals
            .iter()
            .filter(|v| job.inherit_variables.takes(&v.key))
            .chain(&workflow_variables)
            .cloned()
            .chain(job.variables.iter().map(of_file))
            .collect();
        let mut all = context.predefined.clone();
        all.extend(own.iter().cloned());
        all.extend(context.over.iter().cloned());
        all.push(runner::Variable::public("CI_JOB_NAME", job.name.clone()));
        all.push(runner::Variable::public("CI_JOB_STAGE", job.stage.clone()));
        match choose(job, context, &resolve(&all)) {
            Err(reason) => plan.left_out.push((job.name.clone(), reason)),
            Ok(chosen) => {
                let copies = copies(job);
                if plan.jobs.len() + copies.len() > limits::PIPELINE_JOBS {
                    return Err(too_many(config, job));
                }
                for (name, extra) in copies {
                    let mut variables = own.clone();
                    variables.extend(extra);
                    variables.extend(chosen.variables.iter().map(of_file));
                    made.entry(job.name.clone()).or_default().push(name.clone());
                    places.insert(name.clone(), job.pos);
                    plan.jobs.push(planned(job, name, variables, &chosen));
                }
            }
        }
    }
    order_stages(&mut plan, config);
    let mut faults = Vec::new();
    connect(&mut plan, config, &made, &places, &mut faults);
    if faults.is_empty() {
        circles(&plan, &places, &mut faults);
    }
    if !faults.is_empty() {
        name_files(&mut faults, &config.files);
        return Err(Faults(faults));
    }
    if plan.jobs.is_empty() {
        plan.none = Some("no job is to run for this ref".to_owned());
    }
    Ok(plan)
}

fn too_many(config: &Config, job: &Job) -> Faults {
    Faults::one(
        job.pos,
        format!("with `{}` the pipeline has too many jobs", shown(&job.name)),
        format!("at most {} are allowed", limits::PIPELINE_JOBS),
    )
    .named(&config.files)
}

/// Whether the job is in, and how; otherwise why not.
fn choose(job: &Job, context: &Context<'_>, values: &BTreeMap<String, String>) -> Result<Chosen, String> {
    let chosen = |when, reason: &str| Chosen {
        when,
        start_in: job.spec.start_in,
        allow_failure: None,
        variables: Vec::new(),
        needs: None,
        interruptible: None,
        reason: reason.to_owned(),
    };
    if let Some(rules) = &job.rules {
        let Some(rule) = rules.iter().find(|rule| rule.matches(&context.around, values)) else {
            return Err(if rules.is_empty() {
                "its rules are empty"
            } else {
                "none of its rules matches"
            }
            .to_owned());
        };
        return by_rule(job, rule);
    }
    if let Some(only) = &job.only
        && !only.allows(&context.around, values)
    {
        return Err("`only` does not name this ref".to_owned());
    }
    if let Some(except) = &job.except
        && except.forbids(&context.around, values)
    {
        return Err("`except` names this ref".to_owned());
    }
    if job.when == When::Never {
        return Err("its `when` is never".to_owned());
    }
    let mut chosen = chosen(
        job.when,
        if job.only.is_some() {
            "`only` names this ref"
        } else {
            "it has no rules"
        },
    );
    // Outside rules, a manual job holds nothing up unless it says so.
    if job.when == When::Manual && job.allow_failure.is_none() {
        chosen.allow_failure = Some(AllowFailure::Yes);
    }
    Ok(chosen)
}

fn by_rule(job: &Job, rule: &Rule) -> Result<Chosen, String> {
    let when = rule.when.unwrap_or(job.when);
    if when == When::Never {
        return Err(format!("the rule at {} says never", rule.pos));
    }
    Ok(Chosen {
        when,
        start_in: rule
            .start_in
            .or(job.spec.start_in)
            .filter(|_| when == When::Delayed),
        allow_failure: rule.allow_failure.clone(),
        variables: rule.variables.clone(),
        needs: rule.needs.clone(),
        interruptible: rule.interruptible,
        reason: format!("the rule at {} matches", rule.pos),
    })
}

/// The names and own variables of the jobs that one `parallel` makes.
fn copies(job: &Job) -> Vec<(String, Vec<runner::Variable>)> {
    let numbered = |index: usize, total: usize| {
        vec![
            runner::Variable::public("CI_NODE_INDEX", index.to_string()),
            runner::Variable::public("CI_NODE_TOTAL", total.to_string()),
        ]
    };
    match &job.parallel {
        None => vec![(job.name.clone(), Vec::new())],
        Some(Parallel::Count(total)) => {
            let total = usize::try_from(*total).unwrap_or(1);
            (1..=total)
                .map(|i| (format!("{} {i}/{total}", job.name), numbered(i, total)))
                .collect()
        }
        Some(Parallel::Matrix(rows)) => rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let values: Vec<&str> = row.iter().map(|(_, value)| value.as_str()).collect();
                let mut variables = numbered(index + 1, rows.len());
                variables.extend(
                    row.iter()
                        .map(|(k, v)| runner::Variable::public(k.clone(), v.clone())),
                );
                (format!("{}: [{}]", job.name, values.join(", ")), variables)
            })
            .collect(),
    }
}

fn planned(job: &Job, name: String, variables: Vec<runner::Variable>, chosen: &Chosen) -> PlannedJob {
    let mut spec = job.spec.clone();
    spec.start_in = chosen.start_in;
    if let Some(interruptible) = chosen.interruptible {
        spec.interruptible = interruptible;
    }
    let allow_failure = chosen
        .allow_failure
        .clone()
        .or_else(|| job.allow_failure.clone())
        .unwrap_or_default();
    PlannedJob {
        name,
        stage: job.stage.clone(),
        stage_index: 0,
        when: chosen.when,
        allow_failure,
        needs: chosen.needs.clone().or_else(|| job.needs.clone()),
        dependencies: match &job.dependencies {
            None => Dependencies::Default,
            Some(list) => Dependencies::Only(list.iter().map(|(name, _)| name.clone()).collect()),
        },
        variables,
        spec,
        reason: chosen.reason.clone(),
    }
}

fn order_stages(plan: &mut Plan, config: &Config) {
    plan.stages = config
        .stages
        .iter()
        .filter(|s| plan.jobs.iter().any(|job| &job.stage == *s))
        .cloned()
        .collect();
    let index: HashMap<&str, usize> = plan
        .stages
        .iter()
        .enumerate()
        .map(|(i, stage)| (stage.as_str(), i))
        .collect();
    for job in &mut plan.jobs {
        job.stage_index = index.get(job.stage.as_str()).copied().unwrap_or_default();
    }
    plan.jobs.sort_by_key(|job| job.stage_index);
}

/// Turns `needs` and `dependencies` into names of jobs that are there.
fn connect(
    plan: &mut Plan,
    config: &Config,
    made: &HashMap<String, Vec<String>>,
    places: &HashMap<String, crate::fault::Pos>,
    faults: &mut Vec<Fault>,
) {
    let stage_of: HashMap<String, usize> = plan
        .jobs
        .iter()
        .map(|job| (job.name.clone(), job.stage_index))
        .collect();
    let written: HashSet<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    let left_out: HashMap<&str, &str> = plan
        .left_out
        .iter()
        .map(|(name, reason)| (name.as_str(), reason.as_str()))
        .collect();
    let targets = |name: &str| -> Vec<String> {
        match made.get(name) {
            Some(names) => names.clone(),
            None if stage_of.contains_key(name) => vec![name.to_owned()],
            None => Vec::new(),
        }
    };
    for job in &mut plan.jobs {
        let pos = places.get(&job.name).copied().unwrap_or_default();
        if let Some(needs) = &job.needs {
            let mut resolved: Vec<Need> = Vec::new();
            for need in needs {
                let found = targets(&need.job);
                if found.is_empty() && !need.optional {
                    faults.push(missing(&job.name, need, &written, &left_out));
                }
                for name in found {
                    if stage_of.get(&name).is_some_and(|stage| *stage > job.stage_index) {
                        faults.push(Fault::new(
                            need.pos,
                            format!(
                                "`{}` needs `{}`, which is in a later stage",
                                shown(&job.name),
                                shown(&name)
                            ),
                            "a job needs jobs of its own or of earlier stages",
                        ));
                    } else if !resolved.iter().any(|r| r.job == name) {
                        resolved.push(Need {
                            job: name,
                            ..need.clone()
                        });
                    }
                }
            }
            job.needs = Some(resolved);
        }
        if let Dependencies::Only(list) = &job.dependencies {
            let mut resolved = Vec::new();
            for name in list {
                if !written.contains(name.as_str()) && !stage_of.contains_key(name) {
                    let hint = did_you_mean(name, written.iter().copied())
                        .map_or_else(String::new, |word| format!("did you mean `{word}`?"));
                    faults.push(Fault::new(
                        pos,
                        format!(
                            "`dependencies` of `{}` names the unknown job `{}`",
                            shown(&job.name),
                            shown(name)
                        ),
                        hint,
                    ));
                }
                resolved.extend(
                    targets(name)
                        .into_iter()
                        .filter(|n| stage_of.get(n).is_some_and(|s| *s <= job.stage_index)),
                );
            }
            job.dependencies = Dependencies::Only(resolved);
        }
    }
}

fn missing(job: &str, need: &Need, written: &HashSet<&str>, left_out: &HashMap<&str, &str>) -> Fault {
    if let Some(reason) = left_out.get(need.job.as_str()) {
        return Fault::new(
            need.pos,
            format!(
                "`{}` needs `{}`, which is not in this pipeline, because {reason}",
                shown(job),
                shown(&need.job)
            ),
            "give both the same rules, or write `optional: true` in the need",
        );
    }
    let hint = did_you_mean(&need.job, written.iter().copied()).map_or_else(
        || "name a job of this file".to_owned(),
        |word| format!("did you mean `{word}`?"),
    );
    Fault::new(
        need.pos,
        format!("`{}` needs the unknown job `{}`", shown(job), shown(&need.job)),
        hint,
    )
}

/// Finds jobs that wait for themselves, by taking away all that can run until nothing more can.
fn circles(plan: &Plan, places: &HashMap<String, crate::fault::Pos>, faults: &mut Vec<Fault>) {
    let mut waiting: HashMap<&str, HashSet<&str>> = plan
        .jobs
        .iter()
        .filter_map(|job| {
            let needs = job.needs.as_ref()?;
            Some((
                job.name.as_str(),
                needs.iter().map(|need| need.job.as_str()).collect(),
            ))
        })
        .collect();
    loop {
        let free: Vec<&str> = waiting
            .iter()
            .filter(|(_, needs)| !needs.iter().any(|need| waiting.contains_key(need)))
            .map(|(name, _)| *name)
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            waiting.remove(name);
        }
    }
    // What is left are circles and what waits for them; one message is enough.
    if let Some(first) = plan
        .jobs
        .iter()
        .find(|job| waiting.contains_key(job.name.as_str()))
    {
        let mut names: Vec<&str> = waiting.keys().copied().collect();
        names.sort_unstable();
        faults.push(Fault::new(
            places.get(&first.name).copied().unwrap_or_default(),
            format!("these jobs wait for each other: {}", shown(&names.join(", "))),
            "remove one of their `needs`",
        ));
    }
}

#[cfg(test)]
mod tests;
