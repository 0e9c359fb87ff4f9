//! Code Climate's format, which GitLab calls `codequality`, as SARIF: whoever shows findings reads that.

use super::{Document, cut, one_line};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most findings handed on; whoever shows them keeps fewer.
const FINDINGS: usize = 5_000;

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    description: String,
    #[serde(default)]
    check_name: Option<String>,
    #[serde(default)]
    fingerprint: Option<String>,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    location: Location,
}

#[derive(Default, Deserialize)]
struct Location {
    #[serde(default)]
    path: String,
    #[serde(default)]
    lines: Option<Lines>,
    #[serde(default)]
    positions: Option<Positions>,
}

#[derive(Deserialize)]
struct Lines {
    #[serde(default)]
    begin: Option<Place>,
    #[serde(default)]
    end: Option<Place>,
}

#[derive(Deserialize)]
struct Positions {
    #[serde(default)]
    begin: Option<Place>,
    #[serde(default)]
    end: Option<Place>,
}

/// A line's number, or a map that holds it; writers differ.
#[derive(Deserialize)]
#[serde(untagged)]
enum Place {
    Line(u64),
    Map { line: u64 },
    Other(serde::de::IgnoredAny),
}

impl Place {
    fn line(&self) -> Option<u64> {
        match self {
            Self::Line(line) | Self::Map { line } => Some(*line),
            Self::Other(_) => None,
        }
    }
}

/// The report as SARIF of one tool, and how many findings it holds.
///
/// # Errors
/// It is no list of issues.
pub fn to_sarif(documents: &[Document], tool: &str) -> Result<(Vec<u8>, usize), String> {
    let mut results: Vec<Value> = Vec::new();
    for document in documents {
        if document.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let bytes = document
            .bytes
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(&document.bytes);
        let issues: Vec<Issue> = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is no list of issues as Code Climate writes it: {error}"))?;
        for issue in issues {
            if results.len() == FINDINGS {
                break;
            }
            results.extend(result(&issue));
        }
    }
    let count = results.len();
    let sarif = json!({
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": { "name": one_line(tool, 100) } }, "results": results }],
    });
    let bytes = serde_json::to_vec(&sarif).map_err(|error| error.to_string())?;
    Ok((bytes, count))
}

fn result(issue: &Issue) -> Option<Value> {
    let message = cut(issue.description.trim(), 4_000);
    if message.is_empty() || issue.location.path.is_empty() {
        return None;
    }
    let level = match issue.severity.as_deref() {
        Some("blocker" | "critical" | "major") => "error",
        Some("info") => "note",
        _ => "warning",
    };
    let (begin, end) = match (&issue.location.lines, &issue.location.positions) {
        (Some(lines), _) => (&lines.begin, &lines.end),
        (None, Some(positions)) => (&positions.begin, &positions.end),
        (None, None) => (&None, &None),
    };
    let line = |place: &Option<Place>| place.as_ref().and_then(Place::line);
    let mut place = json!({ "artifactLocation": { "uri": issue.location.path.trim_start_matches("./") } });
    if let Some(start) = line(begin).filter(|line| *line > 0) {
        place["region"] = json!({ "startLine": start, "endLine": line(end).unwrap_or(start).max(start) });
    }
    let mut result = json!({
        "level": level,
        "message": { "text": message },
        "locations": [{ "physicalLocation": place }],
    });
    // SARIF has three levels; the tool's own word is what people know it by.
    if let Some(own @ ("info" | "minor" | "major" | "critical" | "blocker")) = issue.severity.as_deref() {
        result["properties"] = json!({ "severity": own });
    }
    if let Some(rule) = &issue.check_name {
        result["ruleId"] = json!(one_line(rule, 120));
    }
    if let Some(mark) = &issue.fingerprint {
        result["partialFingerprints"] = json!({ "codeClimate/v1": one_line(mark, 200) });
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Result<Value, String> {
        let document = Document {
            name: String::new(),
            bytes: text.as_bytes().to_vec(),
        };
        to_sarif(&[document], "clippy").map(|(bytes, _)| serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn issues_become_results_on_their_lines() {
        let text = r#"[
            {"description":"unused","check_name":"W1","fingerprint":"f","severity":"minor","location":{"path":"./a.rs","lines":{"begin":3}}},
            {"description":"bad","severity":"critical","location":{"path":"b.rs","positions":{"begin":{"line":7,"column":1},"end":{"line":9}}}},
            {"description":"","location":{"path":"c.rs"}},
            {"description":"whole file","severity":"info","location":{"path":"d.rs","lines":{"begin":"x"}}}]"#;
        let sarif = all(text).unwrap();
        let results = sarif["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        assert_eq!(sarif["runs"][0]["tool"]["driver"]["name"], "clippy");
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(
            (&place["artifactLocation"]["uri"], &place["region"]["startLine"]),
            (&json!("a.rs"), &json!(3))
        );
        assert_eq!(results[1]["level"], "error");
        assert_eq!(
            results[1]["locations"][0]["physicalLocation"]["region"]["endLine"],
            9
        );
        assert_eq!(results[2]["level"], "note");
        assert!(all("{}").unwrap_err().contains("Code Climate"));
        assert_eq!(all("").unwrap()["runs"][0]["results"], json!([]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            drop(all(&text));
            drop(all(&format!("[{{\"description\":{},\"location\":{{\"path\":\"a\",\"lines\":{{\"begin\":{}}}}}}}]", json!(text), text.len())));
        }
    }
}
