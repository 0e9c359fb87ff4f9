//! `run`: steps in place of a script. Steps with a `script` are run like one, each by itself; those that come from
//! elsewhere are not served.

use super::{reader::Reader, top::variable_name};
use crate::{
    fault::{Pos, shown},
    yaml::Node,
};

pub(super) const STEP: &[&str] = &[
    "name", "env", "script", "step", "func", "inputs", "action", "exec",
];
/// Keys of steps that are programs of others.
const ELSEWHERE: &[&str] = &["step", "func", "inputs", "action", "exec"];
/// Most steps of a job.
const STEPS: usize = 100;

/// The script that does what the steps do: each runs in a shell of its own, in order, until one fails.
pub(super) fn steps(node: &Node, place: &str, reader: &mut Reader) -> Vec<String> {
    let Some(items) = node.items() else {
        reader.wrong(node, place, "a list of steps");
        return Vec::new();
    };
    if items.len() > STEPS {
        reader.fault(
            node.pos,
            format!("`{place}` has {} steps", items.len()),
            format!("at most {STEPS} are allowed"),
        );
        return Vec::new();
    }
    items
        .iter()
        .filter_map(|item| step(item, place, reader))
        .collect()
}

fn step(node: &Node, place: &str, reader: &mut Reader) -> Option<String> {
    let (mut name, mut script, mut env) = (None, None, Vec::new());
    for entry in reader.map(node, place, STEP)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "name" => name = reader.text(value, &place),
            "script" => script = reader.text(value, &place).map(|text| (text, value.pos)),
            "env" => {
                for variable in reader.entries(value, &place).unwrap_or_default() {
                    if !variable_name(&variable.key) {
                        reader.fault(
                            variable.key_pos,
                            format!("`{}` cannot be a variable's name", shown(&variable.key)),
                            "use letters, digits and `_`, not beginning with a digit",
                        );
                    } else if let Some(text) = reader.text(&variable.value, &place) {
                        without_expressions(&text, variable.value.pos, reader);
                        env.push((variable.key.clone(), text));
                    }
                }
            }
            key if ELSEWHERE.contains(&key) => {
                reader.fault(
                    entry.key_pos,
                    format!("`{place}` is not served: steps of others are not fetched"),
                    "write what it does as `script`, or run its program in one",
                );
                return None;
            }
            _ => {}
        }
    }
    let Some(name) = name.filter(|name| variable_name(name)) else {
        reader.fault(
            node.pos,
            "this step has no `name`",
            "name it with letters, digits and `_`, not beginning with a digit",
        );
        return None;
    };
    let Some((script, pos)) = script else {
        reader.fault(
            node.pos,
            format!("the step `{name}` has no `script`"),
            "write the commands that it runs",
        );
        return None;
    };
    without_expressions(&script, pos, reader);
    let mut lines = format!("( # step {name}\n");
    for (key, value) in env {
        lines.push_str(&format!("export {key}='{}'\n", value.replace('\'', "'\\''")));
    }
    lines.push_str(&script);
    lines.push_str("\n)");
    Some(lines)
}

/// `${{ … }}` is worked out by a program that is not part of runners here; `job.inputs` alone is known.
fn without_expressions(text: &str, pos: Pos, reader: &mut Reader) {
    for part in text.split("${{").skip(1) {
        if !part.trim_start().starts_with("job.inputs.") {
            let inner = part.split("}}").next().unwrap_or_default().trim();
            reader.fault(
                pos,
                format!("`${{{{ {} }}}}` is not worked out in steps", shown(inner)),
                "write `$NAME` for a variable; only `${{ job.inputs.name }}` is known",
            );
        }
    }
}
