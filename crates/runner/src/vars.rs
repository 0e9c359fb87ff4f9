//! A job's variables: which of several counts, what stands in `$NAME`, and which go to files.

use bascule_wire::runner::Variable;
use std::{cell::Cell, collections::BTreeMap};

/// Deepest nesting of variables in variables.
const DEPTH: usize = 20;
/// Most names replaced for one value; nested names multiply.
const REPLACEMENTS: u32 = 2_000;
/// Longest value after expansion, in bytes; the kernel takes no longer variable.
const VALUE_BYTES: usize = 120 * 1024;

/// The variables of one job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vars {
    all: BTreeMap<String, Variable>,
    /// Directory inside the sandbox where file variables lie.
    files: String,
}

impl Vars {
    /// `sources` in rising order of weight.
    pub(crate) fn new(files: &str, sources: impl IntoIterator<Item = Variable>) -> Self {
        let mut vars = Self {
            all: BTreeMap::new(),
            files: files.to_owned(),
        };
        for variable in sources {
            vars.set(variable);
        }
        vars
    }

    /// Sets one. Names and values that no environment can hold are left out.
    pub(crate) fn set(&mut self, variable: Variable) {
        let bad = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-');
        if !variable.key.is_empty() && !variable.key.contains(bad) && !variable.value.contains('\0') {
            self.all.insert(variable.key.clone(), variable);
        }
    }

    /// A variable's value as the job sees it.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.value(key, 0, &Cell::new(REPLACEMENTS))
    }

    /// Puts values in place of `$NAME` and `${NAME}`; `$$` is a dollar sign, unknown names are empty.
    pub(crate) fn expand(&self, text: &str) -> String {
        self.expand_naming(text, 0, None, &Cell::new(REPLACEMENTS))
    }

    /// Whether a variable switches something on.
    pub(crate) fn is_on(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "on" | "true" | "1" | "yes"))
    }

    /// The environment for the job.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.all
            .keys()
            .filter_map(|key| Some((key.clone(), self.get(key)?)))
            .collect()
    }

    /// What anyone may know, as names and values. File variables are none of it: their files lie with the job.
    pub(crate) fn public(&self) -> Vec<(String, String)> {
        let public = self.all.values().filter(|v| v.public && !v.masked && !v.file);
        public
            .filter_map(|v| Some((v.key.clone(), self.get(&v.key)?)))
            .collect()
    }

    /// File variables, as names and contents.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let files = self.all.values().filter(|v| v.file);
        files
            .map(|v| {
                (
                    v.key.clone(),
                    if v.raw {
                        v.value.clone()
                    } else {
                        self.expand(&v.value)
                    },
                )
            })
            .collect()
    }

    /// Values to keep out of the log.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let masked = self.all.values().filter(|v| v.masked);
        masked
            .flat_map(|v| [v.value.clone(), self.expand(&v.value)])
            .collect()
    }

    fn value(&self, key: &str, depth: usize, left: &Cell<u32>) -> Option<String> {
        let Some(variable) = self.all.get(key) else {
            // What the sandbox sets itself, for `PATH: $HOME/bin:$PATH` and the like.
            return match key {
                "HOME" => Some("/home/job".to_owned()),
                "PATH" => Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
                _ => None,
            };
        };
        if variable.file {
            Some(format!("{}/{key}", self.files))
        } else if variable.raw || !variable.value.contains('$') {
            Some(variable.value.clone())
        } else {
            Some(self.expand_naming(&variable.value, depth + 1, Some(key), left))
        }
    }

    fn expand_naming(&self, text: &str, depth: usize, within: Option<&str>, left: &Cell<u32>) -> String {
        if depth > DEPTH {
            // A circle; the text as it stands says more than nothing.
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, next) = if let Some(tail) = after.strip_prefix('$') {
                out.push('$');
                rest = tail;
                continue;
            } else if let Some((name, tail)) = after.strip_prefix('{').and_then(|t| t.split_once('}')) {
                (name, tail)
            } else {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                after.split_at(end)
            };
            let Some(fewer) = left.get().checked_sub(1) else {
                return text.to_owned();
            };
            left.set(fewer);
            if name.is_empty() {
                out.push('$');
            } else if within == Some(name) {
                // `PATH: /x:$PATH` means what was there before.
                if let Some(default) = Self::default().value(name, 0, left) {
                    out.push_str(&default);
                }
            } else if let Some(value) = self.value(name, depth, left) {
                out.push_str(&value);
            }
            if out.len() > VALUE_BYTES {
                return text.to_owned();
            }
            rest = next;
        }
        out.push_str(rest);
        if out.len() > VALUE_BYTES {
            text.to_owned()
        } else {
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        Vars::new("/f", pairs.iter().map(|(k, v)| Variable::public(*k, *v)))
    }

    #[test]
    fn nested_names_are_expanded_and_later_ones_count() {
        let vars = vars(&[
            ("A", "1"),
            ("B", "$A-${C}"),
            ("C", "c$$"),
            ("A", "2"),
            ("P", "/x:$PATH"),
        ]);
        assert_eq!(vars.get("B").unwrap(), "2-c$");
        assert_eq!(vars.expand("$B/$NONE/$ ${"), "2-c$//$ ${");
        assert!(vars.get("P").unwrap().starts_with("/x:/usr/local"));
    }

    #[test]
    fn circles_and_bombs_end() {
        let vars = vars(&[("A", "$B"), ("B", "$A")]);
        assert!(vars.get("A").unwrap().len() < 10);
        let mut bomb = Vars::default();
        for n in 0..19 {
            bomb.set(Variable::public(
                format!("V{n}"),
                format!("$V{}$V{}", n + 1, n + 1),
            ));
        }
        bomb.set(Variable::public("V19", "x".repeat(1000)));
        assert!(bomb.get("V0").unwrap().len() <= VALUE_BYTES);
    }

    #[test]
    fn files_raw_and_impossible_names() {
        let mut vars = vars(&[("A B", "x"), ("N", "a\0b"), ("A", "1")]);
        vars.set(Variable {
            file: true,
            ..Variable::public("KEY", "pem$A")
        });
        vars.set(Variable {
            raw: true,
            ..Variable::masked("RAW", "p$A")
        });
        let environment = vars.environment();
        assert_eq!(environment.len(), 3);
        assert!(environment.contains(&("KEY".into(), "/f/KEY".into())));
        assert!(environment.contains(&("RAW".into(), "p$A".into())));
        assert_eq!(vars.files(), [("KEY".to_owned(), "pem1".to_owned())]);
        assert!(vars.secrets().contains(&"p$A".to_owned()));
    }
}
