//! `Idempotency-Key`: a repeated POST gets the response of the first one.
//!
//! ```text
//!         claim                    settle: success
//! free ----------> locked, 1 min ------------------> stored, 24 h ---> free
//!  ^                  |                                 |
//!  +- error, expired -+ second request: 409             +- same request: replay; another: 422
//! ```
//!
//! Keys belong to the caller. Only successes are stored: after an error the key may be used again.
//! If the process dies between the work and the storing of its response, the lock expires after a
//! minute and the request is executed again; constraints of the handler decide then.
//!
//! The table is that of `idempotency.sql`, in the schema in the `search_path` of the role.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use quartet_auth::{
    bearer_token,
    jwt::{JwtError, JwtVerifier},
};
use quartet_common::{
    clock::Clock,
    problem::{FieldError, Problem, kinds},
};
use quartet_db::statement;
use quartet_http::{extract::Body as WholeBody, layers::ClientIp};
use serde_json::{Map, Value};
use sha2::Sha256;
use sqlx::{FromRow, PgPool};

pub static HEADER: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEPT: Duration = Duration::from_hours(24);
const LOCKED: Duration = Duration::from_mins(1);
const MAX_KEY_BYTES: usize = 255;
/// A larger response fails the request: it could not be replayed.
const MAX_BODY_BYTES: usize = 256 * 1024;
const KEPT_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::ETAG,
    header::CACHE_CONTROL,
];

/// What the layer needs; use it with `axum::middleware::from_fn_with_state(state, idempotent)`.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub db: PgPool,
    pub clock: Clock,
    pub verifier: JwtVerifier,
    /// Keys the stored hash of a request, whose body may contain a password: a plain hash of it
    /// could be guessed.
    pub hash_key: [u8; 32],
}

/// The layer. Requests without the header pass untouched.
///
/// # Errors
/// 400 for an invalid key, 409 while the first request runs, 422 for a different request.
pub async fn idempotent(
    State(state): State<Idempotency>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(key) = request.headers().get(&HEADER) else {
        return Ok(next.run(request).await);
    };
    let key = parse_key(key)?;
    let (parts, body) = request.into_parts();
    let principal = principal(&state, &parts).await?;
    let mut reading = Request::new(body);
    *reading.extensions_mut() = parts.extensions.clone();
    let WholeBody(bytes) =
        <WholeBody as axum::extract::FromRequest<()>>::from_request(reading, &()).await?;
    let hash = request_hash(&state.hash_key, &parts, &bytes);
    let slot = Slot {
        state: &state,
        principal,
        key,
        hash,
    };
    if let Some(kept) = slot.claim().await? {
        return Ok(kept);
    }
    let response = next
        .run(Request::from_parts(parts, Body::from(bytes)))
        .await;
    slot.settle(response).await
}

