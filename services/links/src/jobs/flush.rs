//! Brings the click log of this replica into Postgres while it is being written.
//!
//! One reader follows the writer, segment by segment. It reads up to the position that the writer
//! has published, stores what it read, and deletes a segment once it is sealed (the writer has moved
//! on) and stored completely. It keeps no position on disk: after a crash the segments are read
//! again from the start, and storing a click twice counts once.

use std::{io, time::Duration};

use anyhow::Context as _;
use quartet_jobs::Backoff;
use tokio::{sync::watch, time::Instant};

use crate::{
    domain::{Context, click_batches, values::click::Click},
    wal::{Ending, Position, SEGMENT_HEADER_BYTES, SegmentReader, Wal},
};

/// Unread bytes that make a batch without waiting for more.
const ENOUGH_BYTES: u64 = 128 * 1024;
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// The segment that is being read.
struct Reading {
    number: u64,
    reader: SegmentReader,
}

/// Runs until the log is closed and everything in it is stored, then removes it. Retries while the
/// database is unavailable, since the log holds the clicks in the meantime.
///
/// # Errors
/// When the log cannot be read or removed.
pub(super) async fn run(ctx: Context) -> anyhow::Result<()> {
    flush(&ctx).await.context("the click log cannot be read")?;
    let removed = ctx.click_log.remove();
    removed.context("the click log cannot be removed")
}

async fn flush(ctx: &Context) -> io::Result<()> {
    let wal = ctx.click_log.wal();
    let mut written = wal.written();
    let mut reading = Reading::open(ctx, 1)?;
    loop {
        let position = wait_for_batch(ctx, &mut written, &reading).await;
        let held = i64::try_from(wal.held_bytes()).unwrap_or(i64::MAX);
        ctx.metrics.click_log_bytes.set(held);
        let is_sealed = position.segment > reading.number || position.closed;
        let bound = (!is_sealed).then_some(position.offset);
        let rows = ctx.config.clicks.batch_rows;
        let batch = reading.reader.read_batch(bound, rows).await?;
        let clicks: Vec<Click> = batch
            .payloads
            .iter()
            .filter_map(|payload| Click::decode(payload))
            .collect();
        store(ctx, &clicks).await;
        if is_sealed && batch.ending != Ending::More {
            let number = reading.number;
            reading.delete(wal, batch.ending)?;
            if position.closed && position.segment == number {
                return Ok(());
            }
            reading = Reading::open(ctx, number + 1)?;
        }
    }
}

impl Reading {
    fn open(ctx: &Context, number: u64) -> io::Result<Self> {
        let reader = SegmentReader::open(ctx.click_log.path(), number)?;
        Ok(Self { number, reader })
    }

    fn unread_bytes(&self, position: &Position) -> u64 {
        if position.segment > self.number || position.closed {
            return u64::MAX;
        }
        let read = self.reader.offset().max(SEGMENT_HEADER_BYTES);
        position.offset.saturating_sub(read)
    }

    fn delete(self, wal: &Wal, ending: Ending) -> io::Result<()> {
        ending.warn_if_torn(self.number);
        let frames = self.reader.offset().saturating_sub(SEGMENT_HEADER_BYTES);
        wal.release(frames);
        self.reader.delete()
    }
}

/// Waits for unread bytes, and then up to `batch_wait_ms` for more of them.
async fn wait_for_batch(
    ctx: &Context,
    written: &mut watch::Receiver<Position>,
    reading: &Reading,
) -> Position {
    let mut wait_for = async |bytes: u64| {
        written
            .wait_for(|position| reading.unread_bytes(position) >= bytes)
            .await
            .map(drop)
    };
    let first = wait_for(1).await;
    let deadline = Instant::now() + Duration::from_millis(ctx.config.clicks.batch_wait_ms);
    let enough = tokio::time::timeout_at(deadline, wait_for(ENOUGH_BYTES)).await;
    let latest = *ctx.click_log.wal().written().borrow();
    match (first, enough) {
        // The writer has ended; it publishes `closed` last.
        (Err(_), _) | (_, Ok(Err(_))) => Position {
            closed: true,
            ..latest
        },
        _ => latest,
    }
}

async fn store(ctx: &Context, clicks: &[Click]) {
    let mut failures = 0;
    while let Err(error) = click_batches::store(ctx, clicks).await {
        if failures == 0 {
            tracing::warn!(%error, clicks = clicks.len(), "clicks wait for the database");
        }
        failures += 1;
        tokio::time::sleep(BACKOFF.delay(failures)).await;
    }
}
