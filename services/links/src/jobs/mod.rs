//! Work beside the requests. Every job may run on all replicas at once.

mod flush;
mod listen;
mod maintain;
mod recover;

use std::{
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use maintain::maintain;

use crate::domain::Context;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The running jobs.
pub(crate) struct Jobs {
    flush: JoinHandle<anyhow::Result<()>>,
    others: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

/// Starts the jobs. One that ends early cancels `shutdown`: a replica that does not hear of edits
/// must not keep serving, and one that cannot read its log must not keep filling it.
pub(crate) fn start(ctx: &Context, shutdown: &CancellationToken) -> Jobs {
    let stop = CancellationToken::new();
    let spawn = |name: &'static str, job: Job| {
        let (stop, shutdown) = (stop.clone(), shutdown.clone());
        tokio::spawn(async move {
            let running = AbortOnDrop(tokio::spawn(job));
            if stop.run_until_cancelled_owned(running).await.is_some() {
                tracing::error!(job = name, "job ended; the replica stops");
                shutdown.cancel();
            }
        })
    };
    let others = vec![
        spawn("recover", Box::pin(recover::run(ctx.clone()))),
        spawn("listen", Box::pin(listen::run(ctx.clone()))),
        spawn("maintain", Box::pin(maintain::run(ctx.clone()))),
    ];
    Jobs {
        flush: tokio::spawn(flush_until_closed(ctx.clone(), shutdown.clone())),
        others,
        stop,
    }
}

impl Jobs {
    /// Waits until the closed click log is stored, then stops the other jobs.
    ///
    /// # Errors
    /// When the click log cannot be read.
    pub(crate) async fn drain(self) -> anyhow::Result<()> {
        let flushed = self.flush.await;
        self.stop.cancel();
        for job in self.others {
            // A job that failed has logged why.
            let _ = job.await;
        }
        flushed?
    }
}

async fn flush_until_closed(ctx: Context, shutdown: CancellationToken) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let stop_replica = shutdown.drop_guard();
    let flushed = flush::run(&ctx).await;
    drop(stop_replica);
    flushed.context("the click log cannot be read")
}

fn warn_torn(segment: u64, bytes: u64) {
    tracing::warn!(segment, bytes, "torn end of a click log segment skipped");
}

/// A task that is aborted when its handle is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Future for AbortOnDrop {
    type Output = Result<(), tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The pause before the next attempt: doubled each time, up to five seconds.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(100)
        .saturating_mul(1 << failures.min(6))
        .min(MAX_PAUSE)
}
