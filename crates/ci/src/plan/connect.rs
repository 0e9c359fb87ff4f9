//! `needs` and `dependencies`: from names in the file to jobs of the pipeline.

use super::{Dependencies, Made, Plan, PlannedJob};
use crate::{
    config::{Config, Need},
    fault::{Fault, Pos, did_you_mean, shown},
};
use std::collections::{HashMap, HashSet, VecDeque};

/// Turns `needs` and `dependencies` into names of jobs that are there.
pub(super) fn connect(plan: &mut Plan, config: &Config, made: &Made<'_>, faults: &mut Vec<Fault>) {
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
    let known = Known {
        stage_of: &stage_of,
        written: &written,
        left_out: &left_out,
        made,
    };
    for job in &mut plan.jobs {
        if let Some(needs) = &job.needs {
            job.needs = Some(resolve(&job.name, job.stage_index, needs, &known, faults));
        }
        let Dependencies::Only(list) = &job.dependencies else {
            continue;
        };
        let mut resolved = Vec::new();
        for name in list {
            let targets = known.targets(name);
            if targets.is_empty() && !written.contains(name.as_str()) {
                let hint = did_you_mean(name, written.iter().copied())
                    .map_or_else(String::new, |word| format!("did you mean `{word}`?"));
                faults.push(Fault::new(
                    job.pos,
                    format!(
                        "`dependencies` of `{}` names the unknown job `{}`",
                        shown(&job.name),
                        shown(name)
                    ),
                    hint,
                ));
            }
            let later = targets
                .iter()
                .find(|(name, _)| stage_of.get(name).is_some_and(|stage| *stage > job.stage_index));
            if let Some((name, _)) = later {
                faults.push(Fault::new(
                    job.pos,
                    format!(
                        "`{}` takes the artifacts of `{}`, which is in a later stage",
                        shown(&job.name),
                        shown(name)
                    ),
                    "`dependencies` names jobs of earlier stages",
                ));
            }
            let earlier = |name: &String| stage_of.get(name).is_some_and(|stage| *stage <= job.stage_index);
            resolved.extend(targets.into_iter().map(|(name, _)| name).filter(earlier));
        }
        if let Some(needs) = &job.needs {
            let needed: HashSet<&str> = needs.iter().map(|need| need.job.as_str()).collect();
            if let Some(other) = resolved.iter().find(|name| !needed.contains(name.as_str())) {
                faults.push(Fault::new(
                    job.pos,
                    format!(
                        "`{}` takes the artifacts of `{}`, which it does not need",
                        shown(&job.name),
                        shown(other)
                    ),
                    "name each job of `dependencies` in `needs` too",
                ));
            }
        }
        job.dependencies = Dependencies::Only(resolved);
    }
}

/// Puts the values of a copy's own matrix where its needs name them: `$[[ matrix.NAME ]]`.
pub(super) fn by_matrix(job: &mut PlannedJob, row: &[(String, String)]) {
    let named = |value: &String| value.contains("$[[");
    for need in job.needs.iter_mut().flatten() {
        for (_, value) in need
            .matrix
            .iter_mut()
            .flatten()
            .flatten()
            .filter(|(_, value)| named(value))
        {
            for (name, of_row) in row {
                for expression in [format!("$[[ matrix.{name} ]]"), format!("$[[matrix.{name}]]")] {
                    *value = value.replace(&expression, of_row);
                }
            }
        }
    }
}

struct Known<'k> {
    stage_of: &'k HashMap<String, usize>,
    written: &'k HashSet<&'k str>,
    left_out: &'k HashMap<&'k str, &'k str>,
    made: &'k Made<'k>,
}

impl<'k> Known<'k> {
    /// The jobs that a name stands for: all that a `parallel` made, or one of them by its own name.
    fn targets(&self, name: &str) -> Vec<(String, &'k [(String, String)])> {
        match self.made.get(name) {
            Some(names) => names.clone(),
            None if self.stage_of.contains_key(name) => vec![(name.to_owned(), &[])],
            None => Vec::new(),
        }
    }
}

