//! Deletes the clicks of deleted links, reserved slugs and idempotency keys whose time is over, and old
//! rows of the inbox.
//!
//! In bounded steps, each a transaction, and links in turn: a link with millions of clicks, or one
//! whose clicks cannot be deleted, keeps no other one waiting. The job `erase` starts a run too; two
//! at once take different links.

use anyhow::Context as _;
use chrono::{DateTime, Days, NaiveDate, Utc};
use quartet_db::{Rounds, rounds};
use quartet_service::idempotency;
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Context, click_batches::VISITOR_DAYS},
    state::AppState,
    store::{links::LinkId, maintenance},
};

const ROWS: i32 = 5000;
/// Links that may fail before a run stops.
const MAX_FAILURES: usize = 16;

/// Every minute.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Purge {}

impl Task for Purge {
    const NAME: &'static str = "purge";
    const CRON: Option<&'static str> = Some("* * * * *");
    const AT_START: bool = true;
    type Context = AppState;

    async fn run(self, state: AppState) -> anyhow::Result<()> {
        let stopping = state.base.stopping();
        run(&state, &stopping).await
    }
}

/// # Errors
/// When a step has failed; the other links were still purged.
pub(super) async fn run(
    state: &AppState,
    stopping: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<()> {
    let ctx = &state.ctx;
    let mut failed = Vec::new();
    let mut outcome = Ok(());
    while !stopping() && failed.len() < MAX_FAILURES {
        let now = ctx.clock.now();
        let mut db = quartet_db::write(&ctx.clicks_db).await?;
        let next = maintenance::next_purge(&mut db, now, &failed).await?;
        db.commit().await?;
        let Some(link_id) = next else { break };
        if let Err(error) = step(ctx, link_id, now).await {
            failed.push(link_id);
            outcome = Err(error).with_context(|| format!("purge {link_id}"));
        }
    }
    let rounds = Rounds {
        db: &ctx.clicks_db,
        limit: i64::from(ROWS),
        stopping,
    };
    rounds!(rounds, |db, _limit| maintenance::drop_freed_slugs(db, ROWS));
    let now = ctx.clock.now();
    rounds!(rounds, |db, limit| idempotency::purge(db, now, limit));
    state.inbox.purge(stopping).await?;
    outcome
}

async fn step(ctx: &Context, link_id: LinkId, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut db = quartet_db::write(&ctx.clicks_db).await?;
    let days = visitor_days(now.date_naive());
    let done = maintenance::purge_link(&mut db, link_id, &days, ROWS).await?;
    db.commit().await?;
    Ok(done)
}

/// The days that may still have visitors, with one to spare at each end.
fn visitor_days(today: NaiveDate) -> Vec<NaiveDate> {
    let oldest = today - Days::new(VISITOR_DAYS + 1);
    let newest = today + Days::new(1);
    oldest
        .iter_days()
        .take_while(|day| *day <= newest)
        .collect()
}
