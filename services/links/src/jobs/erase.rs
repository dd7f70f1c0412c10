//! Deletes the links of deleted users. Their clicks follow, as those of any deleted link: see `purge`.

use std::time::Duration;

use quartet_jobs::Run;

use crate::{domain::Context, store::maintenance};

pub(super) const INTERVAL: Duration = Duration::from_secs(30);
const ROWS: i32 = 500;

/// # Errors
/// When the database fails.
pub(super) async fn run(ctx: Context, run: Run) -> Result<(), sqlx::Error> {
    let erased = ctx
        .erasures
        .run(|owner| step(&ctx, owner), || run.is_stopping());
    erased.await.map(drop)
}

async fn step(ctx: &Context, owner: String) -> Result<u64, sqlx::Error> {
    let mut db = quartet_db::write(&ctx.clicks_db).await?;
    let erased = maintenance::erase_links(&mut db, &owner, ROWS).await?;
    db.commit().await?;
    Ok(erased)
}
