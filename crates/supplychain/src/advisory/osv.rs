//! Records of the OSV schema (1.x), as far as they are acted on. What is not known is passed over, as the schema
//! asks of its readers; the record itself is kept whole beside what is read here.

use super::range::{Event, Order, Range};
use crate::sbom::normalise_pypi;
use bascule_core::Timestamp;
use bascule_wire::advisory::Severity;
use cvss::Cvss;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Largest record, in bytes: the largest published ones list some ten thousand versions.
pub const RECORD_BYTES: usize = 8 * 1024 * 1024;
/// Longest name of an advisory.
const ID_BYTES: usize = 120;
/// Most packages of one advisory.
const PACKAGES: usize = 5_000;
/// Most aliases that are kept of one advisory.
const ALIASES: usize = 200;
/// Longest summary kept, in characters.
const SUMMARY: usize = 300;

/// An advisory, as far as it is acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Advisory {
    /// Its name.
    pub id: String,
    /// When it was last changed by its maker.
    pub modified: Timestamp,
    /// When it was published.
    pub published: Option<Timestamp>,
    /// When it was taken back.
    pub withdrawn: Option<Timestamp>,
    /// Other names of the same, in order, without its own.
    pub aliases: BTreeSet<String>,
    /// What it is about, in a line.
    pub summary: String,
    /// How bad it is.
    pub severity: Severity,
    /// The CVSS score and the vector that it comes from.
    pub score: Option<(f64, String)>,
    /// The packages that it speaks of, those of ecosystems that are matched.
    pub packages: Vec<Package>,
    /// Names of ecosystems in it that are matched with nothing.
    pub unmatched: BTreeSet<String>,
}

/// What an advisory says of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The package URL's type: `cargo`, `npm`.
    pub ecosystem: &'static str,
    /// The name as SBOMs here write it.
    pub name: String,
    /// How its versions are ordered.
    pub order: Order,
    /// Versions from here to there.
    pub ranges: Vec<Range>,
    /// Versions one by one.
    pub versions: BTreeSet<String>,
}

/// The ecosystems that are matched: OSV's name, the package URL's type, the order of versions.
const ECOSYSTEMS: &[(&str, &str, Order)] = &[
    ("crates.io", "cargo", Order::Semantic),
    ("npm", "npm", Order::Semantic),
    ("PyPI", "pypi", Order::Python),
    ("Go", "golang", Order::Semantic),
    ("Hex", "hex", Order::Semantic),
    ("Pub", "pub", Order::Semantic),
    ("SwiftURL", "swift", Order::Semantic),
    ("Maven", "maven", Order::Listed),
    ("RubyGems", "gem", Order::Listed),
    ("Packagist", "composer", Order::Listed),
    ("NuGet", "nuget", Order::Listed),
];

