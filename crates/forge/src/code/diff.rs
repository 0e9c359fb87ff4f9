//! What a commit changed, line by line, within bounds.

use super::{
    ReadError, Reading,
    cache::{Lines, keep_lines},
    paths::{base_name, shown},
    read,
};
use bascule_core::Problem;
use bascule_web::{Markup, highlight};
use gix::{
    ObjectId, Repository,
    bstr::BStr,
    diff::tree::{
        Recorder, Visit,
        recorder::Change,
        visit::{self, Action},
    },
    objs::{TreeRefIter, tree::EntryKind},
};
use similar::{Algorithm, ChangeTag, TextDiff};
use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

/// Most files and folders that two commits may differ in to be compared here, and most bytes of their paths. A commit of
/// a few kilobytes can hold the same folder a billion times.
const MOST: usize = 200_000;
const MOST_PATHS: usize = 64 * 1024 * 1024;
/// The code of the problem where there are more.
const TOO_MANY: &str = "too_many_changes";
/// Lines around a change.
const AROUND: usize = 3;
/// Largest file whose lines are compared, in bytes.
const FILE: u64 = 1024 * 1024;
/// Largest file whose lines are coloured, in bytes; and how much is coloured anew for one page.
const COLOURED: usize = 24 * 1024;
const COLOURED_IN_ALL: usize = 128 * 1024;
/// How long one file may be compared; what is found until then is right, only longer than need be.
const PATIENCE: Duration = Duration::from_millis(300);

/// How one path changed.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) path: Vec<u8>,
    /// Where it was, if it was moved as it is.
    pub(crate) from: Option<Vec<u8>>,
    pub(crate) old: Option<(EntryKind, ObjectId)>,
    pub(crate) new: Option<(EntryKind, ObjectId)>,
}

/// One file of a diff, as shown.
#[derive(Clone, Debug)]
pub(crate) struct FileDiff {
    pub(crate) path: Vec<u8>,
    pub(crate) name: String,
    pub(crate) what: &'static str,
    /// Said instead of lines, where lines cannot be shown.
    pub(crate) note: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) exists: bool,
}

/// One row of a diff.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) class: &'static str,
    pub(crate) sign: &'static str,
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) text: Markup,
    /// The same without colours.
    pub(crate) plain: String,
}

impl FileDiff {
    /// Adds a sentence to what is said beside the lines.
    fn say(&mut self, sentence: &str) {
        if !self.note.is_empty() {
            self.note.push(' ');
        }
        self.note.push_str(sentence);
    }

    /// The rows as a unified diff, without the file's header.
    pub(crate) fn unified(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(row.sign);
            text.push_str(&row.plain);
            text.push('\n');
        }
        text
    }
}

/// Files that differ between two trees; moved ones are found where the bytes are the same.
///
/// # Errors
/// More differ than is looked at, or the repository cannot be read.
pub(crate) fn changes(repo: &Repository, old: Option<ObjectId>, new: ObjectId) -> Reading<Vec<Changed>> {
    let new_tree = read::tree_of(repo, new)?;
    let old_data = match old {
        Some(old) => read::tree_of(repo, old)?.data.clone(),
        None => Vec::new(),
    };
    let mut bounded = Bounded {
        inner: Recorder::default(),
        left: MOST,
        paths: MOST_PATHS,
    };
    let compared = gix::diff::tree(
        TreeRefIter::from_bytes(&old_data, gix::hash::Kind::Sha1),
        TreeRefIter::from_bytes(&new_tree.data, gix::hash::Kind::Sha1),
        gix::diff::tree::State::default(),
        &repo.objects,
        &mut bounded,
    );
    if bounded.is_full() {
        return Err(
            Problem::invalid(TOO_MANY, format!("More than {MOST} files and folders differ."))
                .why("All of them would have to be held in memory.")
                .next("Compare them in your clone with `git diff --stat`, or look at smaller steps.")
                .into(),
        );
    }
    compared.map_err(ReadError::git)?;
    let records = bounded.inner.records;
    let mut changes: Vec<Changed> = records.into_iter().filter_map(file_change).collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pair_moves(&changes))
}

/// The same for a page: none where more differ than is looked at, and what is said instead.
pub(crate) fn changes_or_why(
    repo: &Repository,
    old: Option<ObjectId>,
    new: ObjectId,
) -> Reading<(Vec<Changed>, Option<String>)> {
    match changes(repo, old, new) {
        Err(ReadError::Problem(problem)) if problem.code == TOO_MANY => {
            Ok((Vec::new(), Some(format!("{} {}", problem.what, problem.next))))
        }
        found => Ok((found?, None)),
    }
}

/// Records what differs, and stops where it is too much.
struct Bounded {
    inner: Recorder,
    left: usize,
    paths: usize,
}

impl Bounded {
    fn is_full(&self) -> bool {
        self.left == 0 || self.paths == 0
    }
}

