//! Verifies access tokens: JWTs signed with a key from a JWKS URL, or with a shared secret.
//!
//! One verifier never accepts both: if a public key were used as an HMAC secret, anyone could forge
//! tokens (RFC 8725, 2.1). The algorithm is that of the key, never that of the token; the headers
//! `jku`, `x5u` and `jwk` are ignored.
//!
//! Older than `jwks_refresh_seconds`, keys stay in use while a task fetches new ones, so an outage of
//! the issuer does not reject valid tokens; after a day without a successful fetch they are no longer
//! trusted. An unknown key id fetches at once, since a key may just have been published, but not
//! again within ten seconds: forged key ids cannot flood the issuer. `remote` says what an issuer
//! that is slow or away costs.
//!
//! A set without a usable key replaces the keys before it, too: leaving a key out is how an issuer
//! revokes it, and one that has revoked all of them must not have them trusted for another day. Until
//! it publishes one, tokens cannot be verified, as if the issuer were away: their clients need not
//! log in again if it was a mistake.
//!
//! Verified tokens are cached with the key that verified them. A cached token counts for as long as
//! that very key is published, and expiry is checked every time. So a removed key takes its tokens
//! along, even those that are put into the cache after its removal, and keys that stay keep theirs.

mod claims;
mod error;
mod keys;
mod remote;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, Validation, jwk::JwkSet};
use moka::sync::Cache;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, Jwt},
};
use secrecy::{ExposeSecret, SecretString};

pub use claims::Claims;
pub use error::JwtError;
use keys::{Key, KeySet};
use remote::{FetchError, RemoteKeySet};

/// A longer token is rejected before it is decoded.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Memory for verified tokens: ten thousand of the usual length.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Fetched keys are trusted for this long, or for `jwks_refresh_seconds` if that is longer.
const MAX_AGE: TimeDelta = TimeDelta::hours(24);
const MIN_SECRET_BYTES: usize = 32;

/// Verifies tokens of one issuer. Cheap to clone; clones share keys and cache.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

struct Inner {
    clock: Clock,
    settings: Jwt,
    /// `None`: the keys are set, not fetched.
    remote: Option<RemoteKeySet>,
    keys: ArcSwapOption<InstalledKeys>,
    /// Only tokens that were verified are keys, so no client can choose them to collide, and the hash need
    /// not be one that withstands that.
    verified: Cache<Box<str>, VerifiedToken, foldhash::quality::RandomState>,
}

struct InstalledKeys {
    keys: KeySet,
    at: DateTime<Utc>,
}

#[derive(Clone)]
struct VerifiedToken {
    key: Arc<Key>,
    claims: Arc<Claims>,
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtVerifier")
    }
}

impl JwtVerifier {
    /// A verifier for the settings, of which exactly one of `jwks_url` and `hs256_secret` is set.
    ///
    /// # Errors
    /// When both or neither is set, or the secret is shorter than 32 bytes.
    pub fn new(settings: &Jwt, clock: Clock) -> Result<Self, ConfigError> {
        match (&settings.jwks_url, &settings.hs256_secret) {
            (Some(_), Some(_)) => Err(ConfigError::invalid(
                "jwt.hs256_secret",
                "must not be set together with jwt.jwks_url; empty one of them",
            )),
            (None, None) => Err(ConfigError::invalid(
                "jwt.jwks_url",
                "must be set unless jwt.hs256_secret is",
            )),
            (Some(url), None) => {
                let remote = RemoteKeySet::new(url.clone(), clock.clone())
                    .map_err(|error| ConfigError::invalid("jwt.jwks_url", error.to_string()))?;
                Ok(Self::with(settings, clock, Some(remote), None))
            }
            (None, Some(secret)) => {
                let keys = KeySet::of_secret(secret_bytes(secret)?);
                Ok(Self::with(settings, clock, None, Some(keys)))
            }
        }
    }

    /// A verifier with keys of this process; set them with [`JwtVerifier::set_keys`].
    pub fn with_own_keys(settings: &Jwt, clock: Clock) -> Self {
        Self::with(settings, clock, None, None)
    }

    fn with(
        settings: &Jwt,
        clock: Clock,
        remote: Option<RemoteKeySet>,
        keys: Option<KeySet>,
    ) -> Self {
        let at = clock.now();
        let keys = keys.map(|keys| InstalledKeys { keys, at });
        Self(Arc::new(Inner {
            clock,
            settings: settings.clone(),
            remote,
            keys: ArcSwapOption::from_pointee(keys),
            verified: Cache::<Box<str>, VerifiedToken>::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(|token, _| weight(token.len()))
                .build_with_hasher(foldhash::quality::RandomState::default()),
        }))
    }

