//! Deletes rows whose retention time is over.

use quartet_db::{Rounds, rounds};
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

/// Deletes expired idempotency keys and old events.
async fn run(state: &AppState) -> anyhow::Result<()> {
    let (ctx, stopping) = (&state.ctx, state.base.stopping());
    let now = ctx.clock.now();
    let rounds = Rounds {
        db: &ctx.db,
        limit: BATCH,
        stopping: &stopping,
    };
    rounds!(rounds, |db, limit| idempotency::purge(db, now, limit));
    Ok(state.inbox.purge(&stopping).await?)
}
