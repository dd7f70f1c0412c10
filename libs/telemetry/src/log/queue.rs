//! The bounded queue of lines, and the thread that writes them.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    sync::{
        Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

use super::{
    TARGET,
    line::{Level, LogLine},
};

/// Bound of the lines that wait to be written, in bytes.
pub const LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Threads share a shard only where there are more of them.
const SHARDS: usize = 16;
/// How long the writer lets lines gather.
const BATCH_WAIT: Duration = Duration::from_millis(20);
/// This many bytes are written without waiting for more.
const BATCH_BYTES: usize = 64 * 1024;
/// A buffer that a burst made larger than this is not kept.
const SPARE_BYTES: usize = 256 * 1024;
/// Between two tries on a stdout that is in non-blocking mode.
const RETRY_WAIT: Duration = Duration::from_millis(10);

static QUEUE: OnceLock<Queue> = OnceLock::new();
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// The metric of dropped lines; clones count together.
pub(crate) fn dropped() -> Counter {
    DROPPED.clone()
}

/// Starts the writer on stdout. Lines that are written before are lost.
pub(crate) fn start(service: &'static str) -> io::Result<()> {
    // A duplicate: the lock of `io::stdout()` would be held during a stalled write.
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if QUEUE.set(Queue::new(service)).is_err() {
        return Err(io::Error::other("the log has been started before"));
    }
    let writer = thread::Builder::new()
        .name("log".to_owned())
        .spawn(|| queue().expect("set above").drain(stdout))?;
    let queue = queue().expect("set above");
    // The thread waits with a time limit until it has been introduced.
    let _ = queue.writer.set(writer.thread().clone());
    Ok(())
}

pub(super) fn queue() -> Option<&'static Queue> {
    QUEUE.get()
}

/// Waits until everything that was logged before is written, for at most this long. False if it
/// took longer.
pub(crate) fn flush(limit: Duration) -> bool {
    queue().is_none_or(|queue| queue.flush(limit))
}

pub(super) struct Queue {
    pub(super) service: &'static str,
    shards: [Mutex<Vec<u8>>; SHARDS],
    /// In all shards and in the batch that is being written.
    bytes: AtomicUsize,
    /// Not yet reported in the log.
    unreported: AtomicU64,
    /// The writer has something to do and has been unparked for it.
    pending: AtomicBool,
    writer: OnceLock<Thread>,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

/// Numbers of flushes.
#[derive(Default)]
struct Flushes {
    requested: u64,
    done: u64,
}

impl Queue {
    fn new(service: &'static str) -> Self {
        Self {
            service,
            shards: Default::default(),
            bytes: AtomicUsize::new(0),
            unreported: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            writer: OnceLock::new(),
            flushes: Mutex::default(),
            flushed: Condvar::new(),
        }
    }

    /// Takes a finished line.
    pub(super) fn send(&self, mut line: LogLine) {
        self.push(line.finish());
    }

    /// Takes a finished line, or drops and counts it.
    pub(super) fn push(&self, line: &[u8]) {
        let before = self.bytes.fetch_add(line.len(), Ordering::Relaxed);
        if before + line.len() > LIMIT_BYTES {
            self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.drop_lines(1);
            return;
        }
        // Thread-local values are gone while a thread ends; any shard will do.
        let shard = SHARD.try_with(|shard| *shard).unwrap_or(0);
        lock(&self.shards[shard]).extend_from_slice(line);
        let crossed = before < BATCH_BYTES && before + line.len() >= BATCH_BYTES;
        if !self.pending.swap(true, Ordering::AcqRel) || crossed {
            self.unpark();
        }
    }

    /// Whether lines are being dropped: stdout is not read.
    pub(super) fn is_stalled(&self) -> bool {
        self.unreported.load(Ordering::Relaxed) > 0
    }

    fn drop_lines(&self, count: u64) {
        DROPPED.inc_by(count);
        self.unreported.fetch_add(count, Ordering::Relaxed);
    }

    fn flush(&self, limit: Duration) -> bool {
        let mut flushes = lock(&self.flushes);
        flushes.requested += 1;
        let mine = flushes.requested;
        self.pending.store(true, Ordering::Release);
        self.unpark();
        let (flushes, _) = self
            .flushed
            .wait_timeout_while(flushes, limit, |flushes| flushes.done < mine)
            .unwrap_or_else(PoisonError::into_inner);
        flushes.done >= mine
    }

    fn unpark(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// The writer thread.
    fn drain(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            if !self.pending.load(Ordering::Acquire) {
                match self.writer.get() {
                    Some(_) => thread::park(),
                    None => thread::park_timeout(BATCH_WAIT),
                }
                continue;
            }
            let full = self.bytes.load(Ordering::Relaxed) >= BATCH_BYTES;
            if !full && self.flush_requested().is_none() {
                thread::park_timeout(BATCH_WAIT);
            }
            // Before the shards are read: a line that comes later sets it again.
            self.pending.swap(false, Ordering::AcqRel);
            let flush = self.flush_requested();
            for shard in &self.shards {
                std::mem::swap(&mut batch, &mut *lock(shard));
                if !batch.is_empty() {
                    self.write(&mut output, &mut batch);
                }
            }
            if let Some(flush) = flush {
                lock(&self.flushes).done = flush;
                self.flushed.notify_all();
            }
        }
    }

    fn flush_requested(&self) -> Option<u64> {
        let flushes = lock(&self.flushes);
        (flushes.requested > flushes.done).then_some(flushes.requested)
    }

    fn write(&self, output: &mut impl Write, batch: &mut Vec<u8>) {
        let written = write_all(output, batch);
        let bytes = batch.len();
        if let Err(rest) = written {
            // A closed stdout must not end the service.
            let lines = rest.split_inclusive(|&byte| byte == b'\n').count();
            self.drop_lines(u64::try_from(lines).unwrap_or(u64::MAX));
        } else {
            self.report_dropped(output);
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        batch.clear();
        if batch.capacity() > SPARE_BYTES {
            *batch = Vec::new();
        }
    }

    fn report_dropped(&self, output: &mut impl Write) {
        let dropped = self.unreported.swap(0, Ordering::Relaxed);
        if dropped == 0 {
            return;
        }
        let mut line = LogLine::start(Level::Warn);
        line.text("msg", "log lines dropped");
        line.integer("dropped", dropped);
        line.text("service", self.service);
        line.text("target", TARGET);
        if write_all(output, line.finish()).is_err() {
            self.unreported.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}

/// Writes everything, or returns what could not be written.
fn write_all<'a>(output: &mut impl Write, mut bytes: &'a [u8]) -> Result<(), &'a [u8]> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(bytes),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_WAIT),
            Err(_) => return Err(bytes),
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
