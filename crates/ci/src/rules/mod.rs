//! `rules`, `only` and `except`: whether a job is in a pipeline, and how.

mod around;
mod expression;
mod glob;
mod refs;

use crate::{
    config::{
        AllowFailure, AutoCancel, Need, Reader, Variable, When, allow_failure, auto_cancel, needs, start_in,
        variables, when,
    },
    fault::{Pos, shown},
    yaml::{Node, Value},
};

pub use around::{COMPARISONS, Elsewhere, Surroundings, Verdict};
pub use expression::{Expression, ExpressionError, pattern};
pub use glob::Glob;
pub use refs::Refs;
pub(crate) use refs::{KEYS as REFS_KEYS, read as read_refs};

/// One rule: all its conditions must hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub pos: Pos,
    /// `if`.
    pub condition: Option<Expression>,
    /// `changes`: patterns of which one must match a changed file.
    pub changes: Option<Changes>,
    /// `exists`: patterns of which one must match a file.
    pub exists: Option<Exists>,
    /// `when`, where written.
    pub when: Option<When>,
    /// With `when: delayed`: after how many seconds.
    pub start_in: Option<u64>,
    /// `allow_failure`, where written.
    pub allow_failure: Option<AllowFailure>,
    /// Variables that the job gets if this rule matches.
    pub variables: Vec<Variable>,
    /// Replaces the job's `needs`.
    pub needs: Option<Vec<Need>>,
    /// Replaces the job's `interruptible`.
    pub interruptible: Option<bool>,
    /// Of a workflow: replaces its `auto_cancel`.
    pub auto_cancel: Option<AutoCancel>,
}

/// `rules:changes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Patterns, with variables.
    pub paths: Vec<String>,
    /// The branch, tag or commit to compare with, with variables; `None` is what the push replaced.
    pub compare_to: Option<String>,
    /// Where it stands.
    pub pos: Pos,
}

/// `rules:exists`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exists {
    /// Patterns, with variables.
    pub paths: Vec<String>,
    /// `group/project` to look in, with variables; `None` is the project of the file.
    pub project: Option<String>,
    /// Branch, tag or commit to look in, with variables; `None` is the commit, or that project's default branch.
    pub reference: Option<String>,
    /// Where it stands.
    pub pos: Pos,
}

/// Where rules stand, which decides what they may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `workflow`.
    Workflow,
    /// In a job.
    Job,
    /// In an `include`.
    Include,
}

pub(crate) const JOB_KEYS: &[&str] = &[
    "if",
    "changes",
    "exists",
    "when",
    "start_in",
    "allow_failure",
    "variables",
    "needs",
    "interruptible",
];
pub(crate) const WORKFLOW_KEYS: &[&str] = &["if", "changes", "exists", "when", "variables", "auto_cancel"];
pub(crate) const INCLUDE_KEYS: &[&str] = &["if", "changes", "exists", "when"];
pub(crate) const CHANGES: &[&str] = &["paths", "compare_to"];
pub(crate) const EXISTS: &[&str] = &["paths", "project", "ref"];
/// Most patterns of one `changes` or `exists` (GitLab's limit).
pub const PATTERNS: usize = 50;

/// Reads a list of rules.
pub(crate) fn read(node: &Node, place: &str, kind: Place, reader: &mut Reader) -> Vec<Rule> {
    let mut rules = Vec::new();
    flatten(node, place, kind, 0, &mut rules, reader);
    rules
}

/// References and anchors leave lists in lists.
fn flatten(node: &Node, place: &str, kind: Place, depth: usize, into: &mut Vec<Rule>, reader: &mut Reader) {
    match &node.value {
        Value::Sequence(items) if depth < 10 => {
            for item in items {
                flatten(item, place, kind, depth + 1, into, reader);
            }
        }
        Value::Mapping(_) if depth > 0 => into.extend(rule(node, place, kind, reader)),
        _ => reader.wrong(node, place, "a list of rules, each a map"),
    }
}

