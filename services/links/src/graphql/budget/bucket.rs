//! A token bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes of a document or a message that cost one unit.
const BYTES_PER_UNIT: usize = 100;

/// How many units a bucket holds, and how many it regains per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

/// What is left of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Balance {
    pub(crate) left: u32,
    /// When the bucket is full again.
    pub(crate) full_in: Duration,
}

#[derive(Debug)]
pub(super) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst.into(),
            at: now,
        }
    }

    pub(super) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.left >= f64::from(rate.burst)
    }

    /// Takes `cost` units, all or none.
    ///
    /// # Errors
    /// The time after which there are enough.
    pub(super) fn take(&mut self, cost: u32, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.refill(rate, now);
        // More than the bucket holds is never there.
        let cost = f64::from(cost.min(rate.burst));
        if cost > self.left {
            return Err(seconds((cost - self.left) / f64::from(rate.per_second)));
        }
        self.left -= cost;
        Ok(())
    }

    /// Takes `cost` units even if there are fewer. Returns the time until the bucket has made up for
    /// it.
    pub(super) fn owe(&mut self, cost: u32, rate: Rate, now: Instant) -> Duration {
        self.refill(rate, now);
        self.left -= f64::from(cost);
        seconds((-self.left).max(0.0) / f64::from(rate.per_second))
    }

    pub(super) fn balance(&mut self, rate: Rate, now: Instant) -> Balance {
        self.refill(rate, now);
        let missing = f64::from(rate.burst) - self.left;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to the burst"
        )]
        let left = self.left as u32;
        Balance {
            left,
            full_in: seconds(missing / f64::from(rate.per_second)),
        }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let refilled = self.left + passed * f64::from(rate.per_second);
        self.left = refilled.min(rate.burst.into());
        self.at = now;
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// What a document or a message of this size costs by itself.
pub(crate) fn units_of_bytes(bytes: usize) -> u32 {
    units(1 + bytes / BYTES_PER_UNIT)
}

pub(super) fn units(cost: usize) -> u32 {
    u32::try_from(cost).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_refills() {
        let rate = Rate {
            burst: 100,
            per_second: 10,
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::full(rate, start);
        assert_eq!(bucket.take(90, rate, at(0)), Ok(()));
        assert_eq!(bucket.take(20, rate, at(0)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(20, rate, at(1)), Ok(()));
        let balance = bucket.balance(rate, at(2));
        assert_eq!(
            (balance.left, balance.full_in),
            (10, Duration::from_secs(9))
        );
        assert!(!bucket.is_full(rate, at(10)));
        assert!(bucket.is_full(rate, at(11)));
        assert_eq!(
            bucket.balance(rate, at(1000)).left,
            100,
            "never more than the burst"
        );
        assert_eq!(bucket.owe(40, rate, at(1000)), Duration::ZERO);
        assert_eq!(bucket.owe(80, rate, at(1000)), Duration::from_secs(2));
        assert_eq!(
            bucket.take(1, rate, at(1001)),
            Err(Duration::from_millis(1100))
        );
        assert_eq!(bucket.balance(rate, at(1001)).left, 0);
        // A cost above the burst waits for a full bucket instead of forever.
        assert_eq!(bucket.take(1000, rate, at(2000)), Ok(()));
        assert_eq!(bucket.balance(rate, at(2000)).left, 0);
    }
}
