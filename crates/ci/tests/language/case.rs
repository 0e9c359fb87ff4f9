//! One file of the folder: a CI file, and behind it what is promised of it.

use std::{collections::BTreeMap, path::Path};

/// A file with its promises.
pub struct Case {
    pub name: String,
    /// The whole file; its promises are comments.
    pub text: String,
    /// Files that it may include, by path or `group/project@ref:path`.
    pub files: BTreeMap<String, String>,
    pub scenarios: Vec<Scenario>,
}

/// A pipeline asked for, and what is promised of it.
pub struct Scenario {
    /// The line it begins at, for messages.
    pub line: usize,
    /// What the pipeline is for.
    pub on: Vec<String>,
    /// Key and value, in order.
    pub promises: Vec<(String, String)>,
}

const START: &str = "# says:";

impl Case {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let folder = path
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|name| name == "projects");
        let stem = path.file_stem().unwrap().to_string_lossy();
        let name = if folder {
            format!("projects/{stem}")
        } else {
            stem.into_owned()
        };
        let mut case = Self {
            files: BTreeMap::new(),
            scenarios: Vec::new(),
            text: text.clone(),
            name,
        };
        let start = text
            .lines()
            .position(|line| line.starts_with(START))
            .unwrap_or_else(|| panic!("{}: no line `{START} …`", case.name));
        let mut file: Option<String> = None;
        for (index, line) in text.lines().enumerate().skip(start + 1) {
            let Some(line) = line.strip_prefix('#') else {
                panic!(
                    "{}:{}: only comments may stand behind `{START}`",
                    case.name,
                    index + 1
                );
            };
            if let Some(name) = &file {
                if line.is_empty() || line.starts_with("   ") {
                    let text = case.files.entry(name.clone()).or_default();
                    text.push_str(line.strip_prefix("   ").unwrap_or(line));
                    text.push('\n');
                    continue;
                }
                file = None;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix("file ") {
                case.files.insert(name.to_owned(), String::new());
                file = Some(name.to_owned());
                continue;
            }
            // A job's name may hold a colon and a blank; what is promised begins with a brace.
            let split = match line.strip_prefix("job ") {
                Some(_) => line
                    .split_once(": {")
                    .map(|(key, value)| (key, format!("{{{value}"))),
                None => line
                    .split_once(':')
                    .map(|(key, value)| (key, value.trim().to_owned())),
            };
            let (key, value) = split.unwrap_or_else(|| panic!("{}:{}: `{line}`", case.name, index + 1));
            if key == "on" {
                case.scenarios.push(Scenario {
                    line: index + 1,
                    on: value.split_whitespace().map(str::to_owned).collect(),
                    promises: Vec::new(),
                });
                continue;
            }
            if case.scenarios.is_empty() {
                case.scenarios.push(Scenario {
                    line: index + 1,
                    on: Vec::new(),
                    promises: Vec::new(),
                });
            }
            let last = case.scenarios.last_mut().unwrap();
            last.promises.push((key.to_owned(), value));
        }
        assert!(
            case.scenarios
                .iter()
                .all(|scenario| !scenario.promises.is_empty())
                && !case.scenarios.is_empty(),
            "{}: a scenario promises nothing",
            case.name
        );
        case
    }

    /// Whether the file is promised to be read without a fault.
    pub fn is_valid(&self) -> bool {
        !self
            .scenarios
            .iter()
            .any(|scenario| scenario.promises.iter().any(|(key, _)| key == "fault"))
    }
}
