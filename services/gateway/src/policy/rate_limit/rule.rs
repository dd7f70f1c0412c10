//! What a limit allows, and what is left of it.

use std::time::Duration;

use crate::config::Limit;

/// Slices per window; a request is forgotten up to one slice late.
pub(super) const SLICES: usize = 20;

/// How the requests of one subject are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// At most `requests` in any window.
    Window { requests: u32, slice_ms: u64 },
    /// At most `burst` at once, and one more per interval.
    Bucket { burst: u32, interval_us: u64 },
}

/// The quota after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitDecision {
    pub(super) allowed: bool,
    pub(super) remaining: u32,
    /// Until at least one more request is allowed.
    pub(super) reset: Duration,
}

impl Rule {
    /// For `factor` times the requests of the limit.
    pub(super) fn new(limit: &Limit, factor: u32) -> Self {
        let requests = limit.requests.saturating_mul(factor);
        let Some(burst) = limit.burst else {
            return Self::Window {
                requests,
                slice_ms: slice_ms(limit.window),
            };
        };
        let burst = burst.saturating_mul(factor);
        let refill = u64::from(requests.saturating_sub(burst)).max(1);
        let window = u64::try_from(limit.window.as_micros()).unwrap_or(u64::MAX);
        Self::Bucket {
            burst,
            // Rounded up: rather a little less than the limit than more.
            interval_us: window.div_ceil(refill).max(1),
        }
    }

    /// The longest time for which a subject can be without a quota.
    pub(super) fn longest(self) -> Duration {
        match self {
            Self::Window { slice_ms, .. } => {
                Duration::from_millis(slice_ms.saturating_mul(SLICES as u64 + 1))
            }
            Self::Bucket { burst, interval_us } => {
                Duration::from_micros(interval_us.saturating_mul(burst.into()))
            }
        }
    }

    /// Of a subject that has sent nothing.
    pub(super) fn untouched(self) -> LimitDecision {
        let (Self::Window {
            requests: remaining,
            ..
        }
        | Self::Bucket {
            burst: remaining, ..
        }) = self;
        LimitDecision {
            allowed: remaining > 0,
            remaining,
            reset: Duration::ZERO,
        }
    }
}

/// The length of a slice.
pub(super) fn slice_ms(window: Duration) -> u64 {
    let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    window.div_ceil(SLICES as u64).max(1)
}