impl Visit for Bounded {
    fn pop_front_tracked_path_and_set_current(&mut self) {
        self.inner.pop_front_tracked_path_and_set_current();
    }
    fn push_back_tracked_path_component(&mut self, component: &BStr) {
        self.inner.push_back_tracked_path_component(component);
    }
    fn push_path_component(&mut self, component: &BStr) {
        self.inner.push_path_component(component);
    }
    fn pop_path_component(&mut self) {
        self.inner.pop_path_component();
    }
    fn visit(&mut self, change: visit::Change) -> Action {
        self.left = self.left.saturating_sub(1);
        self.paths = self.paths.saturating_sub(self.inner.path().len());
        if self.is_full() {
            return ControlFlow::Break(());
        }
        self.inner.visit(change)
    }
}

/// What an entry is, and git's mode of it.
const fn called(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Blob => "100644 (a plain file)",
        EntryKind::BlobExecutable => "100755 (executable)",
        EntryKind::Link => "120000 (a symbolic link)",
        EntryKind::Commit => "160000 (a submodule)",
        EntryKind::Tree => "040000 (a folder)",
    }
}

fn file_change(change: Change) -> Option<Changed> {
    let (path, old, new) = match change {
        Change::Addition {
            entry_mode,
            oid,
            path,
            ..
        } => (path, None, Some((entry_mode.kind(), oid))),
        Change::Deletion {
            entry_mode,
            oid,
            path,
            ..
        } => (path, Some((entry_mode.kind(), oid)), None),
        Change::Modification {
            previous_entry_mode,
            previous_oid,
            entry_mode,
            oid,
            path,
        } => (
            path,
            Some((previous_entry_mode.kind(), previous_oid)),
            Some((entry_mode.kind(), oid)),
        ),
    };
    let directory =
        |side: &Option<(EntryKind, ObjectId)>| side.as_ref().is_none_or(|(kind, _)| *kind == EntryKind::Tree);
    (!(directory(&old) && directory(&new))).then(|| Changed {
        path: path.into(),
        from: None,
        old,
        new,
    })
}

fn pair_moves(changes: &[Changed]) -> Vec<Changed> {
    let mut gone: HashMap<ObjectId, Vec<usize>> = HashMap::new();
    for (at, change) in changes.iter().enumerate() {
        if let (Some((_, id)), None) = (&change.old, &change.new) {
            gone.entry(*id).or_default().push(at);
        }
    }
    let mut taken = vec![false; changes.len()];
    let mut paired = changes.to_vec();
    for change in &mut paired {
        if let (None, Some((_, id))) = (&change.old, &change.new)
            && let Some(at) = gone.get_mut(id).and_then(Vec::pop)
            && let Some(source) = changes.get(at)
        {
            change.from = Some(source.path.clone());
            change.old = source.old;
            if let Some(taken) = taken.get_mut(at) {
                *taken = true;
            }
        }
    }
    paired
        .into_iter()
        .zip(taken)
        .filter(|(_, taken)| !taken)
        .map(|(change, _)| change)
        .collect()
}

/// Shows changed files from number `from` on, until `lines` rows are full; with colours where there is a place to keep
/// them. Returns the number to go on with.
pub(crate) fn show(
    repo: &Repository,
    changes: &[Changed],
    from: usize,
    lines: usize,
    colours: Option<&Lines>,
) -> Reading<(Vec<FileDiff>, Option<usize>)> {
    let mut files: Vec<FileDiff> = Vec::new();
    let mut rows = 0;
    let mut colours = Colours {
        kept: colours,
        left: COLOURED_IN_ALL,
    };
    for (at, change) in changes.iter().enumerate().skip(from) {
        if rows >= lines || files.len() >= 300 {
            return Ok((files, Some(at)));
        }
        let file = file(repo, change, lines - rows, files.is_empty(), &mut colours)?;
        let Some(file) = file else {
            return Ok((files, Some(at)));
        };
        rows += file.rows.len() + 3;
        files.push(file);
    }
    Ok((files, None))
}

