//! Recovers the click logs that stopped replicas left behind, and this replica's own if its
//! directory was removed.

use std::path::Path;

use anyhow::Context as _;

use crate::{
    domain::{Context, click_batches, values::click::Click},
    jobs::skipped,
    wal::{BatchEnd, Directory, SegmentReader},
};

/// # Errors
/// When a log cannot be recovered; the next run tries it again.
pub(super) async fn run(ctx: Context) -> anyhow::Result<()> {
    // Reports what is wrong; readiness asks as well.
    let _ = ctx.click_log.probe().await;
    let root = ctx.config.clicks.log_dir.clone();
    let locked = tokio::task::spawn_blocking(move || Directory::lock_abandoned(&root)).await?;
    let (abandoned, locked) = locked;
    let mut outcome = locked.map_err(anyhow::Error::from);
    for directory in abandoned {
        // A log that cannot be recovered must not block the others.
        if let Err(error) = recover(&ctx, &directory).await {
            let path = directory.path().display().to_string();
            tracing::warn!(
                directory = path,
                error = format!("{error:#}"),
                "an abandoned click log could not be recovered"
            );
            outcome = outcome.and(Err(error.context(path)));
        }
    }
    outcome
}

async fn recover(ctx: &Context, directory: &Directory) -> anyhow::Result<()> {
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
async fn recover_segment(ctx: &Context, directory: &Path, number: u64) -> anyhow::Result<()> {
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
        let clicks = clicks.context("unknown record format")?;
        click_batches::store(ctx, &clicks).await?;
        skipped::report(ctx, number, batch.skipped);
        if batch.ending != BatchEnd::More {
            break;
        }
    }
    reader.delete()?;
    Ok(())
}
