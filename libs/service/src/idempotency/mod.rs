//! `Idempotency-Key`: a repeated POST gets the response of the first one.
//!
//! ```text
//!         claim                 the work commits, or ends with a success
//! free ----------> claimed, 5 s -----------------------------------> kept, 24 h ---> free
//!  ^               | lease, renewed                                    |
//!  +- error, panic,+ second request: 409 until the lease ends          +- same request: replay
//!     time limit, dead process                                            another: 422
//! ```
//!
//! A claim that could not be renewed in time may have been taken by another request. Then the work is
//! canceled, and if it has still been done, its response is not sent: the client gets 409 and asks again
//! for the one that is kept.
//!
//! Keys belong to the caller. Responses are sealed (`seal`). Only successes are kept: after an error
//! the key may be used again.
//!
//! A request with a key runs in a task of its own: a client that leaves neither cancels it nor leaves
//! its key claimed, and finds the response when it asks again. A handler that keeps its response
//! with [`Reply::keep`], in the transaction of its work, does that work exactly once, whatever dies
//! when. Without that, work whose process dies between its commit and the storing of the response is
//! repeated by the next request, five seconds later, and constraints of the handler decide.
//!
//! The table is that of `idempotency.sql`, in the schema in the `search_path` of the role.

mod reply;
mod request;
mod seal;
mod slot;

use std::{
    fmt,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use http::request::Parts;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{
    clock::Clock,
    problem::{Problem, kinds},
};
use quartet_db::statement;
use sqlx::{PgConnection, PgPool};
use tokio_util::task::TaskTracker;

use crate::detached;

pub use reply::{IdempotencyKey, Reply, WholeResponse};
pub use request::HEADER;
use request::{key, principal, read};
use seal::Fingerprint;
use slot::Slot;
pub use slot::undone;

/// What the layer needs; use it with `axum::middleware::from_fn_with_state(state, idempotent)`.
#[derive(Clone)]
pub struct Idempotency {
    pub db: PgPool,
    pub clock: Clock,
    pub verifier: JwtVerifier,
    /// Key the stored hash of a request, whose body may contain a password: a plain hash of it
    /// could be guessed. The newest first; the others recognize requests from before a change.
    pub hash_keys: Vec<[u8; 32]>,
    /// How long a request may take. Then it is canceled and its key is free.
    pub time_limit: Duration,
    /// The requests that run, whether or not their clients wait.
    pub detached: TaskTracker,
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idempotency")
    }
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
    let Some(key) = key(request.headers())? else {
        return Ok(next.run(request).await);
    };
    let (mut parts, bytes) = read(request).await?;
    let slot = state.slot(key, &parts, &bytes).await?;
    parts.extensions.insert(Arc::clone(&slot));
    let request = Request::from_parts(parts, Body::from(bytes));
    state.finish(slot, next.run(request)).await
}

impl Idempotency {
    /// Does the work of a request, whose head and body these are, or returns the response that is kept
    /// for its key. For handlers that know only after reading the body whether a key counts. The key is
    /// free again after a response that is an error or [`undone`].
    ///
    /// # Errors
    /// As [`idempotent`].
    pub async fn once<F>(&self, parts: &Parts, body: &[u8], work: F) -> Result<Response, Problem>
    where
        F: Future<Output = Response> + Send + 'static,
    {
        match key(&parts.headers)? {
            None => Ok(work.await),
            Some(key) => self.finish(self.slot(key, parts, body).await?, work).await,
        }
    }

    async fn slot(&self, key: String, parts: &Parts, body: &[u8]) -> Result<Arc<Slot>, Problem> {
        let hash_keys = self.hash_keys.iter();
        Ok(Arc::new(Slot {
            db: self.db.clone(),
            clock: self.clock.clone(),
            principal: principal(&self.verifier, parts).await?,
            key,
            fingerprints: hash_keys
                .map(|key| Fingerprint::new(key, parts, body))
                .collect(),
            claim: self.clock.uuid_v7(),
            kept: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }))
    }

    async fn finish<F>(&self, slot: Arc<Slot>, work: F) -> Result<Response, Problem>
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let run = run(slot, work, self.time_limit);
        match detached(&self.detached, run).await {
            Ok(response) => response,
            // To the layer that makes problems of panics.
            Err(failed) if failed.is_panic() => resume_unwind(failed.into_panic()),
            Err(canceled) => Err(Problem::unavailable(canceled)),
        }
    }
}

/// Claims the key, does the work and settles the key, whatever becomes of the client.
async fn run(
    slot: Arc<Slot>,
    work: impl Future<Output = Response>,
    time_limit: Duration,
) -> Result<Response, Problem> {
    if let Some(kept) = slot.claim().await? {
        return Ok(kept);
    }
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(time_limit, slot.hold(work)).await {
        Ok(None) => Err(Problem::not_now(&kinds::REQUEST_IN_FLIGHT)),
        Ok(Some(Ok(response))) => slot.settle(response).await,
        Ok(Some(Err(panic))) => {
            slot.free().await;
            resume_unwind(panic)
        }
        Err(_) => {
            slot.free().await;
            let detail = format!("no response within {} s", time_limit.as_secs());
            Err(Problem::not_now(&kinds::TIMED_OUT).detail(detail))
        }
    }
}

/// Deletes at most `limit` keys of one caller, with the responses, and returns their number.
///
/// # Errors
/// When the database fails.
pub async fn erase(db: &PgPool, principal: &str, limit: i64) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (principal, key) IN (
             SELECT principal, key FROM idempotency_keys WHERE principal = $1 LIMIT $2)",
    )
    .bind(principal)
    .bind(limit);
    let mut db = quartet_db::write(db).await?;
    let deleted = statement("idempotency_keys.erase", delete.execute(&mut *db)).await?;
    db.commit().await?;
    Ok(deleted.rows_affected())
}

/// Deletes at most `limit` keys that expired before `now`, and returns their number.
///
/// # Errors
/// When the database fails.
pub async fn purge(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (principal, key) IN (
             SELECT principal, key FROM idempotency_keys
             WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now)
    .bind(limit);
    let deleted = statement("idempotency_keys.purge", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}
