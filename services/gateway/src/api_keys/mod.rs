//! API keys of core. A key is exchanged for an access token, which is kept for as long as it is valid and
//! is all that policies and upstreams see: its scopes are those of the key, its `sid` is the id of the
//! key. So whatever is done with tokens is done with keys, and the feed of revoked sessions has revoked
//! keys, too.
//!
//! - A text that is no key, by its checksum, is refused without a request to core.
//! - Requests with the same key at the same time cause one exchange.
//! - Exchanges at the same time are bounded; further ones wait for a part of the timeout.
//! - That core does not know a key is remembered for a moment only: it may be new, and
//!   the replica that was asked may be behind.
//! - At rest, a key is its SHA-256.

mod exchange;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use moka::{Expiry, future::Cache};
use quartet_auth::opaque::{self, API_KEY_BYTES, API_KEY_PREFIX};
use quartet_common::clock::Clock;
use tokio::{sync::Semaphore, time::timeout};

use crate::{config::model, signed::SignedError};
use exchange::Exchange;

/// Exchanges at the same time.
const MAX_EXCHANGES: usize = 16;
/// How long it is remembered that core does not know a key.
const UNKNOWN_TTL: Duration = Duration::from_secs(2);
/// A token is replaced this long before it expires, or after half of its life if that is shorter.
const RENEWED_BEFORE: Duration = Duration::from_secs(30);

/// Why there is no access token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ApiKeyError {
    #[error("the API key is malformed, unknown, expired or revoked")]
    Invalid,
    #[error("the API key cannot be verified")]
    Away(#[source] Arc<SignedError>),
    #[error("too many API keys are being verified")]
    Busy,
}

/// What core says about a key.
#[derive(Clone, Debug)]
enum Known {
    Token { token: Arc<str>, ttl: Duration },
    Unknown,
}

type KeyHash = [u8; 32];

/// The API keys that are in use.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    settings: (model::ApiKeys, model::Revocations),
    exchange: Exchange,
    known: Cache<KeyHash, Known>,
    permits: Semaphore,
    wait: Duration,
}

impl ApiKeys {
    /// `None`: they are not accepted.
    ///
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub(crate) fn new(
        settings: &model::ApiKeys,
        revocations: &model::Revocations,
        clock: &Clock,
        count: impl Fn(&'static str) + Send + Sync + 'static,
    ) -> Result<Option<Self>, reqwest::Error> {
        let exchange = Exchange::new(settings, revocations, clock.clone(), Box::new(count))?;
        let Some(exchange) = exchange else {
            return Ok(None);
        };
        let known = Cache::builder().max_capacity(settings.max_cached);
        Ok(Some(Self {
            settings: (settings.clone(), revocations.clone()),
            exchange,
            known: known.expire_after(UntilRenewed).build(),
            permits: Semaphore::new(MAX_EXCHANGES),
            wait: Duration::from_millis(settings.timeout_ms),
        }))
    }

    pub(crate) fn is_of(
        &self,
        settings: &model::ApiKeys,
        revocations: &model::Revocations,
    ) -> bool {
        self.settings.0 == *settings && self.settings.1 == *revocations
    }

    /// The access token that a key stands for.
    ///
    /// # Errors
    /// [`ApiKeyError`].
    pub(crate) async fn token(&self, key: &str) -> Result<Arc<str>, ApiKeyError> {
        if !is_well_formed(key) {
            return Err(ApiKeyError::Invalid);
        }
        let known = self.known.try_get_with(hash(key), self.ask(key)).await;
        match known.map_err(|error| ApiKeyError::clone(&error))? {
            Known::Token { token, .. } => Ok(token),
            Known::Unknown => Err(ApiKeyError::Invalid),
        }
    }

    /// The key is exchanged again when it is used next.
    pub(crate) async fn forget(&self, key: &str) {
        self.known.invalidate(&hash(key)).await;
    }

    async fn ask(&self, key: &str) -> Result<Known, ApiKeyError> {
        let permit = timeout(self.wait, self.permits.acquire()).await;
        // Never closed.
        let _permit = permit.map_err(|_| ApiKeyError::Busy)?;
        match self.exchange.token(key).await {
            Ok(Some((token, ttl))) => Ok(Known::Token { token, ttl }),
            Ok(None) => Ok(Known::Unknown),
            Err(error) => Err(ApiKeyError::Away(Arc::new(error))),
        }
    }
}

/// Whether a token is meant as an API key.
pub(crate) fn is_api_key(token: &str) -> bool {
    token.starts_with(API_KEY_PREFIX)
}

fn is_well_formed(key: &str) -> bool {
    opaque::decode::<API_KEY_BYTES>(API_KEY_PREFIX, key).is_some()
}

fn hash(key: &str) -> KeyHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    hash
}

struct UntilRenewed;

impl Expiry<KeyHash, Known> for UntilRenewed {
    fn expire_after_create(&self, _: &KeyHash, known: &Known, _: Instant) -> Option<Duration> {
        Some(match known {
            Known::Token { ttl, .. } => ttl.saturating_sub(RENEWED_BEFORE).max(*ttl / 2),
            Known::Unknown => UNKNOWN_TTL,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_before_it_expires() {
        let kept = |ttl| {
            let token = Known::Token {
                token: "t".into(),
                ttl: Duration::from_secs(ttl),
            };
            let kept = UntilRenewed.expire_after_create(&[0; 32], &token, Instant::now());
            kept.unwrap().as_secs_f64()
        };
        for (ttl, expected) in [(900, 870.0), (60, 30.0), (40, 20.0), (1, 0.5), (0, 0.0)] {
            assert!((kept(ttl) - expected).abs() < 1e-6, "{ttl}");
        }
    }
}
