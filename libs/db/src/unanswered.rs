//! Statements that are never answered.
//!
//! Postgres ends a statement that takes too long, while it can be reached. A server that vanishes without
//! closing its connections (a failover, a lost route) does not answer at all, and TCP notices after a
//! quarter of an hour if data is on its way, otherwise never. So the client has a limit of its own:
//!
//! ```text
//! statement, BEGIN, COMMIT --no answer within the limit--> error; its connection is released
//!                          --the request has ended-------> the same
//! released connection --no answer to the test within the limit--> closed; its place is free
//! ```
//!
//! - Without the first limit, a job waits indefinitely, and so do all later requests for what it reads.
//! - Without the second one, each such connection takes a place in the pool for as long: sqlx tests what
//!   is released, and waits. [`Lease`](crate::Lease) and [`Transaction`](crate::Transaction) bound that
//!   test; no connection of a pool is borrowed otherwise (`disallowed-methods` of clippy).
//! - The limit is that of the process: the future of a statement does not tell the pool of its
//!   connection, and all pools of a service have the same `database.statement_timeout_seconds`.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sqlx::{Postgres, pool::PoolConnection};
use tokio::{runtime::Handle, time::timeout};

/// What an answer may take beyond the statement itself.
const ANSWER: Duration = Duration::from_secs(3);

/// Of the pool whose statements may take longest, in milliseconds. 0: none yet.
static LIMIT_MS: AtomicU64 = AtomicU64::new(0);

/// Statements may take this long by themselves.
pub(crate) fn allow(statement_timeout: Duration) {
    let limit = statement_timeout.saturating_add(ANSWER).as_millis();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    LIMIT_MS.fetch_max(limit, Ordering::Relaxed);
}

/// Waits for the answer of the database as [`statement`](crate::statement) does: for what runs
/// statements that it does not name.
///
/// # Errors
/// What `run` returns; a transient error when there is no answer.
pub fn answered<T, E: From<sqlx::Error>>(
    run: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    bounded(Duration::ZERO, run)
}

/// The same, for `beyond` longer.
pub(crate) fn bounded<T, E: From<sqlx::Error>>(
    beyond: Duration,
    run: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // On the heap: each future around this one would hold it twice.
    let run = Box::pin(run);
    async move {
        let Some(limit) = limit() else {
            return run.await;
        };
        let answer = timeout(limit.saturating_add(beyond), run).await;
        answer.map_err(|_| no_answer())?
    }
}

/// Gives a connection back to its pool. One that does not answer is closed instead.
pub(crate) fn release(mut connection: PoolConnection<Postgres>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let released = connection.return_to_pool();
    runtime.spawn(async move {
        match limit() {
            None => released.await,
            // Dropping it closes the connection and frees its place.
            Some(limit) => drop(timeout(limit, released).await),
        }
    });
}

/// The same for one whose `BEGIN` was not waited for: sqlx counts a transaction once it has begun, and
/// would take the connection as it is.
pub(crate) fn reset(mut connection: PoolConnection<Postgres>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    // Unless it is released.
    connection.close_on_drop();
    runtime.spawn(answered(async move {
        // Without a transaction, only a warning.
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
        release(connection);
        Ok::<_, sqlx::Error>(())
    }));
}

fn limit() -> Option<Duration> {
    let limit = LIMIT_MS.load(Ordering::Relaxed);
    (limit > 0).then(|| Duration::from_millis(limit))
}

fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "the database does not answer",
    ))
}
