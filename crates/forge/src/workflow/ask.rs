//! Asking git about commits, also while they lie in quarantine. Each question is one process, however many commits
//! it is about, and has a bound in bytes and in time.

use super::{
    Commit,
    gather::{self, Gathered, Patches},
    look::{self, Look},
    secret,
};
use crate::{
    Forge,
    git::process::{bound, complaint, first_line, is_starved},
    storage::Files,
};
use bascule_core::{Problem, ProjectId, Result};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

/// Most of what git tells of commits, in bytes.
const COMMITS: usize = 64 << 20;
/// Most lines of changes that are looked through, in bytes.
pub(super) const PATCHES: usize = 64 << 20;
/// Longest line that is looked at, in bytes; the rest of it is passed over.
const LINE: usize = 64 << 10;
/// Most of the files that are read at once, in bytes.
const FILES: usize = 32 << 20;
/// Memory that git may take for one answer, in bytes: whoever pushes a folder a billion times gets no more.
const MEMORY: u64 = 1 << 30;
/// How long git may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for looking through what changed: whoever pushes waits for it.
const LOOKING: Duration = Duration::from_secs(10);

/// Where to ask.
pub(crate) struct Place<'a> {
    forge: &'a Forge,
    repository: PathBuf,
    quarantine: Option<&'a Path>,
    files: Option<Arc<Files>>,
}

/// Which commits.
pub(super) struct Range {
    /// Commits, and with `^` those whose history is left out.
    pub(super) tips: Vec<String>,
    /// Whether what branches and tags hold already is left out.
    pub(super) fresh: bool,
}

impl Range {
    fn apply(&self, command: &mut Command) {
        command.arg("--stdin");
        if self.fresh {
            command.args(["--not", "--branches", "--tags"]);
        }
    }

    fn input(&self) -> String {
        self.tips.iter().map(|tip| format!("{tip}\n")).collect()
    }
}

impl<'a> Place<'a> {
    pub(crate) fn new(forge: &'a Forge, project: ProjectId, quarantine: Option<&'a Path>) -> Self {
        Self {
            forge,
            repository: forge.repositories().path(project),
            quarantine,
            files: None,
        }
    }

    /// With the files that a push brings.
    pub(super) fn with_files(self, files: Option<Files>) -> Self {
        Self {
            files: files.map(Arc::new),
            ..self
        }
    }

    /// Looks through what is pushed without asking who wrote which line.
    pub(super) async fn look(&self) -> Look {
        let (Some(quarantine), Some(files)) = (self.quarantine, self.files.clone()) else {
            return Look::TooMuch;
        };
        if let Some(look) = files.look {
            return look;
        }
        let quarantine = quarantine.to_owned();
        match tokio::task::spawn_blocking(move || look::look(&quarantine, &files)).await {
            Ok(Ok(look)) => look,
            Ok(Err(error)) => {
                tracing::warn!(
                    ?error,
                    "a push could not be looked through file by file; git is asked instead"
                );
                Look::TooMuch
            }
            Err(_) => Look::TooMuch,
        }
    }

    fn command(&self) -> Command {
        self.forge.git().within_push(&self.repository, self.quarantine)
    }

    /// Commits of a range, newest first, and whether these are all.
    pub(super) async fn commits(&self, range: &Range) -> Result<(Vec<Commit>, bool)> {
        let mut command = self.command();
        command
            .args(["log", "-z", gather::FORMAT, "--no-color"])
            .arg(format!("--max-count={}", gather::COMMITS + 1));
        range.apply(&mut command);
        let (bytes, whole) = collected(command, range.input(), COMMITS).await?;
        let mut commits = gather::commits(&bytes);
        let whole = whole && commits.len() <= gather::COMMITS;
        commits.truncate(gather::COMMITS);
        Ok((commits, whole))
    }

