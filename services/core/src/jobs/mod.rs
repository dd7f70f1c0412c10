//! What runs beside requests, on every replica.

use std::time::Duration;

use quartet_common::idempotency;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    state::AppState,
    store::{sessions, throttles, users},
};

/// Starts the two jobs; both end with `shutdown`, in the middle of nothing.
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
        if let Err(error) = work().await {
            tracing::warn!(%error, job, "a job failed; the next round tries again");
        }
    }
}

/// Removes what is kept no longer, a bounded number of rows of each kind.
pub(crate) async fn purge(state: &AppState) -> Result<(), Error> {
    let (now, settings) = (state.clock.now(), &state.config.retention);
    let before = |seconds: u64| now - Duration::from_secs(seconds);
    let limit = i64::from(settings.batch);
    let mut db = state.pool.acquire().await?;
    users::purge(&mut db, before(settings.deleted_users_seconds), limit).await?;
    sessions::purge(&mut db, before(settings.ended_sessions_seconds), limit).await?;
    throttles::purge(
        &mut db,
        before(state.config.throttle.forget_after_seconds),
        limit,
    )
    .await?;
    drop(db);
    idempotency::purge(&state.pool, &state.clock, limit).await?;
    Ok(())
}
