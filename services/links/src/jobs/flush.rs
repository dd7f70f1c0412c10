//! Brings the click log of this replica into Postgres while it is being written.
//!
//! One reader follows the writer, segment by segment. It reads up to the position that the writer
//! has published, stores what it read, and deletes a segment once it is sealed (the writer has moved
//! on) and stored completely. It keeps no position on disk: after a crash the segments are read
//! again from the start, and storing a click twice counts once.

use std::{io, time::Duration};

use anyhow::Context as _;
use quartet_jobs::{Backoff, Run};
use rustix::io::Errno;
use tokio::{sync::watch, time::Instant};

use crate::{
    domain::{Context, click_batches, values::click::Click},
    jobs::skipped,
    wal::{BatchEnd, Position, SEGMENT_HEADER_BYTES, SegmentReader, SkippedBytes, Wal},
};

/// Unread bytes that make a batch without waiting for more.
const ENOUGH_BYTES: u64 = 128 * 1024;
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// Without a success for this long, the job is stale.
pub(super) const STALE_AFTER: Duration = Duration::from_mins(1);
/// How often a job without clicks says that it is well.
const IDLE_REPORT_INTERVAL: Duration = Duration::from_secs(15);

/// A longer delay than this, beyond `clicks.batch_wait_ms`, is logged.
const MAX_LAG_MS: i64 = 1000;
const LAG_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The segment that is being read.
struct OpenSegment {
    number: u64,
    reader: SegmentReader,
}

/// Runs until the log is closed and everything in it is stored, then removes it. Retries while the
/// database is unavailable, since the log holds the clicks in the meantime.
///
/// # Errors
/// When the log cannot be read or removed.
pub(super) async fn run(ctx: Context, run: Run) -> anyhow::Result<()> {
    flush(&ctx, &run)
        .await
        .context("the click log cannot be read")?;
    let removed = ctx.click_log.remove();
    removed.context("the click log cannot be removed")
}

async fn flush(ctx: &Context, run: &Run) -> io::Result<()> {
    let wal = ctx.click_log.wal();
    let mut written = wal.written();
    let mut reading = OpenSegment::open(ctx, 1)?;
    let mut lag = Lag::default();
    loop {
        let position = wait_for_batch(ctx, run, &mut written, &reading).await;
        count_held_bytes(ctx);
        let is_sealed = position.segment > reading.number || position.closed;
        let bound = (!is_sealed).then_some(position.offset);
        let rows = ctx.config.clicks.batch_rows;
        let batch = reading.reader.read_batch(bound, rows).await?;
        skipped::report(ctx, reading.number, batch.skipped);
        store(ctx, run, &decode(ctx, &batch.payloads), &mut lag).await;
        if is_sealed && batch.ending == BatchEnd::Done {
            let number = reading.number;
            reading.delete(wal)?;
            if position.closed && position.segment == number {
                return Ok(());
            }
            let Some(next) = OpenSegment::open_next(ctx, number + 1, &written).await? else {
                return Ok(());
            };
            reading = next;
        }
    }
}

impl OpenSegment {
    fn open(ctx: &Context, number: u64) -> io::Result<Self> {
        let reader = SegmentReader::open(ctx.click_log.path(), number)?;
        Ok(Self { number, reader })
    }

    /// The first segment from `number` on that is there. Missing ones were removed by an operator,
    /// or never made. `None` when the log has ended without another one.
    async fn open_next(
        ctx: &Context,
        mut number: u64,
        written: &watch::Receiver<Position>,
    ) -> io::Result<Option<Self>> {
        let mut failures = 0;
        loop {
            let last = *written.borrow();
            match Self::open(ctx, number) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if number < last.segment {
                        let bytes = ctx.click_log.wal().release(number);
                        skipped::report(ctx, number, SkippedBytes { runs: 1, bytes });
                        number += 1;
                    } else if last.closed {
                        return Ok(None);
                    } else {
                        // The current segment is gone. The probe makes a new one.
                        let _ = ctx.click_log.probe().await;
                        tokio::time::sleep(BACKOFF.max).await;
                    }
                }
                Err(error) if is_shortage(&error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "clicks wait for the click log to be opened");
                    }
                    failures += 1;
                    count_held_bytes(ctx);
                    tokio::time::sleep(BACKOFF.delay(failures)).await;
                }
                opened => return opened.map(Some),
            }
        }
    }

    fn unread_bytes(&self, position: &Position) -> u64 {
        if position.segment > self.number || position.closed {
            return u64::MAX;
        }
        position.offset.saturating_sub(self.read_to())
    }

    fn read_to(&self) -> u64 {
        self.reader.offset().max(SEGMENT_HEADER_BYTES)
    }

    fn delete(self, wal: &Wal) -> io::Result<()> {
        wal.release(self.number);
        self.reader.delete()
    }
}

