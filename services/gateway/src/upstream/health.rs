//! Whether a replica gets requests: what is known from responses, from checks and from operators.
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
//! - `ejected_until_ms` and `marks` decide, so a healthy replica costs two atomic loads per attempt.
//! - In `probing`, one request at a time is sent: the one that moves the deadline by [`PROBE`] with
//!   a compare-and-swap. Without that, every waiting request would hit a replica that may be down.
//! - Failures within the minimum pause count once. Otherwise the requests in flight when a replica
//!   dies would push it to the maximum pause at once.
//! - Once it is ejected, only attempts that began after that say something about it
//!   ([`Health::is_outdated`]): one that was under way would end the ejection, or prolong it.
//! - Ejection and failed checks are advice: [`Upstream::pick`](super::Upstream::pick) falls back to such
//!   a replica when no other is left. That a replica is drained is an order.
//! - A replica that returns, or is new, gets its share of the requests gradually if the upstream has
//!   `slow_start_seconds`.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Time until another probe is sent while the outcome of one is unknown.
const PROBE: Duration = Duration::from_secs(1);
/// The share of broken responses is counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer broken responses in a window are not a pattern.
const MIN_BROKEN: u32 = 5;

/// Its checks fail.
const DOWN: u8 = 1;
const DRAINED: u8 = 1 << 1;
const WARMING: u8 = 1 << 2;

/// Of 1024 requests that a replica would get, it gets as many at the beginning of a slow start.
const MIN_WARM: u64 = 64;
/// Requests are divided into as many parts by a [`Draw`].
const DRAWS: u64 = 1024;

/// A number that is different for each request, or for each key: which part of them a replica gets that
/// is given only a part.
pub(super) type Draw = u64;

/// The health of one replica.
#[derive(Debug)]
pub(crate) struct Health {
    epoch: Instant,
    /// Milliseconds after the epoch. 0: healthy.
    ejected_until_ms: AtomicU64,
    marks: AtomicU8,
    /// Of the slow start.
    warm_from_ms: AtomicU64,
    warm_for_ms: AtomicU64,
    failures: Mutex<Failures>,
    window_ms: AtomicU64,
    responded: AtomicU32,
    broken: AtomicU32,
}

#[derive(Debug, Default)]
struct Failures {
    consecutive: u32,
    /// The last one that counted.
    last: Option<Instant>,
    /// The last one.
    ejected_at: Option<Instant>,
}

/// The state of a replica, for the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthState {
    Healthy,
    /// For this much longer.
    Ejected(Duration),
    /// The next request is a probe.
    Probing,
    /// Its checks fail.
    Down,
    Drained,
    /// Healthy, with a part of its requests.
    Warming,
}

impl HealthState {
    pub(crate) const NAMES: [&'static str; 6] = [
        "healthy", "ejected", "probing", "down", "drained", "warming",
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::Healthy => 0,
            Self::Ejected(_) => 1,
            Self::Probing => 2,
            Self::Down => 3,
            Self::Drained => 4,
            Self::Warming => 5,
        }]
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            ejected_until_ms: AtomicU64::new(0),
            marks: AtomicU8::new(0),
            warm_from_ms: AtomicU64::new(0),
            warm_for_ms: AtomicU64::new(0),
            failures: Mutex::default(),
            window_ms: AtomicU64::new(0),
            responded: AtomicU32::new(0),
            broken: AtomicU32::new(0),
        }
    }
}

impl Health {
    /// Whether this request may be sent; for a probing replica, only one of several may.
    pub(super) fn admit(&self, now: Instant, draw: Draw) -> bool {
        let marks = self.marks.load(Ordering::Relaxed);
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        if marks | u8::from(until != 0) == 0 {
            return true;
        }
        if marks & (DOWN | DRAINED) != 0 || (marks & WARMING != 0 && !self.is_warm_for(now, draw)) {
            return false;
        }
        until == 0 || self.admit_probe(now, until)
    }

