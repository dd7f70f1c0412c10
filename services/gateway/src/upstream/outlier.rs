//! Passive health checks: how many requests of a replica have failed, in a row and of those of a window.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Instant,
};

use super::health::millis;
use crate::config::model::OutlierDetection;

/// What is counted for one replica. A count that is lost to a race does not matter.
#[derive(Debug)]
pub(super) struct OutlierCounts {
    epoch: Instant,
    consecutive: AtomicU32,
    window_ms: AtomicU64,
    requests: AtomicU32,
    failures: AtomicU32,
}

impl Default for OutlierCounts {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            consecutive: AtomicU32::new(0),
            window_ms: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            failures: AtomicU32::new(0),
        }
    }
}

impl OutlierCounts {
    /// Counts a request. True: the replica fails too often.
    pub(super) fn record(&self, failed: bool, now: Instant, rules: &OutlierDetection) -> bool {
        self.advance(now, rules);
        let requests = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if !failed {
            // Usually 0 already: nothing is written then.
            if self.consecutive.load(Ordering::Relaxed) != 0 {
                self.consecutive.store(0, Ordering::Relaxed);
            }
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let consecutive = self.consecutive.fetch_add(1, Ordering::Relaxed) + 1;
        let in_a_row = rules.consecutive_failures > 0 && consecutive >= rules.consecutive_failures;
        let share =
            u64::from(failures) * 100 >= u64::from(requests) * u64::from(rules.failure_percent);
        in_a_row || (rules.failure_percent > 0 && requests >= rules.min_requests && share)
    }

    /// The replica was ejected, or has returned: what was counted has had its effect.
    pub(super) fn reset(&self) {
        self.consecutive.store(0, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }

    fn advance(&self, now: Instant, rules: &OutlierDetection) {
        let now = millis(now.saturating_duration_since(self.epoch));
        let started = self.window_ms.load(Ordering::Relaxed);
        if now.saturating_sub(started) >= millis(rules.window()) {
            self.window_ms.store(now, Ordering::Relaxed);
            self.requests.store(0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULES: OutlierDetection = OutlierDetection {
        consecutive_failures: 3,
        failure_percent: 50,
        min_requests: 10,
        window_seconds: 10,
        max_ejected_percent: 50,
    };

    #[test]
    fn failures_in_a_row_and_their_share_count() {
        let now = Instant::now();
        let row = OutlierCounts::default();
        assert!(!row.record(true, now, &RULES));
        assert!(!row.record(true, now, &RULES));
        assert!(!row.record(false, now, &RULES));
        assert!(!row.record(true, now, &RULES));
        assert!(!row.record(true, now, &RULES));
        assert!(row.record(true, now, &RULES));
        let share = OutlierCounts::default();
        for _ in 0..4 {
            assert!(!share.record(false, now, &RULES));
            assert!(!share.record(true, now, &RULES));
        }
        assert!(!share.record(false, now, &RULES));
        assert!(share.record(true, now, &RULES), "5 of 10");
        // The next window starts from nothing.
        let later = now + Duration::from_secs(11);
        let other = OutlierCounts::default();
        for turn in 0..9 {
            assert!(!other.record(turn % 2 == 0, now, &RULES));
        }
        assert!(!other.record(false, later, &RULES));
        assert!(!other.record(true, later, &RULES));
    }

    #[test]
    fn a_rule_of_zero_is_off() {
        let now = Instant::now();
        let off = OutlierDetection {
            consecutive_failures: 0,
            failure_percent: 0,
            ..RULES
        };
        let counts = OutlierCounts::default();
        assert!((0..100).all(|_| !counts.record(true, now, &off)));
    }
}
