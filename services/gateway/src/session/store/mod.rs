//! Where sessions and flows are: in this process, or in a Redis that all replicas share.

mod commands;
mod flows;
mod memory;
mod redis;
mod types;

use std::sync::Arc;

pub(crate) use commands::CommandStore;
pub(crate) use memory::MemoryStore;
pub(crate) use redis::RedisStore;
pub(crate) use types::{CachedSession, SessionFilter, SessionPage, StoreAway, StoreError};

use super::{
    flow::{Flow, FlowClient},
    ids::SessionKey,
    live::Session,
};
use crate::revocations::open::OpenSessions;

/// The store of one login.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Memory(Arc<MemoryStore>),
    Redis(Arc<RedisStore>),
}

impl Store {
    /// Without waiting. `Unknown`: it has to be asked.
    pub(crate) fn find_now(&self, key: &SessionKey, now: i64) -> CachedSession {
        match self {
            Self::Memory(store) => store
                .find(key, now)
                .map_or(CachedSession::None, CachedSession::Session),
            Self::Redis(store) => store
                .cached(key, now)
                .map_or(CachedSession::Unknown, CachedSession::Session),
        }
    }

    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn find(
        &self,
        key: &SessionKey,
        now: i64,
    ) -> Result<Option<Arc<Session>>, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.find(key, now)),
            Self::Redis(store) => store.find(key, now).await,
        }
    }

    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn insert(&self, session: Arc<Session>, now: i64) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.insert(session, now),
            Self::Redis(store) => Ok(store.insert(session, now).await?),
        }
    }

    /// Puts other tokens in the place of those before, unless the session has ended.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn replace(&self, session: Arc<Session>) -> Result<(), StoreAway> {
        match self {
            Self::Memory(store) => {
                store.replace(session);
                Ok(())
            }
            Self::Redis(store) => store.replace(session).await,
        }
    }

    /// Notes that a session was used: only that lets its idle time begin again.
    pub(crate) fn touch(&self, session: &Session, now: i64) {
        session.see(now);
        if let Self::Redis(store) = self {
            store.touch(session, now);
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn remove(&self, key: &SessionKey) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.remove(key)),
            Self::Redis(store) => store.remove(key).await,
        }
    }

    /// Ends all sessions of a user, or of a session at the provider. How many there were.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn remove_of(&self, owner: &Owner<'_>) -> Result<usize, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.remove_of(&owner.key())),
            Self::Redis(store) => store.remove_of(&owner.key()).await,
        }
    }

    /// Whether any session of a user has a session at the provider.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn has_sid(&self, owner: &Owner<'_>, now: i64) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.has_sid(&owner.key())),
            Self::Redis(store) => store.has_sid(&owner.key(), now).await,
        }
    }

    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn insert_flow(
        &self,
        state: SessionKey,
        flow: Flow,
        client: FlowClient,
        max_flows: usize,
    ) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => {
                store.insert_flow(state, flow, client, max_flows);
                Ok(())
            }
            Self::Redis(store) => store.insert_flow(state, flow, client, max_flows).await,
        }
    }

    /// The flow as it was, which is used from now on.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn take_flow(&self, state: &SessionKey) -> Result<Option<Flow>, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.take_flow(state)),
            Self::Redis(store) => store.take_flow(state).await,
        }
    }

    /// The next [`is_first`](Self::is_first) of this name is the first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn forget_name(&self, name: &SessionKey) -> Result<(), StoreAway> {
        match self {
            Self::Memory(store) => {
                store.forget_name(name);
                Ok(())
            }
            Self::Redis(store) => store.forget_name(name).await,
        }
    }

    /// Whether a name is there for the first time within this time.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn is_first(
        &self,
        name: &SessionKey,
        until: i64,
        now: i64,
    ) -> Result<bool, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.is_first(name, until, now)),
            Self::Redis(store) => store.is_first(name, until - now).await,
        }
    }

    /// Whether [`list`](Self::list) can begin behind this.
    pub(crate) fn is_cursor(&self, after: &str) -> bool {
        match self {
            Self::Memory(_) => SessionKey::from_hex(after).is_some(),
            Self::Redis(_) => RedisStore::is_cursor(after),
        }
    }

    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<SessionPage, StoreAway> {
        match self {
            Self::Memory(store) => Ok(store.list(after, limit, now)),
            Self::Redis(store) => store.list(after, limit, now).await,
        }
    }

    /// The session that operators know by this id.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn find_shown(&self, shown: &str) -> Result<Option<SessionKey>, StoreAway> {
        // All else is a pattern to Redis.
        if !SessionKey::is_shown(shown) {
            return Ok(None);
        }
        match self {
            Self::Memory(store) => Ok(store.find_shown(shown)),
            Self::Redis(store) => store.find_shown(shown).await,
        }
    }

    /// What closes sockets at the end of their session.
    pub(crate) fn open(&self) -> &Arc<OpenSessions> {
        match self {
            Self::Memory(store) => store.open(),
            Self::Redis(store) => store.open(),
        }
    }
}

/// Whose sessions are ended together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'o> {
    ProviderSession { issuer: &'o str, sid: &'o str },
    User { issuer: &'o str, subject: &'o str },
}

impl Owner<'_> {
    /// Of the index.
    pub(crate) fn key(&self) -> SessionKey {
        types::owner_key(match self {
            Self::ProviderSession { issuer, sid } => ["sid", issuer, sid],
            Self::User { issuer, subject } => ["sub", issuer, subject],
        })
    }
}
