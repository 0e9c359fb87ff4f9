//! What is costly to make, kept while there is room.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

/// Values by key, the least used dropped when they weigh too much.
#[derive(Debug)]
pub struct Kept<K, V> {
    inner: Mutex<Inner<K, V>>,
    most: usize,
}

#[derive(Debug)]
struct Inner<K, V> {
    values: HashMap<K, (V, usize, u64)>,
    weight: usize,
    ticks: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Kept<K, V> {
    /// Room for values that weigh `most` together, in bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                values: HashMap::new(),
                weight: 0,
                ticks: 0,
            }),
            most,
        }
    }

    /// What is kept under a key.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ticks += 1;
        let tick = inner.ticks;
        inner.values.get_mut(key).map(|(value, _, used)| {
            *used = tick;
            value.clone()
        })
    }

    /// Keeps a value that weighs so much; what alone would take half of the room is not kept.
    pub fn put(&self, key: K, value: V, weight: usize) {
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