/// One file; `None` where it does not fit any more. The first of a page is cut instead.
fn file(
    repo: &Repository,
    change: &Changed,
    room: usize,
    first: bool,
    colours: &mut Colours<'_>,
) -> Reading<Option<FileDiff>> {
    let what = match (&change.old, &change.new, &change.from) {
        (_, _, Some(_)) => "moved",
        (None, _, _) => "added",
        (_, None, _) => "deleted",
        (Some((a, _)), Some((b, _)), _) if a != b => "mode changed",
        _ => "changed",
    };
    let name = match &change.from {
        Some(from) => format!("{} → {}", shown(from), shown(&change.path)),
        None => shown(&change.path),
    };
    let mut diff = FileDiff {
        path: change.path.clone(),
        name,
        what,
        note: String::new(),
        rows: Vec::new(),
        added: 0,
        removed: 0,
        exists: change.new.is_some(),
    };
    if let (Some((old, _)), Some((new, _))) = (&change.old, &change.new)
        && old != new
    {
        diff.note = format!("The mode changed from {} to {}.", called(*old), called(*new));
    }
    let same = change.old.map(|(_, id)| id) == change.new.map(|(_, id)| id);
    if same {
        diff.say("The content is the same.");
        return Ok(Some(diff));
    }
    let (Some(old), Some(new)) = (text(repo, change.old)?, text(repo, change.new)?) else {
        diff.say("The file is too large or no text, so its lines are not shown.");
        return Ok(Some(diff));
    };
    let lines = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(PATIENCE)
        .diff_lines(old.as_str(), new.as_str());
    let name = shown(base_name(&change.path));
    // Both sides or none.
    let (old_lines, new_lines) = colours
        .of(change.old, &name, &old)
        .and_then(|lines| Some((lines, colours.of(change.new, &name, &new)?)))
        .unwrap_or_default();
    for group in lines.grouped_ops(AROUND) {
        if let (Some(head), Some(tail)) = (group.first(), group.last()) {
            let (old_start, new_start) = (head.old_range().start + 1, head.new_range().start + 1);
            let (old_count, new_count) = (
                tail.old_range().end + 1 - old_start,
                tail.new_range().end + 1 - new_start,
            );
            diff.rows.push(Row {
                class: "diff-hunk",
                sign: "",
                old: "…".to_owned(),
                new: "…".to_owned(),
                text: Markup::text(&format!(
                    "@@ -{old_start},{old_count} +{new_start},{new_count} @@"
                )),
                plain: format!("@@ -{old_start},{old_count} +{new_start},{new_count} @@"),
            });
        }
        for op in &group {
            for line in lines.iter_changes(op) {
                let side = |lines: &[Markup], at: Option<usize>| at.and_then(|at| lines.get(at)).cloned();
                let (class, sign, coloured) = match line.tag() {
                    ChangeTag::Equal => ("", " ", side(&new_lines, line.new_index())),
                    ChangeTag::Delete => ("diff-del", "-", side(&old_lines, line.old_index())),
                    ChangeTag::Insert => ("diff-add", "+", side(&new_lines, line.new_index())),
                };
                match line.tag() {
                    ChangeTag::Equal => {}
                    ChangeTag::Delete => diff.removed += 1,
                    ChangeTag::Insert => diff.added += 1,
                }
                let number = |at: Option<usize>| at.map(|at| (at + 1).to_string()).unwrap_or_default();
                let plain = line.value().trim_end_matches(['\n', '\r']);
                let text = coloured.unwrap_or_else(|| Markup::text(plain));
                diff.rows.push(Row {
                    class,
                    sign,
                    old: number(line.old_index()),
                    new: number(line.new_index()),
                    text,
                    plain: plain.to_owned(),
                });
            }
        }
    }
    if diff.rows.len() > room {
        if !first {
            return Ok(None);
        }
        diff.say(&format!(
            "Only the first {room} of {} lines are shown.",
            diff.rows.len()
        ));
        diff.rows.truncate(room);
    }
    Ok(Some(diff))
}

/// Colours lines, as long as there is patience for it.
struct Colours<'a> {
    kept: Option<&'a Lines>,
    /// Bytes that may still be coloured.
    left: usize,
}

impl Colours<'_> {
    /// The lines of one side, if they can be coloured.
    fn of(
        &mut self,
        side: Option<(EntryKind, ObjectId)>,
        name: &str,
        text: &str,
    ) -> Option<Arc<Vec<Markup>>> {
        let kept = self.kept?;
        let Some((_, id)) = side else {
            return Some(Arc::default());
        };
        if text.len() > COLOURED {
            return None;
        }
        let key = (id, name.to_owned());
        if let Some(known) = kept.get(&key) {
            return Some(known);
        }
        self.left = self.left.checked_sub(text.len())?;
        Some(keep_lines(kept, key, highlight::lines(name, text)))
    }
}

/// The text of one side; empty where there is none, `None` where it cannot be shown.
fn text(repo: &Repository, side: Option<(EntryKind, ObjectId)>) -> Reading<Option<String>> {
    match side {
        None => Ok(Some(String::new())),
        Some((EntryKind::Commit, id)) => Ok(Some(format!("submodule at {id}\n"))),
        Some((EntryKind::Tree, _)) => Ok(Some(String::new())),
        Some((_, id)) => {
            let bytes = read::bytes(repo, id, FILE)?.filter(|bytes| !read::is_binary(bytes));
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, old: Option<u8>, new: Option<u8>) -> Changed {
        let id = |byte: u8| (EntryKind::Blob, ObjectId::from_bytes_or_panic(&[byte; 20]));
        Changed {
            path: path.into(),
            from: None,
            old: old.map(id),
            new: new.map(id),
        }
    }

    #[test]
    fn a_file_moved_as_it_is_is_shown_once() {
        let paired = pair_moves(&[
            change("a", Some(1), None),
            change("b", None, Some(1)),
            change("c", None, Some(2)),
        ]);
        let names: Vec<_> = paired
            .iter()
            .map(|c| (c.path.as_slice(), c.from.as_deref()))
            .collect();
        assert_eq!(
            names,
            [(b"b".as_slice(), Some(b"a".as_slice())), (b"c".as_slice(), None)]
        );
    }
}
