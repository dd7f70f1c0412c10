//! The retry budget: bounds retries to a share of the requests, so that a failing upstream does not
//! receive a multiple of its load.
//!
//! A token bucket. It differs from `tower::retry::budget::TpsBudget` in two ways that matter here:
//! the percentage is exact (that one turns 51 to 99 % into 100 %), and while the bucket is full a
//! request only reads an atomic instead of taking a lock.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::key::{BalanceKey, mix};

/// Tokens per retry, so that one percent of a retry is one token.
const RETRY_COST: i64 = 100;
/// Retries that can be saved up: enough for the requests in flight when a replica dies under load.
const MAX_RETRIES: i64 = 200;
/// Retries added every second, independent of traffic.
const MIN_RETRIES_PER_SECOND: u64 = 10;

/// The budget of one upstream.
#[derive(Debug)]
pub(crate) struct Budget {
    tokens_per_request: i64,
    tokens: AtomicI64,
    epoch: Instant,
    /// Until when the minimum was added.
    added_ms: AtomicU64,
}

impl Budget {
    pub(crate) fn new(percent: u32) -> Self {
        let tokens = if percent == 0 {
            0
        } else {
            MAX_RETRIES * RETRY_COST
        };
        Self {
            tokens_per_request: percent.into(),
            tokens: AtomicI64::new(tokens),
            epoch: Instant::now(),
            added_ms: AtomicU64::new(0),
        }
    }

    /// Adds the share of one request.
    pub(crate) fn deposit(&self) {
        self.add(self.tokens_per_request);
    }

    /// Keeps an upstream with little traffic able to retry. Called again and again, however often.
    pub(crate) fn add_minimum(&self, now: Instant) {
        let now = now.saturating_duration_since(self.epoch).as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let passed = now.saturating_sub(self.added_ms.fetch_max(now, Ordering::Relaxed));
        if self.tokens_per_request > 0 {
            let retries = passed.saturating_mul(MIN_RETRIES_PER_SECOND);
            let amount = i64::try_from(retries).unwrap_or(i64::MAX);
            self.add(amount.saturating_mul(RETRY_COST) / 1_000);
        }
    }

    /// Takes one retry if the budget has it.
    pub(crate) fn withdraw(&self) -> bool {
        self.tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                (tokens >= RETRY_COST).then(|| tokens - RETRY_COST)
            })
            .is_ok()
    }

    fn add(&self, amount: i64) {
        let full = MAX_RETRIES * RETRY_COST;
        // Usually full: nothing is written then, and no cache line moves between cores.
        if self.tokens.load(Ordering::Relaxed) < full {
            let _ = self
                .tokens
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                    Some(tokens.saturating_add(amount).min(full))
                });
        }
    }
}

/// A pause grows up to this multiple of the first one.
const MAX_PAUSES: u32 = 10;

/// The pause before a retry: twice as long each time, up to a bound, and between half of it and all of
/// it, so that requests that failed together do not return together. `request` is different for each.
pub(crate) fn backoff(first: Duration, retries: u32, request: BalanceKey) -> Duration {
    let longest = first * (1 << retries.min(16)).min(MAX_PAUSES);
    let share = mix(request.number() ^ u64::from(retries)) % 512 + 512;
    longest * u32::try_from(share).unwrap_or(1024) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        let first = Duration::from_millis(100);
        for (retries, longest) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 800),
            (4, 1_000),
            (90, 1_000),
        ] {
            let pauses: Vec<u128> = (0..100)
                .map(|request| backoff(first, retries, BalanceKey::of(request)).as_millis())
                .collect();
            assert!(
                pauses
                    .iter()
                    .all(|pause| (longest / 2..=longest).contains(pause))
            );
            assert!(pauses.iter().any(|pause| *pause < longest * 6 / 10));
            assert!(pauses.iter().any(|pause| *pause > longest * 9 / 10));
        }
    }

    #[test]
    fn retries_are_a_share_of_requests() {
        let budget = Budget::new(20);
        let mut saved = 0;
        while budget.withdraw() {
            saved += 1;
        }
        assert_eq!(saved, MAX_RETRIES);
        for _ in 0..10 {
            budget.deposit();
        }
        assert!(budget.withdraw() && budget.withdraw() && !budget.withdraw());
        // Two more each 200 ms, whether that is a round or twenty.
        let start = budget.epoch;
        for round in 0..=20 {
            budget.add_minimum(start + Duration::from_millis(10 * round));
        }
        assert!(budget.withdraw() && budget.withdraw() && !budget.withdraw());
        let none = Budget::new(0);
        none.add_minimum(start + Duration::from_hours(1));
        assert!(!none.withdraw());
    }
}
