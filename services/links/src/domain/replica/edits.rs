//! Counts the edits of slugs, so that a lookup can tell whether one has overtaken it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::domain::values::short_urls::ShortUrlRef;

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
    pub(super) fn of(&self, url: ShortUrlRef<'_>) -> u64 {
        self.shard(url).load(Ordering::Acquire)
    }

    pub(super) fn record(&self, url: ShortUrlRef<'_>) {
        self.shard(url).fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn record_all(&self) {
        for shard in &self.shards {
            shard.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn shard(&self, url: ShortUrlRef<'_>) -> &AtomicU64 {
        let hash = self.hasher.hash_one(url);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        &self.shards[index]
    }
}
