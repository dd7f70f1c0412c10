//! Periodic work, on every replica.

use std::time::Duration;

use quartet_jobs::{Job, Runner};
use quartet_service::idempotency;

use crate::{
    domain::Context,
    error::Error,
    state::AppState,
    store::{refresh_tokens, sessions, throttles, users},
};

/// Reads the signing keys, without which no token can be signed, and starts the jobs. They work in
/// single statements and transactions, so an interrupted run leaves nothing half done.
pub(crate) async fn start(ctx: &Context, runner: &mut Runner) -> anyhow::Result<()> {
    ctx.keys.maintain(&ctx.db).await?;
    runner.start(signing_keys(ctx.clone()).cancel_at_stop());
    runner.start(purging(ctx.clone()).cancel_at_stop());
    Ok(())
}

fn signing_keys(ctx: Context) -> Job {
    let period = Duration::from_secs(ctx.config.keys.reload_seconds);
    Job::periodic("signing_keys", period, move |_| {
        let ctx = ctx.clone();
        async move { ctx.keys.maintain(&ctx.db).await }
    })
}

fn purging(ctx: Context) -> Job {
    let period = Duration::from_secs(ctx.config.retention.interval_seconds);
    Job::periodic("purge", period, move |_| {
        let ctx = ctx.clone();
        async move { purge(&ctx).await }
    })
}

/// Runs each job once.
///
/// # Errors
/// When a job fails.
pub async fn run_once(state: &AppState) -> anyhow::Result<()> {
    signing_keys(state.ctx.clone()).run_once().await?;
    purging(state.ctx.clone()).run_once().await
}

/// Deletes rows whose retention time is over, in bounded batches. Children go before their parents:
/// a cascade would not be bounded.
async fn purge(ctx: &Context) -> Result<(), Error> {
    let (now, settings) = (ctx.clock.now(), &ctx.config.retention);
    let before = |seconds: u64| now - Duration::from_secs(seconds);
    let ended = before(settings.ended_sessions_seconds);
    let deleted = before(settings.deleted_users_seconds);
    let forgotten = before(ctx.config.throttle.forget_after_seconds);
    let (db, limit) = (&ctx.db, i64::from(settings.batch));
    let full = u64::from(settings.batch);
    while refresh_tokens::purge(&mut *db.acquire().await?, ended, limit).await? >= full {}
    while sessions::purge(&mut *db.acquire().await?, ended, limit).await? >= full {}
    while users::purge(&mut *db.acquire().await?, deleted, limit).await? >= full {}
    while throttles::purge(&mut *db.acquire().await?, forgotten, limit).await? >= full {}
    while idempotency::purge(db, &ctx.clock, limit).await? >= full {}
    Ok(())
}
