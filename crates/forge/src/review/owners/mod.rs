//! Who owns which files: `CODEOWNERS` in GitLab's syntax, with sections, default owners, roles and exclusions.

pub(crate) mod api;
pub(crate) mod pages;
mod parse;
mod pattern;
mod service;

use bascule_core::Role;
use pattern::Pattern;
use std::fmt;

/// Where the file is looked for, in this order; the first that is there counts.
pub const OWNERS_FILES: [&str; 3] = ["CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS"];
/// Largest file that is read, in bytes.
pub const OWNERS_BYTES: u64 = 512 * 1024;
/// The name of what stands before the first heading.
pub(crate) const UNNAMED: &str = "Code owners";

/// A `CODEOWNERS` file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeOwners {
    /// Its sections, in the order of their first headings.
    pub(crate) sections: Vec<Section>,
    /// What cannot be meant so, by line.
    pub(crate) complaints: Vec<Complaint>,
}

/// One section: judged by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// `^[…]`: owners are asked, but need not approve.
    pub(crate) optional: bool,
    /// How many of the owners must approve.
    pub(crate) approvals: u32,
    pub(crate) entries: Vec<Entry>,
}

/// One line: a pattern and who owns what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    /// As written.
    pub(crate) text: String,
    /// `!pattern`: nobody owns it in this section.
    pub(crate) exclude: bool,
    /// The line's own owners, or the section's.
    pub(crate) owners: Vec<Owner>,
    /// Whether the owners are the section's.
    pub(crate) by_default: bool,
    pattern: Pattern,
}

/// An owner as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// `@name`: an account or a group.
    Name(String),
    /// `@@maintainer`: members with just this role, or a higher one.
    Role(Role),
    /// An account by its e-mail address, in lower case.
    Email(String),
}

/// What cannot be meant so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The line, from 1.
    pub line: usize,
    /// What is the matter.
    pub what: String,
}

/// Who owns a path in one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned<'a> {
    pub(crate) section: &'a Section,
    pub(crate) entry: &'a Entry,
}

