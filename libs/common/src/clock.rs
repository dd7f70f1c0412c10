//! The only source of the current time and of time-ordered ids, so that tests can control both.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SubsecRound, Utc};
use uuid::{Builder, Uuid};

/// Bits of an id that order the ids of one millisecond.
const COUNTER_BITS: u32 = 12;

/// A clock. Cheap to clone; clones of a manual clock share its time.
#[derive(Clone, Debug)]
pub struct Clock {
    manual: Option<Arc<Mutex<DateTime<Utc>>>>,
    /// Milliseconds and counter of the last id.
    last_id: Arc<AtomicU64>,
}

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self {
            manual: None,
            last_id: Arc::default(),
        }
    }

    /// A clock that only [`Clock::advance`] moves.
    #[cfg(feature = "testing")]
    pub fn manual(now: DateTime<Utc>) -> Self {
        Self {
            manual: Some(Arc::new(Mutex::new(now))),
            last_id: Arc::default(),
        }
    }

    /// Moves a manual clock forward. Has no effect on the system clock.
    #[cfg(feature = "testing")]
    pub fn advance(&self, by: chrono::Duration) {
        if let Some(now) = &self.manual {
            *now.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }

    /// The current time in microseconds, the precision of Postgres, so that a stored time equals the
    /// original.
    pub fn now(&self) -> DateTime<Utc> {
        let now = match &self.manual {
            Some(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
            #[expect(clippy::disallowed_methods, reason = "this is the clock")]
            None => Utc::now(),
        };
        now.trunc_subsecs(6)
    }

    /// The current time as the time since 1970, without a calendar in between.
    pub fn since_epoch(&self) -> Duration {
        match &self.manual {
            Some(_) => {
                Duration::from_micros(u64::try_from(self.now().timestamp_micros()).unwrap_or(0))
            }
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// A new identifier (RFC 9562, version 7); later ones of this process sort after earlier ones.
    ///
    /// The counter starts again with every millisecond, and runs over into the time in one with more
    /// than four thousand ids. Sixty-two bits are random, from a generator of the thread that the
    /// operating system has seeded.
    pub fn uuid_v7(&self) -> Uuid {
        let millis = self.since_epoch().as_millis();
        let now = u64::try_from(millis).unwrap_or(0) << COUNTER_BITS;
        let next = |last: u64| now.max(last + 1);
        let last = self
            .last_id
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(next(last))
            })
            .unwrap_or_else(|last| last);
        let id = next(last);
        let [.., high, low] = id.to_be_bytes();
        let random: [u8; 8] = rand::random();
        let mut rest = [high & 0x0f, low, 0, 0, 0, 0, 0, 0, 0, 0];
        rest[2..].copy_from_slice(&random);
        Builder::from_unix_timestamp_millis(id >> COUNTER_BITS, &rest).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_the_time_and_sort_in_order() {
        let clock = Clock::system();
        let before = clock.now().timestamp_millis();
        let ids: Vec<Uuid> = (0..20_000).map(|_| clock.uuid_v7()).collect();
        assert!(ids.is_sorted_by(|one, other| one < other));
        let (seconds, nanoseconds) = ids[0].get_timestamp().unwrap().to_unix();
        let ms = i64::try_from(seconds * 1000 + u64::from(nanoseconds / 1_000_000)).unwrap();
        assert!((before..before + 1000).contains(&ms));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(
            ids.iter()
                .all(|id| id.get_variant() == uuid::Variant::RFC4122)
        );
    }
}
