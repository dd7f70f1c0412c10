//! Joins small writes into one.
//!
//! pingora writes a head and its body one after the other, and flushes when both are written; each
//! write would be a packet. The direct path writes both at once, and an idle connection writes
//! nothing: unlike the buffer of pingora's streams, this one exists only while pingora serves a
//! request.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWrite;

/// A packet on most networks. Waiting for more would only delay it.
const GATHERED_BYTES: usize = 1460;

/// What was written, and not passed on yet.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    waiting: BytesMut,
    on: bool,
}

impl PendingWrites {
    /// From now on, or no longer. What waits is still sent by the next flush.
    pub(super) fn set(&mut self, on: bool) {
        self.on = on;
        if self.waiting.is_empty() {
            self.waiting = BytesMut::new();
        }
    }

    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_room(writer, context, bytes.len()))? {
            return Pin::new(writer).poll_write(context, bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    pub(super) fn poll_write_vectored<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        if !ready!(self.poll_room(writer, context, length))? {
            return Pin::new(writer).poll_write_vectored(context, parts);
        }
        for part in parts {
            self.waiting.extend_from_slice(part);
        }
        Poll::Ready(Ok(length))
    }

    /// Lets a head wait, however large it is.
    pub(super) fn push(&mut self, head: &[u8]) {
        self.waiting.extend_from_slice(head);
    }

    /// Whether this number of bytes may wait. If not, nothing waits any more.
    fn poll_room<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
        length: usize,
    ) -> Poll<io::Result<bool>> {
        let may_wait = self.on && length < GATHERED_BYTES;
        if !may_wait || self.waiting.len() + length > GATHERED_BYTES {
            ready!(self.poll_send(writer, context))?;
        }
        if may_wait && self.waiting.capacity() == 0 {
            self.waiting.reserve(GATHERED_BYTES);
        }
        Poll::Ready(Ok(may_wait))
    }

    /// Passes on what waits.
    pub(super) fn poll_send<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut *writer).poll_write(context, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.waiting.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Takes up to 1,000 bytes at once, and notes how many.
    #[derive(Default)]
    struct Writes(Vec<usize>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(1000);
            self.0.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn writes(on: bool, lengths: &[usize]) -> Vec<usize> {
        let (mut gather, mut writer) = (PendingWrites::default(), Writes::default());
        gather.set(on);
        for &length in lengths {
            let bytes = vec![0; length];
            let written = poll_fn(|context| gather.poll_write(&mut writer, context, &bytes)).await;
            assert!(written.unwrap() > 0);
        }
        gather.set(false);
        poll_fn(|context| gather.poll_send(&mut writer, context))
            .await
            .unwrap();
        writer.0
    }

    #[tokio::test]
    async fn small_writes_are_joined_and_large_ones_pass() {
        assert_eq!(writes(false, &[10, 20]).await, [10, 20]);
        assert_eq!(writes(true, &[10, 20]).await, [30]);
        assert_eq!(writes(true, &[10, 2000]).await, [10, 1000]);
        assert_eq!(
            writes(true, &[700, 700, 700]).await,
            [1000, 400, 700],
            "what waits is bounded"
        );
    }
}
