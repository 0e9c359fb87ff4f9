//! `${{ job.inputs.NAME }}`: what a job's own inputs are put into when it is handed to a runner.

use super::{Job, JobInput, JobSpec, as_text, reader::Reader};
use crate::{fault::shown, yaml::Node};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What an expression begins and ends with.
const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// The input that the text between the braces names; `None` where it is no plain name of one.
fn named(inner: &str) -> Option<&str> {
    let name = inner.trim().strip_prefix("job.inputs.")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Expressions are refused that would stay in the script as they are: what names no input, and what computes.
pub(super) fn check(job: &Job, node: &Node, reader: &mut Reader) {
    if job.spec.inputs.is_empty() {
        return;
    }
    let mut spec = job.spec.clone();
    let mut wrong = Vec::new();
    visit(&mut spec, &mut |text| {
        for part in text.split(OPEN).skip(1) {
            let inner = part.split(CLOSE).next().unwrap_or_default();
            if !inner.trim_start().starts_with("job.") {
                continue;
            }
            let known =
                named(inner).is_some_and(|name| job.spec.inputs.iter().any(|input| input.name == name));
            if !known {
                wrong.push(inner.trim().to_owned());
            }
        }
    });
    let at = node.get("inputs").map_or(job.pos, |inputs| inputs.pos);
    wrong.dedup();
    for inner in wrong {
        let names: Vec<&str> = job.spec.inputs.iter().map(|input| input.name.as_str()).collect();
        reader.fault(
            at,
            format!(
                "`${{{{ {} }}}}` in `{}` names no input of the job",
                shown(&inner),
                shown(&job.name)
            ),
            format!(
                "write `${{{{ job.inputs.NAME }}}}` with one of: {}",
                names.join(", ")
            ),
        );
    }
}

impl JobSpec {
    /// Puts the values of the job's inputs, those that were given and otherwise the defaults, where they are named.
    pub(crate) fn fill_inputs(&mut self, given: &BTreeMap<String, Json>) {
        if self.inputs.is_empty() {
            return;
        }
        let values: BTreeMap<String, String> = self
            .inputs
            .iter()
            .map(|input: &JobInput| {
                let value = given.get(&input.name).unwrap_or(&input.default);
                (input.name.clone(), as_text(value))
            })
            .collect();
        visit(self, &mut |text| {
            if text.contains(OPEN) {
                *text = filled(text, &values);
            }
        });
    }
}

fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let found = after
            .find(CLOSE)
            .and_then(|end| Some((end, values.get(named(after.get(OPEN.len()..end)?)?)?)));
        // What is no input of the job is the script's own.
        let length = match found {
            Some((end, value)) => {
                out.push_str(value);
                end + CLOSE.len()
            }
            None => {
                out.push_str(OPEN);
                OPEN.len()
            }
        };
        rest = &after[length..];
    }
    out.push_str(rest);
    out
}

/// All texts in which inputs may be named, as GitLab's documentation lists them.
fn visit(spec: &mut JobSpec, each: &mut dyn FnMut(&mut String)) {
    let scripts = [&mut spec.before_script, &mut spec.script, &mut spec.after_script];
    scripts.into_iter().flatten().for_each(&mut *each);
    for image in spec.image.iter_mut().chain(&mut spec.services) {
        each(&mut image.name);
        each(&mut image.alias);
        image.entrypoint.iter_mut().for_each(&mut *each);
        image.command.iter_mut().for_each(&mut *each);
        image
            .variables
            .iter_mut()
            .for_each(|variable| each(&mut variable.value));
    }
    for artifact in &mut spec.artifacts {
        each(&mut artifact.name);
        artifact.paths.iter_mut().for_each(&mut *each);
        artifact.exclude.iter_mut().for_each(&mut *each);
    }
    for cache in &mut spec.cache {
        each(&mut cache.key);
        cache.paths.iter_mut().for_each(&mut *each);
        cache.fallback_keys.iter_mut().for_each(&mut *each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_they_are_named_and_nothing_else_changes() {
        let values: BTreeMap<String, String> = [("env".to_owned(), "prod".to_owned())].into();
        for (text, expected) in [
            (
                "deploy ${{ job.inputs.env }} ${{job.inputs.env}}",
                "deploy prod prod",
            ),
            (
                "${{ matrix.x }} ${{ job.inputs.other }}",
                "${{ matrix.x }} ${{ job.inputs.other }}",
            ),
            ("${{ job.inputs.env", "${{ job.inputs.env"),
            ("${{ ${{ job.inputs.env }}", "${{ prod"),
        ] {
            assert_eq!(filled(text, &values), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${} a-zé.]{0,60}") {
            let values: BTreeMap<String, String> = [("a".to_owned(), "b".to_owned())].into();
            drop(filled(&text, &values));
        }
    }
}
