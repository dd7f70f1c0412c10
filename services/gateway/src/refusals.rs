//! Refused requests and connections: what they may cost.
//!
//! A flood of refused requests or connections is cheap for its sender. Every refusal is counted in
//! the metrics; the log lines per second, and the connections that get the reason before they are
//! closed, are limited.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);
/// Refused connections that are answered at one time; others are closed without a response.
const ANSWERED_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(crate) struct Refusals {
    window: Mutex<Window>,
    skipped: Counter,
    pub(crate) responses: Semaphore,
}

/// The second that has begun last.
#[derive(Debug)]
struct Window {
    began: Instant,
    logged: u32,
    skipped: u64,
}

impl Refusals {
    pub(crate) fn new(skipped: Counter) -> Self {
        let window = Window {
            began: Instant::now(),
            logged: 0,
            skipped: 0,
        };
        Self {
            window: Mutex::new(window),
            skipped,
            responses: Semaphore::new(ANSWERED_AT_ONCE),
        }
    }

    /// Whether this refusal is logged. One above `lines_per_second` is counted, and the next second
    /// begins with a line that has the number.
    pub(crate) fn may_log(&self, lines_per_second: u32) -> bool {
        self.may_log_at(Instant::now(), lines_per_second)
    }

    fn may_log_at(&self, now: Instant, lines_per_second: u32) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(window.began) >= SECOND {
            let skipped = window.skipped;
            *window = Window {
                began: now,
                logged: 0,
                skipped: 0,
            };
            if skipped > 0 {
                tracing::warn!(target: "quartet", skipped,
                    "lines of refused requests were skipped");
            }
        }
        if window.logged < lines_per_second {
            window.logged += 1;
            return true;
        }
        window.skipped += 1;
        self.skipped.inc();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_per_second() {
        let refusals = Refusals::new(Counter::default());
        let start = Instant::now();
        let logged = |at: Duration| {
            (0..5)
                .filter(|_| refusals.may_log_at(start + at, 2))
                .count()
        };
        assert_eq!(logged(Duration::ZERO), 2);
        assert_eq!(logged(Duration::from_millis(900)), 0);
        assert_eq!(logged(Duration::from_secs(2)), 2);
        assert_eq!(refusals.skipped.get(), 11);
    }
}
