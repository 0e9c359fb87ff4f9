//! What bots found, on its line: read from their reports, the same one known again in the next version.

pub(crate) mod api;
mod rdjson;
mod read;
mod sarif;
pub(crate) mod service;
pub(crate) mod store;

pub use read::{Found, Report, Severity};

use bascule_core::Digest;
use std::collections::HashMap;

/// What makes findings of two versions the same: what the tool says, else the rule, the file, the text of
/// the line and the message; and which of several alike it is.
pub(crate) fn fingerprints(found: &[Found], line_of: impl Fn(&Found) -> Option<String>) -> Vec<String> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    found
        .iter()
        .map(|one| {
            let what = match &one.mark {
                Some(mark) => format!("mark\0{mark}"),
                None => {
                    let line = line_of(one).unwrap_or_default();
                    format!("line\0{}\0{}", line.trim(), one.message)
                }
            };
            let whole = format!("{}\0{}\0{}\0{what}", one.tool, one.rule, one.path);
            let digest = Digest::of(whole.as_bytes()).to_string();
            let short: String = digest
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .chars()
                .take(32)
                .collect();
            let count = seen.entry(short.clone()).or_default();
            *count += 1;
            format!("{short}-{count}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: u32, message: &str, mark: Option<&str>) -> Found {
        Found {
            tool: "t".into(),
            rule: "r".into(),
            severity: Severity::Warning,
            label: String::new(),
            path: "a".into(),
            start,
            end: start,
            message: message.into(),
            url: None,
            mark: mark.map(str::to_owned),
        }
    }

    #[test]
    fn a_finding_is_known_again_when_its_line_moves() {
        let line = |_: &Found| Some("  let x = 1;".to_owned());
        let one = fingerprints(&[found(3, "m", None), found(9, "m", None)], line);
        let two = fingerprints(&[found(5, "m", None), found(11, "m", None)], line);
        assert_eq!(one, two);
        assert_ne!(one[0], one[1]);
        let other = fingerprints(&[found(3, "m", None)], |_| Some("let y = 2;".to_owned()));
        assert_ne!(one[0], other[0]);
        // What the tool says goes before what we can see.
        let marked = |line: &str, message| {
            let line = line.to_owned();
            fingerprints(&[found(3, message, Some("h"))], move |_| Some(line.clone()))
        };
        assert_eq!(marked("a", "one"), marked("b", "two"));
    }
}
