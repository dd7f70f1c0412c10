//! The circuit breaker of an upstream: one that fails as a whole is left alone for a while.
//!
//! ```text
//!            too many of a window fail             time is up
//!   closed --------------------------> open(pause) ----------> half open -- probes succeed --> closed
//!                                          ^                       |
//!                                          +---- a probe fails ----+
//! ```
//!
//! While it is open, requests are refused at once. Half open, as many requests as there are probes are
//! sent, and more only if their outcomes stay unknown for as long as the breaker was open. Only attempts
//! that began in a phase count in it: those from before would open the breaker again, or close it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::config::model::CircuitBreaker;

/// The breaker of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<BreakerState>,
    /// Not closed. Read without the lock.
    tripped: AtomicBool,
}

#[derive(Debug, Default)]
struct BreakerState {
    phase: Phase,
    /// When it was closed last.
    closed_at: Option<Instant>,
    window: Option<Instant>,
    requests: u32,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    HalfOpen {
        /// When the first of these probes was sent.
        since: Instant,
        sent: u32,
        succeeded: u32,
    },
}

impl Breaker {
    /// # Errors
    /// How long to wait, when the request is to be refused.
    pub(crate) fn admit(&self, now: Instant, rules: &CircuitBreaker) -> Result<(), Duration> {
        if !self.tripped.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.state();
        let probe = Phase::HalfOpen {
            since: now,
            sent: 1,
            succeeded: 0,
        };
        state.phase = match state.phase {
            Phase::Closed => return Ok(()),
            Phase::Open { until } if now < until => return Err(until - now),
            Phase::HalfOpen {
                since,
                sent,
                succeeded,
            } if sent < rules.probes => Phase::HalfOpen {
                since,
                sent: sent + 1,
                succeeded,
            },
            Phase::HalfOpen { since, .. } if now < since + rules.open() => {
                return Err(since + rules.open() - now);
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => probe,
        };
        Ok(())
    }

    /// How an attempt has ended that `began` then.
    pub(crate) fn record(
        &self,
        failed: bool,
        (began, now): (Instant, Instant),
        rules: &CircuitBreaker,
    ) {
        let mut state = self.state();
        match state.phase {
            Phase::Closed if state.closed_at.is_some_and(|closed| began < closed) => {}
            Phase::HalfOpen { since, .. } if began < since => {}
            Phase::Closed => {
                if state.count(failed, now, rules) {
                    self.trip(&mut state, now, rules);
                }
            }
            // A request from before.
            Phase::Open { .. } => {}
            Phase::HalfOpen { .. } if failed => self.trip(&mut state, now, rules),
            Phase::HalfOpen { succeeded, .. } if succeeded + 1 >= rules.probes => {
                *state = BreakerState {
                    closed_at: Some(now),
                    ..BreakerState::default()
                };
                self.tripped.store(false, Ordering::Release);
            }
            Phase::HalfOpen {
                since,
                sent,
                succeeded,
            } => {
                state.phase = Phase::HalfOpen {
                    since,
                    sent,
                    succeeded: succeeded + 1,
                };
            }
        }
    }

    /// As the admin listener shows it.
    pub(crate) fn state_name(&self, now: Instant) -> &'static str {
        match self.state().phase {
            Phase::Closed => "closed",
            Phase::Open { until } if now < until => "open",
            Phase::Open { .. } | Phase::HalfOpen { .. } => "half_open",
        }
    }