#[derive(Deserialize)]
struct RawRecord {
    id: String,
    modified: String,
    #[serde(default)]
    published: Option<String>,
    #[serde(default)]
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    severity: Option<Vec<RawSeverity>>,
    #[serde(default)]
    affected: Option<Vec<RawAffected>>,
    #[serde(default)]
    database_specific: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawSeverity {
    #[serde(default)]
    score: String,
}

#[derive(Deserialize)]
struct RawAffected {
    #[serde(default)]
    package: Option<RawPackage>,
    #[serde(default)]
    severity: Option<Vec<RawSeverity>>,
    #[serde(default)]
    ranges: Option<Vec<RawRange>>,
    #[serde(default)]
    versions: Option<Vec<String>>,
    #[serde(default)]
    database_specific: Option<serde_json::Value>,
    #[serde(default)]
    ecosystem_specific: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawPackage {
    #[serde(default)]
    ecosystem: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct RawRange {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Deserialize)]
struct RawEvent {
    #[serde(default)]
    introduced: Option<String>,
    #[serde(default)]
    fixed: Option<String>,
    #[serde(default)]
    last_affected: Option<String>,
    #[serde(default)]
    limit: Option<String>,
}

impl Advisory {
    /// Reads one record.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > RECORD_BYTES {
            return Err(format!("it has more than {RECORD_BYTES} bytes"));
        }
        let raw: RawRecord = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        check_id(&raw.id)?;
        let affected = raw.affected.unwrap_or_default();
        if affected.len() > PACKAGES {
            return Err(format!("it names more than {PACKAGES} packages"));
        }
        let (severity, score) = rate(
            &raw.id,
            raw.severity.as_deref().unwrap_or_default(),
            &affected,
            raw.database_specific.as_ref(),
        );
        let mut unmatched = BTreeSet::new();
        let mut packages: Vec<Package> = Vec::new();
        for entry in affected {
            let Some(named) = &entry.package else { continue };
            match package(named, &entry) {
                Some(package) => packages.push(package),
                None => {
                    unmatched.insert(cut(&named.ecosystem, 60));
                }
            }
        }
        let aliases = raw.aliases.unwrap_or_default().into_iter();
        let aliases = aliases
            .filter(|alias| *alias != raw.id && check_id(alias).is_ok())
            .take(ALIASES);
        let text = raw.summary.filter(|summary| !summary.trim().is_empty());
        let text = text.or(raw.details).unwrap_or_default();
        Ok(Self {
            modified: instant(&raw.modified, "modified")?,
            published: raw
                .published
                .map(|text| instant(&text, "published"))
                .transpose()?,
            withdrawn: raw
                .withdrawn
                .map(|text| instant(&text, "withdrawn"))
                .transpose()?,
            aliases: aliases.collect(),
            summary: cut(text.trim().lines().next().unwrap_or_default(), SUMMARY),
            severity,
            score,
            packages,
            unmatched,
            id: raw.id,
        })
    }

    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// A name that is safe in addresses, files and messages.
fn check_id(id: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let good = (1..=ID_BYTES).contains(&id.len())
        && id.bytes().all(plain)
        && id
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
    if good {
        Ok(())
    } else {
        Err(format!("`{}` is no name of an advisory", cut(id, 40)))
    }
}

fn instant(text: &str, field: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("`{field}` is no time: `{}`", cut(text, 40)))
}

fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

fn package(named: &RawPackage, entry: &RawAffected) -> Option<Package> {
    // What stands after a colon is a distribution's release or a repository.
    let family = named.ecosystem.split(':').next().unwrap_or_default();
    let (_, ecosystem, order) = ECOSYSTEMS.iter().find(|(name, ..)| *name == family)?;
    let name = match *ecosystem {
        "pypi" => normalise_pypi(&named.name),
        "maven" => named.name.replace(':', "/"),
        _ => named.name.clone(),
    };
    if name.is_empty() || name.len() > 500 || name.chars().any(char::is_control) {
        return None;
    }
    let ranges = entry.ranges.as_deref().unwrap_or_default().iter();
    let ranges = ranges
        .filter(|range| range.kind != "GIT" && *order != Order::Listed)
        .map(|range| Range {
            events: range.events.iter().filter_map(event).collect(),
        });
    Some(Package {
        ecosystem,
        name,
        order: *order,
        ranges: ranges.collect(),
        versions: entry.versions.iter().flatten().cloned().collect(),
    })
}

fn event(raw: &RawEvent) -> Option<Event> {
    let RawEvent {
        introduced,
        fixed,
        last_affected,
        limit,
    } = raw;
    let event = introduced.clone().map(Event::Introduced);
    let event = event.or_else(|| fixed.clone().map(Event::Fixed));
    let event = event.or_else(|| last_affected.clone().map(Event::LastAffected));
    event.or_else(|| limit.clone().map(Event::Limit))
}

