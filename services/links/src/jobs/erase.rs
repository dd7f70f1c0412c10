//! Deletes the links of deleted users, then their clicks, as those of any deleted link: see `purge`.

use std::time::Duration;

use quartet_jobs::Run;

use crate::{domain::Context, jobs::purge, state::AppState, store::maintenance};

pub(super) const INTERVAL: Duration = Duration::from_secs(30);
const ROWS: i32 = 500;

/// # Errors
/// When the database fails, or a step of the purge has failed.
pub(super) async fn run(state: AppState, run: Run) -> anyhow::Result<()> {
    let ctx = &state.ctx;
    let erased = ctx
        .erasures
        .run(|owner| step(ctx, owner), || run.is_stopping());
    if erased.await? > 0 {
        purge::run(state, run).await?;
    }
    Ok(())
}

async fn step(ctx: &Context, owner: String) -> Result<u64, sqlx::Error> {
    let mut db = quartet_db::write(&ctx.clicks_db).await?;
    let erased = maintenance::erase_links(&mut db, &owner, ROWS).await?;
    db.commit().await?;
    Ok(erased)
}
