//! The keys that sign access tokens: Ed25519, kept sealed in Postgres, rotated by `kid`.
//!
//! A key is published before it signs and as long as tokens that it signed may be valid. Which
//! key signs follows from the time alone, so replicas that have read the same rows agree.
//!
//! `rotate-keys --now` is the exception: the new key signs before everybody has read it. A replica
//! that meets an unknown key id reads the keys again at once, but not more often than every
//! second. Until each replica has done that or its reload time is over, it still signs with a key
//! that others refuse, and still publishes it. Other services keep keys for as long as their
//! `jwt.jwks_refresh_seconds` say.

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
    domain::{desk, secrets::MasterKey},
    error::Error,
    store::{
        sessions::SessionId,
        signing_keys::{self, SigningKeyRow},
        users::UserId,
    },
};

/// Tokens may be this much older than their lifetime says: clocks differ.
const RETIRED_MARGIN: Duration = Duration::from_mins(10);
const KEY_ID_BYTES: usize = 9;
/// Unknown key ids make the keys be read again, but not more often than this.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone; clones share the keys.
#[derive(Clone)]
pub(crate) struct SigningKeys(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    master_key: MasterKey,
    verifier: JwtVerifier,
    clock: Clock,
    ring: ArcSwap<Ring>,
    /// When an unknown key id made the keys be read again.
    reloaded_at: Mutex<Option<DateTime<Utc>>>,
}

/// What was read of the table, oldest first.
#[derive(Default)]
struct Ring {
    keys: Vec<Key>,
    published: JwkSet,
}

struct Key {
    kid: String,
    activates_at: DateTime<Utc>,
    key: EncodingKey,
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
            ring: ArcSwap::default(),
            reloaded_at: Mutex::default(),
        }))
    }

    pub(crate) fn verifier(&self) -> &JwtVerifier {
        &self.0.verifier
    }

    /// The public keys as they are published.
    pub(crate) fn published(&self) -> JwkSet {
        self.0.ring.load().published.clone()
    }

    /// An access token of this session, and its lifetime in seconds. It does not outlive the
    /// session.
    pub(crate) fn access_token(
        &self,
        user: UserId,
        session: SessionId,
        session_expires_at: DateTime<Utc>,
    ) -> Result<(String, u64), Error> {
        let now = self.0.clock.now();
        let ring = self.0.ring.load();
        let active = ring.keys.iter().rev().find(|key| key.activates_at <= now);
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
            .map_err(|_| Error::Crypto("a token could not be signed"))?;
        let seconds = claims.exp - claims.iat;
        Ok((token, u64::try_from(seconds).unwrap_or_default()))
    }

    /// Reads the keys again because a token named an unknown one.
    pub(crate) async fn reload(&self, pool: &PgPool) -> Result<(), Error> {
        let mut reloaded_at = self.0.reloaded_at.lock().await;
        let now = self.0.clock.now();
        if reloaded_at.is_some_and(|at| now < at + RELOAD_PAUSE) {
            return Ok(());
        }
        *reloaded_at = Some(now);
        let mut db = pool.acquire().await?;
        let rows = signing_keys::all(&mut db).await?;
        self.take(rows)
    }

    /// Makes the first key, or the next one when it is time, removes those that nobody needs any
    /// more, and reads what is left. Replicas may do this at once: one makes, all read.
    pub(crate) async fn maintain(&self, pool: &PgPool) -> Result<(), Error> {
        let mut tx = pool.begin().await?;
        signing_keys::lock(&mut tx).await?;
        let now = desk::now(&self.0.clock);
        let rows = signing_keys::all(&mut tx).await?;
        if let Some(activates_at) = self.next_activation(&rows, now) {
            signing_keys::insert(&mut tx, &self.generate(activates_at, now)?).await?;
        }
        let retired_before = now - self.retired_for();
        signing_keys::delete_superseded(&mut tx, retired_before).await?;
        let rows = signing_keys::all(&mut tx).await?;
        tx.commit().await?;
        self.take(rows)
    }

    /// Makes a new key by hand. `immediately`: it signs at once, and all others are dropped, which
    /// ends every access token: for a key that somebody else has seen.
    pub(crate) async fn rotate(
        &self,
        pool: &PgPool,
        immediately: bool,
    ) -> Result<SigningKeyRow, Error> {
        let now = desk::now(&self.0.clock);
        let ahead = Duration::from_secs(self.0.config.keys.publish_ahead_seconds);
        let made = self.generate(if immediately { now } else { now + ahead }, now)?;
        let mut tx = pool.begin().await?;
        signing_keys::lock(&mut tx).await?;
        if immediately {
            signing_keys::delete_all(&mut tx).await?;
        }
        signing_keys::insert(&mut tx, &made).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// When a key that is to be made now should take over, if one is to be made.
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
        let failed = |_| Error::Crypto("a signing key could not be made");
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

    fn take(&self, rows: Vec<SigningKeyRow>) -> Result<(), Error> {
        let ring = self.0.ring.load();
        if rows
            .iter()
            .map(|row| &row.kid)
            .eq(ring.keys.iter().map(|key| &key.kid))
        {
            return Ok(());
        }
        let mut fresh = Ring::default();
        for row in rows {
            let private = self.0.master_key.open(&row.kid, &row.sealed_private_key)?;
            let key = EncodingKey::from_ed_der(&private);
            fresh.published.keys.push(public_key(&key, &row.kid)?);
            fresh.keys.push(Key {
                kid: row.kid,
                activates_at: row.activates_at,
                key,
            });
        }
        self.0.verifier.set_keys(&fresh.published);
        self.0.ring.store(Arc::new(fresh));
        Ok(())
    }
}

fn public_key(key: &EncodingKey, kid: &str) -> Result<Jwk, Error> {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::EdDSA)
        .map_err(|_| Error::Crypto("a signing key has no public half"))?;
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}
