//! JUnit's XML, in the dialects that its many writers have: pytest, Maven Surefire, Gradle, Jest, go-junit-report,
//! cargo-nextest, `PHPUnit`, RSpec.

use super::{
    Document, cut, one_line,
    xml::{Xml, attribute, gather, reference},
};
use bascule_core::Digest;
use quick_xml::events::{BytesStart, Event};
use std::collections::HashMap;

/// Most test cases of one job that are told apart; more are counted.
pub const CASES: usize = 100_000;
/// Longest name, in characters.
const NAME: usize = 500;
/// Longest message, in characters.
const MESSAGE: usize = 2_000;
/// Longest output of a case, in bytes.
const OUTPUT: usize = 16_000;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It did not hold.
    Failed,
    /// It could not be run to its end.
    Error,
    /// It was left out.
    Skipped,
    /// It held.
    Passed,
}

impl Status {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::Passed => "passed",
        }
    }

    /// Whether it counts as a failure.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Error)
    }
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The suite that it is in; may be empty.
    pub suite: String,
    /// Its class; may be empty.
    pub class: String,
    /// Its name.
    pub name: String,
    /// The file it is in, as the report says.
    pub file: Option<String>,
    /// How it ended.
    pub status: Status,
    /// How long it took, in microseconds.
    pub took: u64,
    /// Why it failed or was skipped, in a line.
    pub message: String,
    /// What it wrote, and where it failed.
    pub output: String,
    /// It failed first and passed when it was tried again in the same run.
    pub flaky: bool,
}

impl Case {
    /// What makes it the same test in another run.
    #[must_use]
    pub fn key(&self) -> String {
        let whole = format!("{}\0{}\0{}", self.suite, self.class, self.name);
        let digest = Digest::of(whole.as_bytes()).to_string();
        digest
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .chars()
            .take(24)
            .collect()
    }
}

/// What a job's tests came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// The tests, each once.
    pub cases: Vec<Case>,
    /// How many more there were than are told apart.
    pub more: usize,
}

/// Reads all files of a report. A test that stands in it more than once is one test; its worst end counts.
///
/// # Errors
/// One of them is no JUnit report.
pub fn read(documents: &[Document]) -> Result<Tests, String> {
    let mut tests = Tests::default();
    let mut known: HashMap<String, usize> = HashMap::new();
    for document in documents {
        if document.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let text = String::from_utf8_lossy(&document.bytes);
        let found = one(text.trim_start_matches('\u{feff}')).map_err(|why| {
            if document.name.is_empty() {
                why
            } else {
                format!("{}: {why}", document.name)
            }
        })?;
        tests.more += found.more;
        for case in found.cases {
            match known.get(&case.key()).copied() {
                Some(at) => {
                    if let Some(same) = tests.cases.get_mut(at)
                        && case.status < same.status
                    {
                        *same = case;
                    }
                }
                None if tests.cases.len() < CASES => {
                    known.insert(case.key(), tests.cases.len());
                    tests.cases.push(case);
                }
                None => tests.more += 1,
            }
        }
    }
    Ok(tests)
}

/// Where text goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Nowhere,
    Failure,
    Output,
}

