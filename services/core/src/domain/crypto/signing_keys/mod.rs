//! The keys that sign access tokens: stored encrypted in Postgres, identified by `kid`, each for one
//! algorithm. Keys of every algorithm in `keys.algorithms` are kept and published; those of
//! `keys.access_token_algorithm` sign. Each algorithm rotates by itself:
//!
//! ```text
//! published --(activates_at)--> active --(the next key's activates_at)--> retired --> deleted
//!  |<- publish_ahead_seconds ->|<------------- rotation_seconds -------->|<- lifetime + margin ->|
//! ```
//!
//! "The next key" is the next one of the same algorithm. The state of a key follows from the rows and the time alone, so replicas that have read the same
//! rows sign with the same key. Invariants:
//! - A key is published before it signs, for longer than any verifier caches the key set.
//!   Otherwise verifiers would reject the first tokens of each key.
//! - A key stays published until every token it signed has expired. One whose algorithm is no longer
//!   kept may have signed until its rotation was due.
//! - An advisory lock serializes changes: replicas that start on an empty table create one key.
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
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;

use key_ring::KeyRing;

use crate::{
    config::{Config, SigningAlgorithm, TOKEN_TYPE},
    domain::crypto::master_key::MasterKey,
    error::Error,
    store::{
        sessions::SessionId,
        signing_keys::{self, SigningKeyRow},
        users::UserId,
    },
};

/// Allowance for clock skew: how long after the last token has expired a key stays published.
const RETIRED_MARGIN: Duration = Duration::from_mins(10);
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
    /// The last time an unknown key id caused a read.
    reloaded_at: Mutex<Option<DateTime<Utc>>>,
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
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            master_key,
            verifier,
            clock,
            key_ring: ArcSwap::default(),
            reloaded_at: Mutex::default(),
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
    pub(crate) fn access_token(
        &self,
        user: UserId,
        session: SessionId,
        session_expires_at: DateTime<Utc>,
    ) -> Result<AccessToken, Error> {
        let now = self.0.clock.now();
        let key_ring = self.0.key_ring.load();
        let active = key_ring.signing(self.0.config.keys.access_token_algorithm, now);
        let active = active.ok_or(Error::NoSigningKey)?;
        let ttl = Duration::from_secs(self.0.config.sessions.access_token_ttl_seconds);
        let expires_at = (now + ttl).min(session_expires_at);
        let claims = AccessClaims {
            iss: self.0.config.jwt.issuer.as_deref().unwrap_or_default(),
            aud: self.0.config.jwt.audience.as_deref().unwrap_or_default(),
            sub: user.to_string(),
            sid: session.to_string(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: self.0.clock.uuid_v7().to_string(),
            client_id: "quartet",
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
        let mut reloaded_at = self.0.reloaded_at.lock().await;
        let now = self.0.clock.now();
        // In either direction: the clock may have been set back.
        if reloaded_at.is_some_and(|at| (now - at).abs() < RELOAD_INTERVAL) {
            return Ok(());
        }
        *reloaded_at = Some(now);
        let mut db = quartet_db::read(db).await?;
        let rows = signing_keys::all(&mut db).await?;
        self.install(&rows)
    }

    /// Creates the first key of each algorithm, or the next one when it is due; deletes keys whose
    /// tokens have all expired; reads the rest. Safe to run on all replicas at once: one creates, all
    /// read.
    pub(crate) async fn maintain(&self, db: &PgPool) -> Result<(), Error> {
        let settings = &self.0.config.keys;
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        let now = self.0.clock.now();
        let rows = signing_keys::all(&mut tx).await?;
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
        let rows = signing_keys::all(&mut tx).await?;
        tx.commit().await?;
        self.install(&rows)
    }

    async fn delete_expired(&self, db: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
        let settings = &self.0.config;
        let access_token_ttl = Duration::from_secs(settings.sessions.access_token_ttl_seconds);
        let retired_before = now - (access_token_ttl + RETIRED_MARGIN);
        signing_keys::delete_superseded(db, retired_before).await?;
        let rotation = Duration::from_secs(settings.keys.rotation_seconds);
        let kept: Vec<String> = settings
            .keys
            .algorithms
            .iter()
            .map(ToString::to_string)
            .collect();
        signing_keys::delete_abandoned(db, &kept, retired_before - rotation).await?;
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

    /// Seals with the current master key what a previous one has sealed. Returns how many keys.
    pub(crate) async fn reseal(&self, db: &PgPool) -> Result<usize, Error> {
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        let mut resealed = 0;
        for row in signing_keys::all(&mut tx).await? {
            let (kid, sealed) = (&row.kid, &row.sealed_private_key);
            let sealed = pairs::reseal(&row.algorithm, kid, sealed, &self.0.master_key)?;
            if let Some(sealed) = sealed {
                signing_keys::reseal(&mut tx, kid, &sealed).await?;
                resealed += 1;
            }
        }
        tx.commit().await?;
        Ok(resealed)
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

    fn install(&self, rows: &[SigningKeyRow]) -> Result<(), Error> {
        if self.0.key_ring.load().is_of(rows) {
            return Ok(());
        }
        let new = KeyRing::open(rows, &self.0.master_key)?;
        self.0.verifier.set_keys(new.published());
        self.0.key_ring.store(Arc::new(new));
        Ok(())
    }
}
