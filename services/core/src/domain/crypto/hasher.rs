//! Argon2id, bounded in CPU, in memory and in waiting.
//!
//! An attempt takes a [`Permit`] and keeps it until its outcome is stored. Each time it hashes, it
//! takes a slot for that time only:
//!
//! ```text
//! lane of account and network (1)       one network waits for one account once
//!   -> gate: account (1) and network    attempts on one account run one after the other, and few
//!                                       guesses of one network pass the throttle at once
//!     -> slot (max_concurrent)          bounds CPU and memory: each slot has `memory_kib`
//! ```
//!
//! At each of them `max_waiting` may wait; further ones get `TooBusy` (503) at once. All queues are
//! fair to networks, so that a flood delays the networks that it comes from: each network has one place
//! in the queue of an account, waiting for the network does not hold the account, and networks get
//! slots in turn.
//!
//! Invariants:
//! - Lane and gate come before the slot. In the other order, attempts on one account would hold every slot
//!   while they wait for each other, and no one else could log in.
//! - A permit is held until the outcome of an attempt is stored, so the next attempt on the account
//!   sees it. Otherwise parallel guesses would all pass the throttle before the first one counts.
//! - A slot is held while hashing and not while the database works: the CPU would idle.
//! - The slot moves into the blocking task. A client that disconnects drops its request, not the
//!   hash: if the slot were freed at once, more hashes than slots could run.
//! - The memory of a slot is reused. Allocating it for each hash costs a page fault per 4 KiB,
//!   and allocators keep as much again per thread.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    gate::{Admission, Gate},
    lanes::{LanePermit, Lanes},
    slots::{Slot, Slots},
};
use crate::{config::Passwords, error::Error, metrics::CoreMetrics};
use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quartet_common::config::ConfigError;
use secrecy::{ExposeSecret, SecretString};

/// Attempts of one network that have passed the throttle, per slot: enough that slots need not wait
/// for the database.
const NETWORK_ATTEMPTS_PER_SLOT: usize = 4;
const SALT_BYTES: usize = 16;

/// The blocks of one slot, counted while they are held.
struct Memory {
    blocks: Vec<Block>,
    bytes: Gauge,
}

impl Memory {
    fn new(bytes: &Gauge) -> Self {
        Self {
            blocks: Vec::new(),
            bytes: bytes.clone(),
        }
    }

    fn at_least(&mut self, count: usize) -> &mut [Block] {
        if self.blocks.len() < count {
            self.bytes.inc_by(bytes_of(count - self.blocks.len()));
            // Exactly: room to grow would not be used.
            self.blocks.reserve_exact(count - self.blocks.len());
            self.blocks.resize(count, Block::new());
        }
        &mut self.blocks[..count]
    }

    fn at_most(&mut self, count: usize) {
        if self.blocks.len() > count {
            self.bytes.dec_by(bytes_of(self.blocks.len() - count));
            self.blocks.truncate(count);
            self.blocks.shrink_to_fit();
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.bytes.dec_by(bytes_of(self.blocks.len()));
    }
}

fn bytes_of(blocks: usize) -> i64 {
    i64::try_from(blocks * Block::SIZE).unwrap_or(i64::MAX)
}

/// Cheap to clone; clones share the bounds.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Inner>);

struct Inner {
    argon2: Argon2<'static>,
    account_network_lanes: Arc<Lanes>,
    gate: Arc<Gate>,
    slots: Arc<Slots>,
    /// Of the slots that are free; as many as have ever been in use at once.
    memory: Mutex<Vec<Memory>>,
    /// Verified when the account does not exist, so that both cases take the same time.
    decoy: String,
    count: Counter,
    hashing_bytes: Gauge,
}

/// The result of comparing a password with a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    Invalid,
    Valid,
    /// Valid, but hashed by another scheme or with other parameters than the current ones.
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
    pub(crate) fn new(settings: &Passwords, metrics: &CoreMetrics) -> Result<Self, ConfigError> {
        let invalid = |error: String| ConfigError::invalid("passwords.memory_kib", error);
        let params = Params::new(
            settings.memory_kib,
            settings.iterations,
            settings.parallelism,
            None,
        )
        .map_err(|error| invalid(error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut memory = Memory::new(&metrics.hashing_bytes);
        let decoy = hash(&argon2, &rand::random::<[u8; 16]>(), &mut memory)
            .ok_or_else(|| invalid("argon2 rejects the parameters".to_owned()))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let max_concurrent = if settings.max_concurrent == 0 {
            cores
        } else {
            settings.max_concurrent
        };
        let max_waiting = settings.max_waiting;
        Ok(Self(Arc::new(Inner {
            argon2,
            account_network_lanes: Lanes::new(1, max_waiting),
            gate: Gate::new(max_concurrent * NETWORK_ATTEMPTS_PER_SLOT, max_waiting),
            slots: Slots::new(max_concurrent, max_waiting),
            // Not the decoy's: a process that has hashed nothing yet holds nothing.
            memory: Mutex::default(),
            decoy,
            count: metrics.password_hashes.clone(),
            hashing_bytes: metrics.hashing_bytes.clone(),
        })))
    }

    /// Waits for the right to make an attempt: on `account`, if it is on one, from `network`.
    ///
    /// # Errors
    /// `TooBusy` when too many wait for the same.
    pub(crate) async fn permit(
        &self,
        account: Option<&str>,
        network: &str,
    ) -> Result<Permit, Error> {
        let inner = &self.0;
        let lanes = &inner.account_network_lanes;
        let lane = match account {
            Some(account) => Some(lanes.enter(&format!("{account} {network}")).await?),
            None => None,
        };
        let admission = inner.gate.enter(account, network).await?;
        Ok(Permit {
            inner: Arc::clone(inner),
            network: network.to_owned(),
            _admissions: (admission, lane),
        })
    }
}

/// The right to make one attempt, and to hash and rate passwords for it, until it is dropped.
pub(crate) struct Permit {
    inner: Arc<Inner>,
    network: String,
    _admissions: (Admission, Option<LanePermit>),
}

impl Permit {
    /// A PHC string with a new salt.
    pub(crate) async fn hash(&mut self, password: SecretString) -> Result<String, Error> {
        let inner = Arc::clone(&self.inner);
        let hashed = self.run_with_memory(move |memory| {
            inner.count.inc();
            hash(&inner.argon2, password.expose_secret().as_bytes(), memory)
        });
        hashed.await?.ok_or(Error::Crypto("hashing failed"))
    }

    /// Compares with a stored PHC string. Without one, and with one of a scheme that is not supported,
    /// it does the same work and returns `Invalid`.
    pub(crate) async fn verify(
        &mut self,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<Verification, Error> {
        let inner = Arc::clone(&self.inner);
        self.run_with_memory(move |memory| {
            inner.count.inc();
            let password = password.expose_secret().as_bytes();
            let verified = stored.as_deref().and_then(|stored| {
                let verified = inner.verified(password, stored, memory);
                if verified.is_none() {
                    let scheme = stored.split('$').nth(1).unwrap_or_default();
                    tracing::warn!(scheme, "a stored password has an unsupported scheme");
                }
                verified
            });
            // The same work when there is nothing to compare with.
            verified.unwrap_or_else(|| {
                is_match(password, &inner.decoy, memory);
                Verification::Invalid
            })
        })
        .await
    }

    /// Runs CPU-bound work on a blocking thread, within the same bounds as hashes.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.run_with_memory(|_| work()).await
    }

    async fn run_with_memory<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let slot: Slot = self.inner.slots.acquire(&self.network).await?;
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let mut memory = inner.take_memory();
            let result = work(&mut memory);
            inner.return_memory(memory);
            drop(slot);
            result
        })
        .await
        .map_err(|_| Error::Crypto("password work panicked"))
    }
}

