//! The sweep: deletes the objects and rows of abandoned uploads and deleted assets, and what was
//! uploaded after an asset was ready.
//!
//! ```text
//! take (lease 5 min) --> delete the objects --> finish: delete the row
//!                                                 `-- an upload may still arrive: wait for that
//! ```
//!
//! Invariants:
//! - Rows are deleted after their objects. If the store does not respond or the process dies in
//!   between, the lease ends and another sweep tries again; no object is forgotten.
//! - Replicas never work on the same row at once: rows are taken with `SKIP LOCKED` and a lease.
//! - A signed URL outlives the deletion of its asset and can put an object back. The row therefore
//!   stays until no upload can arrive any more, and the objects are deleted once more then.
//! - Each round is bounded, and rounds follow each other until one is not full: what many clients
//!   leave behind in a minute is gone a minute later.

use std::{fmt, future::Future, time::Duration};

use futures_util::{StreamExt, stream};
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Context, assets::delete_objects},
    error::Error,
    state::AppState,
    store::{
        objects::ObjectError,
        sweeps::{self, Claim, UploadSweepRow},
    },
};

/// How long rows stay taken by a replica that dies during its sweep.
const LEASE: Duration = Duration::from_mins(5);
/// Requests to the store at once.
const DELETES_AT_ONCE: usize = 16;

/// Every minute.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sweep {}

impl Task for Sweep {
    const NAME: &'static str = "sweep";
    const CRON: Option<&'static str> = Some("* * * * *");
    type Context = AppState;

    async fn run(self, state: AppState) -> anyhow::Result<()> {
        let stopping = state.base.stopping();
        Ok(run(&state.ctx, stopping).await.map(drop)?)
    }
}

/// What a round has done.
#[derive(Default)]
struct Round {
    taken: usize,
    /// Assets whose objects are deleted.
    cleared: usize,
    /// Rows deleted.
    removed: u64,
}

/// One run. Returns the number of assets removed. `stopping` ends it between two rounds.
pub(crate) async fn run(ctx: &Context, stopping: impl Fn() -> bool) -> Result<u64, Error> {
    let mut removed = 0;
    for kind in [Kind::Assets, Kind::Uploads] {
        loop {
            let round = round(ctx, kind).await?;
            removed += round.removed;
            ctx.metrics.swept.inc_by(round.removed);
            let full = round.taken >= batch(ctx);
            // Without a success the store is away: the next run tries again.
            if !full || round.cleared == 0 || stopping() {
                break;
            }
        }
    }
    let mut db = quartet_db::read(&ctx.db).await?;
    let backlog = sweeps::backlog(&mut db, ctx.clock.now()).await?;
    ctx.metrics.sweep_backlog.set(backlog);
    Ok(removed)
}

#[derive(Clone, Copy)]
enum Kind {
    Assets,
    /// Of assets that are ready.
    Uploads,
}

async fn round(ctx: &Context, kind: Kind) -> Result<Round, Error> {
    match kind {
        Kind::Assets => assets(ctx).await,
        Kind::Uploads => uploads(ctx).await,
    }
}

async fn assets(ctx: &Context) -> Result<Round, Error> {
    let rows = {
        let mut db = quartet_db::write(&ctx.db).await?;
        let rows = sweeps::take_assets(&mut db, claim(ctx)).await?;
        db.commit().await?;
        rows
    };
    let taken = rows.len();
    let deletes = rows.into_iter().map(|row| async move {
        let deleted = delete_objects(ctx, &row).await;
        (row.id, deleted)
    });
    let cleared = all(deletes).await;
    let mut db = quartet_db::write(&ctx.db).await?;
    let removed = sweeps::finish_assets(&mut db, &cleared, ctx.clock.now()).await?;
    db.commit().await?;
    Ok(Round {
        taken,
        cleared: cleared.len(),
        removed,
    })
}

async fn uploads(ctx: &Context) -> Result<Round, Error> {
    let rows = {
        let mut db = quartet_db::write(&ctx.db).await?;
        let rows = sweeps::take_uploads(&mut db, claim(ctx)).await?;
        db.commit().await?;
        rows
    };
    let taken = rows.len();
    let deletes = rows.into_iter().map(|row| async move {
        let deleted = delete_upload(ctx, &row).await;
        (row.id, deleted)
    });
    let cleared = all(deletes).await;
    let mut db = quartet_db::write(&ctx.db).await?;
    sweeps::finish_uploads(&mut db, &cleared).await?;
    db.commit().await?;
    Ok(Round {
        taken,
        cleared: cleared.len(),
        removed: 0,
    })
}

/// Runs the deletions, several at once. Returns the ids of those that succeeded.
async fn all<I, F>(deletes: impl Iterator<Item = F>) -> Vec<I>
where
    I: fmt::Display,
    F: Future<Output = (I, Result<(), ObjectError>)>,
{
    stream::iter(deletes)
        .buffer_unordered(DELETES_AT_ONCE)
        .filter_map(|(id, deleted)| async move {
            match deleted {
                Ok(()) => Some(id),
                Err(error) => {
                    tracing::warn!(%error, %id, "removing objects failed");
                    None
                }
            }
        })
        .collect()
        .await
}

async fn delete_upload(ctx: &Context, row: &UploadSweepRow) -> Result<(), ObjectError> {
    for key in &row.object_keys {
        ctx.objects.delete(row.visibility, key).await?;
    }
    ctx.objects.delete_incoming(row.id).await
}

fn claim(ctx: &Context) -> Claim {
    let (now, settings) = (ctx.clock.now(), &ctx.config.uploads);
    Claim {
        now,
        leased_until: now + LEASE,
        limit: i32::try_from(settings.sweep_batch).unwrap_or(i32::MAX),
    }
}

fn batch(ctx: &Context) -> usize {
    usize::try_from(ctx.config.uploads.sweep_batch).unwrap_or(usize::MAX)
}
