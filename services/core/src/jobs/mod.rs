//! Work beside the requests: jobs of each replica, and durable jobs, which one worker does for all.

mod purge;

use std::time::Duration;

use quartet_jobs::{Job, Runner};
use quartet_worker::Tasks;

use crate::{domain::Context, error::Error, state::AppState};

/// Reads or creates the signing keys once, because requests need them, then starts the jobs. They
/// work in single statements and transactions, so a canceled run leaves nothing half done.
///
/// # Errors
/// When the signing keys cannot be read.
pub(crate) async fn start(state: &AppState, runner: &mut Runner) -> Result<(), Error> {
    let ctx = &state.ctx;
    maintain_keys(ctx.clone()).await?;
    let interval = Duration::from_secs(ctx.config.keys.reload_seconds);
    let owned = ctx.clone();
    let keys = Job::periodic("signing_keys", interval, move |_| {
        maintain_keys(owned.clone())
    });
    runner.start(keys.cancel_at_stop());
    Ok(())
}

/// The durable jobs.
pub(crate) fn tasks(state: &AppState) -> Tasks<AppState> {
    Tasks::new(state.clone()).with::<purge::Purge>()
}

impl AppState {
    /// Runs every job once.
    ///
    /// # Errors
    /// When a job fails.
    pub async fn run_jobs_once(&self) -> anyhow::Result<()> {
        maintain_keys(self.ctx.clone()).await?;
        Ok(purge::run(self).await?)
    }

    /// Delivers the events that are due.
    ///
    /// # Errors
    /// When the database or a consumer fails.
    pub async fn deliver_events_once(&self) -> anyhow::Result<()> {
        Ok(self.ctx.events.deliver_once().await?)
    }
}

async fn maintain_keys(ctx: Context) -> Result<(), Error> {
    ctx.keys.maintain(&ctx.db).await
}
