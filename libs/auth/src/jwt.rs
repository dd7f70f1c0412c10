//! Verifies access tokens: JWTs signed with a key from a JWKS URL, or with a shared secret.
//!
//! One verifier never accepts both: if a public key were used as an HMAC secret, anyone could forge
//! tokens (RFC 8725, 2.1). The algorithm is that of the key, never that of the token; the headers
//! `jku`, `x5u` and `jwk` are ignored.
//!
//! Keys are fetched on first use. Older than `jwks_refresh_seconds`, they stay in use while a task
//! fetches new ones, so an outage of the issuer does not reject valid tokens. An unknown key id
//! fetches immediately, since a key may just have been published, but at most every ten seconds, and
//! requests that arrive in the meantime wait for the same fetch: forged key ids cannot flood the
//! issuer.
//! Verified tokens are cached, so each signature is checked once; expiry is checked every time.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm},
};
use moka::sync::Cache;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, Jwt},
    problem::Problem,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

/// A longer token is rejected before it is decoded.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_SUBJECT_BYTES: usize = 255;
/// Verified tokens in the cache.
const CACHED_TOKENS: u64 = 10_000;
/// Least time between two fetches because of unknown key ids.
const REFETCH_PAUSE: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_SECRET_BYTES: usize = 32;

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The subject, such as `usr_...`.
    pub sub: String,
    pub exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The session of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// All other claims.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a token is not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JwtError {
    #[error("the access token is missing")]
    Missing,
    #[error("the access token is not a JWT")]
    Malformed,
    #[error("the access token has expired")]
    Expired,
    #[error("the access token is not valid yet")]
    NotYetValid,
    #[error("the signature of the access token is invalid")]
    BadSignature,
    #[error("the issuer of the access token is not accepted")]
    WrongIssuer,
    #[error("the access token is for another audience")]
    WrongAudience,
    #[error("the token is not an access token")]
    WrongType,
    #[error("the algorithm of the access token is not accepted")]
    WrongAlgorithm,
    #[error("the access token is signed with an unknown key")]
    UnknownKey,
    #[error("the signing keys could not be fetched")]
    KeysUnavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl From<JwtError> for Problem {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::KeysUnavailable(_) => Self::unavailable(error),
            JwtError::Missing => Self::unauthenticated(error.to_string()),
            // RFC 6750, 3.1: the error attribute only if a token was sent.
            _ => Self::unauthenticated(error.to_string()).header(
                http::header::WWW_AUTHENTICATE,
                http::HeaderValue::from_static("Bearer error=\"invalid_token\""),
            ),
        }
    }
}

/// Verifies tokens of one issuer. Cheap to clone; clones share keys and cache.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

struct Inner {
    clock: Clock,
    settings: Jwt,
    source: Source,
    keys: ArcSwapOption<KeySet>,
    fetching: Mutex<Option<Instant>>,
    verified: Cache<Box<str>, Arc<Claims>>,
}

enum Source {
    Url(Url, reqwest::Client),
    Fixed,
}

struct KeySet {
    by_id: HashMap<String, Key>,
    /// The only key of a set, or the shared secret.
    single: Option<Key>,
    fetched: Instant,
}