fn resolve(job: &str, stage: usize, needs: &[Need], known: &Known<'_>, faults: &mut Vec<Fault>) -> Vec<Need> {
    let mut resolved: Vec<Need> = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    for need in needs {
        let mut found = known.targets(&need.job);
        let all = found.len();
        if let Some(rows) = &need.matrix {
            found.retain(|(_, row)| rows.iter().any(|wanted| same_row(wanted, row)));
        }
        if found.is_empty() && !need.optional {
            faults.push(if all > 0 {
                Fault::new(
                    need.pos,
                    format!(
                        "`{}` needs jobs of `{}` with values that its matrix does not have",
                        shown(job),
                        shown(&need.job)
                    ),
                    "use names and values of that job's `parallel:matrix`",
                )
            } else {
                missing(job, need, known)
            });
        }
        for (name, _) in found {
            if known.stage_of.get(&name).is_some_and(|other| *other > stage) {
                faults.push(Fault::new(
                    need.pos,
                    format!(
                        "`{}` needs `{}`, which is in a later stage",
                        shown(job),
                        shown(&name)
                    ),
                    "a job needs jobs of its own or of earlier stages",
                ));
            } else if seen.insert(name.clone()) {
                resolved.push(Need {
                    job: name,
                    artifacts: need.artifacts,
                    optional: need.optional,
                    matrix: None,
                    pos: need.pos,
                });
            }
        }
    }
    resolved
}

fn same_row(wanted: &[(String, String)], row: &[(String, String)]) -> bool {
    wanted.len() == row.len() && wanted.iter().all(|pair| row.contains(pair))
}

fn missing(job: &str, need: &Need, known: &Known<'_>) -> Fault {
    if let Some(reason) = known.left_out.get(need.job.as_str()) {
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
    let hint = did_you_mean(&need.job, known.written.iter().copied()).map_or_else(
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
pub(super) fn circles(plan: &Plan, faults: &mut Vec<Fault>) {
    let mut open: HashMap<&str, usize> = HashMap::new();
    let mut waiting_for: HashMap<&str, Vec<&str>> = HashMap::new();
    for job in &plan.jobs {
        let needs = job.needs.as_deref().unwrap_or_default();
        open.insert(&job.name, needs.len());
        for need in needs {
            waiting_for.entry(&need.job).or_default().push(&job.name);
        }
    }
    let mut free: VecDeque<&str> = open
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    while let Some(name) = free.pop_front() {
        open.remove(name);
        for waiter in waiting_for.remove(name).unwrap_or_default() {
            if let Some(count) = open.get_mut(waiter) {
                *count -= 1;
                if *count == 0 {
                    free.push_back(waiter);
                }
            }
        }
    }
    // What is left are circles and what waits for them; one message is enough. Each job that is left needs another one.
    let by_name: HashMap<&str, &PlannedJob> = plan
        .jobs
        .iter()
        .filter(|job| open.contains_key(job.name.as_str()))
        .map(|job| (job.name.as_str(), job))
        .collect();
    let next = |job: &PlannedJob| {
        let needs = job.needs.as_deref().unwrap_or_default();
        needs
            .iter()
            .find_map(|need| Some((need.pos, *by_name.get(need.job.as_str())?)))
    };
    let mut at = plan
        .jobs
        .iter()
        .find(|job| by_name.contains_key(job.name.as_str()));
    let mut way: Vec<(&str, Pos)> = Vec::new();
    while let Some(job) = at {
        if let Some(begin) = way.iter().position(|(name, _)| *name == job.name) {
            let mut names: Vec<&str> = way[begin..].iter().map(|(name, _)| *name).take(10).collect();
            names.push(&job.name);
            faults.push(Fault::new(
                way[begin].1,
                format!("these jobs wait for each other: {}", shown(&names.join(" → "))),
                "remove one of these `needs`",
            ));
            return;
        }
        let Some((pos, needed)) = next(job) else { return };
        way.push((&job.name, pos));
        at = Some(needed);
    }
}
