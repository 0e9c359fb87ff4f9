//! `bench/RESULTS.md`: a head that names the machine, the goals of all sections, then the sections. A run
//! replaces the sections that it measured and keeps the text of the others.

use crate::{Result, machine};
use std::{fmt::Write as _, path::Path};

/// A goal, what was measured, and whether it was met.
pub struct Goal {
    pub goal: String,
    pub measured: String,
    pub met: bool,
}

/// Writes goals as a table that [`Report`] finds again.
pub fn goals(list: &[Goal]) -> String {
    let mut text = String::from("| Goal | Measured | Met |\n|---|---|---|\n");
    for goal in list {
        let met = if goal.met { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {} | {} | {met} |", goal.goal, goal.measured);
    }
    text
}

/// The report's sections.
pub struct Report {
    sections: Vec<(String, String)>,
}

impl Report {
    /// Reads what there is.
    pub fn read(path: &Path, names: &[&str]) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let sections = names.iter().map(|name| {
            (
                (*name).to_owned(),
                section(&text, name).unwrap_or_default().to_owned(),
            )
        });
        Ok(Self {
            sections: sections.collect(),
        })
    }

    /// Replaces a section.
    pub fn set(&mut self, name: &str, text: &str) {
        if let Some((_, old)) = self.sections.iter_mut().find(|(section, _)| section == name) {
            *old = format!("{}\n\n{}", text.trim(), machine::stamp());
        }
    }

    /// Writes the report.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, self.text(&machine::describe()))?)
    }

    fn text(&self, machine: &str) -> String {
        let mut text = format!(
            "# Measured\n\nWritten by `make bench`; do not edit by hand. All traffic is on loopback, all data in \
             temporary folders. Ratios come from one run, in which the two sides took turns.\n\n{machine}\n## Goals\n\n\
             | Goal | Measured | Met |\n|---|---|---|\n"
        );
        for row in self.sections.iter().flat_map(|(_, section)| goal_rows(section)) {
            text.push_str(row);
            text.push('\n');
        }
        for (name, section) in self.sections.iter().filter(|(_, section)| !section.is_empty()) {
            let _ = write!(
                text,
                "\n<!-- begin {name} -->\n{}\n<!-- end {name} -->\n",
                section.trim()
            );
        }
        text
    }
}

fn section<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<!-- begin {name} -->\n"))?;
    let (section, _) = rest.split_once(&format!("\n<!-- end {name} -->"))?;
    Some(section)
}

fn goal_rows(section: &str) -> impl Iterator<Item = &str> {
    let table = section.lines().skip_while(|line| !line.starts_with("| Goal |"));
    table.skip(2).take_while(|line| line.starts_with('|'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_replaces_its_sections_and_keeps_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/RESULTS.md");
        let names = &["one", "two"];
        let mut report = Report::read(&path, names).unwrap();
        let goal = |text: &str, met| {
            goals(&[Goal {
                goal: text.to_owned(),
                measured: "7 ms".to_owned(),
                met,
            }])
        };
        report.set("one", &format!("## One\n\n{}", goal("fast", true)));
        report.set("two", &format!("## Two\n\n{}", goal("small", false)));
        report.write(&path).unwrap();
        let mut report = Report::read(&path, names).unwrap();
        report.set("two", &format!("## Two again\n\n{}", goal("smaller", true)));
        report.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("## One\n") && text.contains("## Two again\n") && !text.contains("## Two\n"));
        assert_eq!(
            text.matches("| fast | 7 ms | yes |").count(),
            2,
            "in the summary and in its section: {text}"
        );
        assert!(text.contains("| smaller | 7 ms | yes |") && !text.contains("**no**"));
        assert_eq!(text.matches("<!-- begin").count(), 2);
    }
}