    /// Replaces the keys. Tokens of removed keys are no longer accepted.
    pub fn set_keys(&self, keys: &JwkSet) {
        self.0.install(keys);
    }

    /// Takes the keys over that `previous` has fetched from the same address. Nothing else of it counts:
    /// what it has verified, other settings may refuse.
    pub fn keep_keys_of(&self, previous: &Self) {
        let (url, known) = (&self.0.settings.jwks_url, &previous.0.settings.jwks_url);
        if url.is_some() && url == known {
            self.0.keys.store(previous.0.keys.load_full());
        }
    }

    /// Whether the keys are fetched from an issuer, and can therefore be unavailable.
    pub fn fetches_keys(&self) -> bool {
        self.0.remote.is_some()
    }

    /// Starts to fetch the keys, so that the first request finds them.
    pub fn prefetch(&self) {
        if let Some(remote) = &self.0.remote {
            remote.start(self.installer());
        }
    }

    /// [`prefetch`](Self::prefetch), unless there has been a fetch.
    pub fn prefetch_once(&self) {
        if let Some(remote) = &self.0.remote
            && !remote.has_tried()
        {
            remote.start(self.installer());
        }
    }

    /// Whether tokens can be verified. Fetches keys that are missing or too old to be trusted.
    ///
    /// # Errors
    /// `KeysUnavailable`.
    pub async fn ready(&self) -> Result<(), JwtError> {
        self.trusted_keys().await.map(drop)
    }

    /// Whether there are keys that may be trusted now.
    pub fn has_keys(&self) -> bool {
        self.current_keys().is_some()
    }

    /// How old the keys are, if refreshing them is overdue by more than a minute.
    pub fn overdue(&self) -> Option<TimeDelta> {
        self.0.remote.as_ref()?;
        let age = self.0.age(&*self.0.keys.load_full()?);
        let limit = self.0.refresh_age() + TimeDelta::minutes(1);
        (age > limit).then_some(age)
    }

    /// What operators should know about the keys; nothing while all is well. Keys that are missing
    /// are fetched.
    pub fn notices(&self) -> Vec<String> {
        if self.current_keys().is_none() {
            let has_tried = self.0.remote.as_ref().is_none_or(RemoteKeySet::has_tried);
            self.prefetch();
            let notice = if has_tried {
                "there are no signing keys"
            } else {
                "the signing keys have not been fetched yet"
            };
            return vec![notice.to_owned()];
        }
        let overdue = self.overdue().map(|age| {
            let seconds = age.num_seconds();
            format!("the signing keys were fetched {seconds} s ago; refreshing them fails")
        });
        overdue.into_iter().collect()
    }

    /// The claims of a token that was verified before, without waiting. `None`: it has to be
    /// verified.
    pub fn verified(&self, token: &str) -> Option<Result<Arc<Claims>, JwtError>> {
        let verified = self.0.verified.get(token)?;
        let installed = self.0.keys.load();
        let installed = installed.as_ref().filter(|keys| self.may_trust(keys))?;
        installed.keys.contains(&verified.key).then(|| {
            self.check_times(&verified.claims)?;
            Ok(verified.claims)
        })
    }

