//! Removes abandoned uploads, and what a deletion left behind.

use std::time::Duration;

use crate::{
    error::Error,
    state::AppState,
    store::sweeps::{self, SweepRow},
};

/// A replica that dies in the middle of a sweep holds its rows for this long.
const LEASE: Duration = Duration::from_mins(5);

/// One round, bounded by the settings. Replicas never take the same rows. Gives how many assets
/// are gone for good.
pub(crate) async fn run(state: &AppState) -> Result<u64, Error> {
    let settings = &state.config.uploads;
    let now = state.clock.now();
    let abandoned = now - Duration::from_secs(settings.abandoned_after_seconds);
    let limit = i32::try_from(settings.sweep_batch).unwrap_or(i32::MAX);
    let rows = sweeps::take(&state.pool, now, abandoned, now + LEASE, limit).await?;
    let mut gone = 0;
    for row in rows {
        match remove(state, &row).await {
            Ok(true) => gone += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, asset_id = %row.id, "an object could not be removed yet");
            }
        }
    }
    state.metrics.swept.inc_by(gone);
    Ok(gone)
}

async fn remove(state: &AppState, row: &SweepRow) -> Result<bool, Error> {
    state
        .objects
        .delete(row.visibility, &row.object_key)
        .await?;
    Ok(sweeps::finish(&state.pool, row.id, state.clock.now()).await?)
}
