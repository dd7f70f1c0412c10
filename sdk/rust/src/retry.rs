//! When a request is retried, and after which pause.

use std::time::Duration;

/// How often a request is retried, and how long to wait.
///
/// A request is retried only if it cannot take effect twice: it was never sent, the server has
/// refused to carry it out (429), or its method or idempotency key makes it safe to retry.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The maximum number of attempts; 1 disables retries.
    pub attempts: u32,
    /// The pause before the second attempt, doubled for each further one. The actual pause is
    /// random, between half of this and all of it.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// A request is not retried if the server asks for a longer pause (`Retry-After`).
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

    /// The pause after this number of attempts; `None` to give up.
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

/// Whether a request may be sent again after the server may have received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It takes effect once, however often it is sent.
    Always,
    /// It could take effect twice.
    UnlessSent,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetryPolicy;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let policy = RetryPolicy::default();
        for (attempt, limit) in [(1, 200), (2, 400), (3, 800)] {
            let pause = policy.pause(attempt, None).unwrap();
            let limit = Duration::from_millis(limit);
            assert!(pause <= limit && pause >= limit / 2, "{attempt}: {pause:?}");
        }
        assert_eq!(policy.pause(4, None), None);
        assert!(policy.backoff(1000) <= policy.longest_pause);
    }

    #[test]
    fn retry_after_is_honored_up_to_a_limit() {
        let policy = RetryPolicy::default();
        let second = Duration::from_secs(1);
        assert_eq!(policy.pause(1, Some(second)), Some(second));
        assert_eq!(policy.pause(1, Some(Duration::from_mins(1))), None);
        assert_eq!(RetryPolicy::never().pause(1, Some(second)), None);
    }
}
