//! One key of one caller, from its claim to the kept response.
//!
//! A claim holds the key under a lease, which is renewed while the work runs and names its claim:
//! a request that has lost the lease, because it could not be renewed in time, can neither keep a
//! response nor free the key for another claim.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quartet_common::{
    clock::Clock,
    problem::{FieldError, Problem, kinds},
};
use quartet_db::statement;
use serde_json::{Map, Value};
use sqlx::{
    FromRow, PgConnection, PgPool, Postgres,
    postgres::{PgArguments, PgQueryResult},
    query::Query,
};
use uuid::Uuid;

use super::{request::HEADER, seal::Fingerprint};

static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long a response is kept.
const KEPT: Duration = Duration::from_hours(24);

/// How long a key stays claimed after its process has died.
const LEASE: Duration = Duration::from_secs(5);
const RENEWAL: Duration = Duration::from_secs(1);
/// A larger response fails the request: it could not be replayed.
const MAX_BODY_BYTES: usize = 256 * 1024;
const KEPT_HEADERS: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::ETAG,
    header::CACHE_CONTROL,
    header::VARY,
];

pub(super) struct Slot {
    pub(super) db: PgPool,
    pub(super) clock: Clock,
    pub(super) principal: String,
    pub(super) key: String,
    /// Of the request, by the newest key first; never empty.
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) claim: Uuid,
    /// The response was written in the transaction of the work.
    pub(super) kept: AtomicBool,
    /// Another request has claimed the key since.
    pub(super) lost: AtomicBool,
}

/// A response as it is stored.
pub(super) struct StoredResponse<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
    /// When its content is no longer valid.
    pub(super) expires_at: Option<DateTime<Utc>>,
}

/// A response that cannot be sealed, or is not sealed for the request whose hash is stored with it.
#[derive(Debug, thiserror::Error)]
#[error("a kept response is unreadable")]
struct UnreadableResponse;

/// Marks the response to work that has changed nothing.
#[derive(Clone)]
struct Undone;

/// The response to work that has changed nothing: the key may be used again.
#[must_use]
pub fn undone(mut response: Response) -> Response {
    response.extensions_mut().insert(Undone);
    response
}

/// A row of the table.
#[derive(sqlx::FromRow)]
struct SlotRow {
    request_hash: Vec<u8>,
    locked_until: DateTime<Utc>,
    status: Option<i16>,
    headers: Option<Value>,
    body: Option<Vec<u8>>,
}

