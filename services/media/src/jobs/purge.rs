//! Deletes rows whose retention time is over.

use quartet_service::idempotency;
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::state::AppState;

const BATCH: i64 = 1000;

/// Every minute.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Purge {}

impl Task for Purge {
    const NAME: &'static str = "purge";
    const CRON: Option<&'static str> = Some("* * * * *");
    type Context = AppState;

    async fn run(self, state: AppState) -> anyhow::Result<()> {
        run(&state).await
    }
}

/// Deletes expired idempotency keys and old events in bounded batches until one is not full.
async fn run(state: &AppState) -> anyhow::Result<()> {
    let ctx = &state.ctx;
    let full = u64::try_from(BATCH).unwrap_or(u64::MAX);
    while idempotency::purge(&ctx.db, &ctx.clock, BATCH).await? >= full {}
    Ok(state.inbox.purge().await?)
}
