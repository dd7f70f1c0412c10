//! The file that frames are written to: one at a time, in numbered segments.
//!
//! Nothing here waits for another thread. [`super::Wal`] decides which task writes, and moves what may
//! take long (a new segment, a sync) to a thread for blocking work.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{directory, held::HeldBytes, segment, syncer::Syncer};

/// Numbers that are tried for a new segment. A failed attempt may have left a file behind.
const CREATE_ATTEMPTS: u64 = 16;

/// When appended frames are synced to disk. In every mode they survive a killed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// Before the append is confirmed: they survive a power failure.
    Group,
    /// At most this long afterwards: a power failure loses at most that much.
    Interval(Duration),
    /// When the kernel writes them back, after about 30 seconds.
    Off,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) fsync: Fsync,
    /// Size from which a segment is sealed and the next one is started.
    pub(crate) segment_bytes: u64,
    /// Size of all segments together from which appends are refused.
    pub(crate) limit_bytes: u64,
}

/// The end of the log. Everything before it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Nothing is appended any more.
    pub(crate) closed: bool,
}

/// The place in the log from which on the reader wants to be woken, so that it is not woken by every
/// write: a segment number and an offset, in one word.
#[derive(Debug, Default)]
pub(super) struct WakeThreshold(AtomicU64);

impl WakeThreshold {
    pub(super) fn set(&self, segment: u64, offset: u64) {
        self.0.store(Self::pack(segment, offset), Ordering::SeqCst);
    }

    fn is_reached(&self, position: &Position) -> bool {
        let written = Self::pack(position.segment, position.offset);
        position.closed || written >= self.0.load(Ordering::SeqCst)
    }

    fn pack(segment: u64, offset: u64) -> u64 {
        (segment << 32) | offset.min(u64::from(u32::MAX))
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    settings: Settings,
    file: Arc<File>,
    position: Position,
    publish: watch::Sender<Position>,
    wake_threshold: Arc<WakeThreshold>,
    held: Arc<HeldBytes>,
    syncer: Option<Syncer>,
    /// Whether the directory may not know the current segment after a power failure.
    directory_is_unsynced: bool,
    sync_directory: fn(&Path) -> io::Result<()>,
}

impl Writer {
    /// Creates the first segment in an empty directory.
    pub(super) fn create(
        directory: PathBuf,
        settings: Settings,
        wake_threshold: Arc<WakeThreshold>,
        held: Arc<HeldBytes>,
    ) -> io::Result<Self> {
        let (file, offset) = segment::create(&directory, 1)?;
        directory::sync(&directory)?;
        let position = Position {
            segment: 1,
            offset,
            closed: false,
        };
        let syncer = match settings.fsync {
            Fsync::Interval(interval) => Some(Syncer::start(interval)?),
            Fsync::Group | Fsync::Off => None,
        };
        Ok(Self {
            directory,
            settings,
            file: Arc::new(file),
            position,
            publish: watch::channel(position).0,
            wake_threshold,
            held,
            syncer,
            directory_is_unsynced: false,
            sync_directory: directory::sync,
        })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Position> {
        self.publish.subscribe()
    }

    /// Whether the next write may take longer than copying bytes into the page cache.
    pub(super) fn may_block(&self) -> bool {
        self.settings.fsync == Fsync::Group
            || self.position.offset >= self.settings.segment_bytes
            || self.directory_is_unsynced
    }

    /// Writes whole frames, all or none.
    pub(super) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.position.offset >= self.settings.segment_bytes {
            self.rotate()?;
        }
        self.sync_new_directory_entry()?;
        let written = (&*self.file).write_all(frames).and_then(|()| self.sync());
        if let Err(error) = written {
            self.truncate();
            return Err(error);
        }
        self.position.offset += frames.len() as u64;
        self.held.add(self.position.segment, frames.len() as u64);
        self.publish();
        Ok(())
    }

    /// Starts a new segment, unless the current one is empty and in its place.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        let is_empty = self.position.offset <= segment::SEGMENT_HEADER_BYTES;
        if is_empty && segment::path(&self.directory, self.position.segment).exists() {
            return Ok(());
        }
        self.rotate()?;
        self.publish();
        Ok(())
    }

