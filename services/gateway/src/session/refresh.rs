//! Keeps the access token of a session valid: one refresh per session at a time, over all replicas, since
//! providers end sessions whose refresh token is used twice.
//!
//! The refresh is a task of its own: a client that disconnects must not lose the new tokens. Other requests
//! that need them wait, for a bounded time, and then find them in the store.

use std::{sync::Arc, time::Duration};

use http::Method;
use quartet_common::causes;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    failure::LoginFailure,
    ids::random_name,
    live::Session,
    login::Login,
    provider::{ProviderError, TokenSet, renewed_identity},
    record::{Record, Tokens},
    store::Store,
};
use crate::request::Headers;

/// An access token that expires within this time is replaced before it is used.
const AHEAD_SECONDS: i64 = 30;
/// Least time between two attempts while the provider is away.
const RETRY_SECONDS: i64 = 10;
/// How often a loser of the lock looks for the winner's tokens.
const POLL: Duration = Duration::from_millis(50);
/// What a winner may take beside the provider's time.
const MARGIN: Duration = Duration::from_secs(2);

impl Login {
    /// Whether upstreams get the access token.
    pub(super) fn needs_token(&self) -> bool {
        self.config.access_token_header.is_some()
    }

    /// Whether something has to be done before the session is used.
    pub(super) fn is_due(&self, session: &Session, now: i64) -> bool {
        if !session.expires_within(now, AHEAD_SECONDS) {
            return false;
        }
        let has_expired = session.expires_within(now, 0);
        if self.needs_token() && has_expired {
            return true;
        }
        session.record.tokens.refresh.is_some() && !has_failed(session, now)
    }

    /// The session of a request, with tokens that are valid as far as upstreams get them.
    ///
    /// # Errors
    /// [`LoginFailure`], when the store or the provider does not answer and the session is of no use without.
    pub(crate) async fn find(
        self: &Arc<Self>,
        headers: &dyn Headers,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        let Some(session) = self.stored(headers).await? else {
            return Ok(None);
        };
        self.usable(session).await
    }

    /// # Errors
    /// As [`find`](Self::find).
    pub(super) async fn usable(
        self: &Arc<Self>,
        session: Arc<Session>,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        if self.is_revoked(&session) {
            self.store.remove(&session.key).await?;
            return Ok(None);
        }
        if !self.is_due(&session, self.now()) {
            return Ok(Some(session));
        }
        let task = tokio::spawn(Arc::clone(self).refresh(session));
        task.await.unwrap_or(Err(ProviderError::Recently.into()))
    }

    async fn refresh(
        self: Arc<Self>,
        session: Arc<Session>,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        let limit = self.config.provider.timeout + MARGIN;
        let held = Arc::clone(&session);
        let Ok(_turn) = timeout(limit, held.refresh_lock().lock()).await else {
            return self.without_refresh(session, ProviderError::Recently);
        };
        match &self.store {
            Store::Memory(_) => {
                let Some(newest) = self.store.find(&session.key, self.now()).await? else {
                    return Ok(None);
                };
                self.refresh_newest(newest).await
            }
            Store::Redis(store) => {
                let (owner, deadline) = (random_name(), Instant::now() + limit);
                loop {
                    let Some(newest) = store.find_newest(&session.key, self.now()).await? else {
                        return Ok(None);
                    };
                    if newest.record.generation != session.record.generation {
                        return Ok(Some(newest));
                    }
                    if store.lock(&session.key, &owner, limit).await? {
                        let refreshed = self.refresh_locked(&session).await;
                        store.unlock(&session.key, &owner).await;
                        return refreshed;
                    }
                    if Instant::now() >= deadline {
                        return self.without_refresh(session, ProviderError::Recently);
                    }
                    sleep(POLL).await;
                }
            }
        }
    }

