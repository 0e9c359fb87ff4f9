//! What bots find, read from the formats that they write: SARIF 2.1.0, and reviewdog's rdjson and rdjsonl.

use super::{rdjson, sarif};
use bascule_core::{Problem, is_safe_path};

/// Most findings in one report.
pub(crate) const FINDINGS: usize = 1_000;
/// Longest message, in characters; longer ones are cut.
const MESSAGE: usize = 4_000;
/// Longest name of a tool or rule.
const NAME: usize = 120;
/// Highest line number that is believed.
const LINE: u64 = 10_000_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For information.
    Note,
    /// Ought to be looked at.
    Warning,
    /// Wrong.
    Error,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program that found it.
    pub tool: String,
    /// Its rule; may be empty.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The tool's own word for that, such as `critical`; may be empty.
    pub label: String,
    /// The file, from the top of the repository.
    pub path: String,
    /// First line, from 1; 0 where it concerns the whole file.
    pub start: u32,
    /// Last line.
    pub end: u32,
    /// What is the matter, plain text.
    pub message: String,
    /// Where the rule is explained.
    pub url: Option<String>,
    /// What the tool itself says makes it the same finding elsewhere.
    pub mark: Option<String>,
}

/// A report, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Which tools ran, also those that found nothing.
    pub tools: Vec<String>,
    /// What they found.
    pub found: Vec<Found>,
    /// How many were left out: no place in the repository, suppressed, or too many.
    pub left_out: usize,
}

impl Severity {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// As read back; what is unknown is a warning.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "note" => Self::Note,
            "error" => Self::Error,
            _ => Self::Warning,
        }
    }
}

impl Report {
    /// Reads a report. Which format it has is seen from it; `tool` names the tool where the report does not.
    ///
    /// # Errors
    /// It is none of the formats.
    pub fn read(bytes: &[u8], tool: Option<&str>) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| bad("it is not UTF-8"))?
            .trim_start_matches('\u{feff}')
            .trim();
        let tool = name(tool.unwrap_or_default());
        let whole: Result<Shape, _> = serde_json::from_str(text);
        let mut report = match whole {
            Ok(Shape { runs: true, .. }) => sarif::read(text)?,
            Ok(Shape {
                diagnostics: true, ..
            }) => rdjson::whole(text, &tool)?,
            // A single line of rdjsonl is one whole document too.
            _ => rdjson::lines(text, &tool)?,
        };
        if !tool.is_empty() && report.tools.is_empty() {
            report.tools.push(tool);
        }
        report.tools.sort();
        report.tools.dedup();
        if report.tools.is_empty() {
            return Err(bad("it does not name the tool").next("Name the tool in the address: `?tool=NAME`."));
        }
        Ok(report)
    }

    /// Takes a finding in, if it can be shown.
    pub(super) fn add(&mut self, found: Option<Found>) {
        match found {
            Some(found) if self.found.len() < FINDINGS => self.found.push(found),
            _ => self.left_out += 1,
        }
    }
}

/// What tells the formats apart. Keys are looked for, their values left for the readers.
#[derive(Default)]
struct Shape {
    runs: bool,
    diagnostics: bool,
}

impl<'de> serde::Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> serde::de::Visitor<'de> for Keys {
            type Value = Shape;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let mut shape = Shape::default();
                while let Some(key) = map.next_key::<String>()? {
                    shape.runs |= key == "runs";
                    shape.diagnostics |= key == "diagnostics";
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(shape)
            }
        }
        from.deserialize_map(Keys)
    }
}

pub(super) fn bad(why: &str) -> Problem {
    Problem::invalid("bad_report", format!("The report cannot be read: {why}."))
        .why("Findings are taken as SARIF 2.1.0, or as reviewdog's rdjson or rdjsonl.")
        .next("Look whether your tool can write one of these; reviewdog turns most others into rdjson.")
}

/// A name in one line, cut to a bearable length.
pub(super) fn name(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME)
        .collect()
}

/// A message, cut to a bearable length.
pub(super) fn message(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A path within the repository; `None` where it leads elsewhere.
pub(super) fn path(text: &str) -> Option<String> {
    let mut text = text.trim();
    while let Some(rest) = text.strip_prefix("./") {
        text = rest;
    }
    let fits = text.len() <= 1_000 && !text.chars().any(char::is_control);
    (fits && is_safe_path(text)).then(|| text.to_owned())
}

/// Lines, in order; nothing for the whole file.
pub(super) fn span(start: Option<u64>, end: Option<u64>) -> (u32, u32) {
    let number = |line: u64| u32::try_from(line.min(LINE)).unwrap_or(0);
    match start {
        None | Some(0) => (0, 0),
        Some(start) => {
            let end = end.unwrap_or(start).max(start);
            (number(start), number(end))
        }
    }
}

/// An address that a page may link to.
pub(super) fn link(text: Option<&str>) -> Option<String> {
    let text = text?.trim();
    let web = text.starts_with("https://") || text.starts_with("http://");
    let plain = text.len() <= 1_000 && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    (web && plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_format_is_seen_from_the_report() {
        let sarif = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"lint"}},"results":[]}]}"#;
        assert_eq!(Report::read(sarif.as_bytes(), None).unwrap().tools, ["lint"]);
        let rdjson = r#"{"source":{"name":"shellcheck"},"diagnostics":[]}"#;
        assert_eq!(
            Report::read(rdjson.as_bytes(), None).unwrap().tools,
            ["shellcheck"]
        );
        let line = r#"{"message":"m","location":{"path":"a.sh","range":{"start":{"line":3}}}}"#;
        let report = Report::read(line.as_bytes(), Some("vale")).unwrap();
        assert_eq!(
            (report.tools.as_slice(), report.found[0].start),
            (["vale".to_owned()].as_slice(), 3)
        );
        // Nothing found any more is a report too.
        assert_eq!(Report::read(b"", Some("vale")).unwrap().tools, ["vale"]);
        for bad in [&b"[]"[..], b"{", b"\xff", b"", b"nonsense"] {
            assert!(Report::read(bad, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        assert_eq!(path("./a/b.rs").as_deref(), Some("a/b.rs"));
        for bad in ["/etc/passwd", "../x", "a/../../x", "", "a\nb"] {
            assert_eq!(path(bad), None, "{bad}");
        }
        assert_eq!(link(Some("javascript:alert(1)")), None);
        assert_eq!(
            link(Some("https://example.org/rule")).as_deref(),
            Some("https://example.org/rule")
        );
        assert_eq!(span(Some(5), Some(2)), (5, 5));
    }

    proptest! {
        #[test]
        fn no_report_panics(text in "(?s).{0,200}") {
            let _ = Report::read(text.as_bytes(), Some("t"));
        }

        #[test]
        fn whatever_is_read_can_be_shown(path in ".{0,20}", text in ".{0,40}", line in any::<u64>(), url in ".{0,20}") {
            let json = serde_json::json!({
                "source": {"name": text}, "diagnostics": [{
                    "message": text, "code": {"value": text, "url": url},
                    "location": {"path": path, "range": {"start": {"line": line}}}
                }]
            });
            if let Ok(report) = Report::read(json.to_string().as_bytes(), Some("t")) {
                for found in report.found {
                    prop_assert!(is_safe_path(&found.path));
                    prop_assert!(found.start <= found.end);
                    prop_assert!(found.url.is_none_or(|url| url.starts_with("http")));
                }
            }
        }
    }
}
