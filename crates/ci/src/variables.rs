//! Variables and what `$` means in them.

use crate::config;
use bascule_wire::runner;
use std::collections::BTreeMap;

/// Longest value that expansion may make, in bytes: `A: "$B$B"`, `B: "$C$C"`, … doubles with each line.
pub const EXPANDED: usize = 64 * 1024;
/// Deepest chain of variables that name variables.
const DEPTH: usize = 16;

/// Replaces `$NAME` and `${NAME}` by their values and `$$` by `$`; what is not set becomes empty.
#[must_use]
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    replace(text, &mut |name| variables.get(name).cloned().unwrap_or_default())
}

/// Walks a text and asks for the value of each variable in it.
fn replace(text: &str, value: &mut dyn FnMut(&str) -> String) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let braced = after.strip_prefix('{');
        let from = braced.unwrap_or(after);
        let length = from
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        let (name, tail) = from.split_at(length);
        let closed = if braced.is_some() {
            tail.strip_prefix('}')
        } else {
            Some(tail)
        };
        match closed {
            Some(tail) if length > 0 => {
                if out.len() < EXPANDED {
                    out.push_str(&value(name));
                }
                rest = tail;
            }
            _ => {
                out.push('$');
                rest = after;
            }
        }
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

/// Values by name, with variables that name others expanded. Later entries of the list count over earlier
/// ones. A variable that leads to itself keeps its text.
#[must_use]
pub fn resolve(list: &[runner::Variable]) -> BTreeMap<String, String> {
    let last: BTreeMap<&str, &runner::Variable> = list.iter().map(|v| (v.key.as_str(), v)).collect();
    let mut done = BTreeMap::new();
    for name in last.keys() {
        value_of(name, &last, &mut done, &mut Vec::new());
    }
    done
}

fn value_of<'a>(
    name: &'a str,
    list: &BTreeMap<&'a str, &'a runner::Variable>,
    done: &mut BTreeMap<String, String>,
    stack: &mut Vec<&'a str>,
) -> String {
    if let Some(value) = done.get(name) {
        return value.clone();
    }
    let Some((name, variable)) = list.get_key_value(name) else {
        return String::new();
    };
    if variable.raw || !variable.value.contains('$') {
        done.insert((*name).to_owned(), variable.value.clone());
        return variable.value.clone();
    }
    if stack.contains(name) || stack.len() >= DEPTH {
        return format!("${name}");
    }
    stack.push(name);
    let value = replace(&variable.value, &mut |inner| match list.get_key_value(inner) {
        Some((inner, _)) => value_of(inner, list, done, stack),
        None => String::new(),
    });
    stack.pop();
    // Kept even from inside a circle: each variable is computed once, so the work is bounded.
    done.insert((*name).to_owned(), value.clone());
    value
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
