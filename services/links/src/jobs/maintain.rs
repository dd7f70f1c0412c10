//! Heartbeats, salts, domains, partitions: what the other jobs and the redirects wait for, so nothing here may
//! take long.

use std::time::Duration;

use chrono::Days;

use crate::{
    domain::{Context, click_batches::VISITOR_DAYS},
    error::Error,
    store::{
        domains,
        maintenance::{self, Partitioned},
    },
};

pub(super) const INTERVAL: Duration = Duration::from_secs(30);
/// Partitions are created ahead, so that a database outage of a week misses none.
const DAYS_AHEAD: u64 = 7;

/// # Errors
/// When the database fails; the next run does the rest.
pub(super) async fn run(ctx: Context) -> Result<(), Error> {
    let now = ctx.clock.now();
    let today = now.date_naive();
    let mut db = ctx.clicks_db.acquire().await?;
    maintenance::send_heartbeat(&mut db).await?;
    ctx.salts.rotate(&mut db, now).await?;
    ctx.domains.replace(domains::all(&mut db).await?);
    for table in [Partitioned::Clicks, Partitioned::Visitors] {
        for day in 0..=DAYS_AHEAD {
            maintenance::create_partition(&mut db, table, today + Days::new(day)).await?;
        }
    }
    let oldest = today - Days::new(VISITOR_DAYS);
    maintenance::drop_partitions(&mut db, Partitioned::Visitors, oldest).await?;
    let retention_days = ctx.config.clicks.retention_days;
    if retention_days > 0 {
        let oldest = today - Days::new(retention_days.into());
        maintenance::drop_partitions(&mut db, Partitioned::Clicks, oldest).await?;
    }
    Ok(())
}

/// # Errors
/// When the database fails; the domains are then those of before.
pub(super) async fn refresh_domains(ctx: &Context) -> Result<(), sqlx::Error> {
    let mut db = ctx.clicks_db.acquire().await?;
    ctx.domains.replace(domains::all(&mut db).await?);
    Ok(())
}
