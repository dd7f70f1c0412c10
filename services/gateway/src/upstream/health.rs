//! Passive health: a replica that cannot be reached is left out, longer each time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long one probe keeps further ones away while its outcome is unknown.
const PROBE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Health {
    epoch: Instant,
    /// Milliseconds after the epoch until which the replica is left out. 0: it is well.
    out_until_ms: AtomicU64,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    last: Option<Instant>,
}

/// What the admin port shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Well,
    /// Left out for this much longer.
    Out(Duration),
    /// The next request tries it.
    Probing,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            out_until_ms: AtomicU64::new(0),
            failures: Mutex::default(),
        }
    }
}

impl Health {
    /// Whether a request may go there. After the pause one request at a time may.
    pub(crate) fn may_be_tried(&self, now: Instant) -> bool {
        let until = self.out_until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.millis(now);
        now >= until
            && self
                .out_until_ms
                .compare_exchange(
                    until,
                    now + millis(PROBE),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// The replica could not be reached. Failures at the same time count once.
    pub(crate) fn failed(&self, now: Instant, min: Duration, max: Duration) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= min)
        {
            failures.in_a_row = failures.in_a_row.saturating_add(1);
            failures.last = Some(now);
        }
        let doublings = failures.in_a_row.saturating_sub(1).min(16);
        let pause = min.saturating_mul(1 << doublings).min(max);
        let until = self.millis(now) + millis(pause).max(1);
        self.out_until_ms.store(until, Ordering::Relaxed);
    }

    /// The replica has answered.
    pub(crate) fn answered(&self) {
        if self.out_until_ms.load(Ordering::Relaxed) != 0 {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            *failures = Failures::default();
            self.out_until_ms.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn state(&self, now: Instant) -> State {
        let until = self.out_until_ms.load(Ordering::Relaxed);
        match until.checked_sub(self.millis(now)) {
            _ if until == 0 => State::Well,
            Some(left) if left > 0 => State::Out(Duration::from_millis(left)),
            _ => State::Probing,
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
    fn the_pause_doubles_up_to_its_bound_and_failures_at_once_count_once() {
        let health = Health::default();
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            for _ in 0..10 {
                health.failed(now, min, max);
            }
            let State::Out(left) = health.state(now) else {
                panic!("must be left out")
            };
            pauses.push(left.as_millis());
            now += left;
            assert_eq!(health.state(now), State::Probing);
        }
        assert_eq!(pauses, [100, 200, 350, 350]);
        health.answered();
        assert_eq!(health.state(now), State::Well);
    }
}
