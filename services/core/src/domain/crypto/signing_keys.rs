//! The keys that sign access tokens: Ed25519, stored encrypted in Postgres, identified by `kid`.
//!
//! ```text
//! published --(activates_at)--> active --(the next key's activates_at)--> retired --> deleted
//!  |<- publish_ahead_seconds ->|<------------- rotation_seconds -------->|<- lifetime + margin ->|
//! ```
//!
//! The state of a key follows from the rows and the time alone, so replicas that have read the same
//! rows sign with the same key. Invariants:
//! - A key is published before it signs, for longer than any verifier caches the key set.
//!   Otherwise verifiers would reject the first tokens of each key.
//! - A key stays published until every token it signed has expired.
//! - An advisory lock serializes changes: replicas that start on an empty table create one key.
//!
//! `rotate-keys --now` breaks the first rule on purpose, for a key that has leaked. A replica that
//! meets an unknown `kid` reads the keys again, at most once per second, so that random `kid`s
//! cannot turn into a query each. Until a replica has done so, or `keys.reload_seconds` have
//! passed, it signs with the old key, which the others reject. Other services cache keys for their
//! `jwt.jwks_refresh_seconds`.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::{encoding::AsDer, signature::Ed25519KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::{
    config::{Config, TOKEN_TYPE},
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
const KEY_ID_BYTES: usize = 9;
/// Minimum time between two reads that unknown key ids cause.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

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

/// The keys of the table, oldest first, and their public halves.
#[derive(Default)]
struct KeyRing {
    keys: Vec<Key>,
    published: JwkSet,
}

struct Key {
    kid: String,
    activates_at: DateTime<Utc>,
    key: EncodingKey,
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
        self.0.key_ring.load().published.clone()
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
        let active = key_ring
            .keys
            .iter()
            .rev()
            .find(|key| key.activates_at <= now);
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
        let mut header = Header::new(Algorithm::EdDSA);
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
        if reloaded_at.is_some_and(|at| now < at + RELOAD_INTERVAL) {
            return Ok(());
        }
        *reloaded_at = Some(now);
        let mut db = quartet_db::read(db).await?;
        let rows = signing_keys::all(&mut db).await?;
        self.install(rows)
    }

    /// Creates the first key, or the next one when it is due; deletes keys whose tokens have all
    /// expired; reads the rest. Safe to run on all replicas at once: one creates, all read.
    pub(crate) async fn maintain(&self, db: &PgPool) -> Result<(), Error> {
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        let now = self.0.clock.now();
        let rows = signing_keys::all(&mut tx).await?;
        if let Some(activates_at) = self.next_activation(&rows, now) {
            signing_keys::insert(&mut tx, &self.generate(activates_at, now)?).await?;
        }
        let retired_before = now - self.retired_for();
        signing_keys::delete_superseded(&mut tx, retired_before).await?;
        let rows = signing_keys::all(&mut tx).await?;
        tx.commit().await?;
        self.install(rows)
    }

    /// Creates a key on an operator's request. With `immediately` it signs at once and all others
    /// are deleted, which invalidates every access token: for a key that has leaked.
    pub(crate) async fn rotate(
        &self,
        db: &PgPool,
        immediately: bool,
    ) -> Result<SigningKeyRow, Error> {
        let now = self.0.clock.now();
        let ahead = Duration::from_secs(self.0.config.keys.publish_ahead_seconds);
        let row = self.generate(if immediately { now } else { now + ahead }, now)?;
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        if immediately {
            signing_keys::delete_all(&mut tx).await?;
        }
        signing_keys::insert(&mut tx, &row).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Seals with the current master key what a previous one has sealed. Returns how many keys.
    pub(crate) async fn reseal(&self, db: &PgPool) -> Result<usize, Error> {
        let mut tx = quartet_db::begin(db).await?;
        signing_keys::lock(&mut tx).await?;
        let master_key = &self.0.master_key;
        let mut resealed = 0;
        for row in signing_keys::all(&mut tx).await? {
            if master_key.is_current(&row.sealed_private_key) {
                continue;
            }
            let private = master_key.open(&row.kid, &row.sealed_private_key)?;
            let sealed = master_key.seal(&row.kid, &private)?;
            signing_keys::reseal(&mut tx, &row.kid, &sealed).await?;
            resealed += 1;
        }
        tx.commit().await?;
        Ok(resealed)
    }

    /// When a key created now should become active; `None` when none is due.
    fn next_activation(&self, rows: &[SigningKeyRow], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let Some(newest) = rows.last() else {
            return Some(now);
        };
        let rotation = Duration::from_secs(self.0.config.keys.rotation_seconds);
        let ahead = Duration::from_secs(self.0.config.keys.publish_ahead_seconds);
        let due = newest.activates_at + rotation;
        (now + ahead >= due).then(|| due.max(now + ahead))
    }

    fn retired_for(&self) -> Duration {
        Duration::from_secs(self.0.config.sessions.access_token_ttl_seconds) + RETIRED_MARGIN
    }

    fn generate(
        &self,
        activates_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
    ) -> Result<SigningKeyRow, Error> {
        let failed = |_| Error::Crypto("generating a signing key failed");
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        let private =
            AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
        let kid = URL_SAFE_NO_PAD.encode(rand::random::<[u8; KEY_ID_BYTES]>());
        let sealed_private_key = self.0.master_key.seal(&kid, private.as_ref())?;
        Ok(SigningKeyRow {
            kid,
            sealed_private_key,
            created_at,
            activates_at,
        })
    }

    fn install(&self, rows: Vec<SigningKeyRow>) -> Result<(), Error> {
        let key_ring = self.0.key_ring.load();
        if rows
            .iter()
            .map(|row| &row.kid)
            .eq(key_ring.keys.iter().map(|key| &key.kid))
        {
            return Ok(());
        }
        let mut new = KeyRing::default();
        for row in rows {
            let private = self.0.master_key.open(&row.kid, &row.sealed_private_key)?;
            let key = EncodingKey::from_ed_der(&private);
            new.published.keys.push(public_key(&key, &row.kid)?);
            new.keys.push(Key {
                kid: row.kid,
                activates_at: row.activates_at,
                key,
            });
        }
        self.0.verifier.set_keys(&new.published);
        self.0.key_ring.store(Arc::new(new));
        Ok(())
    }
}

fn public_key(key: &EncodingKey, kid: &str) -> Result<Jwk, Error> {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::EdDSA)
        .map_err(|_| Error::Crypto("a signing key has no public key"))?;
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}
