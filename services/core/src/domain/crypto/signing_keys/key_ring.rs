//! The keys of the table as a replica holds them.

use std::fmt;

use chrono::{DateTime, Utc};
use jsonwebtoken::{
    EncodingKey,
    jwk::{Jwk, JwkSet},
};

use super::pairs;
use crate::{
    config::SigningAlgorithm, domain::crypto::master_key::MasterKey, error::Error,
    store::signing_keys::SigningKeyRow,
};

/// The keys of all algorithms by activation, oldest first, and their public halves.
#[derive(Default)]
pub(super) struct KeyRing {
    keys: Vec<RingKey>,
    published: JwkSet,
    unusable: Vec<UnusableKey>,
}

#[derive(Clone)]
pub(super) struct RingKey {
    pub(super) kid: String,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) key: EncodingKey,
    public: Jwk,
    activates_at: DateTime<Utc>,
}

/// A row that this replica cannot sign with.
#[derive(Clone)]
pub(crate) struct UnusableKey {
    pub(crate) kid: String,
    pub(crate) algorithm: String,
    pub(crate) reason: String,
    activates_at: DateTime<Utc>,
    sealed: Vec<u8>,
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kid, algorithm, reason) = (&self.kid, &self.algorithm, &self.reason);
        write!(f, "signing key {kid} ({algorithm}): {reason}")
    }
}

impl UnusableKey {
    pub(super) fn new(row: &SigningKeyRow, reason: impl ToString) -> Self {
        Self {
            kid: row.kid.clone(),
            algorithm: row.algorithm.clone(),
            reason: reason.to_string(),
            activates_at: row.activates_at,
            sealed: row.sealed_private_key.clone(),
        }
    }
}

impl RingKey {
    fn open(row: &SigningKeyRow, master_key: &MasterKey) -> Result<Self, UnusableKey> {
        // Perhaps one that only a later release knows.
        let algorithm = SigningAlgorithm::parse(&row.algorithm)
            .ok_or_else(|| UnusableKey::new(row, "the algorithm is not supported"))?;
        let opened = || {
            let key = pairs::open(algorithm, &row.kid, &row.sealed_private_key, master_key)?;
            let public = pairs::public_key(algorithm, &row.kid, &key)?;
            Ok::<_, Error>((key, public))
        };
        let (key, public) = opened().map_err(|error| UnusableKey::new(row, error))?;
        Ok(Self {
            kid: row.kid.clone(),
            algorithm,
            key,
            public,
            activates_at: row.activates_at,
        })
    }
}

impl KeyRing {
    /// Opens the keys of these rows. One that does not open takes none of the others along, and those
    /// that this ring has are kept as they are: another replica may have sealed them again with a
    /// master key that this one does not have.
    pub(super) fn with_rows(&self, rows: &[SigningKeyRow], master_key: &MasterKey) -> Self {
        let mut new = Self::default();
        for row in rows {
            let known = self.keys.iter().find(|key| key.kid == row.kid);
            let opened = known.map(|key| Ok(key.clone()));
            match opened.unwrap_or_else(|| RingKey::open(row, master_key)) {
                Ok(key) => {
                    new.published.keys.push(key.public.clone());
                    new.keys.push(key);
                }
                Err(unusable) => new.unusable.push(unusable),
            }
        }
        new
    }

    /// Whether opening these rows would change nothing.
    pub(super) fn is_of(&self, rows: &[SigningKeyRow]) -> bool {
        let is_held = |row: &SigningKeyRow| {
            let is_same =
                |key: &UnusableKey| key.kid == row.kid && key.sealed == row.sealed_private_key;
            self.keys.iter().any(|key| key.kid == row.kid) || self.unusable.iter().any(is_same)
        };
        rows.len() == self.keys.len() + self.unusable.len() && rows.iter().all(is_held)
    }

    /// Whether nothing can be signed.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn unusable(&self) -> &[UnusableKey] {
        &self.unusable
    }

    pub(super) fn published(&self) -> &JwkSet {
        &self.published
    }

    /// The key that signs: the active one of `algorithm`. While that algorithm has none, which is
    /// until its first key has been published for long enough, the active one of another algorithm.
    /// While none is active at all, because this replica's clock is behind, the one that was created
    /// to be active first.
    ///
    /// When keys of `algorithm` are active and none of them opens, nothing signs: verifiers may rely on
    /// the algorithm that was chosen.
    pub(super) fn signing(
        &self,
        algorithm: SigningAlgorithm,
        now: DateTime<Utc>,
    ) -> Option<&RingKey> {
        let is_active = |key: &&RingKey| key.activates_at <= now;
        let active = || self.keys.iter().rev().filter(is_active);
        if let Some(key) = active().find(|key| key.algorithm == algorithm) {
            return Some(key);
        }
        let is_missed =
            |key: &UnusableKey| key.activates_at <= now && key.algorithm == algorithm.as_str();
        if self.unusable.iter().any(is_missed) {
            return None;
        }
        active().next().or_else(|| self.keys.first())
    }
}
