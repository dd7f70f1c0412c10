//! Buffers that a connection has only while bytes pass.
//!
//! An idle connection keeps none, and a request that waits for its upstream only that of its head:
//! with thousands of these, buffers would be most of the memory. Memory is taken when the first byte
//! comes. Each thread keeps some for the next request.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One read of a body. As large as a TLS record.
const BODY_BYTES: usize = 16 * 1024;
/// Holds most heads.
const HEAD_BYTES: usize = 4 * 1024;
/// Kept per thread and size.
const MAX_SPARE: usize = 128;

thread_local! {
    /// Of [`HEAD_BYTES`], and of [`BODY_BYTES`].
    static SPARE: [RefCell<Vec<Box<[u8]>>>; 2] =
        const { [RefCell::new(Vec::new()), RefCell::new(Vec::new())] };
}

/// Bytes on their way from one connection to the other. Returned to the thread when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Empty until it is needed.
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// What it takes at first.
    size: usize,
    /// What was written may still be in a buffer of the writer, as with TLS.
    unflushed: bool,
}

impl Buffer {
    /// For parts of bodies.
    pub(super) fn lend() -> Self {
        Self::of(BODY_BYTES)
    }

    /// For a head.
    pub(super) fn for_head() -> Self {
        Self::of(HEAD_BYTES)
    }

    fn of(size: usize) -> Self {
        Self {
            bytes: Box::default(),
            start: 0,
            end: 0,
            size,
            unflushed: false,
        }
    }

    /// Gives its memory back, if it holds nothing.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            give_back(std::mem::take(&mut self.bytes));
        }
    }

    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Something is left, or was written and may not have been sent yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.unflushed || !self.is_empty()
    }

    /// Nothing of it can be written any more.
    pub(super) fn discard(&mut self) {
        self.consume(usize::MAX);
        self.unflushed = false;
    }

    /// Something was consumed, and something is left.
    pub(super) fn is_partly_used(&self) -> bool {
        self.start > 0
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes the first bytes unused again, which is right only as long as nothing was added since. They
    /// are still there: `consume` moves positions alone, `poll_read` leaves the bytes alone unless it
    /// returns a count, and only `rest` gives the memory back.
    pub(super) fn rewind(&mut self, length: usize) {
        (self.start, self.end) = (0, length);
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.push_all([bytes]);
    }

    pub(super) fn push_all<const N: usize>(&mut self, parts: [&[u8]; N]) {
        self.make_room(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.bytes[self.end..self.end + part.len()].copy_from_slice(part);
            self.end += part.len();
        }
    }

    /// Reads at most `max` bytes, at least one; 0 is the end of the stream. Grows if it is full;
    /// the caller bounds what it leaves unused.
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        max: u64,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room(1);
        let room = &mut self.bytes[self.end..];
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(room.len());
        let mut room = ReadBuf::new(&mut room[..max]);
        ready!(Pin::new(reader).poll_read(context, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Writes until nothing is left, and all of it is sent; `progressed` is called for every part.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
        mut progressed: impl FnMut(),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            self.unflushed = true;
            let written = Pin::new(&mut *writer).poll_write(context, self.unused());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.consume(count),
            }
            progressed();
        }
        ready!(Pin::new(writer).poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn make_room(&mut self, wanted: usize) {
        if self.bytes.len() - self.end < wanted {
            self.find_room(wanted);
        }
    }

    #[cold]
    fn find_room(&mut self, wanted: usize) {
        let used = self.end - self.start;
        if self.bytes.is_empty() && wanted <= self.size {
            self.bytes = take_spare(self.size);
        } else if self.bytes.len() - used >= wanted {
            self.bytes.copy_within(self.start..self.end, 0);
        } else {
            let size = (used + wanted).max(2 * self.bytes.len());
            let mut larger = vec![0; size].into_boxed_slice();
            larger[..used].copy_from_slice(self.unused());
            give_back(std::mem::replace(&mut self.bytes, larger));
        }
        (self.start, self.end) = (0, used);
    }
}

fn spare<T>(size: usize, work: impl FnOnce(&mut Vec<Box<[u8]>>) -> T) -> Option<T> {
    let place = match size {
        HEAD_BYTES => 0,
        BODY_BYTES => 1,
        // One that has grown is an exception, not worth keeping.
        _ => return None,
    };
    // Fails only while the thread ends.
    SPARE
        .try_with(|spare| work(&mut spare[place].borrow_mut()))
        .ok()
}

fn take_spare(size: usize) -> Box<[u8]> {
    let spare = spare(size, Vec::pop).flatten();
    spare.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn give_back(bytes: Box<[u8]>) {
    spare(bytes.len(), |spare| {
        if spare.len() < MAX_SPARE {
            spare.push(bytes);
        }
    });
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn content_moves_or_the_buffer_grows_when_it_is_full() {
        let mut context = Context::from_waker(Waker::noop());
        let source: Vec<u8> = (0..=250).cycle().take(3 * BODY_BYTES).collect();
        let mut reader = source.as_slice();
        let mut buffer = Buffer::lend();
        let mut read =
            |buffer: &mut Buffer, max| match buffer.poll_read(&mut reader, max, &mut context) {
                Poll::Ready(result) => result.unwrap(),
                Poll::Pending => panic!("a slice is always ready"),
            };
        assert_eq!(read(&mut buffer, 10), 10);
        assert_eq!(read(&mut buffer, u64::MAX), BODY_BYTES - 10);
        buffer.consume(100);
        assert_eq!(
            read(&mut buffer, u64::MAX),
            100,
            "the rest moves to the start"
        );
        assert_eq!(
            read(&mut buffer, u64::MAX),
            BODY_BYTES,
            "a full buffer grows"
        );
        buffer.push(b"end");
        let expected = [&source[100..100 + 2 * BODY_BYTES], b"end"].concat();
        assert_eq!(buffer.unused(), expected);
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty());
        drop(buffer);
        let mut next = Buffer::lend();
        assert_eq!(
            next.bytes.len(),
            0,
            "nothing is taken before the first byte"
        );
        next.push(b"a");
        assert_eq!(next.bytes.len(), BODY_BYTES);
        next.consume(1);
        next.rest();
        assert_eq!(next.bytes.len(), 0);
    }
}
