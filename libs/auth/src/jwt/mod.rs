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
mod hasura;
mod header_text;
mod issuers;
mod keys;
mod mapped;
mod mapping;
mod path;
mod remote;
mod settings;
mod statement;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, Header, Validation, jwk::JwkSet};
use moka::sync::Cache;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, Jwt},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

pub use claims::Claims;
pub use error::JwtError;
pub use hasura::HasuraClaims;
pub use header_text::header_text;
pub use issuers::{Issuers, VerifiedClaims};
use keys::{Key, KeySet};
pub use mapped::{KeptClaim, MappedClaims};
pub use mapping::ClaimMapping;
pub use path::{ClaimPath, InvalidClaimPath};
use remote::{FetchError, Location, RemoteKeySet};
pub use settings::{IssuerSettings, KeySource, TokenAlgorithm};
pub use statement::Statement;

/// A longer token is rejected before it is decoded.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Memory for verified tokens: ten thousand of the usual length.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Fetched keys are trusted for this long, or for `jwks_refresh_seconds` if that is longer.
const MAX_AGE: TimeDelta = TimeDelta::hours(24);

/// Verifies tokens of one issuer. Cheap to clone; clones share keys and cache.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

struct Inner {
    clock: Clock,
    settings: IssuerSettings,
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
        let settings = IssuerSettings::of_section(settings)?;
        Self::of_issuer(settings, clock)
            .map_err(|error| ConfigError::invalid("jwt.jwks_url", error.to_string()))
    }

    /// A verifier with keys of this process; set them with [`JwtVerifier::set_keys`].
    pub fn with_own_keys(settings: &Jwt, clock: Clock) -> Self {
        let settings = IssuerSettings::with_keys(settings, KeySource::Own);
        Self::with(settings, clock, None, None)
    }

    /// A verifier of one issuer among several.
    ///
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub fn of_issuer(settings: IssuerSettings, clock: Clock) -> Result<Self, reqwest::Error> {
        Self::of_issuer_over(settings, clock, None)
    }

    /// The same, with keys that are fetched by this client. It must have a time-out, and follow no redirects.
    ///
    /// # Errors
    /// As [`of_issuer`](Self::of_issuer).
    pub fn of_issuer_over(
        settings: IssuerSettings,
        clock: Clock,
        client: Option<reqwest::Client>,
    ) -> Result<Self, reqwest::Error> {
        let issuer = settings.issuer.as_deref().unwrap_or_default();
        let location = match &settings.keys {
            KeySource::Own => None,
            KeySource::Jwks(url) => Some(Location::Jwks(url.clone())),
            KeySource::Discovery(url) => Some(Location::discover(issuer, url.clone())),
            KeySource::Secret(secret) => {
                let keys = KeySet::of_secret(secret.expose_secret().as_bytes());
                return Ok(Self::with(settings, clock, None, Some(keys)));
            }
        };
        let remote = location.map(|location| RemoteKeySet::new(location, clock.clone(), client));
        Ok(Self::with(settings, clock, remote.transpose()?, None))
    }

    fn with(
        settings: IssuerSettings,
        clock: Clock,
        remote: Option<RemoteKeySet>,
        keys: Option<KeySet>,
    ) -> Self {
        let at = clock.now();
        let keys = keys.map(|keys| InstalledKeys { keys, at });
        let is_plain = settings.mapping.is_empty() && settings.is_typed();
        let bytes_per_byte = if is_plain { 4 } else { 8 };
        Self(Arc::new(Inner {
            clock,
            settings,
            remote,
            keys: ArcSwapOption::from_pointee(keys),
            verified: Cache::<Box<str>, VerifiedToken>::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(move |token, _| weight(token.len(), bytes_per_byte))
                .build_with_hasher(foldhash::quality::RandomState::default()),
        }))
    }

    /// The `iss` that tokens must have. `None`: any.
    pub fn issuer(&self) -> Option<&str> {
        self.0.settings.issuer.as_deref()
    }

    pub fn settings(&self) -> &IssuerSettings {
        &self.0.settings
    }

    /// Replaces the keys. Tokens of removed keys are no longer accepted.
    pub fn set_keys(&self, keys: &JwkSet) {
        self.0.install(keys);
    }

    /// Takes the keys over that `previous` has fetched from the same source. Nothing else of it counts:
    /// what it has verified, other settings may refuse.
    pub fn keep_keys_of(&self, previous: &Self) {
        let (keys, known) = (&self.0.settings.keys, &previous.0.settings.keys);
        if self.0.remote.is_some() && keys == known {
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
        let header = read_header(token)?;
        let typ = header.typ.as_deref().unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        let wanted = self.0.settings.token_type.as_deref();
        if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(typ)) {
            return Err(JwtError::WrongType);
        }
        let key = self.key_for(&header).await?;
        let claims = self.decode(token, &key)?;
        claims.check()?;
        self.check_times(&claims)?;
        let claims = Arc::new(claims);
        Ok(VerifiedToken { key, claims })
    }

    /// The key that the header names, if it is for its algorithm.
    async fn key_for(&self, header: &Header) -> Result<Arc<Key>, JwtError> {
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        if key.algorithm != header.alg || !self.accepts(key.algorithm) {
            return Err(JwtError::WrongAlgorithm);
        }
        Ok(key)
    }

    fn accepts(&self, algorithm: Algorithm) -> bool {
        let accepted = &self.0.settings.algorithms;
        accepted.is_empty() || accepted.iter().any(|one| one.is(algorithm))
    }

    /// The claims of a token that this key has signed.
    fn decode(&self, token: &str, key: &Key) -> Result<Claims, JwtError> {
        let (mapping, rules) = (&self.0.settings.mapping, self.validation(key));
        let is_typed = self.0.settings.is_typed();
        if mapping.is_empty() && is_typed {
            return Ok(jsonwebtoken::decode::<Claims>(token, &key.key, &rules)?.claims);
        }
        let payload = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &rules)?;
        if !is_typed && is_of_another_kind(&payload.claims) {
            return Err(JwtError::WrongType);
        }
        mapping.read(payload.claims)
    }

    fn validation(&self, key: &Key) -> Validation {
        let settings = &self.0.settings;
        let mut validation = Validation::new(key.algorithm);
        // Times are checked with the clock of the verifier, in `check_times`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        // The subject is checked with the claims: it may be another claim than `sub`.
        validation.set_required_spec_claims(&["exp"]);
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        if settings.audiences.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&settings.audiences);
            validation.required_spec_claims.insert("aud".into());
        }
        validation
    }

    fn check_times(&self, claims: &Claims) -> Result<(), JwtError> {
        self.check_expiry(claims.exp)?;
        self.check_start(claims.nbf)
    }

    fn check_expiry(&self, exp: i64) -> Result<(), JwtError> {
        if self.now() >= exp.saturating_add(self.leeway()) {
            return Err(JwtError::Expired);
        }
        Ok(())
    }

    fn check_start(&self, nbf: Option<i64>) -> Result<(), JwtError> {
        if nbf.is_some_and(|nbf| self.now() < nbf.saturating_sub(self.leeway())) {
            return Err(JwtError::NotYetValid);
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        i64::try_from(self.0.clock.since_epoch().as_secs()).unwrap_or(i64::MAX)
    }

    fn leeway(&self) -> i64 {
        i64::try_from(self.0.settings.leeway_seconds).unwrap_or(0)
    }

    async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, JwtError> {
        let installed = self.trusted_keys().await?;
        if let Some(key) = installed.keys.find(id, algorithm) {
            return Ok(Arc::clone(key));
        }
        let Some(remote) = &self.0.remote else {
            return Err(JwtError::UnknownKey);
        };
        let installed = self.fetched_keys(remote).await?;
        let key = installed.keys.find(id, algorithm);
        key.cloned().ok_or(JwtError::UnknownKey)
    }

    /// The keys, fetched if there are none that may be trusted.
    async fn trusted_keys(&self) -> Result<Arc<InstalledKeys>, JwtError> {
        if let Some(installed) = self.current_keys() {
            return Ok(installed);
        }
        let Some(remote) = &self.0.remote else {
            return Err(JwtError::UnknownKey);
        };
        self.fetched_keys(remote).await
    }

    async fn fetched_keys(&self, remote: &RemoteKeySet) -> Result<Arc<InstalledKeys>, JwtError> {
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
        let seconds = u32::try_from(self.settings.refresh_seconds).unwrap_or(u32::MAX);
        TimeDelta::seconds(i64::from(seconds))
    }
}

