//! Group commit without a thread: the first request writes everything that was appended so far.
//!
//! ```text
//! request 1: append ── yield ── takes the writer, writes group 1 ── group 1 is done
//! request 2: append ── yield ── group 1 is done
//! request 3:        append ── yield ── the writer is taken: waits for group 2 ── takes the writer ...
//! ```
//!
//! What holds, and what would go wrong otherwise:
//! - Frames are appended to the pending group under one short lock, and a group is written by the task that
//!   holds the writer. Between the two a task yields once, so that the requests that are ready at the
//!   same time share one `write`.
//! - The request that releases the writer wakes one member of the next group, if there is one ([`WriterGuard`]), and
//!   a group that was taken gets an outcome ([`TakenGroup`]), even if the write panics. A member that
//!   finds the writer taken therefore never waits indefinitely.
//! - No request waits in the queue of the writer's lock: one that left when its turn had just come
//!   would wake no one. It asks without waiting, or in a task of its own.
//! - A request that is dropped after its append leaves its frame in the group. It is written with the
//!   next group, or when the log is closed; its client was promised nothing.
//! - Plain writes go to the page cache and take microseconds; they run on the task. What may take
//!   longer, a sync or a new segment, runs on a thread for blocking work, and finishes even if its
//!   request is dropped.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard, watch};

use super::{
    frame,
    held::HeldBytes,
    writer::{Position, Settings, WakeThreshold, Writer},
};

/// Frames that wait to be written; further ones are refused. Reached only when the disk stalls.
const MAX_PENDING_BYTES: usize = 4 << 20;
/// A buffer that one large group made bigger than this is not kept.
const SPARE_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the click log has reached its limit of {limit_bytes} bytes")]
    Full { limit_bytes: u64 },
    #[error("the disk of the click log does not keep up")]
    Stalled,
    #[error("the click log could not be written")]
    Write(#[source] Arc<io::Error>),
    #[error("a payload of {bytes} bytes does not fit into the click log")]
    Payload { bytes: usize },
    #[error("the click log is closed")]
    Closed,
}

/// The log. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Wal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pending: Mutex<PendingFrames>,
    writer: Arc<AsyncMutex<Writer>>,
    written: watch::Receiver<Position>,
    wake_threshold: Arc<WakeThreshold>,
    held: Arc<HeldBytes>,
    limit_bytes: u64,
}

/// What is appended and not yet written.
#[derive(Debug, Default)]
struct PendingFrames {
    frames: Vec<u8>,
    group: Arc<AppendGroup>,
    /// The buffer of the group before.
    spare: Vec<u8>,
    closed: bool,
}

/// Appends that are written together.
#[derive(Debug, Default)]
struct AppendGroup {
    outcome: OnceLock<Result<(), Arc<io::Error>>>,
    changed: Notify,
}

/// A group that was taken to be written. Its members learn the outcome when it is dropped.
struct TakenGroup {
    frames: Vec<u8>,
    group: Arc<AppendGroup>,
}

/// The writer, held by one task. The fields are dropped in this order.
struct WriterGuard {
    writer: OwnedMutexGuard<Writer>,
    _next: WakeNext,
}

/// Wakes a member of the next group when it is dropped.
struct WakeNext(Wal);

/// A closure that used one field of the guard would take that field along and leave the other one behind:
/// its methods take it whole, for threads of their own.
impl WriterGuard {
    fn seal(mut self) -> io::Result<()> {
        self.writer.seal()
    }

    fn close(mut self) {
        self.writer.close();
    }
}

impl Drop for TakenGroup {
    fn drop(&mut self) {
        // Already set unless the write has panicked.
        let failure = || Err(Arc::new(io::Error::other("the write was interrupted")));
        self.group.outcome.get_or_init(failure).as_ref().ok();
        self.group.changed.notify_waiters();
    }
}

impl Drop for WakeNext {
    fn drop(&mut self) {
        let pending = self.0.lock();
        if !pending.frames.is_empty() {
            pending.group.changed.notify_one();
        }
    }
}

impl Wal {
    /// Creates the first segment in an empty directory.
    pub(crate) fn create(directory: PathBuf, settings: Settings) -> io::Result<Self> {
        let (wake_threshold, held) = (Arc::<WakeThreshold>::default(), Arc::<HeldBytes>::default());
        let limit_bytes = settings.limit_bytes;
        let writer = Writer::create(
            directory,
            settings,
            Arc::clone(&wake_threshold),
            Arc::clone(&held),
        )?;
        Ok(Self(Arc::new(Shared {
            pending: Mutex::default(),
            written: writer.subscribe(),
            writer: Arc::new(AsyncMutex::new(writer)),
            wake_threshold,
            held,
            limit_bytes,
        })))
    }