fn one(text: &str) -> Result<Tests, String> {
    let mut xml = Xml::new(text);
    let mut tests = Tests::default();
    let mut suites: Vec<(usize, String)> = Vec::new();
    let mut case: Option<(usize, Case)> = None;
    let mut into = Into::Nowhere;
    let mut root = false;
    loop {
        match xml.next()? {
            Event::Eof if root => return Ok(tests),
            Event::Eof => return Err("it holds no test suite".to_owned()),
            Event::Start(element) => {
                let name = element.local_name();
                match (name.as_ref(), &mut case) {
                    ("testsuites", None) => root = true,
                    ("testsuite", None) => {
                        root = true;
                        let name = attribute(&element, "name").unwrap_or_default();
                        suites.push((xml.depth(), one_line(&name, NAME)));
                    }
                    ("testcase", None) if root => {
                        let suite = suites.last().map(|(_, name)| name.clone()).unwrap_or_default();
                        case = Some((xml.depth(), new_case(&element, suite)));
                    }
                    (child, Some((_, case))) => {
                        if let Some(next) = child_of_case(child, &element, case) {
                            into = next;
                        }
                    }
                    (other, None) if !root => {
                        return Err(format!("its first element is `{}`", one_line(other, 60)));
                    }
                    _ => {}
                }
            }
            Event::End(_) => {
                // The depth is that of the parent by now.
                let depth = xml.depth() + 1;
                if let Some((at, mut ended)) = case.take_if(|(at, _)| *at == depth) {
                    debug_assert_eq!(at, depth, "taken at its own end");
                    ended.output = cut(ended.output.trim(), OUTPUT);
                    if ended.message.is_empty() && ended.status != Status::Passed {
                        ended.message = one_line(ended.output.lines().next().unwrap_or_default(), MESSAGE);
                    }
                    if tests.cases.len() < CASES {
                        tests.cases.push(ended);
                    } else {
                        tests.more += 1;
                    }
                    into = Into::Nowhere;
                } else if case.as_ref().is_some_and(|(at, _)| at + 1 == depth) {
                    into = Into::Nowhere;
                }
                if suites.last().is_some_and(|(at, _)| *at == depth) {
                    suites.pop();
                }
            }
            Event::Text(text) => add(&mut case, into, &text.xml10_content()),
            Event::CData(text) => add(&mut case, into, &text.xml10_content()),
            Event::GeneralRef(name) => add(&mut case, into, &reference(&name.xml10_content())),
            _ => {}
        }
    }
}

fn add(case: &mut Option<(usize, Case)>, into: Into, text: &str) {
    if let (Some((_, case)), true) = (case, into != Into::Nowhere) {
        gather(&mut case.output, text, OUTPUT);
    }
}

fn new_case(element: &BytesStart<'_>, suite: String) -> Case {
    let text = |name: &str| one_line(&attribute(element, name).unwrap_or_default(), NAME);
    let name = match text("name") {
        empty if empty.is_empty() => "(without a name)".to_owned(),
        name => name,
    };
    Case {
        suite,
        class: text("classname"),
        name,
        file: Some(text("file")).filter(|file| !file.is_empty()),
        status: if attribute(element, "status").as_deref() == Some("notrun") {
            Status::Skipped
        } else {
            Status::Passed
        },
        took: microseconds(&attribute(element, "time").unwrap_or_default()),
        message: String::new(),
        output: String::new(),
        flaky: false,
    }
}

fn child_of_case(child: &str, element: &BytesStart<'_>, case: &mut Case) -> Option<Into> {
    let ended = |status: Status, case: &mut Case| {
        if status < case.status {
            case.status = status;
        }
        if case.message.is_empty() {
            let message = attribute(element, "message").unwrap_or_default();
            case.message = one_line(&message, MESSAGE);
        }
        if !case.output.is_empty() {
            case.output.push('\n');
        }
    };
    match child {
        "failure" => ended(Status::Failed, case),
        "error" => ended(Status::Error, case),
        "skipped" | "disabled" => ended(Status::Skipped, case),
        // Surefire and nextest: it was tried again at once, and passed.
        "flakyFailure" | "flakyError" => {
            case.flaky = true;
            return Some(Into::Failure);
        }
        "rerunFailure" | "rerunError" => return Some(Into::Failure),
        "system-out" | "system-err" => {
            if !case.output.is_empty() {
                case.output.push('\n');
            }
            return Some(Into::Output);
        }
        _ => return None,
    }
    Some(Into::Failure)
}

