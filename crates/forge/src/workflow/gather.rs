//! Reading what git says of a change: its commits, and the lines that they add. Pure: bytes in, facts out.

use super::{Commit, secret};
use std::collections::{HashMap, HashSet};

/// The format of `git log -z` that [`commits`] reads.
pub(crate) const FORMAT: &str = "--format=%H%n%P%n%ae%n%B";
/// Most commits of one push that are judged one by one.
pub(crate) const COMMITS: usize = 10_000;

/// What was read of the lines that a change adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// Lines added and removed, by commit.
    pub(crate) lines: HashMap<String, usize>,
    /// Secrets in added lines.
    pub(crate) secrets: Vec<secret::Found>,
}

/// Reads `git log -z` in [`FORMAT`].
pub(crate) fn commits(bytes: &[u8]) -> Vec<Commit> {
    let record = |record: &[u8]| {
        let text = String::from_utf8_lossy(record);
        let mut lines = text.splitn(4, '\n');
        let sha = lines.next()?.trim().to_owned();
        (sha.len() == 40).then_some(())?;
        Some(Commit {
            sha,
            parents: lines.next()?.split_whitespace().map(str::to_owned).collect(),
            author_email: lines.next()?.to_owned(),
            // Looked at only where a rule asks for it.
            signature: 'N',
            message: lines.next().unwrap_or_default().trim().to_owned(),
        })
    };
    bytes.split(|byte| *byte == 0).filter_map(record).collect()
}

/// Most commits told apart by reference: one that several references bring counts for each.
const STEPS: usize = 200_000;

/// Which of the commits each tip brings, by index, newest first; `None` where that is too much to be told apart.
pub(crate) fn brought(tips: &[&str], commits: &[Commit]) -> Option<Vec<Vec<usize>>> {
    let place: HashMap<&str, usize> = commits
        .iter()
        .enumerate()
        .map(|(at, commit)| (commit.sha.as_str(), at))
        .collect();
    let mut seen = vec![0_usize; commits.len()];
    let (mut all, mut steps) = (Vec::with_capacity(tips.len()), 0);
    for (number, tip) in tips.iter().enumerate() {
        let (mut mine, mut open) = (Vec::new(), vec![*tip]);
        while let Some(sha) = open.pop() {
            let Some(&at) = place.get(sha) else { continue };
            if seen[at] == number + 1 {
                continue;
            }
            seen[at] = number + 1;
            steps += 1;
            if steps > STEPS {
                return None;
            }
            mine.push(at);
            open.extend(commits[at].parents.iter().map(String::as_str));
        }
        mine.sort_unstable();
        all.push(mine);
    }
    Some(all)
}

/// Reads `git log -p -U0 --format=%x00%H` a line at a time, so that nothing large is held.
pub(crate) struct Patches {
    commit: String,
    path: String,
    line: usize,
    /// Lines left of the hunk: removed and added. Within a hunk nothing else is a header.
    left: (usize, usize),
    gathered: Gathered,
}

/// Secrets that are kept.
const SECRETS: usize = 1_000;

impl Patches {
    pub(crate) fn new() -> Self {
        Self {
            commit: String::new(),
            path: String::new(),
            line: 0,
            left: (0, 0),
            gathered: Gathered::default(),
        }
    }

    /// Reads one line, without its end.
    pub(crate) fn line(&mut self, line: &[u8]) {
        if self.left != (0, 0) {
            match line.first() {
                Some(b'+') => {
                    self.left.1 = self.left.1.saturating_sub(1);
                    self.added(&line[1..]);
                    return;
                }
                Some(b'-') => {
                    self.left.0 = self.left.0.saturating_sub(1);
                    self.count();
                    return;
                }
                // "\ No newline at end of file"
                Some(b'\\') => return,
                _ => self.left = (0, 0),
            }
        }
        if let Some(sha) = line.strip_prefix(b"\0") {
            self.commit = String::from_utf8_lossy(sha).into_owned();
            self.gathered.lines.insert(self.commit.clone(), 0);
        } else if let Some(path) = line.strip_prefix(b"+++ ") {
            let path = String::from_utf8_lossy(path);
            let path = path.trim_end_matches('\t').trim_matches('"');
            self.path = path.strip_prefix("b/").unwrap_or(path).to_owned();
        } else if let Some(head) = line.strip_prefix(b"@@ ") {
            self.hunk(&String::from_utf8_lossy(head));
        }
    }