impl CodeOwners {
    /// Reads a file. Every text is one: what cannot be understood is complained about and left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        parse::parse(text)
    }

    /// Who owns a path: for each section the last line that matches, unless a line of it excludes the path.
    pub(crate) fn owners_of(&self, path: &str) -> Vec<Owned<'_>> {
        self.lines_of(path)
            .into_iter()
            .filter_map(|(section, entry)| {
                let section = self.sections.get(section)?;
                let entry = section.entries.get(entry)?;
                Some(Owned { section, entry })
            })
            .collect()
    }

    /// The same by the numbers of section and line.
    pub(crate) fn lines_of(&self, path: &str) -> Vec<(usize, usize)> {
        let last = |section: &Section| -> Option<usize> {
            let mut last = None;
            for (at, entry) in section.entries.iter().enumerate() {
                if !entry.pattern.matches(path) {
                    continue;
                }
                if entry.exclude {
                    return None;
                }
                last = Some(at);
            }
            last
        };
        self.sections
            .iter()
            .enumerate()
            .filter_map(|(at, section)| Some((at, last(section)?)))
            .collect()
    }

    /// The line that keeps a path out of a section.
    pub(crate) fn excluded_by(&self, section: &str, path: &str) -> Option<&Entry> {
        let section = self.sections.iter().find(|known| known.name == section)?;
        section
            .entries
            .iter()
            .find(|entry| entry.exclude && entry.pattern.matches(path))
    }

    /// How many names of owners a path has in all sections; for fuzzing and tests.
    #[must_use]
    pub fn count_of(&self, path: &str) -> usize {
        self.owners_of(path)
            .iter()
            .map(|owned| owned.entry.owners.len())
            .sum()
    }

    /// What cannot be meant so.
    #[must_use]
    pub fn complaints(&self) -> &[Complaint] {
        &self.complaints
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "@{name}"),
            Self::Role(role) => write!(f, "@@{role}"),
            Self::Email(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "\
# who looks after what
* @default
*.rb @ruby anna@example.org
/docs/ @@maintainers
\\#odd @odd
with\\ space/ @space

[Documentation][2] @docs
docs/
README.md @writer @docs
!docs/generated/

^[Optional look] @look
*.css

[documentation]
/manual/
";

    fn owners(path: &str) -> Vec<(String, String)> {
        let file = CodeOwners::parse(FILE);
        file.owners_of(path)
            .into_iter()
            .map(|owned| {
                let owners: Vec<String> = owned.entry.owners.iter().map(ToString::to_string).collect();
                (owned.section.name.clone(), owners.join(" "))
            })
            .collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn the_last_line_of_each_section_counts() {
        assert_eq!(owners("src/x"), pairs(&[(UNNAMED, "@default")]));
        assert_eq!(owners("a.rb"), pairs(&[(UNNAMED, "@ruby anna@example.org")]));
        assert_eq!(
            owners("docs/a.rb"),
            pairs(&[(UNNAMED, "@@maintainer"), ("Documentation", "@docs")])
        );
        assert_eq!(
            owners("README.md"),
            pairs(&[(UNNAMED, "@default"), ("Documentation", "@writer @docs")])
        );
        assert_eq!(owners("docs/generated/x"), pairs(&[(UNNAMED, "@@maintainer")]));
        assert_eq!(owners("#odd"), pairs(&[(UNNAMED, "@odd")]));
        assert_eq!(owners("with space/x"), pairs(&[(UNNAMED, "@space")]));
        assert_eq!(
            owners("x.css"),
            pairs(&[(UNNAMED, "@default"), ("Optional look", "@look")])
        );
    }

    #[test]
    fn headings_of_the_same_name_are_one_section() {
        let file = CodeOwners::parse(FILE);
        let names: Vec<_> = file
            .sections
            .iter()
            .map(|s| (s.name.as_str(), s.optional, s.approvals))
            .collect();
        assert_eq!(
            names,
            [
                (UNNAMED, false, 1),
                ("Documentation", false, 2),
                ("Optional look", true, 1)
            ]
        );
        // A heading gives its owners to the lines below it alone, and `/manual/` has none.
        assert_eq!(
            owners("manual/x").last().map(|o| o.1.clone()),
            Some(String::new())
        );
    }

    #[test]
    fn what_cannot_be_meant_is_said_by_line() {
        let complaints = |text: &str| -> Vec<usize> {
            CodeOwners::parse(text)
                .complaints()
                .iter()
                .map(|c| c.line)
                .collect()
        };
        assert_eq!(complaints("* @a\n[] @b\n"), [2]);
        assert_eq!(complaints("[Name\n"), [1, 1]);
        assert_eq!(complaints("[Name][0] @a\n* \n"), [1]);
        assert_eq!(complaints("/docs/\n"), [1]);
        assert_eq!(complaints("* @@nobody\n"), [1, 1]);
        assert_eq!(complaints("* @a nonsense\n"), [1]);
        assert_eq!(complaints("!x @a\n"), [1]);
        assert!(
            complaints(FILE).len() == 1,
            "{:?}",
            CodeOwners::parse(FILE).complaints()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(?s).{0,300}", path in ".{0,30}") {
            let file = CodeOwners::parse(&text);
            let _ = file.count_of(&path);
        }

        #[test]
        fn lines_of_a_section_never_change_another(lines in proptest::collection::vec("[a-z*/]{1,6} @[a-z]{1,4}", 0..6), path in "[a-z]{1,4}(/[a-z]{1,4}){0,2}") {
            let before = format!("[One] @one\n*\n");
            let after = format!("{before}[Two]\n{}\n", lines.join("\n"));
            let of_one = |text: &str| {
                let file = CodeOwners::parse(text);
                file.owners_of(&path).into_iter().find(|o| o.section.name == "One").map(|o| o.entry.clone())
            };
            prop_assert_eq!(of_one(&before), of_one(&after));
        }

        #[test]
        fn a_last_line_for_every_file_owns_every_file(lines in proptest::collection::vec("[a-z*/?]{1,8} @[a-z]{1,4}", 0..8), path in "[a-z.]{1,4}(/[a-z.]{1,4}){0,3}") {
            let text = format!("{}\n* @last\n", lines.join("\n"));
            let file = CodeOwners::parse(&text);
            let owned = file.owners_of(&path);
            prop_assert_eq!(owned.len(), 1);
            prop_assert_eq!(&owned[0].entry.owners, &vec![Owner::Name("last".to_owned())]);
        }
    }
}
