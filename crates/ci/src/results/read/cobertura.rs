//! Which lines the tests reached: Cobertura's XML (as coverage.py, gcovr, coverlet, istanbul, cargo-llvm-cov write
//! it), and `JaCoCo`'s.

use super::{
    Document, one_line,
    xml::{Xml, attribute},
};
use bascule_core::is_safe_path;
use quick_xml::events::{BytesStart, Event};
use std::collections::{BTreeMap, BTreeSet};

/// Most lines of one report.
const LINES: usize = 4_000_000;
/// Most files of one report.
const FILES: usize = 100_000;

/// What was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Lines reached.
    pub covered: u64,
    /// Lines that could be.
    pub lines: u64,
    /// By file, from the top of the repository where that can be told: lines in order, and whether they were reached.
    pub files: BTreeMap<String, BTreeMap<u32, bool>>,
}

/// Reads all files of a report together. `project` is `group/name`: writers name files by the place where the job ran,
/// which ends in it.
///
/// # Errors
/// One of them is no coverage report.
pub fn read(documents: &[Document], project: &str) -> Result<Reached, String> {
    let mut reader = Coverage::default();
    let mut any = false;
    for document in documents {
        if document.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        any = true;
        let text = String::from_utf8_lossy(&document.bytes);
        reader
            .one(text.trim_start_matches('\u{feff}'), project)
            .map_err(|why| {
                if document.name.is_empty() {
                    why
                } else {
                    format!("{}: {why}", document.name)
                }
            })?;
    }
    if !any {
        return Err("it is empty".to_owned());
    }
    Ok(reader.finish())
}

#[derive(Default)]
struct Coverage {
    files: BTreeMap<String, BTreeMap<u32, bool>>,
    count: usize,
    /// What a report says in whole where it lists no lines.
    told: (u64, u64),
}

impl Coverage {
    fn one(&mut self, text: &str, project: &str) -> Result<(), String> {
        let mut xml = Xml::new(text);
        let mut root = String::new();
        let mut told = None;
        let mut sources: Vec<String> = Vec::new();
        let mut source = None;
        let mut package = String::new();
        let mut file: Option<String> = None;
        let before = self.count;
        loop {
            match xml.next()? {
                Event::Eof if root.is_empty() => return Err("it holds no element".to_owned()),
                Event::Eof => break,
                Event::Start(element) => {
                    let name = element.local_name();
                    let name = name.as_ref();
                    if root.is_empty() {
                        if name != "coverage" && name != "report" {
                            return Err(format!("its first element is `{}`", one_line(name, 60)));
                        }
                        name.clone_into(&mut root);
                        told = whole(&element);
                        continue;
                    }
                    match (root.as_str(), name) {
                        ("coverage", "source") if sources.len() < 20 => source = Some(String::new()),
                        ("coverage", "class") => {
                            let named = attribute(&element, "filename").unwrap_or_default();
                            file = Some(place(&named, &sources, project));
                        }
                        ("report", "package") => package = attribute(&element, "name").unwrap_or_default(),
                        ("report", "sourcefile") => {
                            let named = attribute(&element, "name").unwrap_or_default();
                            file = Some(place(&format!("{package}/{named}"), &[], project));
                        }
                        ("report", "counter")
                            if xml.depth() == 2 && attribute(&element, "type").as_deref() == Some("LINE") =>
                        {
                            let number = |name| attribute(&element, name).and_then(|text| text.parse().ok());
                            let (missed, covered): (u64, u64) = (
                                number("missed").unwrap_or_default(),
                                number("covered").unwrap_or_default(),
                            );
                            told = Some((covered, covered.saturating_add(missed)));
                        }
                        (_, "line") => self.line(file.as_deref(), &element, &root)?,
                        _ => {}
                    }
                }
                Event::Text(text) => {
                    if let Some(source) = &mut source {
                        source.push_str(&one_line(&text.xml10_content(), 500));
                    }
                }
                Event::End(element) => match element.local_name().as_ref() {
                    "source" => sources.extend(source.take()),
                    "class" | "sourcefile" => file = None,
                    _ => {}
                },
                _ => {}
            }
        }
        if self.count == before
            && let Some((covered, lines)) = told
        {
            let lines = lines.min(u64::from(u32::MAX));
            self.told.0 = self.told.0.saturating_add(covered.min(lines));
            self.told.1 = self.told.1.saturating_add(lines);
        }
        Ok(())
    }

