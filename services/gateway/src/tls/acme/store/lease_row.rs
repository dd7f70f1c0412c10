//! The lease of a row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::tls::acme::schedule::delta;

/// As it is stored beside the row.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct LeaseRow {
    pub(super) owner: String,
    pub(super) until: DateTime<Utc>,
    pub(super) epoch: u64,
}

impl LeaseRow {
    /// The lease of a new holder. `None`: another one has it. The script of the Redis store does the same.
    pub(super) fn acquire(
        current: Option<&Self>,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Option<Self> {
        let is_held = |lease: &Self| lease.until > now && lease.owner != owner;
        if current.is_some_and(is_held) {
            return None;
        }
        Some(Self {
            owner: owner.to_owned(),
            until: now + delta(ttl),
            epoch: current.map_or(0, |lease| lease.epoch) + 1,
        })
    }

    /// Whether this is the lease of that holder still. An expired one that no one has taken is.
    pub(super) fn is_of(&self, owner: &str, epoch: u64) -> bool {
        self.owner == owner && self.epoch == epoch
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use quartet_common::clock::Clock;

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_epochs_grow() {
        let clock = Clock::manual("2026-11-01T00:00:00Z".parse().unwrap());
        let acquire = |current: Option<&LeaseRow>, owner: &str| {
            LeaseRow::acquire(current, owner, clock.now(), Duration::from_mins(1))
        };
        let first = acquire(None, "a").unwrap();
        assert!(first.is_of("a", 1) && !first.is_of("b", 1));
        assert_eq!(acquire(Some(&first), "b"), None);
        clock.advance(TimeDelta::seconds(59));
        assert_eq!(acquire(Some(&first), "b"), None);
        // The holder itself gets a new epoch: what it began before must not be written any more.
        let again = acquire(Some(&first), "a").unwrap();
        assert!(again.is_of("a", 2) && !again.is_of("a", 1));
        clock.advance(TimeDelta::seconds(60));
        let second = acquire(Some(&again), "b").unwrap();
        assert!(second.is_of("b", 3));
        // The first holder wakes up: neither is its lease that of the row.
        assert!(!second.is_of("a", 2) && !second.is_of("a", 3));
    }
}
