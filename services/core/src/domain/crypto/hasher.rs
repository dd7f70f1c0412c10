//! Argon2id, bounded in CPU and in waiting.
//!
//! A caller takes a [`Permit`] before it hashes. Taking one passes three gates, in this order:
//!
//! ```text
//! queue (max_waiting + max_concurrent)  full: `TooBusy` (503) at once
//!   -> shard of the account (mutex)     attempts on one account run one after the other
//!     -> running (max_concurrent)       bounds CPU and memory: each hash takes `memory_kib`
//! ```
//!
//! Invariants:
//! - The shard comes before the running slot. In the other order, attempts on one account would
//!   hold every slot while they wait for each other, and no one else could log in.
//! - A permit is held until the outcome of an attempt is stored, so the next attempt on the account
//!   sees it. Otherwise parallel guesses would all pass the throttle before the first one counts.
//! - The running slot moves into the blocking task. A client that disconnects drops its request,
//!   not the hash: if the slot were freed at once, more hashes than slots could run.

use std::{fmt, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::PasswordHash,
};
use prometheus_client::metrics::counter::Counter;
use quartet_common::config::ConfigError;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::{config::Passwords, error::Error};

/// Two accounts on one shard wait for each other, which is rare and short.
const SHARDS: usize = 256;

/// Cheap to clone; clones share the bounds.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Inner>);

struct Inner {
    argon2: Argon2<'static>,
    running: Arc<Semaphore>,
    queue: Semaphore,
    shards: Box<[Mutex<()>]>,
    /// Verified when the account does not exist, so that both cases take the same time.
    decoy: String,
    count: Counter,
}

/// The result of comparing a password with a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    Invalid,
    Valid,
    /// Valid, but hashed with other parameters than the current ones.
    ValidNeedsRehash,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// # Errors
    /// When argon2 rejects the parameters.
    pub(crate) fn new(settings: &Passwords, count: Counter) -> Result<Self, ConfigError> {
        let invalid = |error: String| ConfigError::invalid("passwords.memory_kib", error);
        let params = Params::new(
            settings.memory_kib,
            settings.iterations,
            settings.parallelism,
            None,
        )
        .map_err(|error| invalid(error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = argon2
            .hash_password(&rand::random::<[u8; 16]>())
            .map_err(|error| invalid(error.to_string()))?
            .to_string();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let max_concurrent = if settings.max_concurrent == 0 {
            cores
        } else {
            settings.max_concurrent
        };
        Ok(Self(Arc::new(Inner {
            argon2,
            running: Arc::new(Semaphore::new(max_concurrent)),
            queue: Semaphore::new(settings.max_waiting + max_concurrent),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            decoy,
            count,
        })))
    }

    /// Waits for the right to hash. Permits with the same `shard_key` are given out one at a time;
    /// without a key only the bounds apply.
    ///
    /// # Errors
    /// `TooBusy` when the queue is full.
    pub(crate) async fn permit(&self, shard_key: Option<&str>) -> Result<Permit<'_>, Error> {
        let inner = &self.0;
        let queued = inner.queue.try_acquire().map_err(|_| Error::TooBusy)?;
        let shard = match shard_key {
            Some(key) => Some(inner.shards[shard_of(key)].lock().await),
            None => None,
        };
        let running = Arc::clone(&inner.running).acquire_owned().await;
        Ok(Permit {
            inner: Arc::clone(inner),
            running: Arc::new(running.expect("the semaphore is never closed")),
            _shard: shard,
            _queued: queued,
        })
    }
}

/// The right to hash and rate passwords, one at a time, until it is dropped.
pub(crate) struct Permit<'a> {
    inner: Arc<Inner>,
    running: Arc<OwnedSemaphorePermit>,
    _shard: Option<MutexGuard<'a, ()>>,
    _queued: SemaphorePermit<'a>,
}

impl Permit<'_> {
    /// A PHC string with a new salt.
    pub(crate) async fn hash(&mut self, password: SecretString) -> Result<String, Error> {
        let inner = Arc::clone(&self.inner);
        self.run(move || {
            inner.count.inc();
            let hashed = inner
                .argon2
                .hash_password(password.expose_secret().as_bytes());
            hashed
                .map(|hash| hash.to_string())
                .map_err(|_| Error::Crypto("hashing failed"))
        })
        .await?
    }

    /// Compares with a stored PHC string. Without one it does the same work and returns `Invalid`.
    pub(crate) async fn verify(
        &mut self,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<Verification, Error> {
        let inner = Arc::clone(&self.inner);
        self.run(move || {
            inner.count.inc();
            let exists = stored.is_some();
            let stored = stored.as_deref().unwrap_or(&inner.decoy);
            let matches = inner
                .argon2
                .verify_password(password.expose_secret().as_bytes(), stored)
                .is_ok();
            match (exists && matches, is_current(stored, &inner.argon2)) {
                (false, _) => Verification::Invalid,
                (true, true) => Verification::Valid,
                (true, false) => Verification::ValidNeedsRehash,
            }
        })
        .await
    }

    /// Runs CPU-bound work on a blocking thread, within the bounds of this permit.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let running = Arc::clone(&self.running);
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(running);
            result
        })
        .await
        .map_err(|_| Error::Crypto("password work panicked"))
    }
}

fn shard_of(key: &str) -> usize {
    usize::try_from(crc32fast::hash(key.as_bytes())).unwrap_or(0) % SHARDS
}

fn is_current(stored: &str, argon2: &Argon2<'_>) -> bool {
    let params = PasswordHash::new(stored)
        .ok()
        .and_then(|hash| Params::try_from(&hash).ok());
    let current = argon2.params();
    params.is_some_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost())
            == (current.m_cost(), current.t_cost(), current.p_cost())
    })
}