    fn admit_probe(&self, now: Instant, until: u64) -> bool {
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

    /// Whether the part of the requests that a slow start allows so far includes this one.
    fn is_warm_for(&self, now: Instant, draw: Draw) -> bool {
        let since = self
            .millis(now)
            .saturating_sub(self.warm_from_ms.load(Ordering::Relaxed));
        let length = self.warm_for_ms.load(Ordering::Relaxed).max(1);
        if since >= length {
            self.marks.fetch_and(!WARMING, Ordering::Relaxed);
            return true;
        }
        draw % DRAWS < (since * DRAWS / length).max(MIN_WARM)
    }

    /// Begins a slow start. Zero: there is none.
    pub(super) fn warm(&self, now: Instant, slow_start: Duration) {
        if !slow_start.is_zero() {
            self.warm_from_ms.store(self.millis(now), Ordering::Relaxed);
            self.warm_for_ms
                .store(millis(slow_start), Ordering::Relaxed);
            self.marks.fetch_or(WARMING, Ordering::Relaxed);
        }
    }

    /// What the checks have found.
    pub(super) fn set_down(&self, down: bool) {
        self.mark(DOWN, down);
    }

    /// Whether the replica was asked to get no new requests.
    pub(super) fn set_drained(&self, drained: bool) {
        self.mark(DRAINED, drained);
    }

    pub(super) fn is_down(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & DOWN != 0
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & DRAINED != 0
    }

    /// Whether it is to be used only if no other is left.
    pub(super) fn is_out(&self) -> bool {
        self.is_ejected() || self.is_down()
    }

    fn mark(&self, mark: u8, set: bool) {
        if set {
            self.marks.fetch_or(mark, Ordering::Relaxed);
        } else {
            self.marks.fetch_and(!mark, Ordering::Relaxed);
        }
    }

    /// Whether it is ejected, or on probation after that.
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until_ms.load(Ordering::Relaxed) != 0
    }

    /// Whether an attempt that began at this time says nothing more, because the replica was ejected
    /// meanwhile.
    pub(super) fn is_outdated(&self, began: Instant) -> bool {
        self.is_ejected() && {
            let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.ejected_at.is_some_and(|ejected| began < ejected)
        }
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
        failures.ejected_at = Some(now);
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
        if self.is_ejected() || (broken >= MIN_BROKEN && half) {
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

    /// The replica has responded, so it is healthy. True: it was ejected before.
    pub(crate) fn record_success(&self, now: Instant) -> bool {
        self.advance(now);
        self.responded.fetch_add(1, Ordering::Relaxed);
        let returns = self.is_ejected();
        if returns {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            *failures = Failures::default();
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
        returns
    }

    pub(crate) fn state(&self, now: Instant) -> HealthState {
        let marks = self.marks.load(Ordering::Relaxed);
        if marks & DRAINED != 0 {
            return HealthState::Drained;
        }
        if marks & DOWN != 0 {
            return HealthState::Down;
        }
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        match until.checked_sub(self.millis(now)) {
            _ if until == 0 && marks & WARMING != 0 && !self.is_warm_for(now, DRAWS - 1) => {
                HealthState::Warming
            }
            _ if until == 0 => HealthState::Healthy,
            Some(left) if left > 0 => HealthState::Ejected(Duration::from_millis(left)),
            _ => HealthState::Probing,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
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

    #[test]
    fn a_slow_start_lets_requests_through_gradually() {
        let health = Health::default();
        let now = Instant::now();
        let slow_start = Duration::from_secs(10);
        let share = |at| {
            let admitted =
                (0..1_000_u64).filter(|&turn| health.admit(at, crate::upstream::key::mix(turn)));
            admitted.count()
        };
        assert_eq!(share(now), 1_000);
        health.warm(now, Duration::ZERO);
        assert_eq!(share(now), 1_000, "none is configured");
        health.warm(now, slow_start);
        assert_eq!(health.state(now), HealthState::Warming);
        for (after, expected) in [(0, 62), (2, 200), (5, 500), (9, 900)] {
            let share = share(now + Duration::from_secs(after));
            assert!(share.abs_diff(expected) < 40, "{share} after {after} s");
        }
        assert_eq!(share(now + slow_start), 1_000);
        assert_eq!(health.state(now + slow_start), HealthState::Healthy);
    }

    #[test]
    fn checks_and_drains_exclude_on_their_own() {
        let health = Health::default();
        let now = Instant::now();
        health.set_down(true);
        health.set_drained(true);
        assert_eq!(health.state(now), HealthState::Drained);
        health.set_drained(false);
        assert_eq!(health.state(now), HealthState::Down);
        assert!(!health.admit(now, 0));
        // A late response of a request before does not end what the checks have found.
        assert!(!health.record_success(now));
        assert!(!health.admit(now, 0));
        health.set_down(false);
        assert!(health.admit(now, 0));
    }
}
