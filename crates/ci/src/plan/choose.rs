//! Whether a job is in a pipeline, how, and why.

use crate::{
    config::{AllowFailure, Config, Job, Need, Variable, When},
    fault::{Pos, shown},
    rules::{Rule, Surroundings, Verdict},
    variables::Lookup,
};

/// How a job is in the pipeline.
pub(super) struct Chosen {
    pub when: When,
    pub start_in: Option<u64>,
    pub allow_failure: Option<AllowFailure>,
    pub variables: Vec<Variable>,
    pub needs: Option<Vec<Need>>,
    pub interruptible: Option<bool>,
    pub reason: String,
}

/// Most rules whose failing is told one by one.
const TOLD: usize = 5;

fn place(pos: Pos, files: &[String]) -> String {
    match files.get(usize::from(pos.file)) {
        Some(file) if pos.file > 0 => format!("{file}:{pos}"),
        _ => pos.to_string(),
    }
}

/// A rule's place and its condition, for people.
fn described(rule: &Rule, files: &[String]) -> String {
    let place = place(rule.pos, files);
    match &rule.condition {
        Some(condition) => format!("{place} (`{}`)", shown(condition.text())),
        None => place,
    }
}

/// Why none of the rules matches.
fn none_matches(rules: &[Rule], verdicts: &[Verdict], files: &[String]) -> String {
    let told: Vec<String> = rules
        .iter()
        .zip(verdicts)
        .take(TOLD)
        .map(|(rule, verdict)| {
            let why = match verdict {
                Verdict::Changes => "no changed file matches",
                Verdict::Exists => "no file matches",
                Verdict::Condition | Verdict::Matches => "does not hold",
            };
            format!("{} {why}", described(rule, files))
        })
        .collect();
    let more = if rules.len() > TOLD { ", …" } else { "" };
    format!("none of its rules matches: {}{more}", told.join(", "))
}

fn first<'r>(
    rules: &'r [Rule],
    around: &Surroundings<'_>,
    variables: &dyn Lookup,
) -> Result<&'r Rule, Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for rule in rules {
        match rule.judge(around, variables) {
            Verdict::Matches => return Ok(rule),
            verdict => verdicts.push(verdict),
        }
    }
    Err(verdicts)
}

/// The workflow's rule that lets the pipeline be; otherwise why there is none.
pub(super) fn workflow<'r>(
    rules: &'r [Rule],
    around: &Surroundings<'_>,
    variables: &dyn Lookup,
    files: &[String],
) -> Result<&'r Rule, String> {
    match first(rules, around, variables) {
        Ok(rule) if rule.when == Some(When::Never) => Err(format!(
            "the workflow rule at {} says never",
            described(rule, files)
        )),
        Ok(rule) => Ok(rule),
        Err(verdicts) => Err(format!(
            "no workflow rule matches; {}",
            none_matches(rules, &verdicts, files)
        )),
    }
}

/// Whether the job is in, and how; otherwise why not.
pub(super) fn job(
    job: &Job,
    config: &Config,
    around: &Surroundings<'_>,
    variables: &dyn Lookup,
) -> Result<Chosen, String> {
    if let Some(rules) = &job.rules {
        return match first(rules, around, variables) {
            Ok(rule) => by_rule(job, rule, around, &config.files),
            Err(_) if rules.is_empty() => Err("its rules are empty".to_owned()),
            Err(verdicts) => Err(none_matches(rules, &verdicts, &config.files)),
        };
    }
    match &job.only {
        Some(only) if !only.allows(around, variables) => {
            return Err("`only` does not name this pipeline".to_owned());
        }
        // GitLab's usual for a job that says nothing is `only: [branches, tags]`.
        None if around.merge_request && config.workflow.rules.is_none() => {
            return Err("jobs without `rules` or `only` are not part of merge request pipelines".to_owned());
        }
        _ => {}
    }
    if let Some(except) = &job.except
        && except.forbids(around, variables)
    {
        return Err("`except` names this pipeline".to_owned());
    }
    if job.when == When::Never {
        return Err("its `when` is never".to_owned());
    }
    // Outside rules, a manual job holds nothing up unless it says so.
    let manual = job.when == When::Manual && job.allow_failure.is_none();
    Ok(Chosen {
        when: job.when,
        start_in: job.spec.start_in.filter(|_| job.when == When::Delayed),
        allow_failure: manual.then_some(AllowFailure::Yes),
        variables: Vec::new(),
        needs: None,
        interruptible: None,
        reason: match (&job.only, &job.except) {
            (Some(_), _) => "`only` names this pipeline",
            (None, Some(_)) => "`except` does not name this pipeline",
            (None, None) => "it has no rules",
        }
        .to_owned(),
    })
}

fn by_rule(job: &Job, rule: &Rule, around: &Surroundings<'_>, files: &[String]) -> Result<Chosen, String> {
    let when = rule.when.unwrap_or(job.when);
    if when == When::Never {
        return Err(format!("the rule at {} says never", described(rule, files)));
    }
    // The job's own `when: manual` keeps its meaning if the rule says nothing.
    let manual = rule.when.is_none() && job.when == When::Manual && job.allow_failure.is_none();
    Ok(Chosen {
        when,
        start_in: rule
            .start_in
            .or(job.spec.start_in)
            .filter(|_| when == When::Delayed),
        allow_failure: rule
            .allow_failure
            .clone()
            .or_else(|| manual.then_some(AllowFailure::Yes)),
        variables: rule.variables.clone(),
        needs: rule.needs.clone(),
        interruptible: rule.interruptible,
        reason: format!(
            "the rule at {} matches{}",
            described(rule, files),
            match &rule.changes {
                Some(changes) if changes.compare_to.is_none() && around.changed.is_none() =>
                    "; there is nothing to compare with, so all files count as changed",
                _ => "",
            }
        ),
    })
}
