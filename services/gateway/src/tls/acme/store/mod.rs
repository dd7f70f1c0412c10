//! Where certificates, the account and challenges are kept: rows with names, each with a lease, and a table
//! of challenges.

mod contract;
mod directory;
mod lease_row;
mod redis;

use std::{collections::HashMap, time::Duration};

use ::redis::RedisError;
use quartet_common::clock::Clock;

use crate::config::acme::AcmeStore;
use contract::{Holder, MAX_ROW_BYTES};
pub(super) use contract::{NO_ROW, StoreError};
use directory::DirectoryStore;
use redis::RedisStore;

pub(super) enum Store {
    Directory(DirectoryStore),
    Redis(Box<RedisStore>),
}

impl Store {
    /// # Errors
    /// When no client can be built from the settings.
    pub(super) fn new(config: &AcmeStore, clock: Clock) -> Result<Self, RedisError> {
        Ok(match config {
            AcmeStore::Directory(path) => Self::Directory(DirectoryStore::new(path, clock)),
            AcmeStore::Redis { server, key_prefix } => {
                Self::Redis(Box::new(RedisStore::new(server, key_prefix)?))
            }
        })
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Redis(_) => "redis",
        }
    }

    /// The row of this name, if there is one.
    ///
    /// # Errors
    /// When the store is away, as of all the others.
    pub(super) async fn load(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row = match self {
            Self::Directory(store) => store.load(name).await,
            Self::Redis(store) => store.load(name).await,
        }?;
        match row {
            Some(row) if row.len() > MAX_ROW_BYTES => {
                Err(StoreError::Refused(format!("a row of {} bytes", row.len())))
            }
            row => Ok(row.filter(|row| row != NO_ROW)),
        }
    }

    /// The epoch of a new lease. `None`: another owner has one.
    pub(super) async fn acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Directory(store) => store.acquire(name, owner, ttl).await,
            Self::Redis(store) => store.acquire(name, owner, ttl).await,
        }
    }

    /// False: the lease is another one's.
    pub(super) async fn extend(
        &self,
        name: &str,
        holder: Holder<'_>,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Directory(store) => store.extend(name, holder, ttl).await,
            Self::Redis(store) => store.extend(name, holder, ttl).await,
        }
    }

    /// False: the lease is another one's, and nothing was written.
    pub(super) async fn put(
        &self,
        name: &str,
        holder: Holder<'_>,
        row: &str,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Directory(store) => store.put(name, holder, row).await,
            Self::Redis(store) => store.put(name, holder, row).await,
        }
    }

    pub(super) async fn release(&self, name: &str, holder: Holder<'_>) -> Result<bool, StoreError> {
        self.extend(name, holder, Duration::ZERO).await
    }

    /// All challenges, by their tokens.
    pub(super) async fn challenges(&self) -> Result<HashMap<String, String>, StoreError> {
        match self {
            Self::Directory(store) => store.challenges().await,
            Self::Redis(store) => store.challenges().await,
        }
    }

    pub(super) async fn add_challenge(
        &self,
        token: &str,
        answer: &str,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        match self {
            Self::Directory(store) => store.add_challenge(token, answer, ttl).await,
            Self::Redis(store) => store.add_challenge(token, answer, ttl).await,
        }
    }

    pub(super) async fn remove_challenge(&self, token: &str) -> Result<(), StoreError> {
        match self {
            Self::Directory(store) => store.remove_challenge(token).await,
            Self::Redis(store) => store.remove_challenge(token).await,
        }
    }
}
