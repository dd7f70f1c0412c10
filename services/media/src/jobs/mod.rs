//! Periodic work, on every replica.

pub(crate) mod sweep;

use std::time::Duration;

use quartet_service::idempotency;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::domain::Context;

/// Most idempotency keys that one run deletes.
const PURGE_BATCH: i64 = 1000;

/// Sweeps periodically until `shutdown`. A run in progress is finished.
pub(crate) fn start(ctx: Context, shutdown: CancellationToken) -> JoinHandle<()> {
    let pause = Duration::from_secs(ctx.config.uploads.sweep_interval_seconds);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = sweep::run(&ctx).await {
                tracing::warn!(%error, "the sweep failed and will be retried");
            }
            if let Err(error) = idempotency::purge(&ctx.pool, &ctx.clock, PURGE_BATCH).await {
                tracing::warn!(%error, "deleting expired idempotency keys failed");
            }
        }
    })
}