    /// What the commits of a range add and remove, line by line, and whether all of it was looked at.
    pub(super) async fn patches(&self, range: &Range) -> Result<(Gathered, bool)> {
        let mut command = self.command();
        command
            .args(["-c", "core.quotePath=false", "-c", "diff.renameLimit=200"])
            // Larger files are shown as binary: they are generated, and diffing them takes all memory.
            .args(["-c", "core.bigFileThreshold=5m"])
            .args([
                "log",
                "-p",
                "-U0",
                "--format=%x00%H",
                "--no-color",
                "--no-ext-diff",
                "--no-textconv",
            ]);
        range.apply(&mut command);
        let mut patches = Patches::new();
        let (mut line, mut read) = (Vec::new(), 0);
        let whole = run(command, range.input(), LOOKING, |chunk| {
            for part in chunk.split_inclusive(|byte| *byte == b'\n') {
                let text = part.strip_suffix(b"\n").unwrap_or(part);
                let room = LINE.saturating_sub(line.len()).min(text.len());
                line.extend_from_slice(&text[..room]);
                if text.len() < part.len() {
                    patches.line(&line);
                    line.clear();
                }
            }
            read += chunk.len();
            read < PATCHES
        })
        .await?;
        patches.line(&line);
        Ok((patches.end(), whole))
    }

    /// Lines added and removed between two commits.
    pub(super) async fn lines_between(&self, old: &str, new: &str) -> Result<usize> {
        let mut command = self.command();
        command
            .args([
                "-c",
                "diff.renameLimit=200",
                "diff",
                "--shortstat",
                "--no-ext-diff",
                "--no-textconv",
            ])
            .args(["--find-renames", old, new, "--"]);
        let (bytes, whole) = collected(command, String::new(), 4_096).await?;
        if !whole {
            // git had not time or memory enough to count: no change is larger.
            return Ok(usize::MAX);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // " 3 files changed, 10 insertions(+), 2 deletions(-)"
        let counts = text
            .split(',')
            .filter(|part| part.contains("insertion") || part.contains("deletion"));
        let count = |part: &str| part.split_whitespace().next()?.parse::<usize>().ok();
        Ok(counts.filter_map(count).sum())
    }

    /// The commits that these objects stand for, tags looked through; `None` where one stands for none.
    pub(super) async fn peeled(&self, objects: &[&str]) -> Result<Vec<Option<String>>> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.command();
        command.args(["cat-file", "--batch-check=%(objectname) %(objecttype)"]);
        let input = objects.iter().map(|sha| format!("{sha}^{{commit}}\n")).collect();
        let (bytes, _) = collected(command, input, COMMITS).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let read = |line: &str| line.strip_suffix(" commit").map(str::to_owned);
        let mut found: Vec<_> = text.lines().map(read).collect();
        found.resize(objects.len(), None);
        Ok(found)
    }

    /// Those of the commits that are not in another's history.
    pub(super) async fn outside(&self, commits: &HashSet<String>, of: &str) -> Result<HashSet<String>> {
        if commits.is_empty() {
            return Ok(HashSet::new());
        }
        let mut command = self.command();
        command.args(["rev-list", "--stdin"]);
        let mut input: String = commits.iter().map(|sha| format!("{sha}\n")).collect();
        input.push_str(&format!("^{of}\n"));
        let (mut outside, mut rest) = (HashSet::new(), Vec::new());
        let whole = run(command, input, PATIENCE, |chunk| {
            rest.extend_from_slice(chunk);
            let end = rest
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            for line in rest[..end].split(|byte| *byte == b'\n') {
                let sha = String::from_utf8_lossy(line);
                if commits.contains(sha.as_ref()) {
                    outside.insert(sha.into_owned());
                }
            }
            rest.drain(..end);
            outside.len() < commits.len()
        })
        .await?;
        if !whole && outside.len() < commits.len() {
            tracing::warn!("the history of a push was not walked to its end in time");
            return Err(Problem::internal());
        }
        Ok(outside)
    }

    /// The files right in a folder at a commit, at most so many, as far as they fit.
    pub(crate) async fn files_in(
        &self,
        commit: &str,
        folder: &str,
        most: usize,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let mut command = self.command();
        command.args(["ls-tree", "-z", commit, "--", folder]);
        let (bytes, _) = collected(command, String::new(), FILES).await?;
        // `mode type object TAB path`
        let (paths, objects): (Vec<_>, Vec<_>) = String::from_utf8_lossy(&bytes)
            .split('\0')
            .filter_map(|line| {
                let (kind, path) = line.split_once('\t')?;
                let object = kind.split(' ').nth(2).filter(|_| kind.contains(" blob "))?;
                Some((path.to_owned(), object.to_owned()))
            })
            .take(most)
            .unzip();
        let files = paths.into_iter().zip(self.objects(&objects).await?);
        Ok(files.filter_map(|(path, bytes)| Some((path, bytes?))).collect())
    }

