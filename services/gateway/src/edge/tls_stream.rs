//! A client's connection with TLS, as pingora's streams are.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType, l4::stream::Stream as L4,
    raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::server::TlsStream as Inner;

use crate::request::TlsSession;

tokio::task_local! {
    /// Of the connection with HTTP/2 that a request came on: pingora shows its requests no stream.
    static SESSION: Option<Arc<TlsSession>>;
}

#[derive(Debug)]
pub(super) struct TlsStream {
    inner: Inner<L4>,
    session: Arc<TlsSession>,
    digest: Arc<SslDigest>,
}

impl TlsStream {
    pub(super) fn new(inner: Inner<L4>, session: Arc<TlsSession>) -> Self {
        let (cipher, version) = (session.cipher, session.version);
        let digest = Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()));
        Self {
            inner,
            session,
            digest,
        }
    }

    fn socket(&self) -> &L4 {
        self.inner.get_ref().0
    }
}

/// What is known of the connection, if it has TLS.
pub(super) fn session(stream: &Stream) -> Option<Arc<TlsSession>> {
    let stream = (**stream).as_any().downcast_ref::<TlsStream>();
    stream.map(|stream| Arc::clone(&stream.session))
}

/// The same of the connection with HTTP/2 that a request is served on.
pub(super) fn served_session() -> Option<Arc<TlsSession>> {
    SESSION.try_with(Option::clone).ok().flatten()
}

/// Serves a request of a connection with HTTP/2.
pub(super) async fn serve<T>(
    session: Option<Arc<TlsSession>>,
    request: impl Future<Output = T>,
) -> T {
    SESSION.scope(session, request).await
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for TlsStream {
    async fn shutdown(&mut self) {
        // A client that has disconnected needs no notice.
        let _ = self.inner.shutdown().await;
    }
}

impl UniqueID for TlsStream {
    fn id(&self) -> UniqueIDType {
        self.socket().id()
    }
}

impl Ssl for TlsStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.digest))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.inner.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(ALPN::H2),
            Some(b"http/1.1") => Some(ALPN::H1),
            _ => None,
        }
    }
}

impl GetTimingDigest for TlsStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.socket().get_timing_digest()
    }
}

impl GetProxyDigest for TlsStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.socket().get_proxy_digest()
    }
}

impl GetSocketDigest for TlsStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.socket().get_socket_digest()
    }
}

impl Peek for TlsStream {}