    /// The winner before may have ended between the look and the lock.
    async fn refresh_locked(
        &self,
        session: &Session,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        let Store::Redis(store) = &self.store else {
            return Ok(None);
        };
        match store.find_newest(&session.key, self.now()).await? {
            Some(newest) if newest.record.generation == session.record.generation => {
                self.refresh_newest(newest).await
            }
            newest => Ok(newest),
        }
    }

    async fn refresh_newest(
        &self,
        session: Arc<Session>,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        let now = self.now();
        if !session.expires_within(now, AHEAD_SECONDS) {
            return Ok(Some(session));
        }
        if has_failed(&session, now) {
            return self.without_refresh(session, ProviderError::Recently);
        }
        let Some(refresh) = session.record.tokens.refresh.clone() else {
            // Nothing can make it useful again; the user logs in.
            self.store.remove(&session.key).await?;
            return Ok(None);
        };
        match self.renew(&session, &refresh).await {
            Ok(record) => {
                self.counts.refreshed.inc();
                let renewed = Arc::new(session.renewed(&self.config.name, record));
                self.store.replace(Arc::clone(&renewed)).await?;
                Ok(Some(renewed))
            }
            Err(error) if ends_session(&error) => {
                self.note_failure(&error);
                self.store.remove(&session.key).await?;
                Ok(None)
            }
            Err(error) => {
                self.note_failure(&error);
                session.note_failure(self.now());
                self.without_refresh(session, error)
            }
        }
    }

    fn note_failure(&self, error: &ProviderError) {
        self.counts.refresh_failed.inc();
        tracing::warn!(target: "quartet", login = &*self.config.name, error = causes(error),
            "refreshing a session failed");
    }

    /// The session as it is, if that is of use.
    fn without_refresh(
        &self,
        session: Arc<Session>,
        error: ProviderError,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        if self.needs_token() && session.expires_within(self.now(), 0) {
            return Err(error.into());
        }
        Ok(Some(session))
    }

    async fn renew(&self, session: &Session, refresh: &str) -> Result<Record, ProviderError> {
        let (before, provider) = (&session.record, &self.config.provider);
        let set = if self.config.is_core() {
            self.refresh_at_core(refresh).await?
        } else {
            let metadata = self.metadata.get(provider, &self.client).await?;
            TokenSet::of_refresh(refresh, (provider, &metadata, &self.client)).await?
        };
        let now = self.now();
        let verifier = self.verifier.as_ref();
        let identity = match &set.id_token {
            Some(token) if !self.config.is_core() => {
                renewed_identity(Some(token), &before.identity, now, provider, verifier).await?
            }
            _ => before.identity.clone(),
        };
        if let (true, Some(verifier)) = (self.config.is_core(), verifier) {
            // The page has sent both tokens, so they may be of two users.
            let token = set.access_token.as_deref();
            let token = token.ok_or(ProviderError::Missing("access_token"))?;
            if verifier.verify(token).await?.sub != identity.subject {
                return Err(ProviderError::Mismatch("sub"));
            }
        }
        let tokens: Tokens = set.into_tokens(now, Some(&before.tokens));
        Ok(Record {
            identity,
            tokens,
            generation: before.generation + 1,
            ..before.clone()
        })
    }

    async fn refresh_at_core(&self, refresh: &str) -> Result<TokenSet, ProviderError> {
        let url = self.config.provider.refresh_url.clone();
        let url = url.ok_or(ProviderError::Endpoint("refresh_url"))?;
        let body = json!({ "refresh_token": refresh });
        let answer = self
            .client
            .ask_core(Method::POST, url, None, Some(&body))
            .await?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

fn has_failed(session: &Session, now: i64) -> bool {
    now < session.failed_at().saturating_add(RETRY_SECONDS)
}

/// Whether the refresh token will never be accepted again, or the user is another one.
fn ends_session(error: &ProviderError) -> bool {
    match error {
        ProviderError::Refused(code) => code == "invalid_grant" || code == "bad_refresh_token",
        // Of core.
        ProviderError::Status(status) => *status == 401,
        ProviderError::Mismatch(_) => true,
        _ => false,
    }
}
