//! A client's connection, seen through the request that is being served.
//!
//! The loop that serves a request may read to the end of that request and no further. What follows,
//! usually the next request of a client that does not wait for responses, stays in `ahead` for the
//! next head. Otherwise pingora takes the first byte after a request for the client's fault and
//! aborts the request, and what its body reader has read too much is lost (RFC 9112, 9.3.2).
//!
//! - The extent comes from the head that [`request_head`](super::request_head) has checked, so both
//!   agree on it. If pingora saw the end elsewhere, the connection would not be reused.
//! - `ahead` is bounded by [`AHEAD_BYTES`] while a request is served; beyond that the client waits,
//!   and its kernel with it.
//! - After a response with 101 the connection is a tunnel: from then on every byte passes, first
//!   those that the client sent too early.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType, l4::stream::Stream as L4,
    raw_connect::ProxyDigest, tls::SslDigest,
};
use pingora::proxy::Session;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::{chunks::Chunks, date::OriginDate, gather::PendingWrites, tls_stream};
use crate::request::TlsSession;

/// Time for the rest of a request after an early response.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How much of the next requests is read while one is served.
const AHEAD_BYTES: usize = 8 * 1024;
/// One read into `ahead`; on the stack, so that a silent connection has no buffer.
const READ_BYTES: usize = 8 * 1024;
const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101";

/// What is left of the request that is being served.
#[derive(Debug)]
pub(super) enum Extent {
    /// Nothing.
    Ended,
    /// As `Ended`, but a response with 101 opens the tunnel.
    Handshake,
    Length(u64),
    Chunked(Chunks),
    /// Everything until the client disconnects.
    Tunnel,
}

#[derive(Debug)]
pub(super) struct ClientStream {
    inner: Stream,
    /// Received, and not part of what was read so far.
    ahead: BytesMut,
    extent: Extent,
    written: PendingWrites,
    origin_date: OriginDate,
    /// The client has sent its last byte.
    half_closed: bool,
}

