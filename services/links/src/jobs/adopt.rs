//! Replays the logs of replicas that are gone.

use std::{io, path::Path, time::Duration};

use super::{batches::Batches, pause};
use crate::{
    domain::clicks::Click,
    state::AppState,
    wal::{Directory, Ending, SegmentReader},
};

/// Looks for orphans at the start, and again and again.
pub(super) async fn run(state: AppState) {
    let every = Duration::from_secs(state.config.clicks.adopt_interval_seconds);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        ticks.tick().await;
        match adopt_all(&state).await {
            Ok(()) => failures = 0,
            Err(error) => {
                tracing::warn!(error = %error, "the log of a gone replica could not be replayed");
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
            }
        }
    }
}

async fn adopt_all(state: &AppState) -> io::Result<()> {
    let root = state.log_dir();
    let orphans = tokio::task::spawn_blocking(move || Directory::orphans(&root))
        .await
        .map_err(io::Error::other)??;
    let mut outcome = Ok(());
    for orphan in orphans {
        // One that cannot be replayed must not keep the others waiting.
        if let Err(error) = adopt(state, orphan).await {
            outcome = Err(error);
        }
    }
    outcome
}

async fn adopt(state: &AppState, orphan: Directory) -> io::Result<()> {
    let segments = orphan.segments()?;
    tracing::info!(
        directory = %orphan.path().display(),
        segments = segments.len(),
        "replaying the log of a replica that is gone"
    );
    let batches = state.batches();
    for number in segments {
        replay(state, &batches, orphan.path(), number).await?;
    }
    orphan.remove()?;
    state.visits.metrics.logs_adopted.inc();
    Ok(())
}

/// Writes what a segment holds and deletes it. What was written before changes nothing.
async fn replay(
    state: &AppState,
    batches: &Batches,
    directory: &Path,
    number: u64,
) -> io::Result<()> {
    let rows = state.config.clicks.batch_rows;
    let mut reader = SegmentReader::open(directory, number)?;
    loop {
        let (back, batch) = tokio::task::spawn_blocking(move || {
            let batch = reader.read(None, rows);
            (reader, batch)
        })
        .await
        .map_err(io::Error::other)?;
        reader = back;
        let batch = batch?;
        let clicks: Option<Vec<Click>> = batch
            .payloads
            .iter()
            .map(|payload| Click::decode(payload))
            .collect();
        // Written by a later release: left for a replica of that release.
        let clicks = clicks.ok_or_else(|| io::Error::other("a record's form is not known here"))?;
        batches
            .write(&clicks, state.clock.now())
            .await
            .map_err(io::Error::other)?;
        match batch.ending {
            Ending::More => {}
            Ending::Done => break,
            Ending::Torn(bytes) => {
                tracing::warn!(
                    segment = number,
                    bytes,
                    "the end of a log file was not written"
                );
                break;
            }
        }
    }
    reader.delete()
}
