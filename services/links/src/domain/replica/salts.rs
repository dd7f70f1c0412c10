//! Salts: the keys of the visitor hashes, one per UTC day, shared by all replicas.
//!
//! ```text
//!  fetched               used                  deleted everywhere
//!  day - 1, 23:00        day 00:00 - 24:00     day + 2, 00:00
//! ```
//!
//! A salt is fetched an hour early, so that a database outage around midnight costs no uniques. It
//! is deleted 48 hours after its day began; from then on the hashes of that day are anonymous for
//! good. A day has one salt: the first replica to need it proposes one, and the database returns
//! the same to all, since two salts would count one visitor twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Days, Duration, NaiveDate, NaiveTime, Utc};
use sqlx::PgConnection;

use crate::{domain::values::visitor::VisitorKey, store};

const FETCH_AHEAD: Duration = Duration::hours(1);
const LIFETIME: Duration = Duration::hours(48);

/// The keys of the current days, in memory. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Salts {
    host: Arc<str>,
    keys: Arc<RwLock<BTreeMap<NaiveDate, VisitorKey>>>,
}

impl Salts {
    /// `host` is part of every hash.
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.into(),
            keys: Arc::default(),
        }
    }

    /// The key of the day of `at`; `None` if its salt could not be fetched yet.
    pub(crate) fn get(&self, at: DateTime<Utc>) -> Option<VisitorKey> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&at.date_naive())
            .cloned()
    }

    /// Forgets the salts of past days. Needs no database: an outage must not keep them in memory.
    pub(crate) fn forget_expired(&self, now: DateTime<Utc>) {
        let oldest = now.date_naive() - Days::new(1);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|day, _| *day >= oldest);
    }

    /// Fetches the salts that are needed now and within the hour, and deletes expired ones in the
    /// database.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn rotate(
        &self,
        db: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let today = now.date_naive();
        let mut days = vec![today, (now + FETCH_AHEAD).date_naive()];
        days.dedup();
        for day in days {
            if self.get(day.and_time(NaiveTime::MIN).and_utc()).is_none() {
                // The thread-local generator is cryptographically secure.
                let proposed: [u8; 16] = rand::random();
                let salt = store::salts::get_or_insert(db, day, &proposed).await?;
                self.insert(day, salt);
            }
        }
        store::salts::delete_before(db, now - LIFETIME).await
    }

    fn insert(&self, day: NaiveDate, salt: [u8; 16]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(day, VisitorKey::new(&salt, &self.host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_of_past_days_are_forgotten_without_a_database() {
        let salts = Salts::new("l.example");
        let now: DateTime<Utc> = "2026-05-03T12:00:00Z".parse().unwrap();
        let day = |days| now - Duration::days(days);
        for days in 0..4 {
            salts.insert(day(days).date_naive(), [7; 16]);
        }
        salts.forget_expired(now);
        let known = [0, 1, 2, 3].map(|days| salts.get(day(days)).is_some());
        assert_eq!(known, [true, true, false, false]);
    }
}