    fn line(&mut self, file: Option<&str>, element: &BytesStart<'_>, root: &str) -> Result<(), String> {
        let Some(file) = file else { return Ok(()) };
        let (number, hits) = if root == "coverage" {
            ("number", "hits")
        } else {
            ("nr", "ci")
        };
        let Some(number) = attribute(element, number).and_then(|text| text.trim().parse::<u32>().ok()) else {
            return Ok(());
        };
        let reached = attribute(element, hits)
            .is_some_and(|text| text.trim().bytes().any(|digit| (b'1'..=b'9').contains(&digit)));
        if !self.files.contains_key(file) && self.files.len() == FILES {
            return Err(format!("it names more than {FILES} files"));
        }
        let lines = self.files.entry(file.to_owned()).or_default();
        // The same line may be told of its method and of its class.
        if lines
            .insert(number, reached || lines.get(&number).copied().unwrap_or_default())
            .is_none()
        {
            self.count += 1;
            if self.count > LINES {
                return Err(format!("it tells of more than {LINES} lines"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Reached {
        let lines = self.count as u64 + self.told.1;
        let covered = self
            .files
            .values()
            .map(|lines| lines.values().filter(|reached| **reached).count() as u64)
            .sum::<u64>()
            + self.told.0;
        Reached {
            covered,
            lines,
            files: self.files,
        }
    }
}

/// What the first element says of the whole: counts, or a rate.
fn whole(element: &BytesStart<'_>) -> Option<(u64, u64)> {
    let number = |name| attribute(element, name).and_then(|text| text.trim().parse::<u64>().ok());
    if let (Some(covered), Some(lines)) = (number("lines-covered"), number("lines-valid")) {
        return Some((covered, lines));
    }
    let rate: f64 = attribute(element, "line-rate")?.trim().parse().ok()?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between nothing and ten thousand"
    )]
    let covered = (rate.clamp(0.0, 1.0) * 10_000.0).round() as u64;
    (0.0..=1.0).contains(&rate).then_some((covered, 10_000))
}

/// A file's path from the top of the repository, as far as it can be told.
fn place(named: &str, sources: &[String], project: &str) -> String {
    let named = one_line(&named.replace('\\', "/"), 1_000);
    let below = |path: &str| -> Option<String> {
        let marked = format!("/{project}/");
        let at = path.find(&marked)?;
        path.get(at + marked.len()..).map(str::to_owned)
    };
    let tidy = |path: &str| path.trim_start_matches("./").trim_end_matches('/').to_owned();
    if named.starts_with('/') {
        return below(&named).unwrap_or_else(|| tidy(named.trim_start_matches('/')));
    }
    for source in sources {
        let source = format!("{}/", source.trim().trim_end_matches('/'));
        if let Some(folder) = below(&source) {
            let path = format!("{folder}{}", tidy(&named));
            if is_safe_path(&path) {
                return path;
            }
        }
    }
    tidy(&named)
}

/// Lines that no test reached, as pairs of first and last.
#[must_use]
pub fn missed(lines: &BTreeMap<u32, bool>) -> Vec<(u32, u32)> {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    let mut going = false;
    for (line, reached) in lines {
        match (reached, going, spans.last_mut()) {
            // Lines between two that were not reached, of which nothing is told, belong to the span.
            (false, true, Some(last)) => last.1 = *line,
            (false, ..) => spans.push((*line, *line)),
            (true, ..) => {}
        }
        going = !reached;
    }
    spans
}

/// Of the given lines of a file: how many could be reached, and which were not.
#[must_use]
pub fn among(lines: &BTreeMap<u32, bool>, wanted: &BTreeSet<u32>) -> (usize, Vec<u32>) {
    let told: Vec<(u32, bool)> = wanted
        .iter()
        .filter_map(|line| lines.get(line).map(|reached| (*line, *reached)))
        .collect();
    let missed = told
        .iter()
        .filter(|(_, reached)| !reached)
        .map(|(line, _)| *line)
        .collect();
    (told.len(), missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Result<Reached, String> {
        read(
            &[Document {
                name: String::new(),
                bytes: text.as_bytes().to_vec(),
            }],
            "clinic/app",
        )
    }

    #[test]
    fn coverage_py_and_jacoco_are_read() {
        let text = r#"<?xml version="1.0"?><!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
            <coverage line-rate="0.1" lines-covered="1" lines-valid="9"><sources><source>/builds/clinic/app/src</source></sources>
            <packages><package name="p"><classes><class name="a" filename="pkg/a.py">
            <methods><method name="m"><lines><line number="2" hits="0"/></lines></method></methods>
            <lines><line number="1" hits="1"/><line number="2" hits="4"/><line number="3" hits="0"/><line number="5" hits="0"/></lines>
            </class></classes></package></packages></coverage>"#;
        let found = all(text).unwrap();
        assert_eq!((found.covered, found.lines), (2, 4));
        let lines = &found.files["src/pkg/a.py"];
        assert_eq!(missed(lines), [(3, 5)]);
        assert_eq!(among(lines, &[2, 3, 4].into()), (2, vec![3]));
        let jacoco = r#"<report name="x"><package name="org/example"><sourcefile name="A.java">
            <line nr="7" mi="0" ci="3"/><line nr="8" mi="2" ci="0"/><counter type="LINE" missed="1" covered="1"/>
            </sourcefile></package><counter type="LINE" missed="1" covered="1"/></report>"#;
        let found = all(jacoco).unwrap();
        assert_eq!((found.covered, found.lines), (1, 2));
        assert!(found.files.contains_key("org/example/A.java"));
    }

    #[test]
    fn without_lines_the_whole_counts() {
        let counts = |text: &str| all(text).map(|found| (found.covered, found.lines)).unwrap();
        assert_eq!(counts(r#"<coverage lines-covered="3" lines-valid="4"/>"#), (3, 4));
        assert_eq!(counts(r#"<coverage line-rate="0.8312"/>"#), (8312, 10_000));
        assert_eq!(counts(r#"<coverage line-rate="7"/>"#), (0, 0));
        assert_eq!(counts(r#"<coverage lines-covered="9" lines-valid="4"/>"#), (4, 4));
        assert!(all("<testsuite/>").unwrap_err().contains("`testsuite`"));
        assert!(all("  ").unwrap_err().contains("empty"));
    }

    #[test]
    fn files_are_named_from_the_top_of_the_repository() {
        let source = vec!["/home/ci/clinic/app/lib/".to_owned()];
        assert_eq!(place("./x.rs", &source, "clinic/app"), "lib/x.rs");
        assert_eq!(place("/w/clinic/app/a/b.rs", &[], "clinic/app"), "a/b.rs");
        assert_eq!(place("a\\b.cs", &[], "clinic/app"), "a/b.cs");
        assert_eq!(
            place("../../etc/passwd", &source, "clinic/app"),
            "../../etc/passwd",
            "no such file is in any diff"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(parts in prop::collection::vec(prop::sample::select(vec![
            "<coverage>", "</coverage>", "<report>", "<class filename=\"a\">", "</class>", "<line number=\"1\" hits=\"2\"/>",
            "<line number=\"99999999999\" hits=\"x\"/>", "<source>", "</source>", "<sourcefile name=\"a\">", "text", "&x;", "<",
        ]), 0..40)) {
            if let Ok(found) = all(&parts.concat()) {
                prop_assert!(found.covered <= found.lines);
            }
        }
    }
}
