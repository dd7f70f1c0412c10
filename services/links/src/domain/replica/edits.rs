//! Counts the edits of slugs, so that a lookup can tell whether one has overtaken it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// Counters. One for all slugs would make each edit repeat every lookup under way.
const SHARDS: usize = 256;

#[derive(Debug)]
pub(super) struct Edits {
    shards: Vec<AtomicU64>,
    hasher: RandomState,
}

impl Default for Edits {
    fn default() -> Self {
        let shards = std::iter::repeat_with(AtomicU64::default)
            .take(SHARDS)
            .collect();
        Self {
            shards,
            hasher: RandomState::new(),
        }
    }
}

impl Edits {
    pub(super) fn of(&self, slug: &str) -> u64 {
        self.shard(slug).load(Ordering::Acquire)
    }

    pub(super) fn record(&self, slug: &str) {
        self.shard(slug).fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn record_all(&self) {
        for shard in &self.shards {
            shard.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn shard(&self, slug: &str) -> &AtomicU64 {
        let hash = self.hasher.hash_one(slug);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        &self.shards[index]
    }
}
