//! reviewdog's diagnostic format: one document (rdjson), or a diagnostic on each line (rdjsonl).

use super::read::{Found, Report, Severity, bad, link, message, name, path, span};
use bascule_core::Problem;
use serde::Deserialize;

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    severity: Option<Level>,
    #[serde(default)]
    diagnostics: Vec<Diagnostic>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Diagnostic {
    message: String,
    #[serde(default)]
    location: Option<Location>,
    #[serde(default)]
    severity: Option<Level>,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    code: Option<Code>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(default)]
    path: String,
    #[serde(default)]
    range: Option<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    start: Option<Position>,
    #[serde(default)]
    end: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    column: Option<u64>,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    value: String,
    #[serde(default)]
    url: Option<String>,
}

/// Protocol Buffers' JSON writes an enumeration by name or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Level {
    Name(String),
    Number(i64),
}

impl Level {
    fn severity(&self) -> Option<Severity> {
        match self {
            Self::Name(name) if name == "ERROR" => Some(Severity::Error),
            Self::Name(name) if name == "WARNING" => Some(Severity::Warning),
            Self::Name(name) if name == "INFO" => Some(Severity::Note),
            Self::Number(1) => Some(Severity::Error),
            Self::Number(2) => Some(Severity::Warning),
            Self::Number(3) => Some(Severity::Note),
            _ => None,
        }
    }
}

impl Diagnostic {
    fn found(self, tool: &str, severity: Option<Severity>) -> Option<Found> {
        let own = self.source.map(|source| name(&source.name)).unwrap_or_default();
        let location = self.location?;
        let (start, end) = match location.range {
            None => (0, 0),
            Some(range) => {
                let start = range.start.as_ref().and_then(|at| at.line);
                // An end at the first column of a line lies before that line.
                let end = range.end.and_then(|at| match (at.line, at.column) {
                    (Some(line), Some(1)) if Some(line) > start => Some(line - 1),
                    (line, _) => line,
                });
                span(start, end)
            }
        };
        let text = message(&self.message);
        (!text.is_empty()).then_some(())?;
        Some(Found {
            tool: if own.is_empty() { tool.to_owned() } else { own },
            rule: self
                .code
                .as_ref()
                .map(|code| name(&code.value))
                .unwrap_or_default(),
            severity: self
                .severity
                .and_then(|level| level.severity())
                .or(severity)
                .unwrap_or(Severity::Warning),
            label: String::new(),
            path: path(&location.path)?,
            start,
            end,
            message: text,
            url: self.code.and_then(|code| link(code.url.as_deref())),
            mark: None,
        })
        .filter(|found| !found.tool.is_empty())
    }
}

pub(super) fn whole(text: &str, tool: &str) -> Result<Report, Problem> {
    let whole: Whole = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
    let source = whole.source.map(|source| name(&source.name)).unwrap_or_default();
    let tool = if source.is_empty() {
        tool.to_owned()
    } else {
        source
    };
    let severity = whole.severity.and_then(|level| level.severity());
    let mut report = Report::default();
    if !tool.is_empty() {
        report.tools.push(tool.clone());
    }
    for diagnostic in whole.diagnostics {
        take(&mut report, diagnostic.found(&tool, severity));
    }
    Ok(report)
}

pub(super) fn lines(text: &str, tool: &str) -> Result<Report, Problem> {
    let mut report = Report::default();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let diagnostic: Diagnostic =
            serde_json::from_str(line).map_err(|error| bad(&format!("line {}: {error}", at + 1)))?;
        take(&mut report, diagnostic.found(tool, None));
    }
    Ok(report)
}

fn take(report: &mut Report, found: Option<Found>) {
    if let Some(found) = &found
        && !report.tools.contains(&found.tool)
        && report.tools.len() < 50
    {
        report.tools.push(found.tool.clone());
    }
    report.add(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gives_what_its_diagnostics_leave_out() {
        let report = whole(
            r#"{"source":{"name":"super lint","url":"https://example.org"},"severity":"INFO","diagnostics":[
                {"message":"too long","location":{"path":"a.md","range":{"start":{"line":2,"column":3},"end":{"line":4,"column":1}}},
                 "severity":"ERROR","code":{"value":"L1","url":"https://example.org/L1"}},
                {"message":"hm","location":{"path":"b.md"},"severity":2},
                {"message":"as the document says","location":{"path":"c.md","range":{"start":{"line":1}}}},
                {"message":"nowhere"},
                {"message":"outside","location":{"path":"/etc/passwd"}}]}"#,
            "",
        )
        .unwrap();
        let shown: Vec<_> = report
            .found
            .iter()
            .map(|f| (f.path.as_str(), f.start, f.end, f.severity))
            .collect();
        assert_eq!(
            shown,
            [
                ("a.md", 2, 3, Severity::Error),
                ("b.md", 0, 0, Severity::Warning),
                ("c.md", 1, 1, Severity::Note)
            ]
        );
        assert_eq!(report.found[0].url.as_deref(), Some("https://example.org/L1"));
        assert_eq!(report.left_out, 2);
    }

    #[test]
    fn lines_name_their_own_tools_and_a_bad_one_is_named() {
        let text = "{\"message\":\"a\",\"location\":{\"path\":\"x\"},\"source\":{\"name\":\"one\"}}\n\n{\"message\":\"b\",\"location\":{\"path\":\"y\"}}\n";
        assert_eq!(lines(text, "two").unwrap().tools, ["one", "two"]);
        let problem = lines("{\"message\":\"a\"}\n{", "t").unwrap_err();
        assert!(problem.what.contains("line 2"), "{problem}");
    }
}
