//! Periodic work, on every replica.

pub(crate) mod sweep;

use std::time::Duration;

use quartet_jobs::{Job, Runner};
use quartet_service::idempotency;

use crate::domain::Context;

/// Most idempotency keys that one run deletes.
const PURGE_BATCH: i64 = 1000;

pub(crate) fn start(ctx: &Context, runner: &mut Runner) {
    let period = Duration::from_secs(ctx.config.uploads.sweep_interval_seconds);
    let sweeping = ctx.clone();
    runner.start(Job::periodic("sweep", period, move |_| {
        let ctx = sweeping.clone();
        async move { sweep::run(&ctx).await.map(drop) }
    }));
    let purging = ctx.clone();
    runner.start(Job::periodic("purge", period, move |_| {
        let ctx = purging.clone();
        async move {
            idempotency::purge(&ctx.db, &ctx.clock, PURGE_BATCH)
                .await
                .map(drop)
        }
    }));
}
