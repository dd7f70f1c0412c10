//! A body that is read from a file while it is sent, with bounded memory.
//!
//! What the kernel has in memory is read at once; only what has to come from a disk is waited for on
//! another thread.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use tokio::sync::OwnedSemaphorePermit;

/// One read.
const PART_BYTES: usize = 256 * 1024;

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
    /// When it cannot be read, or the file has become shorter.
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
            let file = Arc::clone(&self.file);
            let waited = tokio::task::spawn_blocking(move || {
                let count = file.read_at(&mut buffer, start)?;
                io::Result::Ok((buffer, count))
            });
            (buffer, count) = waited.await.map_err(io::Error::other)??;
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

    /// That of the last part, unless it is still being sent.
    fn buffer(&mut self, length: usize) -> BytesMut {
        let last = std::mem::take(&mut self.last).try_into_mut();
        let mut buffer = last.unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }
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
