//! `trigger`: starting a child pipeline or one of another project.

use super::{
    Forward, Strategy, Trigger,
    include::{self, For},
    reader::Reader,
};
use crate::yaml::Node;

pub(super) const KEYS: &[&str] = &["project", "branch", "include", "inputs", "strategy", "forward"];
pub(super) const FORWARD: &[&str] = &["yaml_variables", "pipeline_variables"];
/// Most files of a child pipeline's `include` (GitLab's limit).
const FILES: usize = 3;

pub(super) fn read(node: &Node, place: &str, reader: &mut Reader) -> Option<Trigger> {
    let mut trigger = Trigger::default();
    if let Some(project) = node.scalar() {
        trigger.project = Some(project.to_owned());
        return Some(trigger);
    }
    for entry in reader.map(node, place, KEYS)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "project" => trigger.project = reader.text(value, &place),
            "branch" => trigger.branch = reader.text(value, &place),
            "include" => {
                let asked = include::read(value, &place, For::Child, reader);
                if asked.len() > FILES {
                    reader.fault(
                        value.pos,
                        format!("`{place}` names {} files", asked.len()),
                        format!("at most {FILES} are allowed"),
                    );
                }
                trigger.include = asked.into_iter().map(|asked| asked.include).collect();
            }
            "inputs" => trigger.inputs = include::inputs(value, reader),
            "strategy" => {
                trigger.strategy = match reader.word(value, &place, &["depend", "mirror"]).as_deref() {
                    Some("depend") => Strategy::Depend,
                    Some("mirror") => Strategy::Mirror,
                    _ => Strategy::None,
                };
            }
            "forward" => trigger.forward = forward(value, &place, reader),
            _ => {}
        }
    }
    let both = (node.get("project"), node.get("include"));
    match both {
        (Some(_), Some(include)) => reader.fault(
            include.pos,
            format!("`{place}` has both `project` and `include`"),
            "`project` starts a pipeline of another project, `include` a child pipeline of this one",
        ),
        (None, None) => reader.fault(
            node.pos,
            format!("`{place}` names neither `project` nor `include`"),
            "name the project, or the child pipeline's files",
        ),
        _ => {}
    }
    if let (None, Some(branch)) = (node.get("project"), node.get("branch")) {
        reader.fault(
            branch.pos,
            format!("`{place}:branch` needs a `project`"),
            "a child pipeline runs for its parent's branch",
        );
    }
    Some(trigger)
}

fn forward(node: &Node, place: &str, reader: &mut Reader) -> Forward {
    let mut forward = Forward::default();
    for entry in reader.map(node, place, FORWARD).unwrap_or_default() {
        let value = reader.boolean(&entry.value, place);
        match entry.key.as_str() {
            "yaml_variables" => forward.yaml_variables = value.unwrap_or(true),
            _ => forward.pipeline_variables = value.unwrap_or(false),
        }
    }
    forward
}
