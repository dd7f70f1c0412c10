//! Periodic work, on every replica.

use std::time::Duration;

use quartet_service::idempotency;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Context,
    error::Error,
    state::AppState,
    store::{refresh_tokens, sessions, throttles, users},
};

/// Starts the jobs, which end with `shutdown`. They work in single statements and transactions, so
/// an interrupted run leaves nothing half done.
pub(crate) fn start(state: &AppState, shutdown: &CancellationToken) -> Vec<JoinHandle<()>> {
    let keys = state.ctx.clone();
    let reload = Duration::from_secs(state.ctx.config.keys.reload_seconds);
    let purging = state.ctx.clone();
    let interval = Duration::from_secs(state.ctx.config.retention.interval_seconds);
    vec![
        tokio::spawn(every(reload, shutdown.clone(), "signing keys", move || {
            let ctx = keys.clone();
            async move { ctx.keys.maintain(&ctx.pool).await }
        })),
        tokio::spawn(every(interval, shutdown.clone(), "purge", move || {
            let ctx = purging.clone();
            async move { purge(&ctx).await }
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
            tracing::warn!(%error, job, "a job failed and will be retried");
        }
    }
}

/// Deletes rows whose retention time is over, in bounded batches. Children go before their parents:
/// a cascade would not be bounded.
pub(crate) async fn purge(ctx: &Context) -> Result<(), Error> {
    let (now, settings) = (ctx.clock.now(), &ctx.config.retention);
    let before = |seconds: u64| now - Duration::from_secs(seconds);
    let ended = before(settings.ended_sessions_seconds);
    let deleted = before(settings.deleted_users_seconds);
    let forgotten = before(ctx.config.throttle.forget_after_seconds);
    let (pool, limit) = (&ctx.pool, i64::from(settings.batch));
    let full = u64::from(settings.batch);
    while refresh_tokens::purge(&mut *pool.acquire().await?, ended, limit).await? >= full {}
    while sessions::purge(&mut *pool.acquire().await?, ended, limit).await? >= full {}
    while users::purge(&mut *pool.acquire().await?, deleted, limit).await? >= full {}
    while throttles::purge(&mut *pool.acquire().await?, forgotten, limit).await? >= full {}
    while idempotency::purge(pool, &ctx.clock, limit).await? >= full {}
    Ok(())
}
