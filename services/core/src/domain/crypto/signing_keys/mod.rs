//! The keys that sign access tokens: stored encrypted in Postgres, identified by `kid`, each for one
//! algorithm. Keys of every algorithm in `keys.algorithms` are kept and published; those of
//! `keys.access_token_algorithm` sign. Each algorithm rotates by itself:
//!
//! ```text
//! published --(activates_at)--> active --(the next key's activates_at)--> retired --> deleted
//!  |<- publish_ahead_seconds ->|<------------- rotation_seconds -------->|<- lifetime + margin ->|
//! ```
//!
//! "The next key" is the next one of the same algorithm. The state of a key follows from the rows and
//! the time alone, so replicas that have read the same rows sign with the same key. Invariants:
//! - A key is published before it signs, for longer than any verifier caches the key set.
//!   Otherwise verifiers would reject the first tokens of each key.
//! - A key stays published until every token it signed has expired. One whose algorithm is no longer
//!   kept may have signed until its rotation was due.
//! - An advisory lock serializes changes: replicas that start on an empty table create one key.
//! - A key that does not open is named in the log, in `/ready` and in `core_unusable_signing_keys`, and
//!   takes none of the others along. Only when the algorithm that signs is left without a key, nothing
//!   is signed and a replica does not start. Keys that have been opened stay open.
//!
//! `rotate-keys --now` breaks the first rule on purpose, for a key that has leaked. A replica that
//! meets an unknown `kid` reads the keys again, at most once per second, so that random `kid`s
//! cannot turn into a query each. Until a replica has done so, or `keys.reload_seconds` have
//! passed, it signs with the old key, which the others reject. Other services cache keys for their
//! `jwt.jwks_refresh_seconds`.

mod key_ring;
mod pairs;
mod schedule;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Header, jwk::JwkSet};
use prometheus_client::metrics::gauge::Gauge;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;

use key_ring::KeyRing;
pub(crate) use key_ring::UnusableKey;

use crate::{
    config::{Config, SigningAlgorithm, TOKEN_TYPE},
    domain::crypto::master_key::MasterKey,
    error::Error,
    store::{
        api_keys::ApiKeyId,
        sessions::{Authentication, SessionId},
        signing_keys::{self, SigningKeyRow},
        users::UserId,
    },
};

/// Allowance for clock skew: how long after the last token has expired a key stays published.
const RETIRED_MARGIN: Duration = Duration::from_mins(10);
/// The client of every login.
const CLIENT_ID: &str = "quartet";
/// The class of every login (`acr`): one factor, as level 1 of NIST SP 800-63B has it.
pub(crate) const ONE_FACTOR: &str = "aal1";
/// Minimum time between two reads that unknown key ids cause.
const RELOAD_INTERVAL: TimeDelta = TimeDelta::seconds(1);

/// Cheap to clone; clones share the keys.
#[derive(Clone)]
pub(crate) struct SigningKeys(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    master_key: MasterKey,
    verifier: JwtVerifier,
    clock: Clock,
    key_ring: ArcSwap<KeyRing>,
    /// How many keys cannot be used.
    unusable: Gauge,
    /// The last time an unknown key id caused a read that succeeded. Held by the task that reads the rows
    /// until the key ring is theirs: a slower reader would put back keys that are deleted.
    reading: Mutex<Option<DateTime<Utc>>>,
}

/// What a token is issued for.
pub(crate) struct Login {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) session_expires_at: DateTime<Utc>,
    pub(crate) authentication: Authentication,
}

/// What a token of an API key is issued for.
pub(crate) struct KeyGrant {
    pub(crate) user_id: UserId,
    pub(crate) key_id: ApiKeyId,
    pub(crate) key_created_at: DateTime<Utc>,
    pub(crate) key_expires_at: DateTime<Utc>,
    pub(crate) scopes: Vec<String>,
}

/// A signed access token.
#[derive(Clone)]
pub(crate) struct AccessToken {
    pub(crate) token: String,
    pub(crate) expires_in_seconds: u64,
}

/// Claims of RFC 9068.
#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    sid: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    auth_time: i64,
    /// Methods and class of a login.
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
}

/// What differs between tokens.
struct Issued<'a> {
    user_id: UserId,
    sid: String,
    client_id: &'a str,
    scope: Option<String>,
    authenticated_at: DateTime<Utc>,
    login: Option<&'a Authentication>,
    ends_at: DateTime<Utc>,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

