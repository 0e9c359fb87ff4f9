//! Who wrote each line of a file, and when: `git blame`, a page of lines at a time.

use super::{
    Reading, paths,
    read::{self, object_id},
};
use crate::Forge;
use bascule_core::{Problem, ProjectId, Result, Timestamp};
use gix::{ObjectId, objs::tree::EntryKind};
use std::{collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt as _, sync::Arc};

/// Lines on one page.
pub(crate) const PAGE: usize = 1_000;
/// Largest file that is blamed, in bytes.
pub(crate) const LARGEST: u64 = 16 * 1024 * 1024;

/// A commit that wrote lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) commit: ObjectId,
    pub(crate) name: String,
    pub(crate) at: Timestamp,
    pub(crate) title: String,
    /// Where the file was before that commit, for going further back: commit and path.
    pub(crate) before: Option<(ObjectId, Vec<u8>)>,
}

/// Lines one after the other that one commit wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hunk {
    pub(crate) author: Arc<Author>,
    /// The number of the first, from 1.
    pub(crate) first: usize,
    pub(crate) lines: Vec<String>,
}

/// A page of a blamed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blamed {
    pub(crate) hunks: Vec<Hunk>,
    /// The first line of the next page, if there is one.
    pub(crate) next: Option<usize>,
    /// Lines in the file.
    pub(crate) total: usize,
    /// Said where something was left out.
    pub(crate) note: &'static str,
}

impl Forge {
    /// Blames the lines of a file from number `from` on.
    pub(crate) async fn blame(
        &self,
        project: ProjectId,
        commit: ObjectId,
        path: &[u8],
        from: usize,
    ) -> Result<Arc<Blamed>> {
        let from = from.max(1);
        let key = (project, commit, path.to_vec(), from);
        if let Some(known) = self.cache().blame.get(&key) {
            return Ok(known);
        }
        let wanted = path.to_vec();
        let total = self
            .repositories()
            .read(project, move |repo| count(repo, commit, &wanted))
            .await?;
        if total > 0 && from > total {
            return Err(Problem::not_found("line").next(format!("The file has {total} lines.")));
        }
        let until = total.min(from + PAGE - 1);
        let blamed = if total == 0 {
            Blamed {
                hunks: Vec::new(),
                next: None,
                total,
                note: "",
            }
        } else {
            let range = format!("-L{from},{until}");
            let commit = commit.to_string();
            let arguments = ["blame", "--porcelain", &range, &commit, "--"].map(OsStr::new);
            let arguments = arguments.into_iter().chain([OsStr::from_bytes(path)]);
            let (said, cut) = self.ask_git(project, arguments).await?;
            Blamed {
                hunks: porcelain(&said),
                next: (until < total).then_some(until + 1),
                total,
                note: if cut {
                    "The lines are too long to be all shown."
                } else {
                    ""
                },
            }
        };
        let blamed = Arc::new(blamed);
        let weight = blamed
            .hunks
            .iter()
            .map(|hunk| 200 + hunk.lines.iter().map(|line| line.len() + 24).sum::<usize>());
        self.cache().blame.put(key, blamed.clone(), weight.sum());
        Ok(blamed)
    }
}

/// The number of lines, as git counts them.
fn count(repo: &gix::Repository, commit: ObjectId, path: &[u8]) -> Reading<usize> {
    let Some((EntryKind::Blob | EntryKind::BlobExecutable, id)) = read::entry(repo, commit, path)? else {
        return Err(Problem::not_found("file").into());
    };
    let name = paths::shown(path);
    let Some(bytes) = read::bytes(repo, id, LARGEST)? else {
        return Err(Problem::too_large(format!("`{name}` is too large to be blamed."))
            .why("Each of its lines would have to be followed through history.")
            .next("Clone the project, and ask git on your machine.")
            .into());
    };
    if read::is_binary(&bytes) {
        return Err(
            Problem::invalid("no_text", format!("`{name}` is no text, so it has no lines."))
                .next("Look at its history instead.")
                .into(),
        );
    }
    let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
    Ok(ends + usize::from(bytes.last().is_some_and(|byte| *byte != b'\n')))
}

