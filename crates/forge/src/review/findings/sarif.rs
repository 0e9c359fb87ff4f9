//! SARIF 2.1.0, as far as a finding on a line needs it.

use super::read::{Found, Report, Severity, bad, link, message, name, path, span};
use bascule_core::Problem;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most runs in one log.
const RUNS: usize = 50;

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    version: String,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    #[serde(default)]
    results: Option<Vec<Finding>>,
    #[serde(default)]
    original_uri_base_ids: BTreeMap<String, Place>,
    #[serde(default)]
    artifacts: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Tool {
    driver: Driver,
}

#[derive(Deserialize)]
struct Driver {
    name: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    #[serde(default)]
    help_uri: Option<String>,
    #[serde(default)]
    default_configuration: Option<Configuration>,
    #[serde(default)]
    message_strings: BTreeMap<String, Text>,
    #[serde(default)]
    short_description: Option<Text>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    level: Option<String>,
}

/// What a tool says beyond SARIF.
#[derive(Deserialize)]
struct Properties {
    #[serde(default)]
    severity: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct Text {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    #[serde(default)]
    rule_id: Option<String>,
    #[serde(default)]
    rule_index: Option<i64>,
    #[serde(default)]
    rule: Option<RuleRef>,
    #[serde(default)]
    level: Option<String>,
    #[serde(default)]
    properties: Option<Properties>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    message: Message,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    partial_fingerprints: BTreeMap<String, String>,
    #[serde(default)]
    fingerprints: BTreeMap<String, String>,
    #[serde(default)]
    suppressions: Option<Vec<Suppression>>,
    #[serde(default)]
    baseline_state: Option<String>,
}

#[derive(Deserialize)]
struct RuleRef {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    index: Option<i64>,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(default)]
    physical_location: Option<Physical>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    #[serde(default)]
    artifact_location: Option<Place>,
    #[serde(default)]
    region: Option<Region>,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    location: Option<Place>,
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    index: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(default)]
    start_line: Option<u64>,
    #[serde(default)]
    end_line: Option<u64>,
    #[serde(default)]
    end_column: Option<u64>,
}

#[derive(Deserialize)]
struct Suppression {
    #[serde(default)]
    status: Option<String>,
}

pub(super) fn read(text: &str) -> Result<Report, Problem> {
    let log: Log = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
    if !log.version.starts_with("2.") {
        return Err(bad("its `version` is not 2.1.0"));
    }
    if log.runs.len() > RUNS {
        return Err(bad(&format!("it has more than {RUNS} runs")));
    }
    let mut report = Report::default();
    for mut run in log.runs {
        let tool = name(&run.tool.driver.name);
        if tool.is_empty() {
            return Err(bad("a run does not name its tool"));
        }
        report.tools.push(tool.clone());
        for finding in run.results.take().unwrap_or_default() {
            report.add(run.found(&tool, &finding));
        }
    }
    Ok(report)
}

impl Run {
    fn found(&self, tool: &str, finding: &Finding) -> Option<Found> {
        if finding.is_silenced() {
            return None;
        }
        let rule = self.rule_of(finding);
        let id = finding
            .rule_id
            .as_deref()
            .or_else(|| finding.rule.as_ref().and_then(|rule| rule.id.as_deref()))
            .or_else(|| rule.map(|rule| rule.id.as_str()))
            .unwrap_or_default();
        let level = finding.level.as_deref().or_else(|| {
            rule.and_then(|rule| rule.default_configuration.as_ref())
                .and_then(|configuration| configuration.level.as_deref())
        });
        let place = finding
            .locations
            .first()
            .and_then(|location| location.physical_location.as_ref())?;
        let (start, end) = place.region.as_ref().map_or((0, 0), |region| {
            // A region that ends before the first column of a line ends with the line before.
            let end = match (region.end_line, region.end_column) {
                (Some(line), Some(1)) if Some(line) > region.start_line => Some(line - 1),
                (line, _) => line,
            };
            span(region.start_line, end)
        });
        let text = finding.message.resolve(rule);
        (!text.is_empty()).then_some(())?;
        Some(Found {
            tool: tool.to_owned(),
            rule: name(id),
            severity: match level {
                Some("error") => Severity::Error,
                Some("note" | "none") => Severity::Note,
                _ => Severity::Warning,
            },
            label: finding.label(),
            path: self.path(place.artifact_location.as_ref()?)?,
            start,
            end,
            message: message(&text),
            url: rule.and_then(|rule| link(rule.help_uri.as_deref())),
            mark: finding.mark(),
        })
    }

    fn rule_of(&self, finding: &Finding) -> Option<&Rule> {
        let rules = &self.tool.driver.rules;
        let index = finding
            .rule_index
            .or_else(|| finding.rule.as_ref().and_then(|rule| rule.index));
        index
            .and_then(|index| rules.get(usize::try_from(index).ok()?))
            .or_else(|| {
                let id = finding.rule_id.as_deref()?;
                rules.iter().find(|rule| rule.id == id)
            })
    }

    /// The path within the repository: relative, or below one of the bases that the run names.
    fn path(&self, place: &Place) -> Option<String> {
        let listed = place
            .index
            .and_then(|index| self.artifacts.get(usize::try_from(index).ok()?))
            .and_then(|artifact| artifact.location.as_ref());
        let place = if place.uri.is_some() { place } else { listed? };
        let uri = place.uri.as_deref()?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
        if !uri.contains("://") && !uri.starts_with("file:") {
            return path(&decoded(uri)?);
        }
        let bases = self
            .original_uri_base_ids
            .values()
            .filter_map(|base| base.uri.as_deref());
        let rest = bases
            .filter(|base| base.ends_with('/'))
            .filter_map(|base| uri.strip_prefix(base))
            .min_by_key(|rest| rest.len())?;
        path(&decoded(rest)?)
    }
}

