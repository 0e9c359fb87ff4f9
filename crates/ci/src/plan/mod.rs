//! From a configuration and a commit to the jobs of a pipeline. Pure: all that is asked of the world comes
//! in as values, so the lint page and the real pipeline cannot differ.

mod cache;
mod choose;
mod connect;

use crate::{
    config::{AllowFailure, AutoCancel, Config, Job, JobSpec, Need, PIPELINE_BYTES, Parallel, When},
    fault::{Faults, Pos, name_files, shown},
    rules::{COMPARISONS, Surroundings},
    variables::{Layer, Scope, expand, of_file},
};
use bascule_core::limits;
use bascule_wire::runner::Variable;
use choose::Chosen;
use std::collections::{HashMap, HashSet};

pub use cache::FileKeys;

/// What a pipeline is planned for.
#[derive(Debug)]
pub struct Context<'a> {
    /// What rules are judged by.
    pub around: Surroundings<'a>,
    /// Variables that the file may replace: the predefined ones.
    pub predefined: Vec<Variable>,
    /// Variables that count over those of the file: the project's, then those of who starts the pipeline.
    pub over: Vec<Variable>,
    /// What caches' keys are made of, for files that a cache names.
    pub file_keys: FileKeys,
}

impl<'a> Context<'a> {
    /// For pipelines whose caches name no files.
    #[must_use]
    pub fn new(around: Surroundings<'a>, predefined: Vec<Variable>, over: Vec<Variable>) -> Self {
        Self {
            around,
            predefined,
            over,
            file_keys: FileKeys::default(),
        }
    }
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
    pub variables: Vec<Variable>,
    /// What the runner is told.
    pub spec: JobSpec,
    /// Why it is in the pipeline, in plain words.
    pub reason: String,
    /// Where the job stands in the file.
    pos: Pos,
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

/// Variables by name, for quick finding.
type Index<'a> = HashMap<&'a str, &'a Variable>;

fn index(list: &[Variable]) -> Index<'_> {
    list.iter()
        .map(|variable| (variable.key.as_str(), variable))
        .collect()
}

