//! `needs` and `parallel`.

use super::{Need, Parallel, reader::Reader, top::variable_name};
use crate::{
    fault::shown,
    yaml::{Node, Value},
};

/// Most jobs that one `parallel` may make (GitLab's limit).
pub const PARALLEL: i64 = 200;
/// Most entries of `needs` (GitLab's limit).
pub const NEEDS: usize = 50;

pub(crate) fn needs(node: &Node, place: &str, reader: &mut Reader) -> Vec<Need> {
    let items = match node.items() {
        Some(items) => items,
        None if node.scalar().is_some() => std::slice::from_ref(node),
        None => {
            reader.wrong(node, place, "a list of jobs");
            return Vec::new();
        }
    };
    if items.len() > NEEDS {
        reader.fault(
            node.pos,
            format!("`{place}` names {} jobs", items.len()),
            format!("at most {NEEDS} are allowed"),
        );
    }
    items
        .iter()
        .filter_map(|item| need(item, place, reader))
        .collect()
}

fn need(node: &Node, place: &str, reader: &mut Reader) -> Option<Need> {
    if let Some(job) = node.scalar() {
        return Some(Need {
            job: job.to_owned(),
            artifacts: true,
            optional: false,
            pos: node.pos,
        });
    }
    let entries = node.entries();
    if let Some(entry) = entries
        .unwrap_or_default()
        .iter()
        .find(|entry| matches!(entry.key.as_str(), "pipeline" | "project" | "parallel" | "ref"))
    {
        reader.fault(
            entry.key_pos,
            format!("`needs: {}` is not served yet", entry.key),
            "name jobs of this pipeline: job, artifacts, optional",
        );
        return None;
    }
    let mut need = Need {
        job: String::new(),
        artifacts: true,
        optional: false,
        pos: node.pos,
    };
    for entry in reader.map(node, place, &["job", "artifacts", "optional"])? {
        match entry.key.as_str() {
            "job" => need.job = reader.text(&entry.value, place)?,
            "artifacts" => need.artifacts = reader.boolean(&entry.value, place)?,
            "optional" => need.optional = reader.boolean(&entry.value, place)?,
            _ => {}
        }
    }
    if need.job.is_empty() {
        reader.fault(node.pos, "this need names no `job`", "name the job to wait for");
        return None;
    }
    Some(need)
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
