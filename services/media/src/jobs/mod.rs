//! Work beside the requests. All replicas run all jobs at once.

mod erase;
mod sweep;

use std::time::Duration;

use quartet_jobs::{Job, Run, Runner};
use quartet_service::idempotency;

use crate::{domain::Context, error::Error, state::AppState};

const PURGE_INTERVAL: Duration = Duration::from_mins(1);
const PURGE_BATCH: i64 = 1000;

/// Creates missing buckets if the settings say so, then starts the jobs. A round of the
/// sweep in progress is finished at shutdown.
///
/// # Errors
/// When the buckets cannot be created.
pub(crate) async fn start(state: &AppState, runner: &mut Runner) -> Result<(), Error> {
    let ctx = &state.ctx;
    if ctx.config.s3.create_buckets {
        ctx.objects.create_buckets().await?;
    }
    let interval = Duration::from_secs(ctx.config.uploads.sweep_interval_seconds);
    let owned = ctx.clone();
    runner.start(Job::periodic("sweep", interval, move |run| {
        sweep(owned.clone(), run)
    }));
    let owned = state.clone();
    let purge = Job::periodic("purge", PURGE_INTERVAL, move |_| purge(owned.clone()));
    runner.start(purge.cancel_at_stop());
    let owned = ctx.clone();
    let erase = Job::periodic("erase", erase::INTERVAL, move |run| {
        erase(owned.clone(), run)
    });
    runner.start(erase.immediately().wake_on(ctx.erasures.asked()));
    Ok(())
}

impl AppState {
    /// Runs the sweep once. Returns the number of assets removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_once(&self) -> anyhow::Result<u64> {
        Ok(sweep::run(&self.ctx, || false).await?)
    }

    /// Erases what deleted users own, as far as that is due. Returns how many rows it has hidden.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_once(&self) -> anyhow::Result<u64> {
        Ok(erase::run(&self.ctx, || false).await?)
    }
}

async fn sweep(ctx: Context, run: Run) -> Result<(), Error> {
    sweep::run(&ctx, || run.is_stopping()).await.map(drop)
}

async fn erase(ctx: Context, run: Run) -> Result<(), Error> {
    erase::run(&ctx, || run.is_stopping()).await.map(drop)
}

/// Deletes expired idempotency keys and old events in bounded batches until one is not full.
async fn purge(state: AppState) -> Result<(), Error> {
    let ctx = &state.ctx;
    let full = u64::try_from(PURGE_BATCH).unwrap_or(u64::MAX);
    while idempotency::purge(&ctx.db, &ctx.clock, PURGE_BATCH).await? >= full {}
    Ok(state.inbox.purge().await?)
}