/// Names of the jobs that one job of the file became, with the matrix row of each.
type Made<'a> = HashMap<&'a str, Vec<(String, &'a [(String, String)])>>;

/// Plans a pipeline.
///
/// # Errors
/// What can only be seen for this commit: a needed job that is left out, a circle, too many jobs.
pub fn plan(config: &Config, context: &Context<'_>) -> Result<Plan, Faults> {
    let mut plan = Plan {
        auto_cancel: config.workflow.auto_cancel,
        ..Plan::default()
    };
    let globals: Vec<Variable> = config.variables.iter().map(of_file).collect();
    let (predefined, global_index) = (index(&context.predefined), index(&globals));
    let over = index(&context.over);
    let protected = predefined
        .get("CI_COMMIT_REF_PROTECTED")
        .is_some_and(|variable| variable.value == "true");
    let mut by_workflow = Vec::new();
    if let Some(rules) = &config.workflow.rules {
        let scope = Scope::new(vec![
            Layer::Index(&predefined),
            Layer::Index(&global_index),
            Layer::Index(&over),
        ]);
        match choose::workflow(rules, &context.around, &scope, &config.files) {
            Ok(rule) => {
                by_workflow = rule.variables.iter().map(of_file).collect();
                plan.auto_cancel = rule.auto_cancel.unwrap_or(plan.auto_cancel);
            }
            Err(_) if context.around.is_spent() => return Err(too_many_comparisons()),
            Err(why) => {
                plan.none = Some(why);
                return Ok(plan);
            }
        }
    }
    let scope = Scope::new(vec![
        Layer::Index(&predefined),
        Layer::Index(&global_index),
        Layer::List(&by_workflow),
        Layer::Index(&over),
    ]);
    plan.name = config
        .workflow
        .name
        .as_ref()
        .map(|name| expand(name.trim(), &scope))
        .map(|name| name.chars().take(255).collect::<String>())
        .filter(|name| !name.is_empty());
    let mut made: Made<'_> = HashMap::new();
    let mut bytes = 0_usize;
    for job in &config.jobs {
        let own: Vec<Variable> = job.variables.iter().map(of_file).collect();
        let name = [
            Variable::public("CI_JOB_NAME", job.name.clone()),
            Variable::public("CI_JOB_STAGE", job.stage.clone()),
        ];
        let base = vec![
            Layer::Index(&predefined),
            Layer::List(&name),
            Layer::Some(&global_index, &job.inherit_variables),
            Layer::List(&by_workflow),
            Layer::List(&own),
        ];
        let mut layers = base.clone();
        layers.push(Layer::Index(&over));
        let chosen = choose::job(job, config, &context.around, &Scope::new(layers));
        if context.around.is_spent() {
            return Err(Faults::one(
                job.pos,
                format!(
                    "with `{}` the rules compare too many patterns with too many files",
                    shown(&job.name)
                ),
                format!(
                    "at most {} million comparisons are allowed; share patterns between jobs, or name folders or files",
                    COMPARISONS / 1_000_000
                ),
            )
            .named(&config.files));
        }
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(reason) => {
                plan.left_out.push((job.name.clone(), reason));
                continue;
            }
        };
        let copies = copies(job);
        let mut names = HashSet::new();
        if let Some(twice) = copies.iter().find(|copy| !names.insert(copy.name.as_str())) {
            return Err(Faults::one(
                job.pos,
                format!("`parallel:matrix` makes `{}` twice", shown(&twice.name)),
                "let each combination of values differ from the others",
            )
            .named(&config.files));
        }
        if plan.jobs.len() + copies.len() > limits::PIPELINE_JOBS {
            return Err(too_many(config, job));
        }
        let by_rule: Vec<Variable> = chosen.variables.iter().map(of_file).collect();
        let each = job.spec.bytes();
        for copy in copies {
            let mut layers = base.clone();
            layers.extend([
                Layer::List(&copy.variables),
                Layer::List(&by_rule),
                Layer::Index(&over),
            ]);
            let scope = Scope::new(layers);
            if bytes + each > PIPELINE_BYTES {
                return Err(too_much(config, job));
            }
            let mut spec = job.spec.clone();
            cache::settle(&mut spec, &context.file_keys, protected, &scope);
            // What a copy of a matrix is told apart by may stand in its tags and its group.
            for tag in &mut spec.tags {
                *tag = expand(tag, &scope);
            }
            if let Some(group) = spec.resource_group.as_mut() {
                *group = expand(group, &scope);
            }
            if spec
                .tags
                .iter()
                .chain(&spec.resource_group)
                .any(|text| text.len() > NAME_BYTES)
            {
                return Err(Faults::one(
                    job.pos,
                    format!(
                        "a tag or the resource group of `{}` is too long once its variables are filled in",
                        shown(&job.name)
                    ),
                    format!("at most {NAME_BYTES} bytes are allowed"),
                )
                .named(&config.files));
            }
            let variables: Vec<&Variable> = globals
                .iter()
                .filter(|variable| job.inherit_variables.takes(&variable.key))
                .chain(&by_workflow)
                .chain(&own)
                .chain(&copy.variables)
                .chain(&by_rule)
                .collect::<Vec<_>>();
            // Before they are copied: what is refused is never held.
            let given = variables
                .iter()
                .map(|one| one.key.len() + one.value.len())
                .sum::<usize>();
            bytes += each + given;
            if bytes > PIPELINE_BYTES {
                return Err(too_much(config, job));
            }
            let variables = variables.into_iter().cloned().collect();
            made.entry(&job.name)
                .or_default()
                .push((copy.name.clone(), copy.row));
            let mut planned = planned(job, copy.name, variables, spec, &chosen);
            connect::by_matrix(&mut planned, copy.row);
            plan.jobs.push(planned);
        }
    }
    if context.around.is_spent() {
        return Err(too_many_comparisons());
    }
    order_stages(&mut plan, config);
    let mut faults = Vec::new();
    connect::connect(&mut plan, config, &made, &mut faults);
    if faults.is_empty() {
        connect::circles(&plan, &mut faults);
    }
    if !faults.is_empty() {
        name_files(&mut faults, &config.files);
        return Err(Faults(faults));
    }
    if plan.jobs.is_empty() {
        plan.none = Some("no job is to run for this ref".to_owned());
    } else if plan
        .jobs
        .iter()
        .all(|job| matches!(job.stage.as_str(), crate::config::PRE | crate::config::POST))
    {
        plan.none =
            Some("only jobs of .pre and .post would run, and these alone make no pipeline".to_owned());
    }
    Ok(plan)
}