    /// Appends a payload, before the first poll. Once the future returns `Ok`, the payload survives a
    /// killed process. It does not hold the payload: a future is moved and allocated with all it holds.
    ///
    /// # Errors
    /// `Full` at the size limit; `Stalled`; `Write`; `Payload` if it is too long; `Closed`.
    pub(crate) fn append(
        &self,
        payload: &[u8],
    ) -> impl Future<Output = Result<(), AppendError>> + Send + use<'_> {
        let group = self.enqueue(payload);
        async move {
            let group = group?;
            tokio::task::yield_now().await;
            let outcome = self.committed(&group).await;
            outcome.map_err(AppendError::Write)
        }
    }

    /// The end of the log. A receiver is woken only where [`Self::wake_at`] says.
    pub(crate) fn written(&self) -> watch::Receiver<Position> {
        self.0.written.clone()
    }

    /// Wakes the reader once the log reaches this place, or ends.
    pub(crate) fn wake_at(&self, segment: u64, offset: u64) {
        self.0.wake_threshold.set(segment, offset);
    }

    /// Returns the bytes of a deleted segment to the limit, and their number.
    pub(crate) fn release(&self, segment: u64) -> u64 {
        self.0.held.remove(segment)
    }

    /// Bytes of frames in segments that are not deleted yet.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.0.held.total()
    }

    /// Whether a payload of this size would exceed the size limit. A full log starts a new segment,
    /// because only sealed ones are deleted: with one segment it would stay full.
    pub(crate) fn is_full(&self, payload_bytes: usize) -> bool {
        let frame = (frame::HEADER_BYTES + payload_bytes) as u64;
        let is_full = self.0.held.total() + frame > self.0.limit_bytes;
        if is_full {
            self.seal_soon();
        }
        is_full
    }

    /// Starts a new segment, unless the current one is empty and in its place.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) async fn seal(&self) -> io::Result<()> {
        let guard = self.guard().await?;
        blocking(move || guard.seal()).await?
    }

    /// Writes what is pending and syncs it. Later appends return `Closed`.
    pub(crate) async fn close(&self) {
        self.lock().closed = true;
        if let Ok(guard) = self.guard().await {
            self.write_pending(guard).await;
        }
        if let Ok(guard) = self.guard().await {
            let _ = blocking(move || guard.close()).await;
        }
    }

    /// Waits for the writer, in a task of its own.
    async fn guard(&self) -> io::Result<WriterGuard> {
        let log = self.clone();
        let waiting = tokio::spawn(async move {
            let writer = Arc::clone(&log.0.writer).lock_owned().await;
            log.guard_with(writer)
        });
        waiting.await.map_err(io::Error::other)
    }

    /// The writer, unless another task holds it.
    fn try_guard(&self) -> Option<WriterGuard> {
        let writer = Arc::clone(&self.0.writer).try_lock_owned().ok()?;
        Some(self.guard_with(writer))
    }

    fn guard_with(&self, writer: OwnedMutexGuard<Writer>) -> WriterGuard {
        let next = WakeNext(self.clone());
        WriterGuard {
            writer,
            _next: next,
        }
    }

    fn enqueue(&self, payload: &[u8]) -> Result<Arc<AppendGroup>, AppendError> {
        let mut pending = self.lock();
        if pending.closed {
            return Err(AppendError::Closed);
        }
        // Without the batch that is being written: the limit is exceeded by `MAX_PENDING_BYTES` at most.
        let waiting = pending.frames.len();
        let held = self.0.held.total() + (waiting + payload.len()) as u64;
        if held + frame::HEADER_BYTES as u64 > self.0.limit_bytes {
            drop(pending);
            self.seal_soon();
            let limit_bytes = self.0.limit_bytes;
            return Err(AppendError::Full { limit_bytes });
        }
        if waiting + payload.len() > MAX_PENDING_BYTES {
            return Err(AppendError::Stalled);
        }
        let bytes = payload.len();
        frame::append(payload, &mut pending.frames).ok_or(AppendError::Payload { bytes })?;
        Ok(Arc::clone(&pending.group))
    }

    /// Waits until the group is written, or writes it.
    async fn committed(&self, group: &AppendGroup) -> Result<(), Arc<io::Error>> {
        loop {
            if let Some(outcome) = group.outcome.get() {
                return outcome.clone();
            }
            if let Some(guard) = self.try_guard() {
                self.write_pending(guard).await;
                continue;
            }
            let changed = group.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if group.outcome.get().is_none() {
                changed.await;
            }
        }
    }

    async fn write_pending(&self, guard: WriterGuard) {
        let Some(taken) = self.take_pending() else {
            return;
        };
        if guard.writer.may_block() {
            let log = self.clone();
            let _ = blocking(move || log.write(guard, taken)).await;
        } else {
            self.write(guard, taken);
        }
    }

    fn take_pending(&self) -> Option<TakenGroup> {
        let mut pending = self.lock();
        if pending.frames.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut pending.spare);
        Some(TakenGroup {
            frames: std::mem::replace(&mut pending.frames, spare),
            group: std::mem::take(&mut pending.group),
        })
    }

    fn write(&self, mut guard: WriterGuard, mut taken: TakenGroup) {
        let outcome = guard.writer.write(&taken.frames).map_err(Arc::new);
        let mut spare = std::mem::take(&mut taken.frames);
        spare.clear();
        if spare.capacity() <= SPARE_BYTES {
            self.lock().spare = spare;
        }
        // Only the task that takes a group sets its outcome.
        let _ = taken.group.outcome.set(outcome);
    }

    /// Starts a new segment behind this call, unless the writer is in use: the next call tries again.
    fn seal_soon(&self) {
        let Some(guard) = self.try_guard() else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = guard.seal() {
                tracing::warn!(%error, "a full click log could not start a new segment");
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, PendingFrames> {
        self.0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