    /// Syncs the last frames and ends the log for its reader.
    pub(super) fn close(&mut self) {
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the click log could not be synced to disk");
        }
        self.position.closed = true;
        self.publish();
    }

    /// Makes the next write sync the directory first, in this way.
    #[cfg(test)]
    pub(super) fn sync_directory_with(&mut self, sync: fn(&Path) -> io::Result<()>) {
        self.sync_directory = sync;
        self.directory_is_unsynced = true;
    }

    fn publish(&self) {
        self.publish.send_if_modified(|published| {
            *published = self.position;
            self.wake_threshold.is_reached(&self.position)
        });
    }

    fn sync(&self) -> io::Result<()> {
        if self.settings.fsync == Fsync::Group {
            self.file.sync_data()?;
        }
        if let Some(syncer) = &self.syncer {
            syncer.schedule(&self.file);
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.settings.fsync != Fsync::Off {
            self.file.sync_data()?;
        }
        let mut number = self.position.segment + 1;
        let (file, offset) = loop {
            match segment::create(&self.directory, number) {
                // Left behind by an attempt that failed half-way; the reader passes over it.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && number < self.position.segment + CREATE_ATTEMPTS =>
                {
                    number += 1;
                }
                created => break created?,
            }
        };
        // From here on the segment is the current one, even if the directory cannot be synced:
        // an attempt to create it again would fail.
        self.file = Arc::new(file);
        self.position = Position {
            segment: number,
            offset,
            closed: false,
        };
        self.directory_is_unsynced = true;
        Ok(())
    }

    /// Without this a new segment may be missing after a power failure, with all that is in it.
    fn sync_new_directory_entry(&mut self) -> io::Result<()> {
        if !self.directory_is_unsynced {
            return Ok(());
        }
        match (self.sync_directory)(&self.directory) {
            // Only this mode promises to survive a power failure.
            Err(error) if self.settings.fsync == Fsync::Group => return Err(error),
            Err(error) => tracing::warn!(%error, "the click log directory could not be synced"),
            Ok(()) => {}
        }
        self.directory_is_unsynced = false;
        Ok(())
    }

    /// Truncates partially written frames, so that the next ones follow a whole frame.
    fn truncate(&mut self) {
        let offset = self.position.offset;
        let truncated = self
            .file
            .set_len(offset)
            .and_then(|()| (&*self.file).seek(SeekFrom::Start(offset)).map(drop));
        if let Err(error) = truncated {
            tracing::error!(%error, "the click log could not be truncated; starting a new segment");
            // Makes the next write start a segment.
            self.position.offset = self.settings.segment_bytes.max(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn writer(directory: &Path, fsync: Fsync) -> Writer {
        let settings = Settings {
            fsync,
            segment_bytes: 100,
            limit_bytes: 10_000,
        };
        Writer::create(
            directory.to_owned(),
            settings,
            Arc::default(),
            Arc::default(),
        )
        .unwrap()
    }

    #[test]
    fn a_directory_that_cannot_be_synced_does_not_wedge_the_log() {
        static FAILS: AtomicBool = AtomicBool::new(true);
        for (fsync, first) in [(Fsync::Group, false), (Fsync::Off, true)] {
            FAILS.store(true, Ordering::Relaxed);
            let directory = tempfile::tempdir().unwrap();
            let mut writer = writer(directory.path(), fsync);
            writer.sync_directory = |_| {
                if FAILS.load(Ordering::Relaxed) {
                    return Err(io::Error::other("no"));
                }
                Ok(())
            };
            writer.write(&[1; 100]).unwrap();
            assert_eq!(writer.write(&[2; 100]).is_ok(), first, "{fsync:?}");
            FAILS.store(false, Ordering::Relaxed);
            writer.write(&[3; 100]).unwrap();
            writer.write(&[4; 100]).unwrap();
        }
    }

    #[test]
    fn a_segment_file_that_exists_already_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path(), Fsync::Off);
        std::fs::write(segment::path(directory.path(), 2), "").unwrap();
        writer.write(&[1; 100]).unwrap();
        writer.write(&[2; 100]).unwrap();
        assert_eq!(writer.position.segment, 3);
    }
}
