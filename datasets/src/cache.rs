//! Episodes that were read lately, up to a budget of bytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps what was used last, by index or another key.
pub(crate) struct Cache<T, K = usize> {
    budget: usize,
    state: Mutex<State<T, K>>,
}

struct State<T, K> {
    entries: HashMap<K, Entry<T>>,
    num_bytes: usize,
    clock: u64,
}

struct Entry<T> {
    value: Arc<T>,
    num_bytes: usize,
    used: u64,
}

impl<T, K: Clone + Eq + Hash> Cache<T, K> {
    /// An empty cache that holds at most `budget` bytes, or one entry that is larger.
    pub(crate) fn new(budget: usize) -> Self {
        let state = State { entries: HashMap::new(), num_bytes: 0, clock: 0 };
        Self { budget, state: Mutex::new(state) }
    }

    /// The entry of `key`; `load` gives it and its bytes where there is none.
    ///
    /// Nothing is locked while loading, so that two threads may load the same entry.
    pub(crate) fn get<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<(T, usize), E>,
    ) -> Result<Arc<T>, E> {
        if let Some(value) = self.with(|state| state.touch(&key)) {
            return Ok(value);
        }
        let (value, num_bytes) = load()?;
        let value = Arc::new(value);
        self.with(|state| state.insert(key, Arc::clone(&value), num_bytes, self.budget));
        Ok(value)
    }

    fn with<R>(&self, work: impl FnOnce(&mut State<T, K>) -> R) -> R {
        // No call under the lock can panic half-way, so a poisoned state is still whole.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T, K: Clone + Eq + Hash> State<T, K> {
    fn touch(&mut self, key: &K) -> Option<Arc<T>> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.value))
    }

    fn insert(&mut self, key: K, value: Arc<T>, num_bytes: usize, budget: usize) {
        self.clock += 1;
        let entry = Entry { value, num_bytes, used: self.clock };
        self.num_bytes += num_bytes;
        if let Some(old) = self.entries.insert(key, entry) {
            self.num_bytes -= old.num_bytes;
        }
        while self.num_bytes > budget && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            if let Some(old) = self.entries.remove(&oldest) {
                self.num_bytes -= old.num_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(cache: &Cache<usize>, index: usize) -> bool {
        let mut loaded = false;
        let load = || {
            loaded = true;
            Ok::<_, ()>((index, 10))
        };
        assert_eq!(*cache.get(index, load).unwrap(), index);
        loaded
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let cache = Cache::new(20);
        assert!(loads(&cache, 0) && loads(&cache, 1));
        assert!(!loads(&cache, 0));
        assert!(loads(&cache, 2)); // 1 makes room
        assert!(!loads(&cache, 0) && loads(&cache, 1));
    }

    #[test]
    fn an_entry_above_the_budget_is_held_alone() {
        let cache = Cache::new(5);
        assert!(loads(&cache, 0) && !loads(&cache, 0));
        assert!(loads(&cache, 1) && loads(&cache, 0));
    }

    #[test]
    fn a_failed_load_leaves_nothing() {
        let cache: Cache<usize> = Cache::new(5);
        assert_eq!(cache.get(0, || Err("no")).unwrap_err(), "no");
        assert!(loads(&cache, 0));
    }
}