    /// The claims of a valid token.
    ///
    /// # Errors
    /// [`JwtError`]. With `KeysUnavailable`, the token may be valid.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, JwtError> {
        if let Some(known) = self.verified(token) {
            return known;
        }
        let verified = self.verify_uncached(token).await?;
        let claims = Arc::clone(&verified.claims);
        self.0.verified.insert(token.into(), verified);
        Ok(claims)
    }

    async fn verify_uncached(&self, token: &str) -> Result<VerifiedToken, JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        if header.crit.is_some() {
            // None of these extensions is understood, so the token is not either (RFC 7515, 4.1.11).
            return Err(JwtError::CriticalExtension);
        }
        let typ = header.typ.as_deref().unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        let wanted = self.0.settings.token_type.as_deref();
        if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(typ)) {
            return Err(JwtError::WrongType);
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        if key.algorithm != header.alg {
            return Err(JwtError::WrongAlgorithm);
        }
        let claims =
            jsonwebtoken::decode::<Claims>(token, &key.key, &self.validation(&key))?.claims;
        claims.check()?;
        self.check_times(&claims)?;
        let claims = Arc::new(claims);
        Ok(VerifiedToken { key, claims })
    }

    fn validation(&self, key: &Key) -> Validation {
        let settings = &self.0.settings;
        let mut validation = Validation::new(key.algorithm);
        // Times are checked with the clock of the verifier, in `check_times`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["sub", "exp"]);
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        if let Some(audience) = &settings.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        } else {
            validation.validate_aud = false;
        }
        validation
    }

    fn check_times(&self, claims: &Claims) -> Result<(), JwtError> {
        let now = i64::try_from(self.0.clock.since_epoch().as_secs()).unwrap_or(i64::MAX);
        let leeway = i64::try_from(self.0.settings.leeway_seconds).unwrap_or(0);
        if now >= claims.exp.saturating_add(leeway) {
            return Err(JwtError::Expired);
        }
        if claims
            .nbf
            .is_some_and(|nbf| now < nbf.saturating_sub(leeway))
        {
            return Err(JwtError::NotYetValid);
        }
        Ok(())
    }

    async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, JwtError> {
        let installed = self.trusted_keys().await?;
        if let Some(key) = installed.keys.find(id, algorithm) {
            return Ok(Arc::clone(key));
        }
        let fetched = self.fetched_keys().await?;
        let key = fetched.keys.find(id, algorithm);
        key.cloned().ok_or(JwtError::UnknownKey)
    }

    /// The keys, fetched if there are none that may be trusted.
    async fn trusted_keys(&self) -> Result<Arc<InstalledKeys>, JwtError> {
        match self.current_keys() {
            Some(installed) => Ok(installed),
            None => self.fetched_keys().await,
        }
    }

    /// The keys after a fetch, unless the last one is recent.
    async fn fetched_keys(&self) -> Result<Arc<InstalledKeys>, JwtError> {
        let Some(remote) = &self.0.remote else {
            return Err(JwtError::UnknownKey);
        };
        remote.get(self.installer()).await.map_err(unavailable)?;
        self.current_keys()
            .ok_or_else(|| unavailable(FetchError::NoKeys))
    }

    /// The keys that may be trusted now. Starts to fetch new ones when these are old.
    fn current_keys(&self) -> Option<Arc<InstalledKeys>> {
        let installed = self.0.keys.load_full()?;
        self.may_trust(&installed).then_some(installed)
    }

    /// Whether there are keys, and these are young enough. Starts to fetch new ones when they are old.
    fn may_trust(&self, installed: &InstalledKeys) -> bool {
        let Some(remote) = &self.0.remote else {
            return true;
        };
        let age = self.0.age(installed);
        let refresh = self.0.refresh_age();
        if age >= refresh {
            remote.start(self.installer());
        }
        age < MAX_AGE.max(refresh) && !installed.keys.is_empty()
    }

    fn installer(&self) -> impl FnOnce(&JwkSet) + Send + 'static {
        let inner = Arc::downgrade(&self.0);
        move |keys| {
            if let Some(inner) = inner.upgrade() {
                inner.install(keys);
            }
        }
    }
}

impl Inner {
    fn install(&self, keys: &JwkSet) {
        let previous = self.keys.load_full();
        let keys = KeySet::from_jwks(keys, previous.as_deref().map(|it| &it.keys));
        if keys.is_empty() && self.remote.is_some() {
            let error = FetchError::NoKeys.to_string();
            tracing::warn!(error, "there are no signing keys");
        }
        let at = self.clock.now();
        self.keys.store(Some(Arc::new(InstalledKeys { keys, at })));
    }

    /// Time since the keys were fetched. The wall clock may have been set back since then: that
    /// must not make keys younger.
    fn age(&self, installed: &InstalledKeys) -> TimeDelta {
        (self.clock.now() - installed.at).abs()
    }

    fn refresh_age(&self) -> TimeDelta {
        let seconds = u32::try_from(self.settings.jwks_refresh_seconds).unwrap_or(u32::MAX);
        TimeDelta::seconds(i64::from(seconds))
    }
}

fn secret_bytes(secret: &SecretString) -> Result<&[u8], ConfigError> {
    let bytes = secret.expose_secret().as_bytes();
    if bytes.len() < MIN_SECRET_BYTES {
        let rule = "must have at least 32 bytes (RFC 7518, 3.2)";
        return Err(ConfigError::invalid("jwt.hs256_secret", rule));
    }
    Ok(bytes)
}

fn unavailable(error: FetchError) -> JwtError {
    JwtError::KeysUnavailable(Arc::new(error))
}

/// Bytes of a cache entry: the token, its claims, and what both need around them.
fn weight(token_bytes: usize) -> u32 {
    u32::try_from(token_bytes * 4 + 512).unwrap_or(u32::MAX)
}
