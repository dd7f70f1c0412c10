//! Heartbeats, salts, domains, partitions: what the other jobs and the redirects wait for, so nothing here may
//! take long.

use std::time::Duration;

use chrono::{Days, NaiveDate};
use sqlx::PgPool;

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
    ctx.salts.forget_expired(now);
    let today = now.date_naive();
    let db = &ctx.clicks_db;
    let mut lease = quartet_db::write(db).await?;
    maintenance::send_heartbeat(&mut lease).await?;
    lease.commit().await?;
    let mut lease = quartet_db::write(db).await?;
    ctx.salts.rotate(&mut lease, now).await?;
    lease.commit().await?;
    refresh_domains(&ctx).await?;
    for table in [Partitioned::Clicks, Partitioned::Visitors] {
        for day in 0..=DAYS_AHEAD {
            // Each alone: creating one locks the whole table for a moment.
            let mut lease = quartet_db::write(db).await?;
            maintenance::create_partition(&mut lease, table, today + Days::new(day)).await?;
            lease.commit().await?;
        }
    }
    drop_partitions(db, Partitioned::Visitors, today - Days::new(VISITOR_DAYS)).await?;
    let retention_days = ctx.config.clicks.retention_days;
    if retention_days > 0 {
        let oldest = today - Days::new(retention_days.into());
        drop_partitions(db, Partitioned::Clicks, oldest).await?;
    }
    Ok(())
}

async fn drop_partitions(
    db: &PgPool,
    table: Partitioned,
    oldest: NaiveDate,
) -> Result<(), sqlx::Error> {
    let mut lease = quartet_db::write(db).await?;
    maintenance::drop_partitions(&mut lease, table, oldest).await?;
    lease.commit().await
}

/// # Errors
/// When the database fails; the domains are then those of before.
pub(super) async fn refresh_domains(ctx: &Context) -> Result<(), sqlx::Error> {
    let mut db = quartet_db::read(&ctx.clicks_db).await?;
    ctx.domains.replace(domains::all(&mut db).await?);
    Ok(())
}
