//! What operators see and do.

use super::{
    login::Login,
    store::{SessionFilter, SessionPage, StoreAway},
};

/// Sessions that are read at once.
const PAGE: usize = 500;
/// Pages of one round; there are no more sessions than this by far.
const MAX_PAGES: usize = 100_000;

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

    /// Ends the session that operators know by this id. False: there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn end_shown(&self, shown: &str) -> Result<bool, StoreAway> {
        let ended = self
            .end_where(|session| session.key.shown() == shown)
            .await?;
        Ok(ended > 0)
    }

    /// Ends all sessions that match; how many.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn end_matching(&self, filter: SessionFilter<'_>) -> Result<usize, StoreAway> {
        self.end_where(|session| filter.matches(session)).await
    }

    async fn end_where(
        &self,
        is_meant: impl Fn(&super::Session) -> bool,
    ) -> Result<usize, StoreAway> {
        let (mut after, mut found) = (None, Vec::new());
        for _ in 0..MAX_PAGES {
            let page = self.list(after.as_deref(), PAGE).await?;
            let meant = page.sessions.iter().filter(|session| is_meant(session));
            found.extend(meant.map(|session| session.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut ended = 0;
        for key in found {
            ended += usize::from(self.store.remove(&key).await?);
        }
        Ok(ended)
    }
}
