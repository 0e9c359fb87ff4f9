//! Variables and what `$` means in them.

use crate::config;
use bascule_wire::runner;
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

/// Longest value that expansion may make, in bytes: `A: "$B$B"`, `B: "$C$C"`, … doubles with each line.
pub const EXPANDED: usize = 64 * 1024;
/// Deepest chain of variables that name variables.
const DEPTH: usize = 16;

/// Values by name, all expanded.
pub type Values = BTreeMap<String, String>;

/// Where the values of variables come from.
pub trait Lookup {
    /// The value of a variable, expanded; `None` if it is not set.
    fn value(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl Lookup for Values {
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

/// Replaces `$NAME` and `${NAME}` by their values and `$$` by `$`; what is not set becomes empty. `%NAME%` is
/// replaced where there is such a variable: percent signs stand in dates and addresses too.
#[must_use]
pub fn expand(text: &str, variables: &dyn Lookup) -> String {
    replace(text, &mut |name| variables.value(name).map(Cow::into_owned))
}

/// Walks a text and asks for the value of each variable in it.
fn replace(text: &str, value: &mut dyn FnMut(&str) -> Option<String>) -> String {
    if !text.contains(['$', '%']) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '%']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (length, found) = if from.starts_with('$') {
            dollar(from)
        } else {
            percent(from)
        };
        match found {
            Found::Name(name) => match value(name) {
                Some(value) if out.len() < EXPANDED => out.push_str(&value),
                None if from.starts_with('%') => out.push_str(&from[..length]),
                _ => {}
            },
            Found::Text(text) => out.push_str(text),
        }
        rest = &from[length..];
    }
    out.push_str(rest);
    if out.len() > EXPANDED {
        let mut end = EXPANDED;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
    }
    out
}

enum Found<'a> {
    Name(&'a str),
    Text(&'a str),
}

fn name_length(text: &str) -> usize {
    text.bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count()
}

/// What stands at a `$`, and how many bytes it takes.
fn dollar(text: &str) -> (usize, Found<'_>) {
    let after = &text[1..];
    if after.starts_with('$') {
        return (2, Found::Text("$"));
    }
    if let Some(inner) = after.strip_prefix('{') {
        let length = name_length(inner);
        if length > 0 && inner[length..].starts_with('}') {
            return (length + 3, Found::Name(&inner[..length]));
        }
        return (1, Found::Text("$"));
    }
    match name_length(after) {
        0 => (1, Found::Text("$")),
        length => (length + 1, Found::Name(&after[..length])),
    }
}

/// What stands at a `%`, and how many bytes it takes.
fn percent(text: &str) -> (usize, Found<'_>) {
    let after = &text[1..];
    let length = name_length(after);
    let digit = after.starts_with(|c: char| c.is_ascii_digit());
    if length > 0 && !digit && after[length..].starts_with('%') {
        return (length + 2, Found::Name(&after[..length]));
    }
    (1, Found::Text("%"))
}

/// Values by name, with variables that name others expanded. Later entries of the list count over earlier
/// ones. A variable that leads to itself keeps its text.
#[must_use]
pub fn resolve(list: &[runner::Variable]) -> Values {
    let index: HashMap<&str, &runner::Variable> = list.iter().map(|v| (v.key.as_str(), v)).collect();
    let scope = Scope::new(vec![Layer::Index(&index)]);
    index
        .keys()
        .filter_map(|name| Some(((*name).to_owned(), scope.value(name)?.into_owned())))
        .collect()
}

/// One source of variables among several.
#[derive(Clone, Copy)]
pub enum Layer<'a> {
    /// Many, found by name.
    Index(&'a HashMap<&'a str, &'a runner::Variable>),
    /// Many, of which a job takes some.
    Some(&'a HashMap<&'a str, &'a runner::Variable>, &'a config::Inherit),
    /// A few; of two with the same name the later counts.
    List(&'a [runner::Variable]),
}

impl<'a> Layer<'a> {
    fn find(self, name: &str) -> Option<&'a runner::Variable> {
        match self {
            Self::Index(index) => index.get(name).copied(),
            Self::Some(index, inherit) => index.get(name).copied().filter(|_| inherit.takes(name)),
            Self::List(list) => list.iter().rev().find(|variable| variable.key == name),
        }
    }
}

/// Variables from several sources, the last of which counts most. Each is expanded when it is first asked
/// for: a rule asks for few of the hundred that a job has.
pub struct Scope<'a> {
    layers: Vec<Layer<'a>>,
    done: RefCell<HashMap<String, Option<String>>>,
}

impl<'a> Scope<'a> {
    /// Sources from the one that counts least to the one that counts most.
    #[must_use]
    pub fn new(layers: Vec<Layer<'a>>) -> Self {
        Self {
            layers,
            done: RefCell::default(),
        }
    }

