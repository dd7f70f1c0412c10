//! At most N requests in any window, however they are spread over it.
//!
//! A window is a ring of 21 slices, each a twentieth of the window long:
//!
//! ```text
//!   expired |<------------- window -------------->|
//!           | partly |   |   |  ...  |   | newest |      a request counts in `newest`
//!           |  out   |   |   |       |   |        |      all 21 slices are summed
//!                                          now ---^
//! ```
//!
//! The slice that the window covers only in part counts in full. So there are never more than
//! `requests` in any window, at the price that a request is forgotten up to one slice late. With
//! fixed windows, twice the limit would pass around each boundary; with a token bucket, twice the
//! limit within one window.
//!
//! `script.lua` does the same in the store; a test compares the two.

use std::time::Duration;

use super::rule::{LimitDecision, SLICES};

/// One more for the slice that the window covers only in part.
const SLOTS: usize = SLICES + 1;

/// The requests of one subject in the slices of one window. Times are in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Window {
    slice_ms: u64,
    /// Number of the newest slice.
    newest: u64,
    counts: [u32; SLOTS],
}

impl Window {
    pub(super) fn new(slice_ms: u64, now: u64) -> Self {
        Self {
            slice_ms,
            newest: now / 1_000 / slice_ms,
            counts: [0; SLOTS],
        }
    }

    pub(super) fn has_slices_of(&self, slice_ms: u64) -> bool {
        self.slice_ms == slice_ms
    }

    /// Counts a request, unless the limit is used up.
    pub(super) fn count(&mut self, limit: u32, now: u64) -> LimitDecision {
        let before = self.look(limit, now);
        if !before.allowed {
            return before;
        }
        if let Some(counted) = self.slice_of(now) {
            *counted += 1;
        }
        LimitDecision {
            remaining: before.remaining.saturating_sub(1),
            reset: self.reset(now),
            ..before
        }
    }

    /// What `count` would say, with nothing counted.
    pub(super) fn look(&mut self, limit: u32, now: u64) -> LimitDecision {
        self.advance(now);
        let used: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let remaining = u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(0);
        LimitDecision {
            allowed: remaining > 0,
            remaining,
            reset: self.reset(now),
        }
    }

    /// Takes back a request that was counted at this time, unless its slice has expired. Not the last
    /// one that counted: a request of another thread in an older slice would then expire too early.
    pub(super) fn give_back(&mut self, at: u64) {
        if let Some(counted) = self.slice_of(at) {
            // Less was counted if the window was evicted in between.
            *counted = counted.saturating_sub(1);
        }
    }

    pub(super) fn is_empty_at(&self, now: u64) -> bool {
        now / 1_000 / self.slice_ms > self.newest + SLICES as u64
    }

    /// The count of the slice of this time, unless it has expired. It need not be the newest: another
    /// thread may have read the clock later and counted first.
    fn slice_of(&mut self, at: u64) -> Option<&mut u32> {
        let slice = at / 1_000 / self.slice_ms;
        let is_kept = slice <= self.newest && self.newest - slice <= SLICES as u64;
        is_kept.then(|| &mut self.counts[slot(slice)])
    }

    /// Clears the slots of the slices that have expired. Time is monotonic.
    fn advance(&mut self, now: u64) {
        let slice = now / 1_000 / self.slice_ms;
        let passed = slice.saturating_sub(self.newest);
        for step in 0..passed.min(SLOTS as u64) {
            self.counts[slot(slice - step)] = 0;
        }
        self.newest = self.newest.max(slice);
    }

    /// Until the oldest counted slice leaves the window.
    fn reset(&self, now: u64) -> Duration {
        let oldest_possible = self.newest.saturating_sub(SLICES as u64);
        let oldest = (oldest_possible..=self.newest)
            .find(|&slice| self.counts[slot(slice)] > 0)
            .unwrap_or(self.newest);
        let leaves = (oldest + SLOTS as u64) * self.slice_ms * 1_000;
        Duration::from_micros(leaves.saturating_sub(now))
    }
}

fn slot(slice: u64) -> usize {
    usize::try_from(slice % SLOTS as u64).unwrap_or(0)
}
