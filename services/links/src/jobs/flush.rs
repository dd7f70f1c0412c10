//! Brings this replica's log into the database while it is being written.

use std::{io, path::PathBuf, time::Duration};

use quartet_common::clock::Clock;
use tokio::{sync::watch, time::Instant};

use super::{batches::Batches, pause};
use crate::{
    domain::clicks::Click,
    metrics::LinkMetrics,
    wal::{Ending, Position, SegmentReader, Wal},
};

/// So many bytes are worth a batch without waiting for more.
const ENOUGH_BYTES: u64 = 128 * 1024;

/// Reads behind the writer, and deletes what is in the database.
pub(crate) struct Flusher {
    pub(crate) wal: Wal,
    pub(crate) directory: PathBuf,
    pub(crate) batches: Batches,
    pub(crate) clock: Clock,
    pub(crate) rows: usize,
    pub(crate) wait: Duration,
    pub(crate) metrics: LinkMetrics,
}

/// The segment that is being read.
struct Reading {
    number: u64,
    reader: SegmentReader,
}

impl Flusher {
    /// Runs until the log is closed and everything in it is in the database. A database
    /// that is away is tried again for ever: the log holds the clicks meanwhile.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn run(self) -> io::Result<()> {
        let mut written = self.wal.written();
        let mut reading = Reading {
            number: 1,
            reader: SegmentReader::open(&self.directory, 1)?,
        };
        loop {
            let position = self.something_to_do(&mut written, &reading).await;
            self.metrics
                .log_bytes
                .set(i64::try_from(self.wal.held_bytes()).unwrap_or(i64::MAX));
            let sealed = position.segment > reading.number || position.closed;
            let bound = (!sealed).then_some(position.offset);
            let rows = self.rows;
            let (back, batch) = tokio::task::spawn_blocking(move || {
                let batch = reading.reader.read(bound, rows);
                (reading, batch)
            })
            .await
            .map_err(io::Error::other)?;
            reading = back;
            let batch = batch?;
            let clicks: Vec<Click> = batch
                .payloads
                .iter()
                .filter_map(|payload| Click::decode(payload))
                .collect();
            self.write(&clicks).await;
            if sealed && batch.ending != Ending::More {
                reading = match self.finish(reading, batch.ending, position)? {
                    Some(next) => next,
                    None => return Ok(()),
                };
            }
        }
    }

    /// Waits for unread bytes, and then a little for more of them.
    async fn something_to_do(
        &self,
        written: &mut watch::Receiver<Position>,
        reading: &Reading,
    ) -> Position {
        let unread = |position: &Position| {
            if position.segment > reading.number || position.closed {
                u64::MAX
            } else {
                position
                    .offset
                    .saturating_sub(reading.reader.offset().max(START_OF_FRAMES))
            }
        };
        // The sender lives as long as the thread; its last word is `closed`.
        let mut wait_for = async |bytes: u64| {
            written
                .wait_for(|position| unread(position) >= bytes)
                .await
                .map(|position| *position)
        };
        let first = wait_for(1).await;
        let deadline = Instant::now() + self.wait;
        let enough = tokio::time::timeout_at(deadline, wait_for(ENOUGH_BYTES)).await;
        let latest = *self.wal.written().borrow();
        match (first, enough) {
            (Err(_), _) | (_, Ok(Err(_))) => Position {
                closed: true,
                ..latest
            },
            _ => latest,
        }
    }

    async fn write(&self, clicks: &[Click]) {
        let mut failures = 0;
        while let Err(error) = self.batches.write(clicks, self.clock.now()).await {
            if failures == 0 {
                tracing::warn!(%error, clicks = clicks.len(), "clicks wait for the database");
            }
            tokio::time::sleep(pause(failures)).await;
            failures += 1;
        }
    }

    /// Deletes a segment that is in the database; gives the next one, if there will be one.
    fn finish(
        &self,
        done: Reading,
        ending: Ending,
        position: Position,
    ) -> io::Result<Option<Reading>> {
        if let Ending::Torn(bytes) = ending
            && bytes > 0
        {
            tracing::warn!(
                segment = done.number,
                bytes,
                "the end of a log file was not written"
            );
        }
        let number = done.number;
        self.wal
            .release(done.reader.offset().saturating_sub(START_OF_FRAMES));
        done.reader.delete()?;
        if position.closed && position.segment == number {
            return Ok(None);
        }
        let number = number + 1;
        Ok(Some(Reading {
            number,
            reader: SegmentReader::open(&self.directory, number)?,
        }))
    }
}

/// The mark at the start of a segment is not a record.
const START_OF_FRAMES: u64 = 8;