/// Whether it is too much of something else that keeps the file from being opened, such as connections
/// that take every descriptor. It passes, and says nothing about the log.
fn is_shortage(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// Records of a release that this one does not know are counted: no other replica reads this log.
fn decode(ctx: &Context, payloads: &[Vec<u8>]) -> Vec<Click> {
    let clicks: Vec<Click> = payloads.iter().filter_map(|it| Click::decode(it)).collect();
    let unknown = (payloads.len() - clicks.len()) as u64;
    if unknown > 0 {
        ctx.metrics.clicks_rejected.inc_by(unknown);
        tracing::error!(clicks = unknown, "clicks of an unknown format discarded");
    }
    clicks
}

/// Waits for unread bytes, and then up to `batch_wait_ms` for more of them.
async fn wait_for_batch(
    ctx: &Context,
    run: &Run,
    written: &mut watch::Receiver<Position>,
    reading: &OpenSegment,
) -> Position {
    let mut wait_for = async |bytes: u64| {
        // Before the first look at the position, so that no write in between is missed.
        let wal = ctx.click_log.wal();
        wal.wake_at(reading.number, reading.read_to() + bytes);
        written
            .wait_for(|position| reading.unread_bytes(position) >= bytes)
            .await
            .map(drop)
    };
    let first = loop {
        match tokio::time::timeout(IDLE_REPORT_INTERVAL, wait_for(1)).await {
            Ok(first) => break first,
            // Nothing to store is as good.
            Err(_) => run.succeeded(),
        }
    };
    let deadline = Instant::now() + Duration::from_millis(ctx.config.clicks.batch_wait_ms);
    let enough = tokio::time::timeout_at(deadline, wait_for(ENOUGH_BYTES)).await;
    let latest = *ctx.click_log.wal().written().borrow();
    match (first, enough) {
        // The log has ended; `closed` is published last.
        (Err(_), _) | (_, Ok(Err(_))) => Position {
            closed: true,
            ..latest
        },
        _ => latest,
    }
}

fn count_held_bytes(ctx: &Context) {
    let held = i64::try_from(ctx.click_log.wal().held_bytes()).unwrap_or(i64::MAX);
    ctx.metrics.click_log_bytes.set(held);
}

/// Stores clicks, however long the database is away. The metrics show meanwhile how the log fills.
async fn store(ctx: &Context, run: &Run, clicks: &[Click], lag: &mut Lag) {
    let oldest = clicks.iter().map(Click::at).min();
    let lag_ms = || oldest.map(|oldest| (ctx.clock.now() - oldest).num_milliseconds());
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let stored = click_batches::store(ctx, clicks).await;
        run.attempted(began.elapsed(), stored.is_ok());
        let Err(error) = stored else {
            break;
        };
        if failures == 0 {
            tracing::warn!(%error, clicks = clicks.len(), "clicks wait for the database");
        }
        failures += 1;
        count_held_bytes(ctx);
        if let Some(lag_ms) = lag_ms() {
            lag.update(ctx, lag_ms);
        }
        tokio::time::sleep(BACKOFF.delay(failures)).await;
    }
    if let Some(lag_ms) = lag_ms() {
        lag.update(ctx, lag_ms);
    }
}

/// How far this job is behind the redirects.
#[derive(Default)]
struct Lag {
    reported_at: Option<Instant>,
}

impl Lag {
    fn update(&mut self, ctx: &Context, lag_ms: i64) {
        ctx.metrics.click_log_lag_ms.set(lag_ms);
        let wait_ms = i64::try_from(ctx.config.clicks.batch_wait_ms).unwrap_or(0);
        let is_due = |at: Instant| at.elapsed() >= LAG_REPORT_INTERVAL;
        if lag_ms > wait_ms + MAX_LAG_MS && self.reported_at.is_none_or(is_due) {
            self.reported_at = Some(Instant::now());
            tracing::warn!(lag_ms, "clicks are stored with a delay");
        }
    }
}
