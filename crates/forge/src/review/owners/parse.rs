//! Reading `CODEOWNERS`.

use super::{CodeOwners, Complaint, Entry, Owner, Pattern, Section, UNNAMED};
use bascule_core::Role;

/// Most lines that say something.
const ENTRIES: usize = 5_000;
/// Most complaints that are kept.
const COMPLAINTS: usize = 50;
/// Most approvals that a section may ask for.
const APPROVALS: u32 = 100;

struct Heading<'a> {
    name: &'a str,
    optional: bool,
    approvals: Option<&'a str>,
    owners: &'a str,
}

#[derive(Default)]
struct Reader {
    file: CodeOwners,
    /// Number of the section that lines belong to now.
    section: usize,
    /// Its heading's owners.
    defaults: Vec<Owner>,
    entries: usize,
}

pub(super) fn parse(text: &str) -> CodeOwners {
    let mut reader = Reader::default();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if reader.entries >= ENTRIES {
            reader.complain(number, format!("Only the first {ENTRIES} lines are read."));
            break;
        }
        reader.entries += 1;
        match heading(line) {
            Some(found) => reader.heading(number, &found),
            None => reader.entry(number, line),
        }
    }
    reader.file.sections.retain(|section| !section.entries.is_empty());
    reader.file
}

/// `^[Name][2] @owner`; `None` if the line is none.
fn heading(line: &str) -> Option<Heading<'_>> {
    let (optional, rest) = match line.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (name, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let (approvals, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((number, rest)) => (Some(number.trim()), rest),
        None => (None, rest),
    };
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
    ends.then_some(Heading {
        name: name.trim(),
        optional,
        approvals,
        owners: rest,
    })
}

impl Reader {
    fn complain(&mut self, line: usize, what: impl Into<String>) {
        if self.file.complaints.len() < COMPLAINTS {
            self.file.complaints.push(Complaint {
                line,
                what: what.into(),
            });
        }
    }

    fn heading(&mut self, line: usize, found: &Heading<'_>) {
        if found.name.is_empty() {
            self.complain(
                line,
                "The section has no name, so its lines count for the section before.",
            );
            return;
        }
        let approvals = match found.approvals.map(str::parse::<u32>) {
            None => 1,
            Some(Ok(number @ 1..=APPROVALS)) => number,
            Some(_) => {
                self.complain(
                    line,
                    format!("The number of approvals must be 1 to {APPROVALS}; 1 is taken."),
                );
                1
            }
        };
        self.defaults = self.owners(line, found.owners);
        let same = |section: &Section| section.name.to_lowercase() == found.name.to_lowercase();
        match self.file.sections.iter().position(same) {
            Some(at) => {
                self.section = at;
                if let Some(section) = self.file.sections.get_mut(at) {
                    section.optional &= found.optional;
                    section.approvals = section.approvals.max(approvals);
                }
            }
            None => {
                self.section = self.file.sections.len();
                self.file.sections.push(Section {
                    name: found.name.to_owned(),
                    optional: found.optional,
                    approvals,
                    entries: Vec::new(),
                });
            }
        }
    }

    fn entry(&mut self, line: usize, text: &str) {
        if text.starts_with('[') || text.starts_with("^[") {
            self.complain(
                line,
                "It looks like a heading, but is none: write `[Name]`, `[Name][2]` or `^[Name]`.",
            );
        }
        let (word, rest) = first_word(text);
        let (exclude, pattern) = match word.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, word),
        };
        if pattern.is_empty() {
            self.complain(line, "There is no path after `!`.");
            return;
        }
        let mut owners = self.owners(line, rest);
        let by_default = owners.is_empty() && !exclude;
        if exclude && !owners.is_empty() {
            self.complain(
                line,
                "What is excluded has no owners; those named here do not count.",
            );
            owners.clear();
        }
        if by_default {
            owners.clone_from(&self.defaults);
            if owners.is_empty() {
                self.complain(
                    line,
                    "Nobody is named, so these files need no owner's approval here.",
                );
            }
        }
        let entry = Entry {
            line,
            text: word.to_owned(),
            exclude,
            owners,
            by_default,
            pattern: Pattern::new(pattern),
        };
        if self.file.sections.is_empty() {
            self.section = 0;
            self.file.sections.push(Section {
                name: UNNAMED.to_owned(),
                optional: false,
                approvals: 1,
                entries: Vec::new(),
            });
        }
        if let Some(section) = self.file.sections.get_mut(self.section) {
            section.entries.push(entry);
        }
    }

    /// Owners among words. Those after a `#` count too, as they do in GitLab.
    fn owners(&mut self, line: usize, text: &str) -> Vec<Owner> {
        let mut owners = Vec::new();
        let mut comment = false;
        for word in text.split_whitespace() {
            if word.starts_with('#') && !comment {
                comment = true;
            }
            match owner(word) {
                Ok(Some(owner)) => {
                    if comment {
                        self.complain(line, format!("`{owner}` counts although it stands in a comment."));
                    }
                    if !owners.contains(&owner) {
                        owners.push(owner);
                    }
                }
                Ok(None) if comment => {}
                Ok(None) => {
                    let word: String = word.chars().take(60).collect();
                    self.complain(line, format!("`{word}` is no owner: write `@user`, `@group`, `@@maintainer` or an e-mail address."));
                }
                Err(what) => self.complain(line, what),
            }
        }
        owners
    }
}

/// The path of a line, up to the first blank that no backslash hides, and the rest.
fn first_word(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c.is_whitespace() => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

fn owner(word: &str) -> Result<Option<Owner>, String> {
    let word = word.trim_end_matches(',');
    if let Some(role) = word.strip_prefix("@@") {
        let singular = role.to_lowercase();
        return match singular.strip_suffix('s').unwrap_or(&singular) {
            "developer" => Ok(Some(Owner::Role(Role::Developer))),
            "maintainer" => Ok(Some(Owner::Role(Role::Maintainer))),
            "owner" => Ok(Some(Owner::Role(Role::Owner))),
            _ => Err("A role that owns is `@@developer`, `@@maintainer` or `@@owner`.".to_owned()),
        };
    }
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+'))
    };
    if let Some(name) = word.strip_prefix('@') {
        return Ok(plain(name).then(|| Owner::Name(name.to_owned())));
    }
    Ok(word
        .split_once('@')
        .filter(|(local, host)| plain(local) && plain(host))
        .map(|_| Owner::Email(word.to_lowercase())))
}
