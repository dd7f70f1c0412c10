//! Values by key, bounded in memory: a full shard evicts the stalest key of a small sample. Without
//! the bound, one client with many addresses could exhaust it.

use std::{
    collections::HashMap,
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub(super) const SHARDS: usize = 64;
/// A full shard evicts the stalest of this many keys.
const EVICTION_SAMPLE: usize = 16;

/// Sharded over locks.
#[derive(Debug)]
pub(super) struct Table<V> {
    hasher: RandomState,
    shards: Box<[Mutex<Shard<V>>]>,
    keys_per_shard: usize,
}

type Shard<V> = HashMap<Box<[u8]>, Entry<V>>;

#[derive(Debug)]
struct Entry<V> {
    /// When it was used last, for eviction.
    seen: u64,
    value: V,
}

impl<V> Table<V> {
    /// Keeps about this many keys; beyond that the stalest are evicted.
    pub(super) fn new(keys: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys_per_shard: keys.div_ceil(SHARDS).max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub(super) fn retain(&self, is_kept: impl Fn(&V) -> bool) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, entry| is_kept(&entry.value));
            if shard.capacity() > 4 * shard.len().max(64) {
                shard.shrink_to_fit();
            }
        }
    }

    /// Uses the value of a key that has one.
    pub(super) fn with<R>(&self, key: &[u8], then: impl FnOnce(&mut V) -> R) -> Option<R> {
        let (mut shard, _) = self.shard(key);
        shard.get_mut(key).map(|entry| then(&mut entry.value))
    }

    /// Uses the value of a key, which is created if it has none.
    pub(super) fn with_or_insert<R>(
        &self,
        key: &[u8],
        now: u64,
        create: impl FnOnce() -> V,
        then: impl FnOnce(&mut V) -> R,
    ) -> R {
        let (mut shard, hash) = self.shard(key);
        if let Some(entry) = shard.get_mut(key) {
            entry.seen = now;
            return then(&mut entry.value);
        }
        if shard.len() >= self.keys_per_shard {
            evict(&mut shard, hash, now);
        }
        let create = || Entry {
            seen: now,
            value: create(),
        };
        let entry = shard.entry(key.into()).or_insert_with(create);
        then(&mut entry.value)
    }

    fn shard(&self, key: &[u8]) -> (MutexGuard<'_, Shard<V>>, u64) {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        (lock(&self.shards[index]), hash)
    }
}

/// The sample begins anywhere, by the hash of the new key: with the same keys every time, a flood of
/// new ones would only push out each other, or always the same others.
fn evict<V>(shard: &mut Shard<V>, hash: u64, now: u64) {
    let starts = shard.len().saturating_sub(EVICTION_SAMPLE) as u64 + 1;
    // The lowest bits have chosen the shard.
    let start = usize::try_from((hash / SHARDS as u64) % starts).unwrap_or(0);
    let stalest = shard
        .iter()
        .skip(start)
        .take(EVICTION_SAMPLE)
        .max_by_key(|(_, entry)| now.saturating_sub(entry.seen))
        .map(|(key, _)| key.clone());
    if let Some(key) = stalest {
        shard.remove(&key);
    }
}

fn lock<V>(shard: &Mutex<Shard<V>>) -> MutexGuard<'_, Shard<V>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