#[derive(Clone)]
struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
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
                "must not be set together with jwt.jwks_url",
            )),
            (None, None) => Err(ConfigError::invalid(
                "jwt.jwks_url",
                "must be set unless jwt.hs256_secret is",
            )),
            (Some(url), None) => {
                let client = reqwest::Client::builder()
                    .timeout(FETCH_TIMEOUT)
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(|error| ConfigError::invalid("jwt.jwks_url", error.to_string()))?;
                Ok(Self::with(
                    settings,
                    clock,
                    Source::Url(url.clone(), client),
                    None,
                ))
            }
            (None, Some(secret)) => Self::by_secret(settings, clock, secret),
        }
    }

    /// A verifier with keys of this process; set them with [`JwtVerifier::set_keys`].
    pub fn with_own_keys(settings: &Jwt, clock: Clock) -> Self {
        Self::with(settings, clock, Source::Fixed, None)
    }

    /// Replaces the keys and clears the cache.
    pub fn set_keys(&self, keys: &JwkSet) {
        self.0.keys.store(Some(Arc::new(KeySet::from_jwks(keys))));
        self.0.verified.invalidate_all();
    }

    /// The claims of a valid token.
    ///
    /// # Errors
    /// [`JwtError`]. With `KeysUnavailable`, the token may be valid.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, JwtError> {
        if let Some(claims) = self.0.verified.get(token) {
            self.check_times(&claims)?;
            return Ok(claims);
        }
        let claims = Arc::new(self.verify_uncached(token).await?);
        self.0.verified.insert(token.into(), Arc::clone(&claims));
        Ok(claims)
    }

    fn by_secret(settings: &Jwt, clock: Clock, secret: &SecretString) -> Result<Self, ConfigError> {
        let bytes = secret.expose_secret().as_bytes();
        if bytes.len() < MIN_SECRET_BYTES {
            let rule = "must have at least 32 bytes (RFC 7518, 3.2)";
            return Err(ConfigError::invalid("jwt.hs256_secret", rule));
        }
        let key = Key {
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(bytes),
        };
        let keys = KeySet {
            by_id: HashMap::new(),
            single: Some(key),
            fetched: Instant::now(),
        };
        Ok(Self::with(settings, clock, Source::Fixed, Some(keys)))
    }

    fn with(settings: &Jwt, clock: Clock, source: Source, keys: Option<KeySet>) -> Self {
        Self(Arc::new(Inner {
            clock,
            settings: settings.clone(),
            source,
            keys: ArcSwapOption::from_pointee(keys),
            fetching: Mutex::new(None),
            verified: Cache::new(CACHED_TOKENS),
        }))
    }

    async fn verify_uncached(&self, token: &str) -> Result<Claims, JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        let typ = header.typ.as_deref().unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        if self
            .0
            .settings
            .token_type
            .as_deref()
            .is_some_and(|t| !t.eq_ignore_ascii_case(typ))
        {
            return Err(JwtError::WrongType);
        }
        let key = self.key(header.kid.as_deref()).await?;
        if key.algorithm != header.alg {
            return Err(JwtError::WrongAlgorithm);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &self.validation(&key))
            .map_err(|error| reason(error.kind()))?
            .claims;
        if claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT_BYTES {
            return Err(JwtError::Malformed);
        }
        self.check_times(&claims)?;
        Ok(claims)
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
        let now = self.0.clock.now().timestamp();
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

    async fn key(&self, id: Option<&str>) -> Result<Key, JwtError> {
        let Source::Url(url, client) = &self.0.source else {
            let keys = self.0.keys.load();
            return keys
                .as_ref()
                .and_then(|keys| keys.find(id))
                .ok_or(JwtError::UnknownKey);
        };
        if let Some(keys) = &*self.0.keys.load()
            && let Some(key) = keys.find(id)
        {
            if keys.fetched.elapsed().as_secs() >= self.0.settings.jwks_refresh_seconds {
                self.refresh_behind(url.clone(), client.clone());
            }
            return Ok(key);
        }
        self.refresh(url, client).await?;
        let keys = self.0.keys.load();
        keys.as_ref()
            .and_then(|keys| keys.find(id))
            .ok_or(JwtError::UnknownKey)
    }

    /// Old keys stay in use while new ones are fetched, and if that fails.
    fn refresh_behind(&self, url: Url, client: reqwest::Client) {
        if self.0.fetching.try_lock().is_ok() {
            let verifier = self.clone();
            tokio::spawn(async move {
                if let Err(error) = verifier.refresh(&url, &client).await {
                    tracing::warn!(%error, "refreshing the signing keys failed");
                }
            });
        }
    }

    /// Fetches the keys once for all requests that wait for them.
    async fn refresh(&self, url: &Url, client: &reqwest::Client) -> Result<(), JwtError> {
        let mut last = self.0.fetching.lock().await;
        if last.is_some_and(|at| at.elapsed() < REFETCH_PAUSE) && self.0.keys.load().is_some() {
            return Ok(());
        }
        let fetched = fetch(url, client).await;
        *last = Some(Instant::now());
        match fetched {
            Ok(keys) => {
                self.set_keys(&keys);
                Ok(())
            }
            Err(error) => Err(JwtError::KeysUnavailable(Arc::new(error))),
        }
    }
}

async fn fetch(url: &Url, client: &reqwest::Client) -> Result<JwkSet, reqwest::Error> {
    client
        .get(url.clone())
        .send()
        .await?
        .error_for_status()?
        .json()
        .await
}

fn reason(kind: &ErrorKind) -> JwtError {
    match kind {
        ErrorKind::InvalidSignature => JwtError::BadSignature,
        ErrorKind::InvalidIssuer => JwtError::WrongIssuer,
        ErrorKind::InvalidAudience => JwtError::WrongAudience,
        ErrorKind::InvalidAlgorithm => JwtError::WrongAlgorithm,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => JwtError::WrongIssuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => JwtError::WrongAudience,
        _ => JwtError::Malformed,
    }
}

impl KeySet {
    fn from_jwks(set: &JwkSet) -> Self {
        let usable: Vec<(Option<String>, Key)> = set
            .keys
            .iter()
            .filter_map(|jwk| Some((jwk.common.key_id.clone(), usable_key(jwk)?)))
            .collect();
        let single = match usable.as_slice() {
            [(_, key)] => Some(key.clone()),
            _ => None,
        };
        let by_id = usable
            .into_iter()
            .filter_map(|(id, key)| Some((id?, key)))
            .collect();
        Self {
            by_id,
            single,
            fetched: Instant::now(),
        }
    }

    fn find(&self, id: Option<&str>) -> Option<Key> {
        match id {
            Some(id) if !self.by_id.is_empty() => self.by_id.get(id).cloned(),
            _ => self.single.clone(),
        }
    }
}

/// A key of one of the three accepted asymmetric algorithms.
fn usable_key(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let declared = match jwk.common.key_algorithm {
        None => algorithm,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(_) => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (declared == algorithm).then_some(Key { algorithm, key })
}
