//! Reading single values: texts, numbers, durations, sizes, paths; and mappings with known keys.

use super::yaml::{Entry, Node, Value, cut, error};
use super::{Position, ProductError};
use std::collections::BTreeMap;

type Read<T> = Result<T, ProductError>;

/// A mapping whose keys are known; what is not taken out by name is refused.
pub(crate) struct Fields {
    pub at: Position,
    entries: Vec<Entry>,
}

impl Fields {
    pub fn of(node: Node, what: &str, known: &[&str]) -> Read<Self> {
        let allowed = || format!("the keys {}", known.join(", "));
        let entries = match node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            other => {
                return Err(error(
                    node.at,
                    format!("{what} must be a mapping, not {}", other.noun()),
                    allowed(),
                ));
            }
        };
        for entry in &entries {
            if !known.contains(&entry.key.as_str()) {
                let near = known.iter().find(|k| close(k, &entry.key));
                let hint = near
                    .map(|k| format!(" (did you mean `{k}`?)"))
                    .unwrap_or_default();
                return Err(error(
                    entry.at,
                    format!("{what} has no key `{}`{hint}", cut(&entry.key)),
                    allowed(),
                ));
            }
        }
        Ok(Self { at: node.at, entries })
    }

    /// The value of a key, if it is there and not null.
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let node = self.entries.swap_remove(index).value;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    pub fn need(&mut self, key: &str, allowed: &str) -> Read<Node> {
        let at = self.at;
        self.take(key)
            .ok_or_else(|| error(at, format!("`{key}` is missing"), allowed))
    }
}

/// Whether two words differ in one letter, left out, put in, changed or swapped with the next.
fn close(one: &str, two: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    if a.len().abs_diff(b.len()) > 1 || a == b {
        return a == b;
    }
    let front = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[front..], &b[front..]);
    let after = |rest: &[char], n: usize| rest.get(n..).unwrap_or_default().to_vec();
    after(rest_a, 1) == after(rest_b, 1)
        || after(rest_a, 1) == rest_b
        || rest_a == after(rest_b, 1)
        || (rest_a.len() > 1
            && rest_b.len() > 1
            && rest_a[0] == rest_b[1]
            && rest_a[1] == rest_b[0]
            && after(rest_a, 2) == after(rest_b, 2))
}

pub(crate) fn text(node: &Node, what: &str, max: usize) -> Read<String> {
    match &node.value {
        Value::Scalar(text) if text.trim().is_empty() => {
            Err(error(node.at, format!("{what} is empty"), "some text"))
        }
        Value::Scalar(text) if text.len() > max => Err(error(
            node.at,
            format!("{what} is too long"),
            format!("at most {max} bytes"),
        )),
        Value::Scalar(text) if text.contains('\0') => {
            Err(error(node.at, format!("{what} contains a zero byte"), "text"))
        }
        Value::Scalar(text) => Ok(text.clone()),
        other => Err(error(
            node.at,
            format!("{what} must be a text, not {}", other.noun()),
            "a text",
        )),
    }
}

pub(crate) fn list(node: Node, what: &str, allowed: &str, max: usize) -> Read<Vec<Node>> {
    match node.value {
        Value::List(items) if items.len() > max => Err(error(
            node.at,
            format!("{what} has too many entries"),
            format!("at most {max}"),
        )),
        Value::List(items) => Ok(items),
        other => Err(error(
            node.at,
            format!("{what} must be a list, not {}", other.noun()),
            allowed,
        )),
    }
}

pub(crate) fn whole(node: &Node, what: &str, from: u64, to: u64) -> Read<u64> {
    let allowed = || format!("a whole number from {from} to {to}");
    let text = text(node, what, 40)?;
    match text.trim().parse::<u64>() {
        Ok(number) if (from..=to).contains(&number) => Ok(number),
        _ => Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&text)),
            allowed(),
        )),
    }
}

pub(crate) fn percent(node: &Node, what: &str, above: f64, below: f64) -> Read<f64> {
    let allowed = || format!("a percentage above {above} and below {below}, such as 99.9");
    let text = text(node, what, 40)?;
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(number) if number > above && number < below => Ok(number),
        _ => Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&text)),
            allowed(),
        )),
    }
}

/// A number with a unit, as an amount of the smallest unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = text.get(digits..)?.trim_start();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*scale)
}

const TIME: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];
const SIZE: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A duration such as `500ms`, `10s`, `5m`, `28d`, in milliseconds.
pub(crate) fn duration(node: &Node, what: &str, from: &str, to: &str) -> Read<u64> {
    let allowed = || format!("a time from {from} to {to}, such as {from}; units ms, s, m, h, d, w");
    let text = text(node, what, 40)?;
    let limits = (
        with_unit(from, TIME).unwrap_or(0),
        with_unit(to, TIME).unwrap_or(u64::MAX),
    );
    match with_unit(&text, TIME) {
        Some(ms) if ms >= limits.0 && ms <= limits.1 => Ok(ms),
        _ => Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&text)),
            allowed(),
        )),
    }
}

/// A size such as `256MiB`, in bytes.
pub(crate) fn size(node: &Node, what: &str, from: &str, to: &str) -> Read<u64> {
    let allowed = || format!("a size from {from} to {to}; units KiB, MiB, GiB, KB, MB, GB");
    let text = text(node, what, 40)?;
    let limits = (
        with_unit(from, SIZE).unwrap_or(0),
        with_unit(to, SIZE).unwrap_or(u64::MAX),
    );
    match with_unit(&text, SIZE) {
        Some(bytes) if bytes >= limits.0 && bytes <= limits.1 => Ok(bytes),
        _ => Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&text)),
            allowed(),
        )),
    }
}

/// A path within the release's artifacts: relative, never upwards.
pub(crate) fn relative_path(node: &Node, what: &str) -> Read<String> {
    let text = text(node, what, 512)?;
    let path = text.strip_prefix("./").unwrap_or(&text);
    let clean = !path.is_empty()
        && !path.starts_with('/')
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if clean {
        Ok(path.to_owned())
    } else {
        let allowed = "a path within the release's artifacts, such as dist/app.tar.gz";
        Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&text)),
            allowed,
        ))
    }
}

/// An HTTP path with an optional query.
pub(crate) fn http_path(node: &Node, what: &str) -> Read<String> {
    let text = text(node, what, 1024)?;
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text)
    } else {
        let allowed = "a path that begins with `/`, without spaces, such as /healthz";
        Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&text)),
            allowed,
        ))
    }
}

/// Environment variables.
pub(crate) fn variables(node: Node, what: &str) -> Read<BTreeMap<String, String>> {
    let entries = match node.value {
        Value::Map(entries) => entries,
        other => {
            let what = format!("{what} must be a mapping, not {}", other.noun());
            return Err(error(node.at, what, "NAME: value"));
        }
    };
    let mut all = BTreeMap::new();
    for Entry { key, at, value } in entries {
        let named = key
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && key.len() <= 128
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named {
            let what = format!("`{}` cannot name an environment variable", cut(&key));
            return Err(error(
                at,
                what,
                "letters, digits and `_`, not beginning with a digit",
            ));
        }
        if key == "PORT" {
            return Err(error(at, "`PORT` is given by the platform", "any other name"));
        }
        let text = match &value.value {
            Value::Null => String::new(),
            Value::Scalar(scalar) if scalar.is_empty() => String::new(),
            _ => text(&value, &format!("the variable {key}"), 32 * 1024)?,
        };
        all.insert(key, text);
    }
    Ok(all)
}
