//! The only source of the current time and of time-ordered ids, so that tests can control both.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SubsecRound, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

/// A clock. Cheap to clone; clones of a manual clock share its time.
#[derive(Clone, Debug)]
pub struct Clock {
    manual: Option<Arc<Mutex<DateTime<Utc>>>>,
    /// Orders ids of the same millisecond.
    context: Arc<Mutex<ContextV7>>,
}

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self {
            manual: None,
            context: Arc::default(),
        }
    }

    /// A clock that only [`Clock::advance`] moves.
    #[cfg(feature = "testing")]
    pub fn manual(now: DateTime<Utc>) -> Self {
        Self {
            manual: Some(Arc::new(Mutex::new(now))),
            context: Arc::default(),
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

    /// A new identifier (RFC 9562, version 7); later ones of this process sort after earlier ones.
    pub fn uuid_v7(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::new_v7(Timestamp::from_unix(
            &*context,
            seconds,
            now.timestamp_subsec_nanos(),
        ))
    }
}
