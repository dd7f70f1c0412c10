//! A body that is read from a file while it is sent, with bounded memory.
//!
//! What the kernel has in memory is read at once; only what has to come from a disk is waited for on
//! another thread.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
#[cfg(target_os = "linux")]
use rustix::fs::sendfile;
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// One read.
const PART_BYTES: usize = 256 * 1024;
/// What the kernel sends at once, so that a large body does not keep the others waiting.
#[cfg(target_os = "linux")]
const SENT_BYTES: usize = 2 * 1024 * 1024;
/// Reads that wait for a disk at once, of all bodies. Others wait for their turn.
const MAX_READS: usize = 64;
/// How long a body waits for its next part. A file system that hangs does not keep the file among those that may
/// be open; the thread that waits for it is one of the reads until it answers.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

static READS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_READS)));

/// A part of a file, from its first byte that is still to be sent.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<File>,
    unread: Range<u64>,
    length: u64,
    /// The last part, whose memory serves again once it is sent.
    last: Bytes,
    /// The file system cannot say whether it would have to wait.
    always_waits: bool,
    /// The file is one of those that may be open.
    _permit: OwnedSemaphorePermit,
}

/// What the kernel has sent of a file.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) enum SentFile {
    Bytes(u64),
    /// The socket takes nothing now.
    Full,
    /// The file system cannot do it.
    Unsupported,
    /// The client has disconnected.
    Closed(io::Error),
}

impl FileBody {
    pub(crate) fn new(file: File, range: Range<u64>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            file: Arc::new(file),
            length: range.end.saturating_sub(range.start),
            unread: range,
            last: Bytes::new(),
            always_waits: false,
            _permit: permit,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether everything was returned.
    pub(crate) fn is_sent(&self) -> bool {
        self.unread.is_empty()
    }

    /// What follows. `None`: nothing.
    ///
    /// # Errors
    /// When it cannot be read in time, or the file has become shorter.
    pub(crate) async fn part(&mut self) -> io::Result<Option<Bytes>> {
        if self.is_sent() {
            return Ok(None);
        }
        let left = self.unread.end - self.unread.start;
        let length = usize::try_from(left).map_or(PART_BYTES, |left| left.min(PART_BYTES));
        let mut buffer = self.buffer(length);
        let start = self.unread.start;
        let mut count = 0;
        if !self.always_waits {
            let read = read_now(&self.file, &mut buffer, start);
            count = read.unwrap_or(0);
            self.always_waits =
                read.is_err_and(|error| error != Errno::AGAIN && error != Errno::INTR);
        }
        if count == 0 {
            let waited = timeout(READ_TIMEOUT, wait(Arc::clone(&self.file), buffer, start));
            (buffer, count) = waited.await.map_err(io::Error::from)??;
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(count);
        self.unread.start += count as u64;
        let part = buffer.freeze();
        self.last = part.clone();
        Ok(Some(part))
    }

    /// Lets the kernel send what the socket takes now.
    ///
    /// # Errors
    /// When the file cannot be read in time, or has become shorter.
    #[cfg(target_os = "linux")]
    pub(crate) async fn send_to(&mut self, socket: &Arc<TcpStream>) -> io::Result<SentFile> {
        let left = self.unread.end - self.unread.start;
        let length = usize::try_from(left).map_or(SENT_BYTES, |left| left.min(SENT_BYTES));
        let (file, socket) = (Arc::clone(&self.file), Arc::clone(socket));
        let mut start = self.unread.start;
        let send = move || sendfile(&*socket, &*file, Some(&mut start), length);
        let sent = timeout(READ_TIMEOUT, blocking(send)).await;
        match sent.map_err(io::Error::from)?? {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.unread.start += count as u64;
                Ok(SentFile::Bytes(count as u64))
            }
            Err(Errno::INTR) => Ok(SentFile::Bytes(0)),
            Err(Errno::AGAIN) => Ok(SentFile::Full),
            Err(Errno::INVAL | Errno::NOSYS) => Ok(SentFile::Unsupported),
            // Of the socket; all else is of the file.
            Err(
                error @ (Errno::PIPE
                | Errno::CONNRESET
                | Errno::TIMEDOUT
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH),
            ) => Ok(SentFile::Closed(error.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// That of the last part, unless it is still being sent.
    fn buffer(&mut self, length: usize) -> BytesMut {
        let last = std::mem::take(&mut self.last).try_into_mut();
        let mut buffer = last.unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }
}

/// What a disk has.
async fn wait(file: Arc<File>, mut buffer: BytesMut, start: u64) -> io::Result<(BytesMut, usize)> {
    let read = move || {
        let count = file.read_at(&mut buffer, start)?;
        io::Result::Ok((buffer, count))
    };
    blocking(read).await?
}

/// What may wait for a disk, once it is its turn.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let permit = Arc::clone(&READS).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.map_err(io::Error::other)
}

/// As much as is in memory. With `AGAIN`, nothing is.
#[cfg(target_os = "linux")]
fn read_now(file: &File, buffer: &mut [u8], start: u64) -> rustix::io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut parts = [std::io::IoSliceMut::new(buffer)];
    preadv2(file, &mut parts, start, ReadWriteFlags::NOWAIT)
}

#[cfg(not(target_os = "linux"))]
fn read_now(_file: &File, _buffer: &mut [u8], _start: u64) -> rustix::io::Result<usize> {
    Err(Errno::NOTSUP)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// As many reads as may wait hang, so that the one of the body does not come to its end either.
    #[tokio::test(start_paused = true)]
    async fn a_body_does_not_wait_for_a_file_system_that_hangs() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        let files = Arc::new(Semaphore::new(1));
        let open = Arc::clone(&files).try_acquire_owned().unwrap();
        let mut body = FileBody::new(file, 0..7, open);
        body.always_waits = true;
        let all = u32::try_from(MAX_READS).unwrap();
        let hanging = Arc::clone(&READS).acquire_many_owned(all).await.unwrap();
        let slow = timeout(2 * READ_TIMEOUT, body.part()).await.unwrap();
        assert_eq!(slow.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(body);
        assert_eq!(files.available_permits(), 1);
        drop(hanging);
        assert_eq!(READS.available_permits(), MAX_READS);
    }
}
