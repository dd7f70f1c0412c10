//! The writer thread: group commit of what many requests append.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{directory, frame, segment};

/// Queued appends; further ones wait for room in the queue.
const QUEUE: usize = 4096;
/// Frames per write.
const GROUP: usize = 1024;

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

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the click log has reached its limit of {limit_bytes} bytes")]
    Full { limit_bytes: u64 },
    #[error("the click log could not be written")]
    Write(#[source] Arc<io::Error>),
    #[error("a payload of {bytes} bytes does not fit into the click log")]
    Payload { bytes: usize },
    #[error("the click log is closed")]
    Closed,
}

/// The writing end of the log. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Wal {
    queue: mpsc::Sender<Message>,
    written: watch::Receiver<Position>,
    held_bytes: Arc<AtomicU64>,
    limit_bytes: u64,
}

#[derive(Debug)]
enum Message {
    Append {
        frame: Vec<u8>,
        done: oneshot::Sender<Result<(), Arc<io::Error>>>,
    },
    /// Starts a new segment unless the current one is empty.
    Seal,
    Close,
}

impl Wal {
    /// Creates the first segment in an empty directory and starts the writer thread.
    pub(crate) fn start(directory: PathBuf, settings: Settings) -> io::Result<Self> {
        let held_bytes = Arc::new(AtomicU64::new(0));
        let limit_bytes = settings.limit_bytes;
        let (queue, appends) = mpsc::channel(QUEUE);
        let (file, offset) = segment::create(&directory, 1)?;
        directory::sync(&directory)?;
        let position = Position {
            segment: 1,
            offset,
            closed: false,
        };
        let (publish, written) = watch::channel(position);
        let syncer = match settings.fsync {
            Fsync::Interval(interval) => Some(start_syncer(interval)?),
            Fsync::Group | Fsync::Off => None,
        };
        let writer = Writer {
            directory,
            settings,
            file: Arc::new(file),
            position,
            publish,
            held_bytes: Arc::clone(&held_bytes),
            syncer,
        };
        thread::Builder::new()
            .name("click-log".into())
            .spawn(move || writer.run(appends))?;
        Ok(Self {
            queue,
            written,
            held_bytes,
            limit_bytes,
        })
    }

    /// Appends a payload. Once this returns `Ok`, the payload survives a killed process.
    ///
    /// # Errors
    /// `Full` at the size limit; `Write`; `Payload` if it is too long; `Closed`.
    pub(crate) async fn append(&self, payload: &[u8]) -> Result<(), AppendError> {
        let bytes = payload.len();
        let frame = frame::encode(payload).ok_or(AppendError::Payload { bytes })?;
        let held = self.held_bytes.load(Ordering::Relaxed);
        if held + frame.len() as u64 > self.limit_bytes {
            // Only sealed segments are deleted: a full log with one segment would stay full.
            let _ = self.queue.try_send(Message::Seal);
            return Err(AppendError::Full {
                limit_bytes: self.limit_bytes,
            });
        }
        let (done, outcome) = oneshot::channel();
        let message = Message::Append { frame, done };
        self.queue
            .send(message)
            .await
            .map_err(|_| AppendError::Closed)?;
        outcome
            .await
            .map_err(|_| AppendError::Closed)?
            .map_err(AppendError::Write)
    }

    /// Follows the end of the log.
    pub(crate) fn written(&self) -> watch::Receiver<Position> {
        self.written.clone()
    }

    /// Returns the bytes of deleted segments to the limit.
    pub(crate) fn release(&self, bytes: u64) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of frames in segments that are not deleted yet.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Writes what is queued and stops the writer thread. Later appends return `Closed`.
    pub(crate) async fn close(&self) {
        // Fails if the thread has already stopped.
        let _ = self.queue.send(Message::Close).await;
    }
}

struct Writer {
    directory: PathBuf,
    settings: Settings,
    file: Arc<File>,
    position: Position,
    publish: watch::Sender<Position>,
    held_bytes: Arc<AtomicU64>,
    syncer: Option<Syncer>,
}

impl Writer {
    fn run(mut self, mut appends: mpsc::Receiver<Message>) {
        let mut bytes = Vec::new();
        let mut waiting = Vec::new();
        let mut open = true;
        while open {
            let mut next = appends.blocking_recv();
            open = next.is_some();
            while let Some(message) = next.take() {
                match message {
                    Message::Append { frame, done } => {
                        bytes.extend_from_slice(&frame);
                        waiting.push(done);
                    }
                    Message::Seal => self.seal(),
                    Message::Close => open = false,
                }
                if waiting.len() < GROUP && open {
                    next = appends.try_recv().ok();
                }
            }
            let outcome = self.write_group(&bytes).map_err(Arc::new);
            bytes.clear();
            for done in waiting.drain(..) {
                // Fails if the request was canceled in the meantime.
                let _ = done.send(outcome.clone());
            }
        }
        drop(appends);
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the click log could not be synced to disk");
        }
        self.position.closed = true;
        let _ = self.publish.send(self.position);
    }

    fn write_group(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.position.offset >= self.settings.segment_bytes {
            self.rotate()?;
        }
        let written = (&*self.file).write_all(bytes).and_then(|()| self.sync());
        if let Err(error) = written {
            self.truncate();
            return Err(error);
        }
        self.position.offset += bytes.len() as u64;
        self.held_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let _ = self.publish.send(self.position);
        Ok(())
    }

    fn seal(&mut self) {
        if self.position.offset <= segment::SEGMENT_HEADER_BYTES {
            return;
        }
        match self.rotate() {
            Ok(()) => drop(self.publish.send(self.position)),
            Err(error) => tracing::warn!(%error, "a full click log could not start a new segment"),
        }
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
        let next = self.position.segment + 1;
        let (file, offset) = segment::create(&self.directory, next)?;
        directory::sync(&self.directory)?;
        self.file = Arc::new(file);
        self.position = Position {
            segment: next,
            offset,
            closed: false,
        };
        Ok(())
    }

    /// Truncates a partially written group, so that the next one follows a whole frame.
    fn truncate(&mut self) {
        use std::io::Seek;
        let offset = self.position.offset;
        let truncated = self
            .file
            .set_len(offset)
            .and_then(|()| (&*self.file).seek(io::SeekFrom::Start(offset)).map(drop));
        if let Err(error) = truncated {
            tracing::error!(%error, "the click log could not be truncated; starting a new segment");
            // Makes the next group rotate.
            self.position.offset = self.settings.segment_bytes.max(offset);
        }
    }
}

