//! When something was last compared with the file system.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// That time.
#[derive(Debug)]
pub(super) struct Checked {
    start: Instant,
    /// Milliseconds after that, and one.
    at: AtomicU64,
}

impl Checked {
    pub(super) fn never() -> Self {
        Self {
            start: Instant::now(),
            at: AtomicU64::new(0),
        }
    }

    pub(super) fn now() -> Self {
        let checked = Self::never();
        checked.touch();
        checked
    }

    pub(super) fn touch(&self) {
        self.at.store(self.elapsed_ms() + 1, Ordering::Relaxed);
    }

    pub(super) fn is_within(&self, interval: Duration) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        at > 0 && (self.elapsed_ms() + 1).saturating_sub(at) < interval
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