impl SigningKeys {
    pub(crate) fn new(
        config: Arc<Config>,
        master_key: MasterKey,
        verifier: JwtVerifier,
        clock: Clock,
        unusable: Gauge,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            master_key,
            verifier,
            clock,
            unusable,
            key_ring: ArcSwap::default(),
            reading: Mutex::default(),
        }))
    }

    pub(crate) fn verifier(&self) -> &JwtVerifier {
        &self.0.verifier
    }

    /// The published public keys.
    pub(crate) fn published(&self) -> JwkSet {
        self.0.key_ring.load().published().clone()
    }

    /// Signs an access token. It does not outlive the session.
    pub(crate) fn access_token(&self, login: &Login) -> Result<AccessToken, Error> {
        self.sign(Issued {
            user_id: login.user_id,
            sid: login.session_id.to_string(),
            client_id: CLIENT_ID,
            scope: None,
            authenticated_at: login.authentication.at,
            login: Some(&login.authentication),
            ends_at: login.session_expires_at,
        })
    }

    /// Signs an access token with the scopes of an API key. It does not outlive the key.
    pub(crate) fn api_key_token(&self, grant: &KeyGrant) -> Result<AccessToken, Error> {
        let key_id = grant.key_id.to_string();
        self.sign(Issued {
            user_id: grant.user_id,
            sid: key_id.clone(),
            client_id: &key_id,
            scope: Some(grant.scopes.join(" ")),
            authenticated_at: grant.key_created_at,
            login: None,
            ends_at: grant.key_expires_at,
        })
    }

    fn sign(&self, issued: Issued<'_>) -> Result<AccessToken, Error> {
        let now = self.0.clock.now();
        let key_ring = self.0.key_ring.load();
        let active = key_ring.signing(self.0.config.keys.access_token_algorithm, now);
        let active = active.ok_or(Error::NoSigningKey)?;
        let ttl = Duration::from_secs(self.0.config.sessions.access_token_ttl_seconds);
        let expires_at = (now + ttl).min(issued.ends_at);
        let claims = AccessClaims {
            iss: self.0.config.jwt.issuer.as_deref().unwrap_or_default(),
            aud: self.0.config.jwt.audience.as_deref().unwrap_or_default(),
            sub: issued.user_id.to_string(),
            sid: issued.sid,
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: self.0.clock.uuid_v7().to_string(),
            client_id: issued.client_id,
            scope: issued.scope,
            auth_time: issued.authenticated_at.timestamp(),
            amr: issued.login.map(|login| login.methods.as_slice()),
            acr: issued.login.map(|_| ONE_FACTOR),
        };
        let mut header = Header::new(pairs::jwt_algorithm(active.algorithm));
        header.typ = Some(TOKEN_TYPE.into());
        header.kid = Some(active.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &active.key)
            .map_err(|_| Error::Crypto("signing a token failed"))?;
        Ok(AccessToken {
            token,
            expires_in_seconds: u64::try_from(claims.exp - claims.iat).unwrap_or_default(),
        })
    }

    /// Reads the keys again because a token names an unknown one.
    pub(crate) async fn reload(&self, db: &PgPool) -> Result<(), Error> {
        if self.is_recent(*self.0.reading.lock().await) {
            return Ok(());
        }
        // The connection before the lock, as in `maintain`: in another order, both could wait for
        // what the other one holds.
        let mut db = quartet_db::read(db).await?;
        let mut reloaded_at = self.0.reading.lock().await;
        if self.is_recent(*reloaded_at) {
            return Ok(());
        }
        let now = self.0.clock.now();
        let rows = signing_keys::all(&mut db).await?;
        self.read(&rows);
        // A read that fails, or whose request is gone, keeps no other from reading.
        *reloaded_at = Some(now);
        Ok(())
    }

    /// Whether keys have just been read. In either direction: the clock may have been set back.
    fn is_recent(&self, reloaded_at: Option<DateTime<Utc>>) -> bool {
        let now = self.0.clock.now();
        reloaded_at.is_some_and(|at| (now - at).abs() < RELOAD_INTERVAL)
    }

    /// Creates the first key of each algorithm, or the next one when it is due; deletes keys whose
    /// tokens have all expired; reads the rest. Safe to run on all replicas at once: one creates, all
    /// read.
    pub(crate) async fn maintain(&self, db: &PgPool) -> Result<(), Error> {
        let settings = &self.0.config.keys;
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        let now = self.0.clock.now();
        let reading = self.0.reading.lock().await;
        let rows = signing_keys::all(&mut tx).await?;
        self.read(&rows);
        drop(reading);
        if !rows.is_empty() && self.0.key_ring.load().is_empty() {
            // With another master key than the other replicas, it would create what they cannot open.
            return self.check();
        }
        for algorithm in &settings.algorithms {
            let mut newest = rows.iter().rev();
            let newest = newest.find(|row| row.algorithm == algorithm.as_str());
            let newest = newest.map(|row| row.activates_at);
            let activates_at = schedule::next_activation(newest, rows.is_empty(), settings, now);
            if let Some(activates_at) = activates_at {
                let key = self.generate(*algorithm, activates_at, now).await?;
                signing_keys::insert(&mut tx, &key).await?;
            }
        }
        self.delete_expired(&mut tx, now).await?;
        let reading = self.0.reading.lock().await;
        let rows = signing_keys::all(&mut tx).await?;
        tx.commit().await?;
        self.read(&rows);
        drop(reading);
        self.check()
    }

    async fn delete_expired(&self, db: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
        let settings = &self.0.config;
        let access_token_ttl = Duration::from_secs(settings.sessions.access_token_ttl_seconds);
        let retired_before = now - (access_token_ttl + RETIRED_MARGIN);
        // A key whose successor cannot be used still signs.
        if self.0.key_ring.load().unusable().is_empty() {
            signing_keys::delete_superseded(db, retired_before).await?;
        }
        let rotation = Duration::from_secs(settings.keys.rotation_seconds);
        let kept: Vec<String> = settings
            .keys
            .algorithms
            .iter()
            .map(ToString::to_string)
            .collect();
        let unused = retired_before - rotation;
        signing_keys::delete_abandoned(db, &kept, unused, retired_before).await?;
        Ok(())
    }

    /// Creates keys on an operator's request: of one algorithm, or of every one that is kept. With
    /// `immediately` they sign at once and all others of the algorithm are deleted, which invalidates
    /// their access tokens: for a key that has leaked.
    pub(crate) async fn rotate(
        &self,
        db: &PgPool,
        algorithm: Option<SigningAlgorithm>,
        immediately: bool,
    ) -> Result<Vec<SigningKeyRow>, Error> {
        let settings = &self.0.config.keys;
        let now = self.0.clock.now();
        let ahead = Duration::from_secs(settings.publish_ahead_seconds);
        let activates_at = if immediately { now } else { now + ahead };
        let mut rows = Vec::new();
        for kept in &settings.algorithms {
            if algorithm.is_none_or(|only| only == *kept) {
                rows.push(self.generate(*kept, activates_at, now).await?);
            }
        }
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        if immediately {
            let only = algorithm.map(SigningAlgorithm::as_str);
            signing_keys::delete_all(&mut tx, only).await?;
        }
        for row in &rows {
            signing_keys::insert(&mut tx, row).await?;
        }
        tx.commit().await?;
        Ok(rows)
    }

    /// Seals with the current master key what a previous one has sealed. Returns how many keys, and
    /// those that do not open.
    pub(crate) async fn reseal(&self, db: &PgPool) -> Result<(usize, Vec<UnusableKey>), Error> {
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        let (mut resealed, mut unusable) = (0, Vec::new());
        for row in signing_keys::all(&mut tx).await? {
            let (kid, sealed) = (&row.kid, &row.sealed_private_key);
            match pairs::reseal(&row.algorithm, kid, sealed, &self.0.master_key) {
                Ok(Some(sealed)) => {
                    signing_keys::reseal(&mut tx, kid, &sealed).await?;
                    resealed += 1;
                }
                Ok(None) => {}
                Err(error) => unusable.push(UnusableKey::new(&row, error)),
            }
        }
        tx.commit().await?;
        Ok((resealed, unusable))
    }

    async fn generate(
        &self,
        algorithm: SigningAlgorithm,
        activates_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
    ) -> Result<SigningKeyRow, Error> {
        let master_key = self.0.master_key.clone();
        let sealed = tokio::task::spawn_blocking(move || pairs::generate(algorithm, &master_key));
        let sealed = sealed
            .await
            .map_err(|_| Error::Crypto("generating a signing key panicked"))??;
        Ok(SigningKeyRow {
            kid: sealed.kid,
            algorithm: algorithm.to_string(),
            sealed_private_key: sealed.private_key,
            created_at,
            activates_at,
        })
    }

    /// Opens the keys that are new, and forgets those that are gone.
    fn read(&self, rows: &[SigningKeyRow]) {
        let old = self.0.key_ring.load();
        if old.is_of(rows) {
            return;
        }
        let new = old.with_rows(rows, &self.0.master_key);
        for key in new.unusable() {
            let (kid, algorithm, reason) = (&key.kid, &key.algorithm, &key.reason);
            tracing::error!(kid, algorithm, reason, "a signing key cannot be used");
        }
        let count = i64::try_from(new.unusable().len()).unwrap_or(i64::MAX);
        self.0.unusable.set(count);
        self.0.verifier.set_keys(new.published());
        self.0.key_ring.store(Arc::new(new));
    }

    /// # Errors
    /// When keys are there, and none of them may sign.
    fn check(&self) -> Result<(), Error> {
        let key_ring = self.0.key_ring.load();
        let algorithm = self.0.config.keys.access_token_algorithm;
        let unusable = key_ring.unusable();
        let signs = key_ring.signing(algorithm, self.0.clock.now()).is_some();
        if signs || unusable.is_empty() {
            return Ok(());
        }
        let unusable: Vec<String> = unusable.iter().map(ToString::to_string).collect();
        let unusable = unusable.join("; ");
        Err(Error::UnusableSigningKeys(format!(
            "{algorithm}: {unusable}"
        )))
    }

    /// The keys that this replica cannot use, and why.
    pub(crate) fn notices(&self) -> Vec<String> {
        let key_ring = self.0.key_ring.load();
        key_ring
            .unusable()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
