//! Erases what deleted users own: hides their assets, then has the sweep delete objects and rows, which
//! continues until the store has deleted every object.

use quartet_service::idempotency;
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::{domain::Context, error::Error, jobs::sweep, state::AppState, store::sweeps};

/// Every minute, and with each event.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Erase {}

impl Task for Erase {
    const NAME: &'static str = "erase";
    const CRON: Option<&'static str> = Some("* * * * *");
    type Context = AppState;

    async fn run(self, state: AppState) -> anyhow::Result<()> {
        let stopping = state.base.stopping();
        Ok(run(&state.ctx, stopping).await.map(drop)?)
    }
}

/// Returns the number of rows that were hidden or deleted. `stopping` ends it between two steps.
pub(super) async fn run(ctx: &Context, stopping: impl Fn() -> bool) -> Result<u64, Error> {
    let erased = ctx
        .erasures
        .run(|owner| step(ctx, owner), &stopping)
        .await?;
    if erased > 0 {
        sweep::run(ctx, &stopping).await?;
    }
    Ok(erased)
}

async fn step(ctx: &Context, owner: String) -> Result<u64, Error> {
    let limit = i32::try_from(ctx.config.uploads.sweep_batch).unwrap_or(i32::MAX);
    let kept = idempotency::erase(&ctx.db, &owner, limit.into()).await?;
    let mut db = quartet_db::write(&ctx.db).await?;
    let hidden = sweeps::hide_assets(&mut db, &owner, ctx.clock.now(), limit).await?;
    db.commit().await?;
    Ok(hidden + kept)
}