impl Slot {
    /// Claims the key, or returns the response that is stored for it.
    pub(super) async fn claim(&self) -> Result<Option<Response>, Problem> {
        let now = self.clock.now();
        let hashes: Vec<&[u8]> = self
            .fingerprints
            .iter()
            .map(|it| it.hash.as_slice())
            .collect();
        let claim = sqlx::query(
            "INSERT INTO idempotency_keys AS k
                 (principal, key, request_hash, claim, locked_until, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (principal, key) DO UPDATE
             SET request_hash = $3, claim = $4, locked_until = $5, expires_at = $6,
                 status = NULL, headers = NULL, body = NULL
             WHERE k.expires_at <= $7 OR (k.status IS NULL AND k.locked_until <= $7
                                          AND k.request_hash = ANY ($8))",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(&self.newest()?.hash)
        .bind(self.claim)
        .bind(now + LEASE)
        .bind(now + KEPT)
        .bind(now)
        .bind(hashes);
        let claimed = self
            .write("idempotency_keys.claim", claim)
            .await
            .map_err(quartet_db::problem)?;
        if claimed.rows_affected() == 1 {
            Ok(None)
        } else {
            self.stored(now).await.map(Some)
        }
    }

    async fn stored(&self, now: DateTime<Utc>) -> Result<Response, Problem> {
        let select = sqlx::query(
            "SELECT request_hash, locked_until, status, headers, body FROM idempotency_keys
             WHERE principal = $1 AND key = $2",
        )
        .bind(&self.principal)
        .bind(&self.key);
        let mut db = quartet_db::read(&self.db)
            .await
            .map_err(quartet_db::problem)?;
        let row = statement("idempotency_keys.by_key", select.fetch_optional(&mut *db))
            .await
            .map_err(quartet_db::problem)?
            // The first request failed between the two statements, so the key is free again.
            .ok_or_else(|| Problem::not_now(&kinds::REQUEST_IN_FLIGHT))?;
        let stored = SlotRow::from_row(&row).map_err(quartet_db::problem)?;
        let same = |it: &&Fingerprint| it.hash == stored.request_hash;
        let Some(request) = self.fingerprints.iter().find(same) else {
            return Err(
                Problem::new(&kinds::IDEMPOTENCY_KEY_REUSED).field(FieldError::parameter(
                    HEADER.as_str(),
                    "reused",
                    "must be new for each different request",
                )),
            );
        };
        let Some(status) = stored.status else {
            return Err(in_flight(stored.locked_until, now));
        };
        let body = request.open(&stored.body.unwrap_or_default());
        let body = body.ok_or_else(|| Problem::internal(UnreadableResponse))?;
        Ok(rebuild(status, stored.headers, body))
    }

    fn newest(&self) -> Result<&Fingerprint, Problem> {
        let newest = self.fingerprints.first();
        newest.ok_or_else(|| Problem::internal(UnreadableResponse))
    }

    /// Runs `work` and renews the lease as long as it takes. `None` when another request has claimed
    /// the key: then the work is canceled.
    pub(super) async fn hold<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let renewals = async {
            loop {
                tokio::time::sleep(RENEWAL).await;
                if !self.renew().await {
                    break;
                }
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = renewals => None,
        }
    }

    /// `false` when the key is no longer claimed for this request, nor has it kept its response.
    async fn renew(&self) -> bool {
        let update = sqlx::query(
            "UPDATE idempotency_keys SET locked_until = $4
             WHERE principal = $1 AND key = $2 AND claim = $3",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(self.claim)
        .bind(self.clock.now() + LEASE);
        match self.write("idempotency_keys.renew", update).await {
            Ok(updated) => updated.rows_affected() == 1,
            Err(error) => {
                tracing::warn!(%error, "renewing the claim of an idempotency key failed");
                true
            }
        }
    }

    /// Stores the response. With the connection of a transaction, it is kept if and only if that
    /// commits.
    ///
    /// # Errors
    /// `RowNotFound` when the key was claimed again in the meantime.
    pub(super) async fn keep(
        &self,
        db: &mut PgConnection,
        kept: StoredResponse<'_>,
    ) -> Result<(), sqlx::Error> {
        if kept.body.len() > MAX_BODY_BYTES {
            let text = format!("a response of {} bytes cannot be kept", kept.body.len());
            return Err(sqlx::Error::Encode(text.into()));
        }
        let sealed = self.fingerprints.first().and_then(|it| it.seal(kept.body));
        let sealed = sealed.ok_or_else(|| sqlx::Error::Encode(Box::new(UnreadableResponse)))?;
        let headers: Map<String, Value> = KEPT_HEADERS
            .iter()
            .filter_map(|name| {
                Some((
                    name.to_string(),
                    kept.headers.get(name)?.to_str().ok()?.into(),
                ))
            })
            .collect();
        let until = self.clock.now() + KEPT;
        let update = sqlx::query(
            "UPDATE idempotency_keys SET status = $4, headers = $5, body = $6, expires_at = $7
             WHERE principal = $1 AND key = $2 AND claim = $3",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(self.claim)
        .bind(i16::try_from(kept.status.as_u16()).unwrap_or(0))
        .bind(Value::Object(headers))
        .bind(sealed)
        .bind(kept.expires_at.map_or(until, |expires| expires.min(until)));
        let updated = statement("idempotency_keys.keep", update.execute(db)).await?;
        if updated.rows_affected() == 0 {
            self.lost.store(true, Ordering::Relaxed);
            return Err(sqlx::Error::RowNotFound);
        }
        Ok(())
    }

    /// Keeps the response of a success, unless the work did so itself; frees the key after an error.
    pub(super) async fn settle(&self, response: Response) -> Result<Response, Problem> {
        let extensions = response.extensions();
        let failed = extensions.get::<Problem>().is_some() || extensions.get::<Undone>().is_some();
        if failed || response.status().is_server_error() {
            self.free().await;
            if self.lost.load(Ordering::Relaxed) {
                return Err(Problem::not_now(&kinds::REQUEST_IN_FLIGHT));
            }
            return Ok(response);
        }
        if self.kept.load(Ordering::Relaxed) {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => body,
            Err(error) => {
                self.free().await;
                return Err(Problem::internal(std::io::Error::other(error)));
            }
        };
        let kept = StoredResponse {
            status: parts.status,
            headers: &parts.headers,
            body: &body,
            expires_at: None,
        };
        if let Err(error) = self.keep_outside(kept).await {
            if self.lost.load(Ordering::Relaxed) {
                return Err(Problem::not_now(&kinds::REQUEST_IN_FLIGHT));
            }
            // The work is done and its response must be sent.
            tracing::warn!(%error, "storing the response of an idempotency key failed");
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    async fn keep_outside(&self, kept: StoredResponse<'_>) -> Result<(), sqlx::Error> {
        let mut db = quartet_db::write(&self.db).await?;
        self.keep(&mut db, kept).await?;
        db.commit().await
    }

    /// One statement by itself.
    async fn write(
        &self,
        name: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<PgQueryResult, sqlx::Error> {
        let mut db = quartet_db::write(&self.db).await?;
        let done = statement(name, query.execute(&mut *db)).await?;
        db.commit().await?;
        Ok(done)
    }

    /// Makes the key usable again, unless a response is kept for it.
    pub(super) async fn free(&self) {
        let delete = sqlx::query(
            "DELETE FROM idempotency_keys
             WHERE principal = $1 AND key = $2 AND claim = $3 AND status IS NULL",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(self.claim);
        let freed = self.write("idempotency_keys.free", delete).await;
        if let Err(error) = freed {
            tracing::warn!(%error, "freeing an idempotency key failed; its claim expires");
        }
    }
}

/// 409 until the claim ends, should its process have died.
fn in_flight(locked_until: DateTime<Utc>, now: DateTime<Utc>) -> Problem {
    let left = (locked_until - now).num_milliseconds();
    let seconds = u64::try_from(left).unwrap_or(0).div_ceil(1000);
    Problem::new(&kinds::REQUEST_IN_FLIGHT).retry_after(seconds)
}

fn rebuild(status: i16, headers: Option<Value>, body: Vec<u8>) -> Response {
    let status = u16::try_from(status)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let body = Body::from(body);
    let mut response = (status.unwrap_or(StatusCode::OK), body).into_response();
    let kept = headers
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    for (name, value) in kept {
        let name = HeaderName::try_from(name.as_str());
        let value = value
            .as_str()
            .and_then(|text| HeaderValue::from_str(text).ok());
        if let (Ok(name), Some(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(&REPLAYED, HeaderValue::from_static("true"));
    response
}
