//! What is costly to make and never changes, kept while there is room: it hangs on object identifiers.

use super::{blame::Blamed, branches::Distance, read::CommitInfo};
use bascule_core::ProjectId;
use bascule_web::Markup;
use gix::ObjectId;
use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// What changed each entry of a directory last.
pub(crate) type LastChanges = Arc<HashMap<Vec<u8>, CommitInfo>>;
/// A directory of a commit.
pub(crate) type Place = (ProjectId, ObjectId, Vec<u8>);

/// Everything kept.
pub(crate) struct Cache {
    pub(crate) last: Kept<Place, LastChanges>,
    pub(crate) lines: Kept<(ObjectId, String), Arc<Vec<Markup>>>,
    pub(crate) markdown: Kept<(ObjectId, String), Markup>,
    /// A page of a blamed file: project, commit, path, first line.
    pub(crate) blame: Kept<(ProjectId, ObjectId, Vec<u8>, usize), Arc<Blamed>>,
    /// How far a tip is ahead of and behind a base.
    pub(crate) distance: Kept<(ObjectId, ObjectId), Distance>,
    /// What merging the second commit into the first comes to.
    pub(crate) merges: Kept<(ProjectId, String, String), Arc<crate::merge_request::merge::Tried>>,
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
            busy: Mutex::default(),
        }
    }
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

/// Values by key, the least used dropped when they weigh too much.
pub(crate) struct Kept<K, V> {
    inner: Mutex<Inner<K, V>>,
    most: usize,
}

struct Inner<K, V> {
    values: HashMap<K, (V, usize, u64)>,
    weight: usize,
    ticks: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Kept<K, V> {
    fn new(most: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                values: HashMap::new(),
                weight: 0,
                ticks: 0,
            }),
            most,
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ticks += 1;
        let tick = inner.ticks;
        inner.values.get_mut(key).map(|(value, _, used)| {
            *used = tick;
            value.clone()
        })
    }

    pub(crate) fn put(&self, key: K, value: V, weight: usize) {
        if weight > self.most / 2 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ticks += 1;
        let tick = inner.ticks;
        if let Some((_, old, _)) = inner.values.insert(key, (value, weight, tick)) {
            inner.weight -= old;
        }
        inner.weight += weight;
        while inner.weight > self.most {
            let oldest = inner
                .values
                .iter()
                .min_by_key(|(_, (_, _, used))| *used)
                .map(|(key, _)| key.clone());
            let Some((_, weight, _)) = oldest.and_then(|key| inner.values.remove(&key)) else {
                return;
            };
            inner.weight -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_goes_first_and_the_huge_is_not_kept() {
        let kept: Kept<u8, u8> = Kept::new(10);
        kept.put(1, 1, 4);
        kept.put(2, 2, 4);
        assert_eq!(kept.get(&1), Some(1));
        kept.put(3, 3, 4);
        assert_eq!(
            (kept.get(&1), kept.get(&2), kept.get(&3)),
            (Some(1), None, Some(3))
        );
        kept.put(4, 4, 9);
        assert_eq!(kept.get(&4), None);
    }
}