/// How bad it is: by CVSS vectors, the newest version of CVSS first and the worst of each; else by the word that its
/// database gives. A malicious package is critical by itself.
fn rate(
    id: &str,
    own: &[RawSeverity],
    affected: &[RawAffected],
    specific: Option<&serde_json::Value>,
) -> (Severity, Option<(f64, String)>) {
    let of_packages = affected.iter().flat_map(|entry| entry.severity.iter().flatten());
    let given = own
        .iter()
        .chain(of_packages)
        .map(|severity| severity.score.as_str());
    let vectors = given.chain(affected.iter().filter_map(|entry| {
        let specific = entry.database_specific.as_ref()?;
        specific.get("cvss")?.as_str()
    }));
    let mut best: Option<(u8, f64, Severity, String)> = None;
    for text in vectors.filter(|text| text.len() <= 500) {
        let Ok(vector) = text.parse::<Cvss>() else {
            continue;
        };
        let version = match vector {
            Cvss::CvssV40(_) => 4,
            _ => 3,
        };
        let score = vector.score();
        let worse = best
            .as_ref()
            .is_none_or(|(known, least, ..)| version > *known || (version == *known && score > *least));
        if worse && score.is_finite() {
            best = Some((version, score, word(vector.severity().as_str()), text.to_owned()));
        }
    }
    let malicious = id.starts_with("MAL-");
    if let Some((_, score, severity, vector)) = best {
        let severity = if malicious { Severity::Critical } else { severity };
        return (severity, Some((score, vector)));
    }
    if malicious {
        return (Severity::Critical, None);
    }
    let said = affected
        .iter()
        .flat_map(|entry| [&entry.database_specific, &entry.ecosystem_specific])
        .filter_map(Option::as_ref)
        .chain(specific)
        .filter_map(|specific| specific.get("severity")?.as_str());
    (said.map(word).max().unwrap_or_default(), None)
}

fn word(text: &str) -> Severity {
    match text.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "important" => Severity::High,
        "medium" | "moderate" => Severity::Medium,
        "low" => Severity::Low,
        _ => Severity::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &serde_json::Value) -> Advisory {
        Advisory::from_json(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_record_of_the_kind_that_databases_publish() {
        let advisory = read(&serde_json::json!({
            "schema_version": "1.6.0", "id": "GHSA-aaaa-bbbb-cccc", "modified": "2026-03-01T10:00:00.123Z",
            "published": "2026-02-28T00:00:00Z", "aliases": ["CVE-2026-1", "GHSA-aaaa-bbbb-cccc", "../x"],
            "summary": "Reads past the end", "details": "Long\ntext",
            "severity": [
                {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"},
                {"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N"}
            ],
            "affected": [
                {"package": {"ecosystem": "PyPI", "name": "Foo_Bar"}, "versions": ["1.0"],
                 "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]},
                            {"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]}]},
                {"package": {"ecosystem": "Debian:12", "name": "foo"}},
                {"ranges": []}
            ]
        }));
        assert_eq!(advisory.aliases, BTreeSet::from(["CVE-2026-1".to_owned()]));
        assert_eq!(advisory.packages.len(), 1);
        let package = &advisory.packages[0];
        assert_eq!((package.ecosystem, package.name.as_str()), ("pypi", "foo-bar"));
        assert_eq!(package.ranges.len(), 1, "commits are no versions");
        assert_eq!(advisory.unmatched, BTreeSet::from(["Debian:12".to_owned()]));
        assert_eq!(
            advisory.severity,
            Severity::Medium,
            "the newer CVSS counts: {:?}",
            advisory.score
        );
    }

    #[test]
    fn severities_by_vector_by_word_and_by_kind() {
        let of = |extra: serde_json::Value| {
            let mut record = serde_json::json!({"id": "X-1", "modified": "2026-01-01T00:00:00Z"});
            for (key, value) in extra.as_object().unwrap() {
                record[key] = value.clone();
            }
            read(&record).severity
        };
        let vector = |score: &str| serde_json::json!({"severity": [{"type": "CVSS_V3", "score": score}]});
        assert_eq!(
            of(vector("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")),
            Severity::Critical
        );
        assert_eq!(
            of(vector("CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N")),
            Severity::Low
        );
        assert_eq!(of(vector("nonsense")), Severity::Unknown);
        assert_eq!(
            of(serde_json::json!({"database_specific": {"severity": "MODERATE"}})),
            Severity::Medium
        );
        assert_eq!(of(serde_json::json!({"id": "MAL-2026-1"})), Severity::Critical);
        assert_eq!(of(serde_json::json!({})), Severity::Unknown);
    }

    #[test]
    fn what_is_no_record_says_why() {
        for (text, why) in [
            ("{}", "missing field"),
            (
                "{\"id\":\"../../etc\",\"modified\":\"2026-01-01T00:00:00Z\"}",
                "is no name",
            ),
            (
                "{\"id\":\"A-1\",\"modified\":\"yesterday\"}",
                "`modified` is no time",
            ),
            (
                "{\"id\":\"A-1\",\"modified\":\"2026-01-01T00:00:00Z\",\"affected\":5}",
                "invalid type",
            ),
        ] {
            let error = Advisory::from_json(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