fn too_much(config: &Config, job: &Job) -> Faults {
    Faults::one(
        job.pos,
        format!(
            "with `{}` the jobs of this pipeline hold too much text together",
            shown(&job.name)
        ),
        format!(
            "at most {} MiB are allowed, counting each copy of `parallel` and each job's variables; put long texts into \
             files of the repository",
            PIPELINE_BYTES / (1024 * 1024)
        ),
    )
    .named(&config.files)
}

/// Longest tag and name of a resource group, in bytes, as GitLab has it.
const NAME_BYTES: usize = 255;

fn too_many(config: &Config, job: &Job) -> Faults {
    Faults::one(
        job.pos,
        format!("with `{}` the pipeline has too many jobs", shown(&job.name)),
        format!("at most {} are allowed", limits::PIPELINE_JOBS),
    )
    .named(&config.files)
}

fn too_many_comparisons() -> Faults {
    Faults::one(
        Pos::default(),
        "the rules compare too many patterns (`changes`, `exists`) with too many files",
        format!(
            "at most {} million comparisons are allowed; name folders or files instead of patterns, or fewer of them",
            COMPARISONS / 1_000_000
        ),
    )
}

/// One of the jobs that one `parallel` makes.
struct Copy<'a> {
    name: String,
    variables: Vec<Variable>,
    row: &'a [(String, String)],
}

fn copies(job: &Job) -> Vec<Copy<'_>> {
    let numbered = |index: usize, total: usize| {
        vec![
            Variable::public("CI_NODE_INDEX", index.to_string()),
            Variable::public("CI_NODE_TOTAL", total.to_string()),
        ]
    };
    match &job.parallel {
        None => vec![Copy {
            name: job.name.clone(),
            variables: Vec::new(),
            row: &[],
        }],
        Some(Parallel::Count(total)) => {
            let total = usize::try_from(*total).unwrap_or(1);
            (1..=total)
                .map(|i| Copy {
                    name: format!("{} {i}/{total}", job.name),
                    variables: numbered(i, total),
                    row: &[],
                })
                .collect()
        }
        Some(Parallel::Matrix(rows)) => rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let mut variables = numbered(index + 1, rows.len());
                variables.extend(row.iter().map(|(k, v)| Variable::public(k.clone(), v.clone())));
                Copy {
                    name: crate::config::copy_name(&job.name, row),
                    variables,
                    row,
                }
            })
            .collect(),
    }
}

fn planned(
    job: &Job,
    name: String,
    variables: Vec<Variable>,
    mut spec: JobSpec,
    chosen: &Chosen,
) -> PlannedJob {
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
        pos: job.pos,
    }
}

fn order_stages(plan: &mut Plan, config: &Config) {
    let used: HashSet<&str> = plan.jobs.iter().map(|job| job.stage.as_str()).collect();
    plan.stages = config
        .stages
        .iter()
        .filter(|stage| used.contains(stage.as_str()))
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

#[cfg(test)]
mod tests;