    fn trip(&self, state: &mut BreakerState, now: Instant, rules: &CircuitBreaker) {
        let until = now + rules.open();
        *state = BreakerState {
            phase: Phase::Open { until },
            ..BreakerState::default()
        };
        self.tripped.store(true, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerState {
    /// True: too many of the window have failed.
    fn count(&mut self, failed: bool, now: Instant, rules: &CircuitBreaker) -> bool {
        let is_over = |start: Instant| now.saturating_duration_since(start) >= rules.window();
        if self.window.is_none_or(is_over) {
            self.window = Some(now);
            self.requests = 0;
            self.failures = 0;
        }
        self.requests += 1;
        self.failures += u32::from(failed);
        let share = u64::from(self.failures) * 100;
        failed
            && self.requests >= rules.min_requests
            && share >= u64::from(self.requests) * u64::from(rules.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CircuitBreaker = CircuitBreaker {
        failure_percent: 50,
        min_requests: 4,
        window_seconds: 10,
        open_seconds: 5,
        probes: 2,
    };

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for failed in [false, false, true, true] {
            assert_eq!(breaker.admit(now, &RULES), Ok(()));
            breaker.record(failed, (now, now), &RULES);
        }
        breaker
    }

    #[test]
    fn it_opens_by_the_share_of_failures_and_refuses_until_its_time_is_up() {
        let now = Instant::now();
        let breaker = opened(now);
        assert_eq!(breaker.state_name(now), "open");
        assert_eq!(breaker.admit(now, &RULES), Err(RULES.open()));
        let second = Duration::from_secs(1);
        assert_eq!(breaker.admit(now + second, &RULES), Err(second * 4));
        // A response that was under way changes nothing.
        breaker.record(false, (now, now), &RULES);
        assert!(breaker.admit(now, &RULES).is_err());
    }

    #[test]
    fn failures_of_another_window_do_not_count() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for _ in 0..3 {
            breaker.record(true, (now, now), &RULES);
        }
        breaker.record(true, (now + RULES.window(), now + RULES.window()), &RULES);
        assert_eq!(breaker.state_name(now), "closed");
    }

    #[test]
    fn half_open_as_many_probes_as_configured_are_sent() {
        let now = Instant::now();
        let later = now + RULES.open();
        let breaker = opened(now);
        assert_eq!(breaker.state_name(later), "half_open");
        assert!(breaker.admit(later, &RULES).is_ok());
        assert!(breaker.admit(later, &RULES).is_ok());
        assert!(breaker.admit(later, &RULES).is_err());
        breaker.record(false, (later, later), &RULES);
        assert!(breaker.admit(later, &RULES).is_err());
        breaker.record(false, (later, later), &RULES);
        assert_eq!(breaker.state_name(later), "closed");
        assert!((0..10).all(|_| breaker.admit(later, &RULES).is_ok()));
        // What was counted before is forgotten.
        breaker.record(true, (later, later), &RULES);
        assert_eq!(breaker.state_name(later), "closed");
    }

    /// Slow requests from before it opened end at any time after that.
    #[test]
    fn what_began_in_another_phase_neither_opens_nor_closes_it() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + RULES.open();
        assert!(breaker.admit(later, &RULES).is_ok());
        for failed in [false, false, true] {
            breaker.record(failed, (now, later), &RULES);
            assert_eq!(breaker.state_name(later), "half_open");
        }
        assert!(breaker.admit(later, &RULES).is_ok());
        for _ in 0..RULES.probes {
            breaker.record(false, (later, later), &RULES);
        }
        assert_eq!(breaker.state_name(later), "closed");
        for _ in 0..10 {
            breaker.record(true, (now, later), &RULES);
        }
        assert_eq!(breaker.state_name(later), "closed");
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_one_that_is_lost_does_not_close_it_for_good() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + RULES.open();
        assert!(breaker.admit(later, &RULES).is_ok());
        breaker.record(true, (later, later), &RULES);
        assert_eq!(breaker.admit(later, &RULES), Err(RULES.open()));
        // These are canceled by their clients.
        let later = later + RULES.open();
        assert!(breaker.admit(later, &RULES).is_ok());
        assert!(breaker.admit(later, &RULES).is_ok());
        assert!(breaker.admit(later, &RULES).is_err());
        assert!(breaker.admit(later + RULES.open(), &RULES).is_ok());
    }
}
