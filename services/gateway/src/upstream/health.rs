//! Passive health checks: a replica that fails is ejected, longer each time.
//!
//! A replica that cannot be reached is ejected at once. One that fails responses halfway is ejected only
//! if at least half of those of the last seconds broke: a single request that crashes its handler
//! must not take replicas away from all others.
//!
//! ```text
//!            failure                    time is up
//!   healthy ---------> ejected(pause) ------------> probing --- success ---> healthy
//!                          ^                           |
//!                          +------- failure -----------+   pause doubles, up to a maximum
//! ```
//!
//! - `ejected_until_ms` alone decides, so a healthy replica costs one atomic load per attempt.
//! - In `probing`, one request at a time is sent: the one that moves the deadline by [`PROBE`] with
//!   a compare-and-swap. Without that, every waiting request would hit a replica that may be down.
//! - Failures within the minimum pause count once. Otherwise the requests in flight when a replica
//!   dies would push it to the maximum pause at once.
//! - Ejection is advice: [`Upstream::pick`](super::Upstream::pick) falls back to an ejected replica
//!   when no other is left.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Time until another probe is sent while the outcome of one is unknown.
const PROBE: Duration = Duration::from_secs(1);
/// The share of broken responses is counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer broken responses in a window are not a pattern.
const MIN_BROKEN: u32 = 5;

/// The health of one replica.
#[derive(Debug)]
pub(crate) struct Health {
    epoch: Instant,
    /// Milliseconds after the epoch. 0: healthy.
    ejected_until_ms: AtomicU64,
    failures: Mutex<Failures>,
    window_ms: AtomicU64,
    responded: AtomicU32,
    broken: AtomicU32,
}

#[derive(Debug, Default)]
struct Failures {
    consecutive: u32,
    last: Option<Instant>,
}

/// The state of a replica, for the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthState {
    Healthy,
    /// For this much longer.
    Ejected(Duration),
    /// The next request is a probe.
    Probing,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            ejected_until_ms: AtomicU64::new(0),
            failures: Mutex::default(),
            window_ms: AtomicU64::new(0),
            responded: AtomicU32::new(0),
            broken: AtomicU32::new(0),
        }
    }
}

impl Health {
    /// Whether this request may be sent; for a probing replica, only one of several may.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.millis(now);
        now >= until
            && self
                .ejected_until_ms
                .compare_exchange(
                    until,
                    now + millis(PROBE),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Ejects the replica.
    pub(crate) fn record_failure(&self, now: Instant, min: Duration, max: Duration) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= min)
        {
            failures.consecutive = failures.consecutive.saturating_add(1);
            failures.last = Some(now);
        }
        let doublings = failures.consecutive.saturating_sub(1).min(16);
        let pause = min.saturating_mul(1 << doublings).min(max);
        let until = self.millis(now) + millis(pause).max(1);
        self.ejected_until_ms.store(until, Ordering::Relaxed);
    }

    /// A response ended early. Ejects the replica if it is on probation, or if too many did.
    pub(crate) fn record_broken(&self, now: Instant, min: Duration, max: Duration) {
        self.advance(now);
        let broken = self.broken.fetch_add(1, Ordering::Relaxed) + 1;
        let half = self.responded.load(Ordering::Relaxed) <= broken;
        let on_probation = self.ejected_until_ms.load(Ordering::Relaxed) != 0;
        if on_probation || (broken >= MIN_BROKEN && half) {
            self.record_failure(now, min, max);
        }
    }

    /// Starts a new window if the last one is over. A count that is lost to a race does not matter.
    fn advance(&self, now: Instant) {
        let now = self.millis(now);
        let started = self.window_ms.load(Ordering::Relaxed);
        if now.saturating_sub(started) >= millis(WINDOW) {
            self.window_ms.store(now, Ordering::Relaxed);
            self.responded.store(0, Ordering::Relaxed);
            self.broken.store(0, Ordering::Relaxed);
        }
    }

    /// The replica has responded, so it is healthy.
    pub(crate) fn record_success(&self, now: Instant) {
        self.advance(now);
        self.responded.fetch_add(1, Ordering::Relaxed);
        if self.ejected_until_ms.load(Ordering::Relaxed) != 0 {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            *failures = Failures::default();
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn state(&self, now: Instant) -> HealthState {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        match until.checked_sub(self.millis(now)) {
            _ if until == 0 => HealthState::Healthy,
            Some(left) if left > 0 => HealthState::Ejected(Duration::from_millis(left)),
            _ => HealthState::Probing,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_its_maximum_and_concurrent_failures_count_once() {
        let health = Health::default();
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            for _ in 0..10 {
                health.record_failure(now, min, max);
            }
            let HealthState::Ejected(left) = health.state(now) else {
                panic!("must be ejected")
            };
            pauses.push(left.as_millis());
            now += left;
            assert_eq!(health.state(now), HealthState::Probing);
        }
        assert_eq!(pauses, [100, 200, 350, 350]);
        health.record_success(now);
        assert_eq!(health.state(now), HealthState::Healthy);
    }

    #[test]
    fn broken_responses_eject_by_their_share() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let now = Instant::now();
        let few = Health::default();
        for _ in 1..MIN_BROKEN {
            few.record_broken(now, min, max);
        }
        assert_eq!(few.state(now), HealthState::Healthy);
        few.record_broken(now, min, max);
        assert_ne!(few.state(now), HealthState::Healthy);
        // Among many good responses, they are those of a few bad requests.
        let many = Health::default();
        for _ in 0..100 {
            many.record_success(now);
        }
        for _ in 0..90 {
            many.record_broken(now, min, max);
        }
        assert_eq!(many.state(now), HealthState::Healthy);
        // The next window starts from nothing.
        for _ in 1..MIN_BROKEN {
            many.record_broken(now + WINDOW, min, max);
        }
        assert_eq!(many.state(now + WINDOW), HealthState::Healthy);
    }
}
