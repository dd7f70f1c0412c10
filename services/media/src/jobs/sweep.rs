//! The sweep: deletes the objects and rows of abandoned uploads and deleted assets.
//!
//! ```text
//! take (lease 5 min) --> delete the object --> finish: delete the row
//!                                                `-- upload URL still valid: wait until it expires
//! ```
//!
//! Invariants:
//! - The row is deleted after the object. If the store does not respond or the process dies in
//!   between, the lease ends and another sweep tries again; no object is forgotten.
//! - Replicas never work on the same row at once: rows are taken with `SKIP LOCKED` and a lease.
//! - A signed URL outlives the deletion of its asset and can put the object back. The row therefore
//!   stays until the URL has expired, and the object is deleted once more then.

use std::time::Duration;

use crate::{
    domain::Context,
    error::Error,
    store::sweeps::{self, Claim, SweepRow},
};

/// How long rows stay taken by a replica that dies during its sweep.
const LEASE: Duration = Duration::from_mins(5);

/// One run, bounded by `uploads.sweep_batch`. Returns the number of assets removed.
pub(crate) async fn run(ctx: &Context) -> Result<u64, Error> {
    let settings = &ctx.config.uploads;
    let now = ctx.clock.now();
    let claim = Claim {
        now,
        abandoned_before: now - Duration::from_secs(settings.abandoned_after_seconds),
        leased_until: now + LEASE,
        limit: i32::try_from(settings.sweep_batch).unwrap_or(i32::MAX),
    };
    let rows = {
        let mut db = ctx.db.acquire().await?;
        sweeps::take(&mut db, claim).await?
    };
    let mut removed = 0;
    for row in rows {
        match remove(ctx, &row).await {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, asset_id = %row.id, "removing an asset failed");
            }
        }
    }
    ctx.metrics.swept.inc_by(removed);
    Ok(removed)
}

async fn remove(ctx: &Context, row: &SweepRow) -> Result<bool, Error> {
    ctx.objects.delete(row.visibility, &row.object_key).await?;
    let mut db = ctx.db.acquire().await?;
    Ok(sweeps::finish(&mut db, row.id, ctx.clock.now()).await?)
}
