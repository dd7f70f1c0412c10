//! Durable jobs, each done by one worker for all replicas.

mod erase;
mod purge;
mod sweep;

use quartet_jobs::Runner;
use quartet_worker::Tasks;

use crate::{error::Error, state::AppState};

/// Creates missing buckets if the settings say so. No job runs in each replica.
///
/// # Errors
/// When the buckets cannot be created.
pub(crate) async fn start(state: &AppState, _runner: &mut Runner) -> Result<(), Error> {
    let ctx = &state.ctx;
    if ctx.config.s3.create_buckets {
        ctx.objects.create_buckets().await?;
    }
    Ok(())
}

/// The durable jobs. A round in progress is finished at shutdown.
pub(crate) fn tasks(state: &AppState) -> Tasks<AppState> {
    Tasks::new(state.clone())
        .with::<sweep::Sweep>()
        .with::<purge::Purge>()
        .with::<erase::Erase>()
}

impl AppState {
    /// Runs the sweep once. Returns the number of assets removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_once(&self) -> anyhow::Result<u64> {
        Ok(sweep::run(&self.ctx, self.base.stopping()).await?)
    }

    /// Erases what deleted users own, as far as that is due. Returns how many rows it has hidden.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_once(&self) -> anyhow::Result<u64> {
        Ok(erase::run(&self.ctx, self.base.stopping()).await?)
    }
}