    /// Reads `-a,b +c,d @@ …` (the unified format).
    fn hunk(&mut self, head: &str) {
        let mut words = head.split(' ');
        let mut range = |sign: char| {
            let word = words.next()?.strip_prefix(sign)?;
            let (start, count) = word.split_once(',').unwrap_or((word, "1"));
            Some((start.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
        };
        if let (Some((_, removed)), Some((start, added))) = (range('-'), range('+')) {
            self.left = (removed, added);
            self.line = start;
        }
    }

    fn count(&mut self) {
        if let Some(lines) = self.gathered.lines.get_mut(&self.commit) {
            *lines += 1;
        }
    }

    fn added(&mut self, text: &[u8]) {
        self.count();
        let line = self.line;
        self.line += 1;
        if self.gathered.secrets.len() >= SECRETS {
            return;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return;
        };
        if let Some((kind, secret)) = secret::in_line(text) {
            let found = secret::found(kind, secret, &self.path, line, &self.commit);
            self.gathered.secrets.push(found);
        }
    }

    /// What was read.
    pub(crate) fn end(self) -> Gathered {
        self.gathered
    }
}

/// Where a project says what looks like a secret and is none.
pub(crate) const ALLOWED: &str = ".bascule/secrets-allowed";

/// Reads [`ALLOWED`]: a fingerprint in each line, `#` begins a comment.
pub(crate) fn allowed(text: &str) -> HashSet<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
        .take(10_000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commits_are_read_whole() {
        let sha = "a".repeat(40);
        let said = format!("{sha}\np1 p2\ndeveloper@example.org\nMend #3\n\nBody\n\0{sha}\n\n\n\0rest");
        let read = commits(said.as_bytes());
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].parents, ["p1", "p2"]);
        assert_eq!(read[0].message, "Mend #3\n\nBody");
        assert!(read[1].parents.is_empty());
    }

    #[test]
    fn added_lines_are_numbered_and_no_content_passes_for_a_header() {
        let key = ["AKIA", "IOSFODNN7ABCDEFG"].concat();
        let said = format!(
            "\0{}\n\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -3,1 +3,2 @@ fn\n-+++ b/other\n++++ b/other\n+{key}\n@@ -9,0 +11,1 @@\n+{key}\n\\ No newline at end of file\n",
            "c".repeat(40)
        );
        let mut patches = Patches::new();
        for line in said.as_bytes().split(|byte| *byte == b'\n') {
            patches.line(line);
        }
        let gathered = patches.end();
        assert_eq!(gathered.lines[&"c".repeat(40)], 4);
        let places: Vec<_> = gathered
            .secrets
            .iter()
            .map(|found| (found.path.as_str(), found.line))
            .collect();
        assert_eq!(places, [("x", 4), ("x", 11)]);
        let known = allowed(&format!(
            "{} # the example of the documentation\n",
            gathered.secrets[0].fingerprint
        ));
        assert!(
            gathered
                .secrets
                .iter()
                .all(|found| known.contains(&found.fingerprint))
        );
    }

    #[test]
    fn each_tip_gets_what_it_brings() {
        let commit = |sha: &str, parents: &[&str]| Commit {
            sha: sha.to_owned(),
            parents: parents.iter().map(|p| (*p).to_owned()).collect(),
            ..Commit::default()
        };
        let commits = [
            commit("m", &["a", "b"]),
            commit("b", &["root"]),
            commit("a", &["root"]),
        ];
        assert_eq!(
            brought(&["m", "a", "old"], &commits).unwrap(),
            [vec![0, 1, 2], vec![2], vec![]]
        );
    }

    proptest! {
        #[test]
        fn nothing_that_git_might_say_is_stumbled_over(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..40)) {
            let mut patches = Patches::new();
            for line in &lines {
                patches.line(line);
                commits(line);
            }
            patches.end();
        }
    }
}
