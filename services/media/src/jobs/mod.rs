//! What runs beside requests, on every replica.

pub(crate) mod sweep;

use std::time::Duration;

use quartet_service::idempotency;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::state::AppState;

/// Old answers that one round forgets at most.
const PURGE_BATCH: i64 = 1000;

/// Sweeps again and again until `shutdown`; a round that has begun is finished.
pub(crate) fn start(state: AppState, shutdown: CancellationToken) -> JoinHandle<()> {
    let pause = Duration::from_secs(state.config.uploads.sweep_interval_seconds);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = sweep::run(&state).await {
                tracing::warn!(%error, "the sweep failed; the next one tries again");
            }
            if let Err(error) = idempotency::purge(&state.pool, &state.clock, PURGE_BATCH).await {
                tracing::warn!(%error, "old answers could not be forgotten");
            }
        }
    })
}