    /// Those of what looks like secrets that none of these files names as none.
    pub(super) async fn not_allowed(
        &self,
        lists: &[String],
        mut secrets: Vec<secret::Found>,
    ) -> Result<Vec<secret::Found>> {
        if secrets.is_empty() {
            return Ok(secrets);
        }
        let files = self.objects(lists).await?;
        let allowed: HashSet<String> = files
            .into_iter()
            .flatten()
            .flat_map(|bytes| gather::allowed(&String::from_utf8_lossy(&bytes)))
            .collect();
        secrets.retain(|found| !allowed.contains(&found.fingerprint));
        Ok(secrets)
    }

    /// Objects by name, such as `COMMIT` or `COMMIT:path`; `None` where one is missing or did not fit any more.
    pub(super) async fn objects(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.command();
        command.args(["cat-file", "--batch"]);
        let input = names.iter().map(|name| format!("{name}\n")).collect();
        let (bytes, _) = collected(command, input, FILES).await?;
        Ok(batch(&bytes, names.len()))
    }
}

/// Reads what `git cat-file --batch` says: `sha type size`, the content, an end of line; or `name missing`.
fn batch(bytes: &[u8], count: usize) -> Vec<Option<Vec<u8>>> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while found.len() < count {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            break;
        };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = rest.get(end + 1..).unwrap_or_default();
        let mut words = head.rsplit(' ');
        let size = words.next().and_then(|word| word.parse::<usize>().ok());
        match size {
            Some(size) if head.split(' ').count() == 3 => {
                found.push(rest.get(..size).map(<[u8]>::to_vec));
                rest = rest.get(size.saturating_add(1)..).unwrap_or_default();
            }
            _ => found.push(None),
        }
    }
    found.resize(count, None);
    found
}

async fn collected(command: Command, input: String, most: usize) -> Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let whole = run(command, input, PATIENCE, |chunk| {
        bytes.extend_from_slice(chunk);
        bytes.len() < most
    })
    .await?;
    Ok((bytes, whole))
}

/// Runs a command and hands on what it writes, until that says no or the time is over; whether all was handed on.
async fn run(
    mut command: Command,
    input: String,
    patience: Duration,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<bool> {
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "git could not be asked");
        Problem::internal()
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Dropped at the end of this, it is ended where it still runs.
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    bound(&child, MEMORY);
    let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) = ends else {
        return Err(Problem::internal());
    };
    let said = tokio::spawn(complaint(stderr));
    let feed = async move {
        // A git that ended early has said why by its status.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
    };
    tokio::pin!(feed);
    let work = async {
        let (mut fed, mut buffer) = (false, Vec::with_capacity(256 << 10));
        loop {
            tokio::select! {
                () = &mut feed, if !fed => fed = true,
                read = stdout.read_buf(&mut buffer) => {
                    if read.map_err(failed)? == 0 {
                        return Ok(true);
                    }
                    if !take(&buffer) {
                        return Ok(false);
                    }
                    buffer.clear();
                }
            }
        }
    };
    match tokio::time::timeout(patience, work).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) | Err(_) => return Ok(false),
        Ok(Err(problem)) => return Err(problem),
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(true);
    }
    let said = said.await.unwrap_or_default();
    if is_starved(&said) {
        return Ok(false);
    }
    tracing::error!(%status, complaint = first_line(&said), "git could not tell of commits");
    Err(Problem::internal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_is_read_with_what_is_missing_in_it() {
        let said = b"aa blob 3\na\nb\nHEAD:x y missing\nbb commit 0\n\n";
        assert_eq!(
            batch(said, 4),
            [Some(b"a\nb".to_vec()), None, Some(Vec::new()), None]
        );
    }

    #[test]
    fn files_come_one_after_the_other_whatever_is_in_them() {
        let all = b"1 blob 3\nx\ny\n2 blob 0\n\n3 blob 9\ncut";
        assert_eq!(batch(all, 3), [Some(b"x\ny".to_vec()), Some(Vec::new()), None]);
    }

    proptest! {
        #[test]
        fn no_batch_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(batch(&bytes, 5).len(), 5);
        }
    }
}
