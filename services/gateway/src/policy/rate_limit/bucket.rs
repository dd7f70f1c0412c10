//! At most `burst` requests at once, and at most N in any window.
//!
//! A bucket holds `burst` requests and regains one per interval, which is the window divided by
//! `N - burst`: whatever a window begins with, `burst + (N - burst)` requests fit into it. All that is
//! kept is the time at which the bucket is full again (the generic cell rate algorithm).
//!
//! `script.lua` does the same in the store; a test compares the two.

use std::time::Duration;

use super::rule::LimitDecision;

/// The bucket of one subject. Times are in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    full_at: u64,
}

impl Bucket {
    pub(super) fn new(now: u64) -> Self {
        Self { full_at: now }
    }

    /// Takes one request, if there is one.
    pub(super) fn count(&mut self, burst: u32, interval: u64, now: u64) -> LimitDecision {
        let before = self.look(burst, interval, now);
        if !before.allowed {
            return before;
        }
        self.full_at = self.full_at.max(now) + interval;
        LimitDecision {
            allowed: true,
            ..self.look(burst, interval, now)
        }
    }

    /// What `count` would say, with nothing taken.
    pub(super) fn look(&self, burst: u32, interval: u64, now: u64) -> LimitDecision {
        let missing = self.full_at.saturating_sub(now);
        let used = missing.div_ceil(interval);
        let remaining = u64::from(burst).saturating_sub(used);
        // One more than that is there once so much is missing.
        let enough = u64::from(burst).saturating_sub(remaining + 1) * interval;
        LimitDecision {
            allowed: remaining > 0,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: Duration::from_micros(missing.saturating_sub(enough)),
        }
    }

    pub(super) fn give_back(&mut self, interval: u64) {
        self.full_at = self.full_at.saturating_sub(interval);
    }

    pub(super) fn is_full_at(&self, now: u64) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 at once, and then one per second: a client that always retries gets no more than the limit
    /// in any window, and all of it.
    #[test]
    fn no_window_exceeds_the_limit() {
        let (burst, interval, window, requests) = (3, 1_000_000, 7_000_000, 10);
        let mut bucket = Bucket::new(0);
        let (mut now, mut step, mut allowed) = (1_234, 1, Vec::new());
        while now < 60_000_000 {
            if bucket.count(burst, interval, now).allowed {
                allowed.push(now);
            }
            step = (step * 7 + 3) % 211;
            now += step * 1_000;
        }
        for (first, &at) in allowed.iter().enumerate() {
            let inside = allowed[first..].iter().take_while(|&&t| t < at + window);
            assert!(inside.count() <= requests);
        }
        assert!(allowed.len() >= 60, "{}", allowed.len());
    }

    #[test]
    fn reset_is_when_one_more_request_is_there() {
        let mut bucket = Bucket::new(0);
        let mut take = |now| bucket.count(2, 1_000, now);
        assert_eq!((take(0).remaining, take(10).remaining), (1, 0));
        let refused = take(500);
        assert!(!refused.allowed);
        assert_eq!(refused.reset, Duration::from_micros(500));
        assert!(!take(999).allowed && take(1_000).allowed && !take(1_001).allowed);
    }
}
