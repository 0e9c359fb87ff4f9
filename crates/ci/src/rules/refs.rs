//! `only` and `except`.

use super::{Changes, Expression, Surroundings, changes};
use crate::{
    config::Reader,
    fault::{Pos, shown},
    yaml::{Node, Value},
};
use regex::Regex;

/// `only` or `except`.
#[derive(Clone, Debug, Default)]
pub struct Refs {
    /// Branch and tag names, `/patterns/`, and words such as `branches`; `None` is any.
    pub refs: Option<Vec<Name>>,
    /// Conditions of which one must hold.
    pub variables: Option<Vec<Expression>>,
    /// Patterns of which one must match a changed file.
    pub changes: Option<Changes>,
    /// Whether a cluster is asked for.
    pub kubernetes: bool,
}

/// One entry of `refs`.
#[derive(Clone, Debug)]
pub struct Name {
    what: What,
    /// Only in this project.
    project: Option<String>,
}

#[derive(Clone, Debug)]
enum What {
    Branches,
    Tags,
    /// Pipelines started so.
    Sources(&'static [&'static str]),
    Pattern(Regex),
    Text(String),
}

pub(crate) const KEYS: &[&str] = &["refs", "variables", "changes", "kubernetes"];

/// Words for what started a pipeline, with the values of `CI_PIPELINE_SOURCE`.
const SOURCES: &[(&str, &[&str])] = &[
    ("api", &["api"]),
    ("chat", &["chat"]),
    ("external", &["external"]),
    ("external_pull_requests", &["external_pull_request_event"]),
    ("merge_requests", &["merge_request_event"]),
    ("pipelines", &["pipeline"]),
    ("pushes", &["push"]),
    ("schedules", &["schedule"]),
    ("triggers", &["trigger"]),
    ("web", &["web"]),
];

impl Name {
    fn parse(text: &str, pos: Pos, reader: &mut Reader) -> Option<Self> {
        // A project's path holds a slash, and a pattern before the `@` is closed.
        let (what, project) = match text.rsplit_once('@') {
            Some((what, project))
                if project.contains('/')
                    && !what.is_empty()
                    && !(what.starts_with('/')
                        && what.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len() < 2)
                    && (!what.starts_with('/') || what[1..].contains('/')) =>
            {
                (what, Some(project.to_owned()))
            }
            _ => (text, None),
        };
        let what = match what {
            "branches" => What::Branches,
            "tags" => What::Tags,
            _ if what.starts_with('/') => match reader.pattern(what) {
                Ok(regex) => What::Pattern(regex),
                Err(why) => {
                    reader.fault(
                        pos,
                        format!("`{}` is no pattern: {why}", shown(what)),
                        "write `/…/`",
                    );
                    return None;
                }
            },
            _ => match SOURCES.iter().find(|(word, _)| *word == what) {
                Some((_, sources)) => What::Sources(sources),
                None => What::Text(what.to_owned()),
            },
        };
        Some(Self { what, project })
    }

    /// Whether the pipeline is one of those that are named.
    pub(super) fn holds(&self, around: &Surroundings<'_>) -> bool {
        if self
            .project
            .as_ref()
            .is_some_and(|project| !project.eq_ignore_ascii_case(around.project))
        {
            return false;
        }
        match &self.what {
            What::Branches => !around.tag && !around.merge_request,
            What::Tags => around.tag,
            What::Sources(sources) => sources.contains(&around.source),
            What::Pattern(regex) => !around.merge_request && regex.is_match(around.reference),
            What::Text(text) => !around.merge_request && text == around.reference,
        }
    }
}

/// Reads `only` or `except`.
pub(crate) fn read(node: &Node, place: &str, reader: &mut Reader) -> Option<Refs> {
    let mut refs = Refs::default();
    if !matches!(node.value, Value::Mapping(_)) {
        refs.refs = Some(names(node, place, reader));
        return Some(refs);
    }
    for entry in reader.map(node, place, KEYS)? {
        let value = &entry.value;
        match entry.key.as_str() {
            "refs" => refs.refs = Some(names(value, place, reader)),
            "changes" => refs.changes = Some(changes(value, place, &["paths"], reader)),
            "variables" => {
                let mut list = Vec::new();
                for text in reader.texts(value, place) {
                    match reader.condition(&text) {
                        Ok(expression) => list.push(expression),
                        Err(error) => reader.fault(
                            value.pos,
                            format!("in the condition `{}`: {}", shown(&text), error.what),
                            error.allowed,
                        ),
                    }
                }
                refs.variables = Some(list);
            }
            "kubernetes" => {
                refs.kubernetes = reader.word(value, place, &["active"]).is_some();
            }
            _ => {}
        }
    }
    Some(refs)
}

fn names(node: &Node, place: &str, reader: &mut Reader) -> Vec<Name> {
    reader
        .texts(node, place)
        .iter()
        .filter_map(|text| Name::parse(text, node.pos, reader))
        .collect()
}