/// Seconds as a decimal number, also `1,234.5`; whatever else it says is nothing.
fn microseconds(text: &str) -> u64 {
    let seconds: f64 = text.trim().replace(',', "").parse().unwrap_or(0.0);
    if !seconds.is_finite() || seconds <= 0.0 {
        return 0;
    }
    // A hundred days; more is no time of a test.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded and positive"
    )]
    let whole = (seconds.min(8_640_000.0) * 1e6) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Result<Tests, String> {
        read(&[Document {
            name: "r.xml".into(),
            bytes: text.as_bytes().to_vec(),
        }])
    }

    #[test]
    fn pytest_surefire_and_nextest_are_read() {
        let text = r#"<?xml version="1.0"?><testsuites name="all"><testsuite name="pytest" tests="4">
            <properties><property name="a" value="b"/></properties>
            <testcase classname="tests.test_a" name="test_ok" time="0.012" file="tests/test_a.py"/>
            <testcase classname="tests.test_a" name="test_bad[1 &lt; 2]" time="1.5"><failure message="assert 1 == 2">def x():
&gt;   assert 1 == 2</failure><system-out><![CDATA[noise <b>]]></system-out></testcase>
            <testcase classname="tests.test_a" name="test_skip"><skipped message="not here"/></testcase>
            <testcase classname="tests.test_a" name="test_boom"><error>Traceback &#169; &unknown;</error></testcase>
            </testsuite><testsuite name="second"><testsuite name="inner"><testcase name="t"><flakyFailure message="once"/></testcase></testsuite>
            <testcase name="u"/></testsuite></testsuites>"#;
        let tests = all(text).unwrap();
        let seen: Vec<(&str, &str, &str)> = tests
            .cases
            .iter()
            .map(|case| (case.suite.as_str(), case.name.as_str(), case.status.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("pytest", "test_ok", "passed"),
                ("pytest", "test_bad[1 < 2]", "failed"),
                ("pytest", "test_skip", "skipped"),
                ("pytest", "test_boom", "error"),
                ("inner", "t", "passed"),
                ("second", "u", "passed"),
            ]
        );
        let bad = &tests.cases[1];
        assert_eq!((bad.took, bad.message.as_str()), (1_500_000, "assert 1 == 2"));
        assert!(bad.output.contains(">   assert 1 == 2") && bad.output.contains("noise <b>"));
        assert_eq!(tests.cases[0].file.as_deref(), Some("tests/test_a.py"));
        assert_eq!(tests.cases[3].message, "Traceback © &unknown;");
        assert!(tests.cases[4].flaky && !tests.cases[5].flaky);
    }

    #[test]
    fn the_same_test_twice_is_one_and_its_worst_end_counts() {
        let text = r#"<testsuite name="s"><testcase name="a"/><testcase name="a"><failure/></testcase><testcase name="a"/></testsuite>"#;
        let tests = all(text).unwrap();
        assert_eq!(tests.cases.len(), 1);
        assert_eq!(tests.cases[0].status, Status::Failed);
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("<coverage/>", "first element is `coverage`"),
            ("<testsuite>", "ends before"),
            ("<testsuite>\n\n<a></b></testsuite>", "line 3"),
            ("{}", "no test suite"),
            ("\u{1}<<<", "XML"),
        ] {
            let said = all(text).unwrap_err();
            assert!(
                said.starts_with("r.xml: ") && said.contains(why),
                "{text}: {said}"
            );
        }
        assert_eq!(all(" \n").unwrap(), Tests::default());
    }

    #[test]
    fn hostile_documents_cost_little() {
        // Entities are neither fetched nor expanded.
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>
            <testsuite><testcase name="&b;"><failure>&b;&f;</failure></testcase></testsuite>"#;
        let tests = all(bomb).unwrap();
        assert_eq!(
            (tests.cases[0].name.as_str(), tests.cases[0].output.as_str()),
            ("&b;", "&b;&f;")
        );
        let deep = format!("<testsuite>{}", "<a>".repeat(200_000));
        assert!(all(&deep).unwrap_err().contains("100 deep"));
        let long = format!(
            "<testsuite><testcase name=\"{}\"><failure>{0}</failure></testcase></testsuite>",
            "x".repeat(1_000_000)
        );
        let tests = all(&long).unwrap();
        assert!(tests.cases[0].name.len() < 600 && tests.cases[0].output.len() <= OUTPUT + 3);
        let many = format!(
            "<testsuite>{}</testsuite>",
            (0..CASES + 5)
                .map(|n| format!("<testcase name=\"{n}\"/>"))
                .collect::<String>()
        );
        let tests = all(&many).unwrap();
        assert_eq!((tests.cases.len(), tests.more), (CASES, 5));
        for time in ["-1", "nan", "1e400", "inf", "x"] {
            let text = format!("<testsuite><testcase name=\"a\" time=\"{time}\"/></testsuite>");
            assert!(all(&text).unwrap().cases[0].took <= 8_640_000_000_000, "{time}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(parts in prop::collection::vec(prop::sample::select(vec![
            "<testsuite>", "</testsuite>", "<testcase name=\"a\">", "</testcase>", "<failure>", "</failure>", "<failure/>",
            "&lt;", "&", "<![CDATA[", "]]>", "<!--", "-->", "text", "<", ">", "\"", "<?x?>", "<!DOCTYPE a>", "é",
        ]), 0..40)) {
            drop(all(&parts.concat()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&[Document { name: String::new(), bytes }]));
        }
    }
}
