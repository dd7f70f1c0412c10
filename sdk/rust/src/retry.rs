//! When a request is sent again, and after which pause.

use std::time::Duration;

/// How often and how patiently a request is sent again.
///
/// A request is sent again when that cannot do its work twice: it was never sent, the server
/// said that it did not do it (429), its method or its idempotency key allows it.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// How often a request is sent at most; 1: never again.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles from there on. Pauses are drawn between
    /// half of this and all of it.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// A server that asks for a longer pause (`Retry-After`) is not asked again.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            longest_wait: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Every request is sent once.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// The pause after `attempt` attempts; none: give up.
    pub(crate) fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        match retry_after {
            Some(wait) => (wait <= self.longest_wait).then_some(wait),
            None => Some(self.backoff(attempt)),
        }
    }

    /// A random pause that grows with the number of attempts.
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let full = self.first_pause.saturating_mul(doubled);
        full.min(self.longest_pause)
            .mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Whether a request may be sent again after the server may have got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has the same effect however often it is done.
    Always,
    /// Doing it twice would be wrong.
    UnlessSent,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetryPolicy;

    #[test]
    fn pauses_grow_to_a_bound() {
        let policy = RetryPolicy::default();
        for (attempt, most) in [(1, 200), (2, 400), (3, 800)] {
            let pause = policy.pause(attempt, None).unwrap();
            let most = Duration::from_millis(most);
            assert!(pause <= most && pause >= most / 2, "{attempt}: {pause:?}");
        }
        assert_eq!(policy.pause(4, None), None);
        assert!(policy.backoff(1000) <= policy.longest_pause);
    }

    #[test]
    fn the_server_says_how_long_within_reason() {
        let policy = RetryPolicy::default();
        let second = Duration::from_secs(1);
        assert_eq!(policy.pause(1, Some(second)), Some(second));
        assert_eq!(policy.pause(1, Some(Duration::from_mins(1))), None);
        assert_eq!(RetryPolicy::never().pause(1, Some(second)), None);
    }
}
