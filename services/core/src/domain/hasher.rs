//! argon2id, bounded: as many hashes at once as there are cores, and a short queue.
//!
//! Who wants to hash takes a [`Turn`] first. What is done while it is held, the next one in the
//! same lane sees: that is how guesses at one account are counted one after the other.

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

/// Different accounts that share a lane only wait for each other a little.
const LANES: usize = 256;

/// Cheap to clone; clones share the bounds.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Inner>);

struct Inner {
    argon2: Argon2<'static>,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    lanes: Box<[Mutex<()>]>,
    /// Verified when there is no such user, so that both take the same time.
    decoy: String,
    count: Counter,
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, but hashed with other parameters than the current ones.
    RightButOld,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// # Errors
    /// When argon2 does not take the parameters.
    pub(crate) fn new(settings: &Passwords, count: Counter) -> Result<Self, ConfigError> {
        let wrong = |error: String| ConfigError::invalid("passwords.memory_kib", error);
        let params = Params::new(
            settings.memory_kib,
            settings.iterations,
            settings.parallelism,
            None,
        )
        .map_err(|error| wrong(error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = argon2
            .hash_password(&rand::random::<[u8; 16]>())
            .map_err(|error| wrong(error.to_string()))?
            .to_string();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at_once = if settings.max_concurrent == 0 {
            cores
        } else {
            settings.max_concurrent
        };
        Ok(Self(Arc::new(Inner {
            argon2,
            running: Arc::new(Semaphore::new(at_once)),
            waiting: Semaphore::new(settings.max_waiting + at_once),
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
            decoy,
            count,
        })))
    }

    /// Waits for a turn. Turns with the same word follow each other; without one they only keep
    /// the bound.
    ///
    /// # Errors
    /// `TooBusy` when the queue is full.
    pub(crate) async fn turn(&self, lane: Option<&str>) -> Result<Turn<'_>, Error> {
        let inner = &self.0;
        let place = inner.waiting.try_acquire().map_err(|_| Error::TooBusy)?;
        // The lane first: who waits for it must not keep others from hashing.
        let lane = match lane {
            Some(word) => Some(inner.lanes[lane_of(word)].lock().await),
            None => None,
        };
        let running = Arc::clone(&inner.running).acquire_owned().await;
        Ok(Turn {
            inner: Arc::clone(inner),
            running: Arc::new(running.expect("the semaphore stays open")),
            _lane: lane,
            _place: place,
        })
    }
}

/// The right to hash, one hash at a time, until it is dropped.
pub(crate) struct Turn<'a> {
    inner: Arc<Inner>,
    running: Arc<OwnedSemaphorePermit>,
    _lane: Option<MutexGuard<'a, ()>>,
    _place: SemaphorePermit<'a>,
}

impl Turn<'_> {
    /// A PHC string with a new salt.
    pub(crate) async fn hash(&mut self, password: SecretString) -> Result<String, Error> {
        self.run(move |inner| {
            let hashed = inner
                .argon2
                .hash_password(password.expose_secret().as_bytes());
            hashed
                .map(|hash| hash.to_string())
                .map_err(|_| Error::Crypto("hashing failed"))
        })
        .await?
    }

    /// Compares with a stored PHC string; without one the same work is done for nothing.
    pub(crate) async fn verify(
        &mut self,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<Verdict, Error> {
        self.run(move |inner| {
            let known = stored.is_some();
            let stored = stored.as_deref().unwrap_or(&inner.decoy);
            let right = inner
                .argon2
                .verify_password(password.expose_secret().as_bytes(), stored)
                .is_ok();
            match (known && right, is_current(stored, &inner.argon2)) {
                (false, _) => Verdict::Wrong,
                (true, true) => Verdict::Right,
                (true, false) => Verdict::RightButOld,
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (inner, running) = (Arc::clone(&self.inner), Arc::clone(&self.running));
        // The bound holds until the work ends, not only the request: a client that goes away must
        // not let more hashes run at once than there may.
        tokio::task::spawn_blocking(move || {
            inner.count.inc();
            let result = work(&inner);
            drop(running);
            result
        })
        .await
        .map_err(|_| Error::Crypto("hashing panicked"))
    }
}

fn lane_of(word: &str) -> usize {
    usize::try_from(crc32fast::hash(word.as_bytes())).unwrap_or(0) % LANES
}

fn is_current(stored: &str, argon2: &Argon2<'_>) -> bool {
    let params = PasswordHash::new(stored)
        .ok()
        .and_then(|hash| Params::try_from(&hash).ok());
    let wanted = argon2.params();
    params.is_some_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost())
            == (wanted.m_cost(), wanted.t_cost(), wanted.p_cost())
    })
}
