//! What runs beside requests, on every replica.

use std::time::Duration;

use quartet_service::idempotency;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::desk,
    error::Error,
    state::AppState,
    store::{refresh_tokens, sessions, throttles, users},
};

/// Starts the two jobs; both end with `shutdown`. What they do is done in single statements and
/// transactions, so that being cut short leaves nothing half done.
pub(crate) fn start(state: &AppState, shutdown: &CancellationToken) -> Vec<JoinHandle<()>> {
    let keys = state.clone();
    let reload = Duration::from_secs(state.config.keys.reload_seconds);
    let purging = state.clone();
    let interval = Duration::from_secs(state.config.retention.interval_seconds);
    vec![
        tokio::spawn(every(reload, shutdown.clone(), "signing keys", move || {
            let state = keys.clone();
            async move { state.keys.maintain(&state.pool).await }
        })),
        tokio::spawn(every(interval, shutdown.clone(), "purge", move || {
            let state = purging.clone();
            async move { purge(&state).await }
        })),
    ]
}

async fn every<F: Future<Output = Result<(), Error>>>(
    pause: Duration,
    shutdown: CancellationToken,
    job: &'static str,
    work: impl Fn() -> F,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let done = tokio::select! {
            () = shutdown.cancelled() => return,
            done = work() => done,
        };
        if let Err(error) = done {
            tracing::warn!(%error, job, "a job failed; the next round tries again");
        }
    }
}

/// Removes what is kept no longer, in bounded batches until one is short. Children go before their
/// parents: a cascade would not be bounded.
pub(crate) async fn purge(state: &AppState) -> Result<(), Error> {
    let (now, settings) = (desk::now(&state.clock), &state.config.retention);
    let before = |seconds: u64| now - Duration::from_secs(seconds);
    let ended = before(settings.ended_sessions_seconds);
    let deleted = before(settings.deleted_users_seconds);
    let forgotten = before(state.config.throttle.forget_after_seconds);
    let (pool, limit) = (&state.pool, i64::from(settings.batch));
    let full = u64::from(settings.batch);
    while refresh_tokens::purge(&mut *pool.acquire().await?, ended, limit).await? >= full {}
    while sessions::purge(&mut *pool.acquire().await?, ended, limit).await? >= full {}
    while users::purge(&mut *pool.acquire().await?, deleted, limit).await? >= full {}
    while throttles::purge(&mut *pool.acquire().await?, forgotten, limit).await? >= full {}
    while idempotency::purge(pool, &state.clock, limit).await? >= full {}
    Ok(())
}
