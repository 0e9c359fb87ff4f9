//! `needs` and `parallel`.

use super::{Need, OutsideNeed, Parallel, reader::Reader, top::variable_name};
use crate::{
    fault::shown,
    yaml::{Node, Value},
};

/// Most jobs that one `parallel` may make (GitLab's limit).
pub const PARALLEL: i64 = 200;
/// Most entries of `needs` (GitLab's limit).
pub const NEEDS: usize = 50;
/// Most entries of `needs` that lie outside the pipeline (GitLab's limit).
pub const OUTSIDE: usize = 5;

pub(super) const NEED: &[&str] = &["job", "artifacts", "optional", "parallel"];
pub(super) const NEED_PROJECT: &[&str] = &["project", "ref", "job", "artifacts", "parallel"];
pub(super) const NEED_PIPELINE: &[&str] = &["pipeline", "job", "artifacts", "parallel"];

/// What `needs` asks for: jobs of this pipeline, and what lies outside it.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub jobs: Vec<Need>,
    pub outside: Vec<OutsideNeed>,
}

pub(crate) fn needs(node: &Node, place: &str, reader: &mut Reader) -> Needs {
    let mut needs = Needs::default();
    read_into(node, place, 0, &mut needs, reader);
    for (count, allowed, what) in [
        (needs.jobs.len(), NEEDS, "jobs"),
        (needs.outside.len(), OUTSIDE, "jobs of other pipelines"),
    ] {
        if count > allowed {
            reader.fault(
                node.pos,
                format!("`{place}` names {count} {what}"),
                format!("at most {allowed} are allowed"),
            );
        }
    }
    needs
}

/// References and anchors leave lists in lists; a single need stands for a list of one.
fn read_into(node: &Node, place: &str, depth: usize, needs: &mut Needs, reader: &mut Reader) {
    match &node.value {
        Value::Sequence(items) if depth < 10 => {
            for item in items {
                read_into(item, place, depth + 1, needs, reader);
            }
        }
        Value::Mapping(_) => need(node, place, needs, reader),
        Value::Scalar { .. } if !node.is_null() => needs.jobs.push(Need {
            job: node.scalar().unwrap_or_default().to_owned(),
            artifacts: true,
            optional: false,
            matrix: None,
            pos: node.pos,
        }),
        _ => reader.wrong(node, place, "a list of jobs"),
    }
}

fn need(node: &Node, place: &str, needs: &mut Needs, reader: &mut Reader) {
    let outside = ["project", "pipeline"].iter().any(|key| node.get(key).is_some());
    let keys = if node.get("project").is_some() {
        NEED_PROJECT
    } else if outside {
        NEED_PIPELINE
    } else {
        NEED
    };
    let Some(entries) = reader.map(node, place, keys) else {
        return;
    };
    let mut own = Need {
        job: String::new(),
        artifacts: true,
        optional: false,
        matrix: None,
        pos: node.pos,
    };
    let mut other = OutsideNeed::default();
    for entry in entries {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "job" => own.job = reader.text(value, &place).unwrap_or_default(),
            "artifacts" => own.artifacts = reader.boolean(value, &place).unwrap_or(true),
            "optional" => own.optional = reader.boolean(value, &place).unwrap_or_default(),
            "parallel" => {
                own.matrix = match self::parallel(value, &place, reader) {
                    Some(Parallel::Matrix(rows)) => Some(rows),
                    Some(Parallel::Count(_)) => {
                        reader.wrong(value, &place, "a map with `matrix`");
                        None
                    }
                    None => None,
                };
            }
            "project" => other.project = reader.text(value, &place),
            "ref" => other.reference = reader.text(value, &place),
            "pipeline" => other.pipeline = reader.text(value, &place),
            _ => {}
        }
    }
    if !outside {
        if own.job.is_empty() {
            reader.fault(node.pos, "this need names no `job`", "name the job to wait for");
        } else {
            needs.jobs.push(own);
        }
        return;
    }
    other.artifacts = own.artifacts;
    let matrix = own.matrix;
    other.job = Some(own.job).filter(|job| !job.is_empty());
    if other.project.is_some() && (other.job.is_none() || other.reference.is_none()) {
        reader.fault(
            node.pos,
            "this need of another project has no `job` or no `ref`",
            "`project`, `ref` and `job` are needed",
        );
        return;
    }
    match (matrix, &other.job) {
        (Some(rows), Some(job)) => {
            let copies: Vec<OutsideNeed> = rows
                .iter()
                .map(|row| OutsideNeed {
                    job: Some(copy_name(job, row)),
                    ..other.clone()
                })
                .collect();
            needs.outside.extend(copies);
        }
        _ => needs.outside.push(other),
    }
}

/// The name of one of the jobs that a matrix makes.
pub(crate) fn copy_name(job: &str, row: &[(String, String)]) -> String {
    let values: Vec<&str> = row.iter().map(|(_, value)| value.as_str()).collect();
    format!("{job}: [{}]", values.join(", "))
}

pub(super) fn parallel(node: &Node, place: &str, reader: &mut Reader) -> Option<Parallel> {
    if !matches!(node.value, Value::Mapping(_)) {
        let count = reader.integer(node, place, 1, PARALLEL)?;
        return u32::try_from(count).ok().map(Parallel::Count);
    }
    reader.map(node, place, &["matrix"])?;
    let matrix = node.get("matrix")?;
    let Some(rows) = matrix.items() else {
        reader.wrong(matrix, "parallel:matrix", "a list of maps");
        return None;
    };
    let mut combinations = Vec::new();
    for row in rows {
        let mut of_row: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for entry in reader.entries(row, "parallel:matrix")? {
            if !variable_name(&entry.key) {
                reader.fault(
                    entry.key_pos,
                    format!("`{}` cannot be a variable's name", shown(&entry.key)),
                    "",
                );
                return None;
            }
            let values = reader.texts(&entry.value, &entry.key);
            // Counted before it is made: a few lines can ask for billions.
            if of_row
                .len()
                .saturating_mul(values.len())
                .saturating_add(combinations.len())
                > usize::try_from(PARALLEL).unwrap_or_default()
            {
                reader.fault(
                    entry.key_pos,
                    "this matrix makes too many jobs",
                    format!("at most {PARALLEL} are allowed"),
                );
                return None;
            }
            of_row = of_row
                .iter()
                .flat_map(|made| {
                    values.iter().map(|value| {
                        let mut next = made.clone();
                        next.push((entry.key.clone(), value.clone()));
                        next
                    })
                })
                .collect();
        }
        combinations.extend(of_row.into_iter().filter(|made| !made.is_empty()));
    }
    if combinations.is_empty() {
        reader.fault(
            matrix.pos,
            "this matrix makes no job",
            "give each variable at least one value",
        );
        return None;
    }
    Some(Parallel::Matrix(combinations))
}