/// Deletes at most `limit` expired keys and returns their number.
///
/// # Errors
/// When the database fails.
pub async fn purge(db: &PgPool, clock: &Clock, limit: i64) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (principal, key) IN (
             SELECT principal, key FROM idempotency_keys
             WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(clock.now())
    .bind(limit);
    let deleted = statement("idempotency_keys.purge", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}

fn parse_key(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().unwrap_or_default();
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_KEY_BYTES || !visible {
        return Err(Problem::invalid_parameter(
            HEADER.as_str(),
            "invalid_idempotency_key",
            "must be 1 to 255 visible ASCII characters",
        ));
    }
    Ok(text.to_owned())
}

/// Keys of different callers never collide. A caller without a token is identified by the client IP.
async fn principal(state: &Idempotency, request: &Parts) -> Result<String, Problem> {
    match bearer_token(&request.headers) {
        Ok(token) => Ok(state.verifier.verify(token).await?.sub.clone()),
        Err(JwtError::Missing) => {
            let address = request.extensions.get::<ClientIp>();
            Ok(format!(
                "anonymous {}",
                address.map_or(String::new(), |client| client.0.to_string())
            ))
        }
        Err(error) => Err(error.into()),
    }
}

fn request_hash(key: &[u8; 32], request: &Parts, body: &[u8]) -> Vec<u8> {
    let mut hash = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    for part in [
        request.method.as_str().as_bytes(),
        request.uri.path().as_bytes(),
        body,
    ] {
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into_bytes().to_vec()
}

/// A row of the table.
#[derive(sqlx::FromRow)]
struct Kept {
    request_hash: Vec<u8>,
    status: Option<i16>,
    headers: Option<Value>,
    body: Option<Vec<u8>>,
}

struct Slot<'a> {
    state: &'a Idempotency,
    principal: String,
    key: String,
    hash: Vec<u8>,
}

impl Slot<'_> {
    /// Claims the key, or returns the response that is stored for it.
    async fn claim(&self) -> Result<Option<Response>, Problem> {
        let now = self.state.clock.now();
        let claim = sqlx::query(
            "INSERT INTO idempotency_keys AS k
                 (principal, key, request_hash, locked_until, expires_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (principal, key) DO UPDATE
             SET request_hash = $3, locked_until = $4, expires_at = $5,
                 status = NULL, headers = NULL, body = NULL
             WHERE k.expires_at < $6 OR (k.status IS NULL AND k.locked_until < $6
                                         AND k.request_hash = $3)",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(&self.hash)
        .bind(now + LOCKED)
        .bind(now + KEPT)
        .bind(now);
        let claimed = statement("idempotency_keys.claim", claim.execute(&self.state.db))
            .await
            .map_err(quartet_db::problem)?;
        if claimed.rows_affected() == 1 {
            Ok(None)
        } else {
            self.kept(now).await.map(Some)
        }
    }

    async fn kept(&self, now: DateTime<Utc>) -> Result<Response, Problem> {
        let select = sqlx::query(
            "SELECT request_hash, status, headers, body FROM idempotency_keys
             WHERE principal = $1 AND key = $2 AND expires_at >= $3",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(now);
        let row = statement(
            "idempotency_keys.by_key",
            select.fetch_optional(&self.state.db),
        )
        .await
        .map_err(quartet_db::problem)?
        // The first request failed between the two statements, so the key is free again.
        .ok_or_else(in_flight)?;
        let kept = Kept::from_row(&row).map_err(quartet_db::problem)?;
        if kept.request_hash != self.hash {
            return Err(
                Problem::new(&kinds::IDEMPOTENCY_KEY_REUSED).field(FieldError::parameter(
                    HEADER.as_str(),
                    "reused",
                    "must be new for each different request",
                )),
            );
        }
        let Some(status) = kept.status else {
            return Err(in_flight());
        };
        Ok(rebuild(status, kept.headers, kept.body))
    }

    /// Stores the response of a success; frees the key after an error.
    async fn settle(&self, response: Response) -> Result<Response, Problem> {
        if response.status().is_server_error() || response.extensions().get::<Problem>().is_some() {
            self.free().await;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES)
            .await
            .map_err(|error| Problem::internal(std::io::Error::other(error)))?;
        self.keep(parts.status, &parts.headers, &bytes).await;
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    /// The work is done and its response must be sent, so a failure to store it is only logged.
    async fn keep(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) {
        let headers: Map<String, Value> = KEPT_HEADERS
            .iter()
            .filter_map(|name| Some((name.to_string(), headers.get(name)?.to_str().ok()?.into())))
            .collect();
        let update = sqlx::query(
            "UPDATE idempotency_keys SET status = $3, headers = $4, body = $5
             WHERE principal = $1 AND key = $2",
        )
        .bind(&self.principal)
        .bind(&self.key)
        .bind(i16::try_from(status.as_u16()).unwrap_or(0))
        .bind(Value::Object(headers))
        .bind(body.as_ref());
        let kept = statement("idempotency_keys.keep", update.execute(&self.state.db)).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "storing the response of an idempotency key failed");
        }
    }

    async fn free(&self) {
        let delete = sqlx::query(
            "DELETE FROM idempotency_keys WHERE principal = $1 AND key = $2 AND status IS NULL",
        )
        .bind(&self.principal)
        .bind(&self.key);
        let freed = statement("idempotency_keys.free", delete.execute(&self.state.db)).await;
        if let Err(error) = freed {
            tracing::warn!(%error, "freeing an idempotency key failed");
        }
    }
}

fn in_flight() -> Problem {
    Problem::not_now(&kinds::REQUEST_IN_FLIGHT)
}

fn rebuild(status: i16, headers: Option<Value>, body: Option<Vec<u8>>) -> Response {
    let status = u16::try_from(status)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let body = Body::from(body.unwrap_or_default());
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
