//! Bounds retries, so that a broken upstream does not get several times the load.

use std::sync::atomic::{AtomicI64, Ordering};

/// One retry costs this much.
const COST: i64 = 100;
/// So many retries can be saved up: what a replica's death under load needs at once.
const SAVED_RETRIES: i64 = 200;
/// What time alone gives back at every look-up round.
const TRICKLE_RETRIES: i64 = 20;

/// A purse that every request puts a share of a retry into.
#[derive(Debug)]
pub(crate) struct Budget {
    share: i64,
    saved: AtomicI64,
}

impl Budget {
    pub(crate) fn new(percent: u32) -> Self {
        let saved = if percent == 0 {
            0
        } else {
            SAVED_RETRIES * COST
        };
        Self {
            share: percent.into(),
            saved: AtomicI64::new(saved),
        }
    }

    pub(crate) fn request(&self) {
        self.put(self.share);
    }

    /// Keeps a rarely used upstream able to retry.
    pub(crate) fn trickle(&self) {
        if self.share > 0 {
            self.put(TRICKLE_RETRIES * COST);
        }
    }

    /// Takes a retry if there is one left.
    pub(crate) fn take(&self) -> bool {
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved >= COST).then(|| saved - COST)
            })
            .is_ok()
    }

    fn put(&self, amount: i64) {
        let full = SAVED_RETRIES * COST;
        // Usually full: then nothing is written, and no cache line moves between cores.
        if self.saved.load(Ordering::Relaxed) < full {
            let _ = self
                .saved
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                    Some((saved + amount).min(full))
                });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_requests_over_time() {
        let budget = Budget::new(20);
        let mut saved = 0;
        while budget.take() {
            saved += 1;
        }
        assert_eq!(saved, SAVED_RETRIES);
        for _ in 0..10 {
            budget.request();
        }
        assert!(budget.take() && budget.take() && !budget.take());
        budget.trickle();
        assert!(budget.take());
        let none = Budget::new(0);
        none.trickle();
        assert!(!none.take());
    }
}
