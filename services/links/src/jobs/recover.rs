//! Recovers the click logs that stopped replicas left behind.

use std::{io, path::Path, time::Duration};

use super::pause;
use crate::{
    domain::{Context, click_batches, clicks::Click},
    wal::{Directory, Ending, SegmentReader},
};

/// Looks for abandoned logs at the start and periodically.
pub(super) async fn run(ctx: Context) {
    let every = Duration::from_secs(ctx.config.clicks.adopt_interval_seconds);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        ticks.tick().await;
        match recover_all(&ctx).await {
            Ok(()) => failures = 0,
            Err(error) => {
                tracing::warn!(%error, "an abandoned click log could not be recovered");
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
            }
        }
    }
}

async fn recover_all(ctx: &Context) -> io::Result<()> {
    let root = ctx.config.clicks.log_dir.clone();
    let abandoned = tokio::task::spawn_blocking(move || Directory::lock_abandoned(&root))
        .await
        .map_err(io::Error::other)??;
    let mut outcome = Ok(());
    for directory in abandoned {
        // A log that cannot be recovered must not block the others.
        if let Err(error) = recover(ctx, &directory).await {
            outcome = Err(error);
        }
    }
    outcome
}

async fn recover(ctx: &Context, directory: &Directory) -> io::Result<()> {
    let segments = directory.segments()?;
    tracing::info!(
        directory = %directory.path().display(),
        segments = segments.len(),
        "recovering an abandoned click log"
    );
    for number in segments {
        recover_segment(ctx, directory.path(), number).await?;
    }
    directory.remove()?;
    ctx.metrics.logs_recovered.inc();
    Ok(())
}

/// Stores the clicks of a segment, some of which may be stored already, and deletes it.
async fn recover_segment(ctx: &Context, directory: &Path, number: u64) -> io::Result<()> {
    let rows = ctx.config.clicks.batch_rows;
    let mut reader = SegmentReader::open(directory, number)?;
    loop {
        let batch = reader.read_batch(None, rows).await?;
        let clicks: Option<Vec<Click>> = batch
            .payloads
            .iter()
            .map(|payload| Click::decode(payload))
            .collect();
        // A later release wrote it, and a replica of that release has to recover it.
        let clicks = clicks.ok_or_else(|| io::Error::other("unknown record format"))?;
        click_batches::store(ctx, &clicks)
            .await
            .map_err(io::Error::other)?;
        match batch.ending {
            Ending::More => {}
            Ending::Done => break,
            Ending::Torn(bytes) => {
                super::warn_torn(number, bytes);
                break;
            }
        }
    }
    reader.delete()
}