impl Finding {
    /// Suppressed, passed, or gone since an earlier run.
    fn is_silenced(&self) -> bool {
        let suppressed = self.suppressions.as_ref().is_some_and(|all| {
            all.iter()
                .any(|one| !matches!(one.status.as_deref(), Some("underReview" | "rejected")))
        });
        let passed = matches!(
            self.kind.as_deref(),
            Some("pass" | "notApplicable" | "informational")
        );
        suppressed || passed || self.baseline_state.as_deref() == Some("absent")
    }

    /// The tool's own word for how bad it is, where it is a word.
    fn label(&self) -> String {
        let own = self
            .properties
            .as_ref()
            .and_then(|properties| properties.severity.as_ref());
        let word = own.and_then(serde_json::Value::as_str).unwrap_or_default();
        let plain = word.len() <= 20 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
        if plain {
            word.to_ascii_lowercase()
        } else {
            String::new()
        }
    }

    fn mark(&self) -> Option<String> {
        let marks = if self.fingerprints.is_empty() {
            &self.partial_fingerprints
        } else {
            &self.fingerprints
        };
        if let Some(line) = marks.get("primaryLocationLineHash") {
            return Some(line.clone());
        }
        let all: Vec<String> = marks
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        (!all.is_empty()).then(|| all.join(" "))
    }
}

impl Message {
    fn resolve(&self, rule: Option<&Rule>) -> String {
        let text = match (&self.text, &self.id) {
            (Some(text), _) if !text.is_empty() => text.clone(),
            (_, Some(id)) => rule
                .and_then(|rule| rule.message_strings.get(id))
                .map(|text| text.text.clone())
                .unwrap_or_default(),
            _ => rule
                .and_then(|rule| rule.short_description.as_ref())
                .map(|text| text.text.clone())
                .unwrap_or_default(),
        };
        let mut text = text;
        for (at, value) in self.arguments.iter().take(20).enumerate() {
            let value: String = value.chars().take(500).collect();
            text = text.replace(&format!("{{{at}}}"), &value);
            text.truncate(text.char_indices().nth(20_000).map_or(text.len(), |(end, _)| end));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{
      "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
      "runs": [{
        "tool": {"driver": {"name": "scan", "rules": [
          {"id": "R1", "helpUri": "https://example.org/R1", "defaultConfiguration": {"level": "error"},
           "messageStrings": {"default": {"text": "`{0}` is not checked"}}},
          {"id": "R2"}]}},
        "originalUriBaseIds": {"SRCROOT": {"uri": "file:///builds/x/"}},
        "artifacts": [{"location": {"uri": "src/c.rs"}}],
        "results": [
          {"ruleId": "R1", "ruleIndex": 0, "message": {"id": "default", "arguments": ["input"]},
           "locations": [{"physicalLocation": {"artifactLocation": {"uri": "src/a%20b.rs", "uriBaseId": "SRCROOT"},
             "region": {"startLine": 4, "endLine": 6, "endColumn": 1}}}],
           "partialFingerprints": {"primaryLocationLineHash": "39fa2ee980eb94b0:1"}},
          {"ruleId": "R2", "level": "note", "message": {"text": "hm"},
           "locations": [{"physicalLocation": {"artifactLocation": {"uri": "file:///builds/x/src/b.rs"}}}]},
          {"rule": {"index": 1}, "message": {"text": "by index"},
           "locations": [{"physicalLocation": {"artifactLocation": {"index": 0}, "region": {"startLine": 1}}}]},
          {"ruleId": "R2", "message": {"text": "silenced"}, "suppressions": [{"kind": "inSource"}],
           "locations": [{"physicalLocation": {"artifactLocation": {"uri": "x"}}}]},
          {"ruleId": "R2", "message": {"text": "gone"}, "baselineState": "absent",
           "locations": [{"physicalLocation": {"artifactLocation": {"uri": "x"}}}]},
          {"ruleId": "R2", "message": {"text": "elsewhere"},
           "locations": [{"physicalLocation": {"artifactLocation": {"uri": "file:///etc/passwd"}}}]},
          {"ruleId": "R2", "message": {"text": "nowhere"}}
        ]}]}"#;

    #[test]
    fn results_get_their_rules_message_level_and_path() {
        let report = read(LOG).unwrap();
        assert_eq!(report.left_out, 4);
        let [one, two, three] = report.found.as_slice() else {
            panic!("{report:?}");
        };
        assert_eq!(
            (one.path.as_str(), one.start, one.end, one.severity),
            ("src/a b.rs", 4, 5, Severity::Error)
        );
        assert_eq!(one.message, "`input` is not checked");
        assert_eq!(one.url.as_deref(), Some("https://example.org/R1"));
        assert_eq!(one.mark.as_deref(), Some("39fa2ee980eb94b0:1"));
        assert_eq!(
            (two.path.as_str(), two.start, two.severity),
            ("src/b.rs", 0, Severity::Note)
        );
        assert_eq!((three.path.as_str(), three.rule.as_str()), ("src/c.rs", "R2"));
    }

    #[test]
    fn other_versions_and_shapes_are_refused() {
        for bad in [
            r#"{"version":"1.0.0","runs":[]}"#,
            r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":" "}}}]}"#,
            r#"{"version":"2.1.0","runs":{}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        // `results` may be null: the run was not finished.
        assert!(
            read(r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"t"}},"results":null}]}"#).is_ok()
        );
    }
}
