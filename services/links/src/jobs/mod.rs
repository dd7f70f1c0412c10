//! Work beside the requests: jobs of each replica, and durable jobs, which one worker does for all.
//!
//! `flush` is essential: a replica that cannot read its click log must not keep filling it. It ends
//! by itself once the log is closed and stored. Each batch that it stores counts as a run of it;
//! `links_click_log_*` and `links_clicks_*` say more.

mod erase;
mod flush;
mod listen;
mod maintain;
mod purge;
mod recover;
mod skipped;

use std::time::Duration;

use quartet_jobs::{Job, Runner};
use quartet_worker::Tasks;

use crate::{error::Error, state::AppState};

/// Runs maintenance once, because requests need today's salt and partitions, then starts the jobs.
///
/// # Errors
/// When maintenance fails.
pub(crate) async fn start(state: &AppState, runner: &mut Runner) -> Result<(), Error> {
    let ctx = &state.ctx;
    maintain::run(ctx.clone()).await?;
    // The first visitor does not wait for a new connection.
    drop(quartet_db::read(&ctx.redirects_db).await?);
    let owned = ctx.clone();
    runner.start_essential("flush", flush::STALE_AFTER, |run| flush::run(owned, run));
    let interval = Duration::from_secs(ctx.config.clicks.adopt_interval_seconds);
    let owned = ctx.clone();
    let recover = Job::periodic("recover", interval, move |_| recover::run(owned.clone()));
    runner.start(recover.immediately().cancel_at_stop());
    let owned = ctx.clone();
    let listen = Job::continuous("listen", listen::MAX_SILENCE, move |run| {
        listen::run(owned.clone(), run)
    });
    runner.start(listen);
    let owned = ctx.clone();
    let maintain = Job::periodic("maintain", maintain::INTERVAL, move |_| {
        maintain::run(owned.clone())
    });
    runner.start(maintain.cancel_at_stop());
    Ok(())
}

/// The durable jobs.
pub(crate) fn tasks(state: &AppState) -> Tasks<AppState> {
    Tasks::new(state.clone())
        .with::<purge::Purge>()
        .with::<erase::Erase>()
}
