//! What is costly to make and never changes, kept while there is room: it hangs on object identifiers.

use super::{blame::Blamed, branches::Distance, read::CommitInfo};
use bascule_core::ProjectId;
use bascule_web::{Kept, Markup};
use gix::ObjectId;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

/// What changed each entry of a directory last.
pub(crate) type LastChanges = Arc<HashMap<Vec<u8>, CommitInfo>>;
/// A directory of a commit.
pub(crate) type Place = (ProjectId, ObjectId, Vec<u8>);

/// Coloured lines of texts, by their identifier and the name that tells their language.
pub(crate) type Lines = Kept<(ObjectId, String), Arc<Vec<Markup>>>;

/// Everything kept.
pub(crate) struct Cache {
    pub(crate) last: Kept<Place, LastChanges>,
    pub(crate) lines: Lines,
    pub(crate) markdown: Kept<(ObjectId, String), Markup>,
    /// A page of a blamed file: project, commit, path, first line.
    pub(crate) blame: Kept<(ProjectId, ObjectId, Vec<u8>, usize), Arc<Blamed>>,
    /// How far a tip is ahead of and behind a base.
    pub(crate) distance: Kept<(ObjectId, ObjectId), Distance>,
    /// What merging the second commit into the first comes to.
    pub(crate) merges: Kept<(ProjectId, String, String), Arc<crate::merge_request::merge::Tried>>,
    /// What requests bring, for the rules of the workflow.
    pub(crate) brought: Kept<crate::workflow::Key, Arc<crate::workflow::Brought>>,
    /// Directories being looked through in the background.
    busy: Mutex<HashSet<Place>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            last: Kept::new(8 * 1024 * 1024),
            lines: Kept::new(16 * 1024 * 1024),
            markdown: Kept::new(4 * 1024 * 1024),
            blame: Kept::new(8 * 1024 * 1024),
            distance: Kept::new(2 * 1024 * 1024),
            merges: Kept::new(4 * 1024 * 1024),
            brought: Kept::new(16 * 1024 * 1024),
            busy: Mutex::default(),
        }
    }
}

/// Keeps coloured lines, and hands them back to be used.
pub(crate) fn keep_lines(kept: &Lines, key: (ObjectId, String), made: Vec<Markup>) -> Arc<Vec<Markup>> {
    let made = Arc::new(made);
    let weight = made.iter().map(|line| line.as_str().len() + 32).sum();
    kept.put(key, made.clone(), weight);
    made
}

impl Cache {
    /// Whether the caller is the first to look through this directory.
    pub(crate) fn begin(&self, place: &Place) -> bool {
        self.busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place.clone())
    }

    /// The look is over.
    pub(crate) fn end(&self, place: &Place) {
        self.busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(place);
    }
}
