//! Salts: the keys of the visitor hashes, a new one each day.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Days, Duration, NaiveDate, Utc};
use sqlx::PgPool;

use crate::{error::Error, store};

/// Tomorrow's salt is fetched this long before it is needed, so that a database that is
/// away at midnight costs no day its uniques.
const AHEAD: Duration = Duration::hours(1);
/// After this a day's visitors cannot be recognised any more, by anybody.
const KEPT: Duration = Duration::hours(48);

/// The salts of today and tomorrow in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Salts(Arc<RwLock<BTreeMap<NaiveDate, [u8; 16]>>>);

impl Salts {
    /// The salt of the day of `at`; `None` while it could not be had: such visits are
    /// counted without identity.
    pub(crate) fn get(&self, at: DateTime<Utc>) -> Option<[u8; 16]> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&at.date_naive())
            .copied()
    }

    /// Fetches the salts that are needed now and soon, and deletes old ones everywhere.
    pub(crate) async fn rotate(&self, pool: &PgPool, now: DateTime<Utc>) -> Result<(), Error> {
        let today = now.date_naive();
        let mut wanted = vec![today];
        wanted.extend(Some((now + AHEAD).date_naive()).filter(|day| *day != today));
        for day in wanted {
            if self
                .get(day.and_time(chrono::NaiveTime::MIN).and_utc())
                .is_none()
            {
                // The thread's generator is cryptographically secure.
                let proposed: [u8; 16] = rand::random();
                let salt = store::salts::of_day(pool, day, &proposed).await?;
                self.0
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(day, salt);
            }
        }
        let yesterday = today - Days::new(1);
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|day, _| *day >= yesterday);
        store::salts::drop_before(pool, now - KEPT).await
    }
}