/// Syncs files a while after they were written, on a thread of its own.
struct Syncer {
    pending: Arc<Mutex<Option<Arc<File>>>>,
    wake: std_mpsc::SyncSender<()>,
}

impl Syncer {
    fn schedule(&self, file: &Arc<File>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.is_none() {
            // A full channel means that the thread is already awake.
            let _ = self.wake.try_send(());
        }
        *pending = Some(Arc::clone(file));
    }
}

fn start_syncer(interval: Duration) -> io::Result<Syncer> {
    let pending: Arc<Mutex<Option<Arc<File>>>> = Arc::default();
    let (wake, woken) = std_mpsc::sync_channel(1);
    let shared = Arc::clone(&pending);
    thread::Builder::new()
        .name("click-log-sync".into())
        .spawn(move || {
            while woken.recv().is_ok() {
                thread::sleep(interval);
                let file = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(Err(error)) = file.map(|file| file.sync_data()) {
                    tracing::error!(%error, "the click log could not be synced to disk");
                }
            }
        })?;
    Ok(Syncer { pending, wake })
}

#[cfg(test)]
mod tests {
    use super::{
        super::segment::{Ending, SegmentReader},
        *,
    };

    fn settings(fsync: Fsync) -> Settings {
        Settings {
            fsync,
            segment_bytes: 200,
            limit_bytes: 10_000,
        }
    }

    fn read(directory: &std::path::Path, up_to: Position) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for number in 1..=up_to.segment {
            let bound = (number == up_to.segment).then_some(up_to.offset);
            let mut reader = SegmentReader::open(directory, number).unwrap();
            let batch = reader.read(bound, usize::MAX).unwrap();
            assert_eq!(batch.ending, Ending::Done);
            all.extend(batch.payloads);
        }
        all
    }

    #[tokio::test]
    async fn confirmed_payloads_can_be_read_in_every_fsync_mode() {
        for fsync in [
            Fsync::Group,
            Fsync::Interval(Duration::from_millis(1)),
            Fsync::Off,
        ] {
            let directory = tempfile::tempdir().unwrap();
            let wal = Wal::start(directory.path().to_owned(), settings(fsync)).unwrap();
            for round in 0..5_u32 {
                let appends = (0..20_u32).map(|n| {
                    let wal = wal.clone();
                    async move { wal.append(&(round * 20 + n).to_le_bytes()).await }
                });
                for outcome in futures_util::future::join_all(appends).await {
                    outcome.unwrap();
                }
            }
            let position = *wal.written().borrow();
            assert!(
                position.segment > 1,
                "the payloads do not fit one segment of 200 bytes"
            );
            let mut read = read(directory.path(), position);
            read.sort_unstable_by_key(|p| u32::from_le_bytes(p[..].try_into().unwrap()));
            let expected: Vec<Vec<u8>> = (0..100_u32).map(|n| n.to_le_bytes().to_vec()).collect();
            assert_eq!(read, expected);
        }
    }

    #[tokio::test]
    async fn full_log_refuses_appends_until_segments_are_released() {
        let directory = tempfile::tempdir().unwrap();
        let wal = Wal::start(directory.path().to_owned(), settings(Fsync::Off)).unwrap();
        let payload = [7; 1000];
        while wal.append(&payload).await.is_ok() {}
        assert!(matches!(
            wal.append(&payload).await,
            Err(AppendError::Full { .. })
        ));
        wal.release(wal.held_bytes());
        wal.append(&payload).await.unwrap();
    }

    #[tokio::test]
    async fn closed_log_has_every_payload_and_refuses_appends() {
        let directory = tempfile::tempdir().unwrap();
        let wal = Wal::start(directory.path().to_owned(), settings(Fsync::Off)).unwrap();
        wal.append(b"last").await.unwrap();
        wal.close().await;
        let mut written = wal.written();
        let position = *written.wait_for(|position| position.closed).await.unwrap();
        assert_eq!(read(directory.path(), position), [b"last".to_vec()]);
        assert!(matches!(
            wal.append(b"late").await,
            Err(AppendError::Closed)
        ));
    }
}
