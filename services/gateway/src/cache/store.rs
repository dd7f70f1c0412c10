//! Stored responses in memory, within a number of bytes.
//!
//! All responses of one URL lie in one entry, so that a purge of the URL, and one by an unsafe
//! request to it, is one step, whatever the responses vary by. What is used rarely is evicted first
//! (the policy of `moka`).

use std::{hash::RandomState, sync::Arc, time::Duration};

use moka::{ops::compute::Op, sync::Cache as Entries};

use super::{
    entry::{Resource, StoredResponse},
    fills::{Fills, Turn},
    key::Key,
    purges::{Purge, Purges},
    recording::Room,
};
use crate::request::Headers;

/// For this time, requests do not wait for a response that was not for others the last time.
const PASS_TIME: Duration = Duration::from_secs(10);
/// In which sizes are counted: the largest size of a URL's responses, 1,000 times 1 GiB, is far beyond 32
/// bits of bytes.
const UNIT_BYTES: usize = 256;
/// Keys for which that is remembered.
const MAX_PASSES: u64 = 10_000;

#[derive(Debug)]
pub(super) struct Store {
    entries: Entries<Arc<str>, Arc<Resource>>,
    passes: Entries<u64, ()>,
    fills: Arc<Fills>,
    purges: Purges,
    pub(super) room: Arc<Room>,
    hasher: RandomState,
}

impl Store {
    pub(super) fn new(max_bytes: u64, max_object_bytes: usize) -> Self {
        let weigh = |_: &Arc<str>, resource: &Arc<Resource>| {
            u32::try_from(resource.size_bytes().div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
        };
        let quarter = usize::try_from(max_bytes / 4).unwrap_or(usize::MAX);
        Self {
            entries: Entries::builder()
                .max_capacity(max_bytes / UNIT_BYTES as u64)
                .weigher(weigh)
                .build(),
            passes: Entries::builder()
                .max_capacity(MAX_PASSES)
                .time_to_live(PASS_TIME)
                .build(),
            fills: Arc::default(),
            purges: Purges::default(),
            room: Room::new(quarter.max(max_object_bytes)),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn find(&self, key: &Key, request: &dyn Headers) -> Option<Arc<StoredResponse>> {
        self.entries.get(&*key.url)?.find(key, request)
    }

    pub(super) fn begin_fill(&self, key: &Key) -> Turn {
        self.fills.begin(key)
    }

    pub(super) fn passes(&self, key: &Key) -> bool {
        self.passes.contains_key(&key.hash(&self.hasher))
    }

    pub(super) fn note_pass(&self, key: &Key) {
        self.passes.insert(key.hash(&self.hasher), ());
    }

    /// Purges so far: what a fill notes when it begins.
    pub(super) fn purges(&self) -> u64 {
        self.purges.count()
    }

    /// False: it was purged in the meantime.
    pub(super) fn insert(&self, stored: &Arc<StoredResponse>, purges: u64, most: usize) -> bool {
        self.purges.unless_purged(stored, purges, || {
            let entry = self.entries.entry(Arc::clone(&stored.key.url));
            entry.and_upsert_with(|before| {
                let before = before.map(|entry| Arc::clone(entry.value()));
                let before = before.unwrap_or_default();
                Arc::new(before.with(Arc::clone(stored), most))
            });
        })
    }

    /// Removes one response, unless another one has taken its place.
    pub(super) fn remove(&self, stored: &Arc<StoredResponse>) {
        self.entries
            .entry(Arc::clone(&stored.key.url))
            .and_compute_with(|entry| {
                let Some(entry) = entry else { return Op::Nop };
                let mut resource = (**entry.value()).clone();
                resource.0.retain(|other| !Arc::ptr_eq(other, stored));
                if resource.0.is_empty() {
                    Op::Remove
                } else {
                    Op::Put(Arc::new(resource))
                }
            });
    }

    /// How many responses were removed.
    pub(super) fn purge(&self, purge: Purge) -> usize {
        // From now on, nothing that was asked for before is stored.
        self.purges.note(purge.clone());
        if let Purge::Url(url) = &purge {
            let removed = self.entries.remove(&**url);
            return removed.map_or(0, |resource| resource.0.len());
        }
        let mut count = 0;
        for (_, resource) in &self.entries {
            for stored in resource.0.iter().filter(|stored| purge.covers(stored)) {
                self.remove(stored);
                count += 1;
            }
        }
        count
    }

    /// URLs with responses, and what they take.
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        let bytes = self.entries.weighted_size() * UNIT_BYTES as u64;
        (self.entries.entry_count(), bytes)
    }
}