impl ClientStream {
    pub(super) fn new(inner: Stream) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            extent: Extent::Ended,
            written: PendingWrites::default(),
            origin_date: OriginDate::default(),
            half_closed: false,
        }
    }

    /// What is known of the connection, if it has TLS.
    pub(super) fn tls(&self) -> Option<Arc<TlsSession>> {
        tls_stream::session(&self.inner)
    }

    /// The socket, if what is written there reaches the client as it is, after what was written here and flushed.
    #[cfg(target_os = "linux")]
    pub(super) fn plain_socket(&self) -> Option<std::os::fd::RawFd> {
        use std::os::fd::AsRawFd as _;

        let plain = (*self.inner).as_any().downcast_ref::<L4>()?;
        Some(plain.as_raw_fd())
    }

    /// What was received of the next request.
    pub(super) fn ahead(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Takes the head, and lets `extent` be read after it.
    pub(super) fn begin(&mut self, head_length: usize, extent: Extent) -> BytesMut {
        self.extent = extent;
        if head_length >= self.ahead.len() {
            // Without this, an idle connection would keep the allocation.
            return std::mem::take(&mut self.ahead);
        }
        self.ahead.split_to(head_length)
    }

    /// How much of the body is here.
    pub(super) fn body_received(&self) -> usize {
        match &self.extent {
            Extent::Length(left) => usize::try_from(*left)
                .unwrap_or(usize::MAX)
                .min(self.ahead.len()),
            _ => 0,
        }
    }

    /// Takes what is here of the body.
    pub(super) fn take_body(&mut self) -> BytesMut {
        let length = self.body_received();
        let body = self.ahead.split_to(length);
        // Only a body with a length is here, which takes any bytes.
        let _ = self.take(&body);
        body
    }

    /// Whether the request was read to its end, so that the next one can be found.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.extent, Extent::Ended | Extent::Handshake)
    }

    /// From now on everything that the client sends can be read: no request follows.
    pub(super) fn read_on(&mut self) {
        self.extent = Extent::Tunnel;
    }

    /// Whether small writes wait for a flush.
    pub(super) fn gather_writes(&mut self, on: bool) {
        self.written.set(on);
    }

    /// Gives the next final head that is written this `Date`.
    pub(super) fn keep_date(&self, date: &HeaderValue) {
        self.origin_date.set(date);
    }

    /// The connection, if nothing of it is left here.
    pub(super) fn into_inner(self) -> (Stream, BytesMut) {
        (self.inner, self.ahead)
    }

    /// Reads more of the next request; 0 at the end of the connection.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [const { std::mem::MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        let filled = read.filled();
        self.half_closed |= filled.is_empty();
        self.ahead.extend_from_slice(filled);
        Poll::Ready(Ok(filled.len()))
    }

    /// After the request: waits for the end of the connection, and keeps what comes instead.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.half_closed && self.ahead.len() < AHEAD_BYTES {
            ready!(self.poll_fill(cx))?;
        }
        // A client that sent another request waits for its response, even if it is the last one.
        if self.half_closed && self.ahead.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Reads from `ahead`, else from the connection; the length of what was added to `buffer`.
    fn poll_either(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        } else {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.ahead.advance(length);
        }
        Poll::Ready(Ok(buffer.filled().len() - before))
    }

    /// How many of these bytes belong to the request.
    ///
    /// # Errors
    /// When the chunks of the body are invalid.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (taken, ended) = match &mut self.extent {
            Extent::Ended | Extent::Handshake => (0, false),
            Extent::Tunnel => (bytes.len(), false),
            Extent::Length(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= taken as u64;
                (taken, *left == 0)
            }
            Extent::Chunked(chunks) => chunks.take(bytes).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the chunks of the body are invalid",
                )
            })?,
        };
        if ended {
            self.extent = Extent::Ended;
        }
        Ok(taken)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.has_ended() {
            return this.poll_end(cx);
        }
        let before = buffer.filled().len();
        let read = ready!(this.poll_either(cx, buffer))?;
        let taken = this.take(&buffer.filled()[before..])?;
        if taken < read {
            let rest = &buffer.filled()[before + taken..];
            let mut ahead = BytesMut::with_capacity(rest.len() + this.ahead.len());
            ahead.extend_from_slice(rest);
            ahead.extend_from_slice(&this.ahead);
            this.ahead = ahead;
            buffer.set_filled(before + taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.extent, Extent::Handshake) && bytes.starts_with(SWITCHING_PROTOCOLS) {
            self.extent = Extent::Tunnel;
        }
        let this = &mut *self;
        if let Some(head) = this.origin_date.restore(bytes) {
            this.written.push(&head);
            return Poll::Ready(Ok(bytes.len()));
        }
        this.written.poll_write(&mut this.inner, cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.written.poll_send(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.written.poll_send(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.origin_date.is_set() {
            let mut parts = parts.iter().filter(|part| !part.is_empty());
            return self.poll_write(cx, parts.next().map_or(&[], |part| part));
        }
        let this = &mut *self;
        this.written.poll_write_vectored(&mut this.inner, cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    /// With requests or a part of a tunnel unread, closing would be a reset, which could overtake what
    /// was sent last.
    async fn shutdown(&mut self) {
        let _ = poll_fn(|cx| self.written.poll_send(&mut self.inner, cx)).await;
        self.inner.shutdown().await;
        if !self.ahead.is_empty() || matches!(self.extent, Extent::Tunnel) {
            let drained = async {
                while !self.half_closed {
                    self.ahead.clear();
                    self.fill().await?;
                }
                io::Result::Ok(())
            };
            let _ = timeout(LINGER, drained).await;
        }
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for ClientStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for ClientStream {}

/// What is known of the connection that pingora serves a request of, if it has TLS.
pub(super) fn tls_of(request: &Session) -> Option<Arc<TlsSession>> {
    if request.is_http2() {
        return tls_stream::served_session();
    }
    let stream = request.stream().map(|stream| (**stream).as_any())?;
    stream.downcast_ref::<ClientStream>()?.tls()
}

/// pingora would replace it; with HTTP/2 it does not.
pub(super) fn keep_date(session: &Session, headers: &HeaderMap) {
    let stream = session.stream().map(|stream| (**stream).as_any());
    let stream = stream.and_then(|stream| stream.downcast_ref::<ClientStream>());
    if let (Some(stream), Some(date)) = (stream, headers.get(header::DATE)) {
        stream.keep_date(date);
    }
}