/// Reads `git blame --porcelain` (git-blame(1), "The Porcelain Format"). What is cut off at the end is left out.
fn porcelain(bytes: &[u8]) -> Vec<Hunk> {
    let mut known: HashMap<ObjectId, Arc<Author>> = HashMap::new();
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut lines = bytes.split(|byte| *byte == b'\n');
    while let Some(head) = lines.next() {
        let head = String::from_utf8_lossy(head);
        let mut words = head.split(' ');
        let commit = words.next().and_then(object_id);
        let number = words.nth(1).and_then(|word| word.parse::<usize>().ok());
        let (Some(commit), Some(number)) = (commit, number) else {
            continue;
        };
        let mut told = Author {
            commit,
            name: String::new(),
            at: Timestamp::default(),
            title: String::new(),
            before: None,
        };
        let mut text = None;
        for line in lines.by_ref() {
            if let Some(line) = line.strip_prefix(b"\t") {
                text = Some(String::from_utf8_lossy(line).trim_end_matches('\r').to_owned());
                break;
            }
            let (key, value) = match line.iter().position(|byte| *byte == b' ') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &b""[..]),
            };
            let value_text = || String::from_utf8_lossy(value).into_owned();
            match key {
                b"author" => told.name = value_text(),
                b"author-time" => told.at = Timestamp::from_seconds(value_text().parse().unwrap_or(0)),
                b"summary" => told.title = value_text(),
                b"previous" => {
                    told.before = value.get(..40).zip(value.get(41..)).and_then(|(sha, path)| {
                        Some((object_id(std::str::from_utf8(sha).ok()?)?, unquoted(path)))
                    });
                }
                _ => {}
            }
        }
        let Some(text) = text else { break };
        // A commit is told of once, where it comes first.
        let author = known.entry(commit).or_insert_with(|| Arc::new(told)).clone();
        match hunks.last_mut() {
            Some(hunk) if hunk.author.commit == commit && hunk.first + hunk.lines.len() == number => {
                hunk.lines.push(text);
            }
            _ => hunks.push(Hunk {
                author,
                first: number,
                lines: vec![text],
            }),
        }
    }
    hunks
}

/// A name as git quotes it where it holds what could mislead (core.quotePath): C's escapes within quotes.
fn unquoted(name: &[u8]) -> Vec<u8> {
    let Some(inner) = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")) else {
        return name.to_vec();
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(escape) = bytes.next() else { break };
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'v' => out.push(11),
            b'f' => out.push(12),
            b'0'..=b'3' => {
                let digits = [Some(escape), bytes.next(), bytes.next()];
                let value = digits.iter().flatten().fold(0_u32, |value, digit| {
                    value * 8 + u32::from(digit.wrapping_sub(b'0') & 7)
                });
                out.push(u8::try_from(value & 0xff).unwrap_or(0));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn lines_of_one_commit_stand_together_and_the_next_one_is_told_of_once() {
        let text = format!(
            "{ONE} 1 1 2\nauthor developer\nauthor-mail <developer@example.org>\nauthor-time 1700000000\nsummary Begin\nprevious {TWO} \"old\\tname\\303\\274\"\nfilename a\n\tone\n{ONE} 2 2\n\ttwo\n{TWO} 1 3 1\nauthor sre\nauthor-time 1600000000\nsummary Mend\nboundary\nfilename a\n\tthree\n{ONE} 3 4 1\n\tfour\n{TWO} 9 5 1\nauthor cut"
        );
        let hunks = porcelain(text.as_bytes());
        let shown: Vec<_> = hunks
            .iter()
            .map(|hunk| (hunk.first, hunk.lines.join("|"), hunk.author.name.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                (1, "one|two".to_owned(), "developer".to_owned()),
                (3, "three".to_owned(), "sre".to_owned()),
                (4, "four".to_owned(), "developer".to_owned()),
            ]
        );
        let before = hunks[0].author.before.clone().unwrap();
        assert_eq!(before.1, "old\tnameü".as_bytes());
        assert_eq!(hunks[0].author.at, Timestamp::from_seconds(1_700_000_000));
    }

    proptest! {
        #[test]
        fn nothing_that_git_might_say_is_stumbled_over(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            porcelain(&bytes);
            unquoted(&bytes);
        }
    }
}
