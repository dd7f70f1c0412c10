//! Deletes the links of deleted users, then their clicks, as those of any deleted link: see `purge`.

use quartet_service::idempotency;
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::{domain::Context, jobs::purge, state::AppState, store::maintenance};

const ROWS: i32 = 500;

/// Every minute, and with each event.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Erase {}

impl Task for Erase {
    const NAME: &'static str = "erase";
    const CRON: Option<&'static str> = Some("* * * * *");
    const AT_START: bool = true;
    type Context = AppState;

    async fn run(self, state: AppState) -> anyhow::Result<()> {
        let stopping = state.base.stopping();
        let ctx = &state.ctx;
        let erased = ctx.erasures.run(|owner| step(ctx, owner), &stopping);
        if erased.await? > 0 {
            purge::run(&state, &stopping).await?;
        }
        Ok(())
    }
}

async fn step(ctx: &Context, owner: String) -> Result<u64, sqlx::Error> {
    let kept = idempotency::erase(&ctx.clicks_db, &owner, ROWS.into()).await?;
    let mut db = quartet_db::write(&ctx.clicks_db).await?;
    let erased = maintenance::erase_links(&mut db, &owner, ROWS).await?;
    db.commit().await?;
    Ok(erased + kept)
}