    fn find(&self, name: &str) -> Option<&'a runner::Variable> {
        self.layers.iter().rev().find_map(|layer| layer.find(name))
    }

    fn evaluate(&self, name: &str, stack: &mut Vec<String>) -> Option<String> {
        if let Some(known) = self.done.borrow().get(name) {
            return known.clone();
        }
        let variable = self.find(name)?;
        if variable.raw || !variable.value.contains(['$', '%']) {
            return Some(variable.value.clone());
        }
        if stack.len() >= DEPTH || stack.iter().any(|outer| outer == name) {
            return Some(format!("${name}"));
        }
        stack.push(name.to_owned());
        let value = replace(&variable.value, &mut |inner| self.evaluate(inner, stack));
        stack.pop();
        // Kept even from inside a circle: each variable is computed once, so the work is bounded.
        self.done
            .borrow_mut()
            .insert(name.to_owned(), Some(value.clone()));
        Some(value)
    }
}

impl Lookup for Scope<'_> {
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.find(name) {
            None => None,
            Some(variable) if variable.raw || !variable.value.contains(['$', '%']) => {
                Some(Cow::Borrowed(variable.value.as_str()))
            }
            Some(_) => self.evaluate(name, &mut Vec::new()).map(Cow::Owned),
        }
    }
}

/// A variable of the file as the runner is told it.
#[must_use]
pub fn of_file(variable: &config::Variable) -> runner::Variable {
    runner::Variable {
        raw: !variable.expand,
        ..runner::Variable::public(variable.key.clone(), variable.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner::Variable;

    #[test]
    fn dollars_mean_what_gitlab_says() {
        let variables: BTreeMap<String, String> = [("A", "1"), ("LONG_NAME", "x")]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        for (text, expected) in [
            ("$A", "1"),
            ("${A}b", "1b"),
            ("$Ab", ""),
            ("$$A", "$A"),
            ("$$$A", "$1"),
            ("a$", "a$"),
            ("${A", "${A"),
            ("$-", "$-"),
            ("é${LONG_NAME}é", "éxé"),
            ("none", "none"),
            ("%A%", "1"),
            ("%UNSET%", "%UNSET%"),
            ("date +%Y%m%d", "date +%Y%m%d"),
            ("50%A", "50%A"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn variables_name_variables_but_not_for_ever() {
        let list = [
            Variable::public("A", "$B-$B"),
            Variable::public("B", "b$C"),
            Variable::public("C", "1"),
            Variable::public("C", "2"),
            Variable {
                raw: true,
                ..Variable::public("R", "$C")
            },
            Variable::public("X", "$Y"),
            Variable::public("Y", "$X"),
        ];
        let values = resolve(&list);
        assert_eq!(values["A"], "b2-b2");
        assert_eq!(values["R"], "$C");
        assert!(values["X"].contains('$'));
        let mut bomb: Vec<Variable> = (0..60)
            .map(|i| Variable::public(format!("V{i}"), format!("$V{0}$V{0}", i + 1)))
            .collect();
        bomb.push(Variable::public("V60", "boom"));
        assert!(resolve(&bomb).values().all(|value| value.len() <= EXPANDED));
    }
}