impl Inner {
    /// `None` when the hash is not one of argon2.
    fn verified(&self, password: &[u8], stored: &str, memory: &mut Memory) -> Option<Verification> {
        let matches = is_match(password, stored, memory)?;
        Some(match (matches, is_current(stored, &self.argon2)) {
            (false, _) => Verification::Invalid,
            (true, true) => Verification::Valid,
            (true, false) => Verification::ValidNeedsRehash,
        })
    }

    fn take_memory(&self) -> Memory {
        let mut free = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop()
            .unwrap_or_else(|| Memory::new(&self.hashing_bytes))
    }

    fn return_memory(&self, mut memory: Memory) {
        // A stored hash may have needed more than the current parameters do.
        memory.at_most(self.argon2.params().block_count());
        let mut free = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(memory);
    }
}

/// A PHC string of the password with a new salt.
fn hash(argon2: &Argon2<'_>, password: &[u8], memory: &mut Memory) -> Option<String> {
    let salt = Salt::new(&rand::random::<[u8; SALT_BYTES]>()).ok()?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    fill(argon2, password, &salt, &mut output, memory)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).ok()?,
        salt: Some(salt),
        hash: Some(Output::new(&output).ok()?),
    };
    Some(hash.to_string())
}

/// Whether the password has this hash; `None` when the hash is not one of argon2.
fn is_match(password: &[u8], stored: &str, memory: &mut Memory) -> Option<bool> {
    let stored = PasswordHash::new(stored).ok()?;
    let algorithm = Algorithm::try_from(stored.algorithm.as_str()).ok()?;
    let version = Version::try_from(stored.version?).ok()?;
    let params = Params::try_from(&stored).ok()?;
    let (salt, expected) = (stored.salt?, stored.hash?);
    let mut output = vec![0; expected.as_bytes().len()];
    let argon2 = Argon2::new(algorithm, version, params);
    fill(&argon2, password, &salt, &mut output, memory)?;
    // In constant time.
    Some(Output::new(&output).ok()? == expected)
}

fn fill(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Memory,
) -> Option<()> {
    let blocks = memory.at_least(argon2.params().block_count());
    argon2
        .hash_password_into_with_memory(password, salt, output, blocks)
        .ok()
}

/// Whether a new hash of the same password would be of the same kind.
fn is_current(stored: &str, argon2: &Argon2<'_>) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    let output = stored.hash.map(|hash| hash.as_bytes().len());
    stored.algorithm == Algorithm::Argon2id.ident()
        && stored.version == Some(Version::V0x13.into())
        && output == Some(Params::DEFAULT_OUTPUT_LEN)
        && Params::try_from(&stored).is_ok_and(|params| costs(&params) == costs(argon2.params()))
}

fn costs(params: &Params) -> (u32, u32, u32) {
    (params.m_cost(), params.t_cost(), params.p_cost())
}
