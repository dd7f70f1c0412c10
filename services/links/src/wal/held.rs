//! How much the log holds, by segment.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of frames in segments that are not deleted yet.
#[derive(Debug, Default)]
pub(super) struct HeldBytes {
    segments: Mutex<BTreeMap<u64, u64>>,
    total: AtomicU64,
}

impl HeldBytes {
    pub(super) fn add(&self, segment: u64, bytes: u64) {
        *self.lock().entry(segment).or_default() += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Forgets a segment; returns what it held.
    pub(super) fn remove(&self, segment: u64) -> u64 {
        let bytes = self.lock().remove(&segment).unwrap_or(0);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
        bytes
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
