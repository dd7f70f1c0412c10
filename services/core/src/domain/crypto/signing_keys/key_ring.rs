//! The keys of the table as a replica holds them.

use chrono::{DateTime, Utc};
use jsonwebtoken::{EncodingKey, jwk::JwkSet};

use super::pairs;
use crate::{
    config::SigningAlgorithm, domain::crypto::master_key::MasterKey, error::Error,
    store::signing_keys::SigningKeyRow,
};

/// The keys of all algorithms by activation, oldest first, and their public halves.
#[derive(Default)]
pub(super) struct KeyRing {
    keys: Vec<Key>,
    published: JwkSet,
}

pub(super) struct Key {
    pub(super) kid: String,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) key: EncodingKey,
    activates_at: DateTime<Utc>,
}

impl KeyRing {
    /// Opens the keys of these rows. Those of an algorithm that only a later release knows are left
    /// to it.
    pub(super) fn open(rows: &[SigningKeyRow], master_key: &MasterKey) -> Result<Self, Error> {
        let mut new = Self::default();
        for row in rows {
            let Some(algorithm) = SigningAlgorithm::parse(&row.algorithm) else {
                tracing::warn!(algorithm = row.algorithm, "a signing key is not supported");
                continue;
            };
            let key = pairs::open(algorithm, &row.kid, &row.sealed_private_key, master_key)?;
            let public = pairs::public_key(algorithm, &row.kid, &key)?;
            new.published.keys.push(public);
            new.keys.push(Key {
                kid: row.kid.clone(),
                algorithm,
                key,
                activates_at: row.activates_at,
            });
        }
        Ok(new)
    }

    pub(super) fn is_of(&self, rows: &[SigningKeyRow]) -> bool {
        let kids = self.keys.iter().map(|key| &key.kid);
        kids.eq(rows.iter().map(|row| &row.kid))
    }

    pub(super) fn published(&self) -> &JwkSet {
        &self.published
    }

    /// The key that signs: the active one of `algorithm`. While that algorithm has none, which is
    /// until its first key has been published for long enough, the active one of another algorithm.
    /// While none is active at all, because this replica's clock is behind, the one that was created
    /// to be active first.
    pub(super) fn signing(&self, algorithm: SigningAlgorithm, now: DateTime<Utc>) -> Option<&Key> {
        let is_active = |key: &&Key| key.activates_at <= now;
        let active = || self.keys.iter().rev().filter(is_active);
        active()
            .find(|key| key.algorithm == algorithm)
            .or_else(|| active().next())
            .or_else(|| self.keys.first())
    }
}
