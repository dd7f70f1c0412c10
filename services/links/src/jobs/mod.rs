//! What runs beside the requests. Every job may run on every replica at once.

mod adopt;
mod batches;
mod flush;
mod listen;
mod maintain;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use batches::Batches;
pub(crate) use flush::Flusher;
pub(crate) use maintain::maintain;

use crate::state::AppState;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Starts the jobs that end when `stop` is cancelled. One that ends before takes the
/// process down with it: a replica that does not hear of edits must not go on serving.
pub(crate) fn start(state: &AppState, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let spawn = |name: &'static str, job: Job| {
        let (stop, shutdown) = (stop.clone(), state.shutdown.clone());
        tokio::spawn(async move {
            let running = AbortOnDrop(tokio::spawn(job));
            if stop.run_until_cancelled_owned(running).await.is_some() {
                tracing::error!(job = name, "a job has ended; the replica stops");
                shutdown.cancel();
            }
        })
    };
    vec![
        spawn("adopt", Box::pin(adopt::run(state.clone()))),
        spawn("listen", Box::pin(listen::run(state.clone()))),
        spawn("maintain", Box::pin(maintain::run(state.clone()))),
    ]
}

/// A task that does not outlive whoever waits for it.
struct AbortOnDrop(JoinHandle<()>);

impl Future for AbortOnDrop {
    type Output = Result<(), tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long to wait before the next try: doubled each time, up to five seconds.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(100)
        .saturating_mul(1 << failures.min(6))
        .min(MAX_PAUSE)
}
