//! What operators see and do.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::{
    login::Login,
    store::{SessionFilter, SessionPage, StoreAway},
};

/// Sessions that are read at once, and of which those that match end before others are read.
const BATCH: usize = 500;
/// Sessions that one request reads at most.
const MAX_READ: usize = 5_000;
/// No batch begins after this time, as the answer would be late for who has asked.
const MAX_TIME: Duration = Duration::from_secs(5);
/// Sessions that end at the same time.
const AT_ONCE: usize = 50;

/// What one request has ended.
#[derive(Debug)]
pub(crate) struct EndedSessions {
    pub(crate) count: usize,
    /// Where the next request continues. `None`: all were read.
    pub(crate) next: Option<String>,
}

impl Login {
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SessionPage, StoreAway> {
        self.store.list(after, limit, self.now()).await
    }

    /// Whether a list can begin behind this.
    pub(crate) fn is_cursor(&self, after: &str) -> bool {
        self.store.is_cursor(after)
    }

    /// Ends the session that operators know by this id. False: there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn end_shown(&self, shown: &str) -> Result<bool, StoreAway> {
        match self.store.find_shown(shown).await? {
            Some(key) => self.store.remove(&key).await,
            None => Ok(false),
        }
    }

    /// Ends the sessions that match, batch by batch, as far as one request may take.
    ///
    /// # Errors
    /// When the store does not answer. What has ended before stays so, and the request can be repeated.
    pub(crate) async fn end_matching(
        &self,
        filter: SessionFilter<'_>,
        after: Option<&str>,
    ) -> Result<EndedSessions, StoreAway> {
        let deadline = Instant::now() + MAX_TIME;
        let mut next = after.map(str::to_owned);
        let mut count = 0;
        for _ in 0..MAX_READ / BATCH {
            let page = self.list(next.as_deref(), BATCH).await?;
            let meant = page.sessions.iter().filter(|it| filter.matches(it));
            let meant: Vec<_> = meant.map(|session| session.key).collect();
            for keys in meant.chunks(AT_ONCE) {
                let removed = try_join_all(keys.iter().map(|key| self.store.remove(key))).await?;
                count += removed.into_iter().filter(|removed| *removed).count();
            }
            next = page.next;
            if next.is_none() || Instant::now() >= deadline {
                break;
            }
        }
        Ok(EndedSessions { count, next })
    }
}
