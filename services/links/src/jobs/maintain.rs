//! Partitions ahead of time, salts, and what has to go.

use std::time::Duration;

use chrono::{DateTime, Days, Utc};

use super::batches::VISITOR_DAYS;
use crate::{
    error::Error,
    state::AppState,
    store::maintenance::{self, Partitioned},
};

const EVERY: Duration = Duration::from_secs(30);
/// A database that is away for a week costs no partition.
const DAYS_AHEAD: u64 = 7;
const PURGE_ROWS: i32 = 5000;

pub(super) async fn run(state: AppState) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = maintain(&state, state.clock.now()).await {
            let error = anyhow::Error::from(error);
            tracing::warn!(
                error = format!("{error:#}"),
                "maintenance will be tried again"
            );
        }
    }
}

/// Does all of it once.
///
/// # Errors
/// When the database fails; the rest is done the next time.
pub(crate) async fn maintain(state: &AppState, now: DateTime<Utc>) -> Result<(), Error> {
    let pool = &state.links.pool;
    maintenance::beat(pool).await?;
    state.visits.salts.rotate(pool, now).await?;
    let today = now.date_naive();
    for table in [Partitioned::Clicks, Partitioned::Visitors] {
        for day in 0..=DAYS_AHEAD {
            maintenance::make_partition(pool, table, today + Days::new(day)).await?;
        }
    }
    let oldest = today - Days::new(VISITOR_DAYS);
    maintenance::drop_partitions(pool, Partitioned::Visitors, oldest).await?;
    let kept = state.config.clicks.retention_days;
    if kept > 0 {
        let oldest = today - Days::new(u64::from(kept));
        maintenance::drop_partitions(pool, Partitioned::Clicks, oldest).await?;
    }
    while maintenance::purge_clicks(pool, PURGE_ROWS).await? > 0 {}
    Ok(())
}
