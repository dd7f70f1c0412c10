//! What runs beside the requests. Every job may run on every replica at once.

mod adopt;
mod batches;
mod flush;
mod listen;
mod maintain;

use std::{pin::Pin, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use batches::Batches;
pub(crate) use flush::Flusher;
pub(crate) use maintain::maintain;

use crate::state::AppState;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Starts the jobs that end when the token is cancelled.
pub(crate) fn start(state: &AppState, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let spawn = |job: Job| {
        let stop = stop.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled_owned(job).await;
        })
    };
    vec![
        spawn(Box::pin(adopt::run(state.clone()))),
        spawn(Box::pin(listen::run(state.clone()))),
        spawn(Box::pin(maintain::run(state.clone()))),
    ]
}

/// How long to wait before the next try: doubled each time, up to five seconds.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(100)
        .saturating_mul(1 << failures.min(6))
        .min(MAX_PAUSE)
}
