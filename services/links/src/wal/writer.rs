//! The thread that writes: what many requests append goes to the disk in one write.

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

/// Appends that may wait for the thread; further ones wait for a place.
const QUEUE: usize = 4096;
/// One write holds at most this many frames.
const GROUP: usize = 1024;

/// When appended frames are forced onto the disk. Every mode survives a killed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// Before the append is confirmed: survives a power cut.
    Group,
    /// At most this long afterwards: a power cut may cost that much.
    Interval(Duration),
    /// When the kernel sees fit, about half a minute.
    Off,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) fsync: Fsync,
    /// A segment that has grown to this is closed and a new one begun.
    pub(crate) segment_bytes: u64,
    /// All segments together; beyond it appends are refused.
    pub(crate) limit_bytes: u64,
}

/// How far the log is written. What lies before it may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Nothing will follow.
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

/// The writing end of a log. Clones share it.
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
    /// Closes the segment, if there is anything in it.
    Seal,
    Close,
}

impl Wal {
    /// Begins the first segment in an empty directory and starts the thread.
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

    /// Writes a payload; when this returns `Ok`, the payload survives a killed process.
    pub(crate) async fn append(&self, payload: &[u8]) -> Result<(), AppendError> {
        let bytes = payload.len();
        let frame = frame::encode(payload).ok_or(AppendError::Payload { bytes })?;
        let held = self.held_bytes.load(Ordering::Relaxed);
        if held + frame.len() as u64 > self.limit_bytes {
            // Only closed segments are deleted: without this a full log could stay full.
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

    /// Follows how far the log is written.
    pub(crate) fn written(&self) -> watch::Receiver<Position> {
        self.written.clone()
    }

    /// Notes that bytes of deleted segments are free again.
    pub(crate) fn release(&self, bytes: u64) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes in segments that are not deleted yet.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the thread; later appends are refused.
    pub(crate) async fn close(&self) {
        // A closed queue means that the thread has ended already.
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
                // Whoever went away meanwhile does not want to know.
                let _ = done.send(outcome.clone());
            }
        }
        drop(appends);
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the click log could not be forced onto the disk");
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
        let written = (&*self.file).write_all(bytes).and_then(|()| self.force());
        if let Err(error) = written {
            self.cut_back();
            return Err(error);
        }
        self.position.offset += bytes.len() as u64;
        self.held_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let _ = self.publish.send(self.position);
        Ok(())
    }

    fn seal(&mut self) {
        if self.position.offset <= segment::START {
            return;
        }
        match self.rotate() {
            Ok(()) => drop(self.publish.send(self.position)),
            Err(error) => tracing::warn!(%error, "a full click log could not begin a new segment"),
        }
    }

    fn force(&self) -> io::Result<()> {
        if self.settings.fsync == Fsync::Group {
            self.file.sync_data()?;
        }
        if let Some(syncer) = &self.syncer {
            syncer.soon(&self.file);
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

    /// Takes a half-written group off the end, so that the next one follows a whole frame.
    fn cut_back(&mut self) {
        use std::io::Seek;
        let offset = self.position.offset;
        let cut = self
            .file
            .set_len(offset)
            .and_then(|()| (&*self.file).seek(io::SeekFrom::Start(offset)).map(drop));
        if let Err(error) = cut {
            tracing::error!(%error, "the click log could not be cut back; a new segment begins");
            // Counts as full, so that the next group rotates.
            self.position.offset = self.settings.segment_bytes.max(offset);
        }
    }
}

/// Forces files onto the disk a while after they were written, off the writing thread.
struct Syncer {
    wanted: Arc<Mutex<Option<Arc<File>>>>,
    wake: std_mpsc::SyncSender<()>,
}

impl Syncer {
    fn soon(&self, file: &Arc<File>) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_none() {
            // A full channel means that the thread is awake.
            let _ = self.wake.try_send(());
        }
        *wanted = Some(Arc::clone(file));
    }
}

fn start_syncer(interval: Duration) -> io::Result<Syncer> {
    let wanted: Arc<Mutex<Option<Arc<File>>>> = Arc::default();
    let (wake, woken) = std_mpsc::sync_channel(1);
    let shared = Arc::clone(&wanted);
    thread::Builder::new()
        .name("click-log-sync".into())
        .spawn(move || {
            while woken.recv().is_ok() {
                thread::sleep(interval);
                let file = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(Err(error)) = file.map(|file| file.sync_data()) {
                    tracing::error!(%error, "the click log could not be forced onto the disk");
                }
            }
        })?;
    Ok(Syncer { wanted, wake })
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
    async fn what_is_confirmed_can_be_read_in_every_mode() {
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
                "segments of 200 bytes cannot hold it all"
            );
            let mut read = read(directory.path(), position);
            read.sort_unstable_by_key(|p| u32::from_le_bytes(p[..].try_into().unwrap()));
            let expected: Vec<Vec<u8>> = (0..100_u32).map(|n| n.to_le_bytes().to_vec()).collect();
            assert_eq!(read, expected);
        }
    }

    #[tokio::test]
    async fn a_full_log_refuses_until_segments_are_released() {
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
    async fn a_closed_log_has_everything_and_takes_nothing() {
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
