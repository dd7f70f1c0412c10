//! Deletes the clicks of deleted links, and the freed slugs whose rest is over.
//!
//! In bounded steps, each a transaction, and links in turn: a link with millions of clicks, or one
//! whose clicks cannot be deleted, keeps no other one waiting. Replicas share the work.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Days, NaiveDate, Utc};
use quartet_jobs::Run;

use crate::{
    domain::{Context, click_batches::VISITOR_DAYS},
    store::{links::LinkId, maintenance},
};

pub(super) const INTERVAL: Duration = Duration::from_secs(30);
const ROWS: i32 = 5000;

/// # Errors
/// When a step has failed; the other links were purged all the same.
pub(super) async fn run(ctx: Context, run: Run) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let mut failed_since: Option<DateTime<Utc>> = None;
    while !run.is_stopping() {
        let now = ctx.clock.now();
        // After a failure every link is tried once more, and no link twice.
        let before = failed_since.unwrap_or(now + chrono::Duration::seconds(1));
        let mut db = ctx.clicks_db.acquire().await?;
        let Some(link_id) = maintenance::next_purge(&mut db, now, before).await? else {
            break;
        };
        if let Err(error) = step(&ctx, link_id, now).await {
            failed_since.get_or_insert(now);
            outcome = Err(error).with_context(|| format!("purge {link_id}"));
        }
        run.succeeded();
    }
    let mut db = ctx.clicks_db.acquire().await?;
    while !run.is_stopping() && maintenance::drop_freed_slugs(&mut db, ROWS).await? > 0 {}
    outcome
}

async fn step(ctx: &Context, link_id: LinkId, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut db = ctx.clicks_db.acquire().await?;
    maintenance::purge_link(&mut db, link_id, &visitor_days(now.date_naive()), ROWS).await
}

/// The days that may still have visitors, with one to spare at each end.
fn visitor_days(today: NaiveDate) -> Vec<NaiveDate> {
    let oldest = today - Days::new(VISITOR_DAYS + 1);
    oldest.iter_days().take_while(|day| *day <= today + Days::new(1)).collect()
}