/// # Errors
/// `Malformed` when it is none, `CriticalExtension` when it demands what is not supported.
fn read_header(token: &str) -> Result<Header, JwtError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwtError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
    if header.crit.is_some() {
        // None of these extensions is understood, so the token is not either (RFC 7515, 4.1.11).
        return Err(JwtError::CriticalExtension);
    }
    Ok(header)
}

/// Whether the claims are those of another token of the issuer: an ID token, a refresh token, or a message
/// about a logout. Where the header says no more than `JWT`, only they tell (RFC 8725, 3.12). `typ`
/// among the claims is Keycloak's.
fn is_of_another_kind(claims: &Map<String, Value>) -> bool {
    const KINDS: [&str; 5] = ["ID", "Serialized-ID", "Refresh", "Offline", "Logout"];
    let kind = claims.get("typ").and_then(Value::as_str);
    let is_kind = |kind: &str| KINDS.iter().any(|other| other.eq_ignore_ascii_case(kind));
    // OpenID Connect Core 1.0, 3.1.3.6 and 3.3.2.11; RFC 8417, 2.2.
    let of_others = ["at_hash", "c_hash", "events"];
    kind.is_some_and(is_kind) || of_others.iter().any(|name| claims.contains_key(*name))
}

fn unavailable(error: FetchError) -> JwtError {
    JwtError::KeysUnavailable(Arc::new(error))
}

/// Bytes of a cache entry: the token, its claims, and what both need around them.
fn weight(token_bytes: usize, bytes_per_byte: usize) -> u32 {
    u32::try_from(token_bytes * bytes_per_byte + 512).unwrap_or(u32::MAX)
}