fn rule(node: &Node, place: &str, kind: Place, reader: &mut Reader) -> Option<Rule> {
    let (keys, words): (_, &[&str]) = match kind {
        Place::Job => (
            JOB_KEYS,
            &["on_success", "on_failure", "always", "manual", "delayed", "never"],
        ),
        Place::Workflow => (WORKFLOW_KEYS, &["always", "never"]),
        Place::Include => (INCLUDE_KEYS, &["always", "on_success", "never"]),
    };
    let mut rule = Rule {
        pos: node.pos,
        condition: None,
        changes: None,
        exists: None,
        when: None,
        start_in: None,
        allow_failure: None,
        variables: Vec::new(),
        needs: None,
        interruptible: None,
        auto_cancel: None,
    };
    for entry in reader.map(node, place, keys)? {
        let value = &entry.value;
        if value.is_null() {
            continue;
        }
        match entry.key.as_str() {
            "if" => {
                let text = reader.text(value, "rules:if")?;
                match reader.condition(&text) {
                    Ok(expression) => rule.condition = Some(expression),
                    Err(error) => reader.fault(
                        inside(value, error.at),
                        format!("in the condition `{}`: {}", shown(&text), error.what),
                        error.allowed,
                    ),
                }
            }
            "changes" => {
                rule.changes = Some(changes(value, "rules:changes", CHANGES, reader));
            }
            "exists" => rule.exists = Some(exists(value, "rules:exists", reader)),
            "when" => rule.when = when(value, "rules:when", words, reader),
            "start_in" => rule.start_in = start_in(value, "rules:start_in", reader),
            "allow_failure" => rule.allow_failure = allow_failure(value, "rules:allow_failure", reader),
            "variables" => rule.variables = variables(value, "rules:variables", reader),
            "needs" => {
                let needs = needs(value, "rules:needs", reader);
                if !needs.outside.is_empty() {
                    reader.fault(
                        value.pos,
                        "`rules:needs` names jobs of other pipelines",
                        "such needs stand in the job's own `needs`",
                    );
                }
                rule.needs = Some(needs.jobs);
            }
            "interruptible" => rule.interruptible = reader.boolean(value, "rules:interruptible"),
            "auto_cancel" => rule.auto_cancel = Some(auto_cancel(value, "rules:auto_cancel", reader)),
            _ => {}
        }
    }
    match (rule.when, rule.start_in, node.get("start_in")) {
        (Some(When::Delayed), None, None) => reader.fault(
            node.get("when").map_or(node.pos, |when| when.pos),
            "this rule delays the job but has no `start_in`",
            "say after how long it starts, such as `start_in: 30 minutes`",
        ),
        (when, _, Some(at)) if when != Some(When::Delayed) => reader.fault(
            at.pos,
            "this rule has `start_in` but does not delay the job",
            "write `when: delayed`",
        ),
        _ => {}
    }
    Some(rule)
}

/// The place of a character inside a scalar of one line.
fn inside(node: &Node, at: usize) -> Pos {
    match &node.value {
        Value::Scalar { text, quoted } if !text.contains('\n') => node.pos.right(at + usize::from(*quoted)),
        _ => node.pos,
    }
}

fn changes(node: &Node, place: &str, keys: &[&str], reader: &mut Reader) -> Changes {
    let paths = patterns(node, place, keys, reader);
    let mut text = |key: &str| {
        let value = node.get(key).filter(|_| keys.contains(&key))?;
        reader.text(value, &format!("{place}:{key}"))
    };
    Changes {
        paths,
        compare_to: text("compare_to"),
        pos: node.pos,
    }
}

fn exists(node: &Node, place: &str, reader: &mut Reader) -> Exists {
    let paths = patterns(node, place, EXISTS, reader);
    let mut text = |key: &str| {
        node.get(key)
            .and_then(|value| reader.text(value, &format!("{place}:{key}")))
    };
    let (project, reference) = (text("project"), text("ref"));
    if let (None, Some(at)) = (&project, node.get("ref")) {
        reader.fault(
            at.pos,
            format!("`{place}:ref` needs a `project`"),
            "name the project to look in",
        );
    }
    Exists {
        paths,
        project,
        reference,
        pos: node.pos,
    }
}

fn patterns(node: &Node, place: &str, keys: &[&str], reader: &mut Reader) -> Vec<String> {
    let list = match &node.value {
        Value::Mapping(_) => {
            reader.map(node, place, keys);
            node.get("paths").unwrap_or(node)
        }
        _ => node,
    };
    if matches!(list.value, Value::Mapping(_)) {
        reader.fault(
            node.pos,
            format!("`{place}` has no `paths`"),
            "list the patterns under `paths`",
        );
        return Vec::new();
    }
    let patterns = reader.texts(list, place);
    if patterns.len() > PATTERNS {
        reader.fault(
            node.pos,
            format!("`{place}` holds {} patterns", patterns.len()),
            format!("at most {PATTERNS} are allowed"),
        );
    }
    for text in &patterns {
        if let Err(why) = reader.glob(text) {
            reader.fault(node.pos, format!("`{}` is no pattern: {why}", shown(text)), "");
        }
    }
    patterns
}
