//! Connections to upstreams for WebSocket handshakes.
//!
//! pingora reads the response and sends the rest of the request at the same time, in no fixed
//! order. If a quick upstream's 101 is read before the end of the (empty) request body was passed
//! on, pingora takes that end for the end of the tunnel and closes it: the first message is lost,
//! in about one of 300 handshakes of a busy gateway (cloudflare/pingora#946). So nothing of the response can be read here
//! until the request has been sent to its end.
//!
//! pingora flushes twice: after the head, and after the body. The second flush lets reads pass.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType, OrErr as _, Result,
    connectors::l4::Connect,
    protocols::l4::{
        ext::set_tcp_keepalive,
        socket::SocketAddr,
        stream::Stream,
        virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Duration, Instant, timeout},
};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::pings::{PING, Pings};
use crate::{policy::AccessEnd, upstream::UpstreamTls};

/// Of the head, and of the body.
const FLUSHES: u8 = 2;

/// Connects to an upstream.
#[derive(Debug)]
pub(super) struct HandshakeConnector {
    pub(super) connect_timeout: Duration,
    /// Taken by the connection, which ends then: pingora offers no other way to end a tunnel.
    pub(super) access: Mutex<Option<AccessEnd>>,
    /// Between two of the gateway's pings. `None`: it sends none.
    pub(super) ping: Option<Duration>,
    /// `None`: the connection is plain.
    pub(super) tls: Option<UpstreamTls>,
}

/// With TLS below what pingora sees: it would count the flushes of that, too.
type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

#[async_trait]
impl Connect for HandshakeConnector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let began = Instant::now();
        let stream = connect(address, self.connect_timeout).await?;
        let left = self.connect_timeout.saturating_sub(began.elapsed());
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(encrypt(stream, tls, left).await?),
        };
        let access = self.access.lock();
        let access = access.unwrap_or_else(PoisonError::into_inner).take();
        let socket = HandshakeSocket {
            inner: stream,
            flushes: 0,
            reader: None,
            access,
            pings: self.ping.map(Pings::before_response),
        };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

async fn encrypt(
    stream: TcpStream,
    tls: &UpstreamTls,
    left: Duration,
) -> Result<Box<TlsStream<TcpStream>>> {
    let handshake = tls.connector.connect(tls.server_name.clone(), stream);
    let encrypted = timeout(left, handshake).await;
    let encrypted = encrypted.or_err(ErrorType::TLSHandshakeTimedout, "connecting in time")?;
    let encrypted = encrypted.or_err(ErrorType::TLSHandshakeFailure, "connecting");
    Ok(Box::new(encrypted?))
}

/// A plain connection.
pub(super) async fn connect(address: &SocketAddr, connect_timeout: Duration) -> Result<TcpStream> {
    let address = address
        .as_inet()
        .ok_or_else(|| Error::explain(ErrorType::ConnectError, "not an IP address"))?;
    let connected = timeout(connect_timeout, TcpStream::connect(address)).await;
    connected
        .or_err(ErrorType::ConnectTimedout, "connecting in time")?
        .map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connecting", error)
        })
}

/// Sets what pingora asks for on a connection.
pub(super) fn set_option(stream: &TcpStream, option: VirtualSockOpt) -> io::Result<()> {
    match option {
        VirtualSockOpt::NoDelay => stream.set_nodelay(true),
        VirtualSockOpt::KeepAlive(keepalive) => {
            set_tcp_keepalive(stream, &keepalive).map_err(io::Error::other)
        }
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct HandshakeSocket {
    inner: Transport,
    flushes: u8,
    /// Waits for the last flush.
    reader: Option<Waker>,
    access: Option<AccessEnd>,
    pings: Option<Pings>,
}

impl VirtualSocket for HandshakeSocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        set_option(tcp(&self.inner), option)
    }
}

fn tcp(transport: &Transport) -> &TcpStream {
    match transport {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    }
}

impl AsyncRead for HandshakeSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flushes < FLUSHES {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(access) = &mut self.access
            && Pin::new(access).poll(cx).is_ready()
        {
            // As if the upstream had closed it: nothing is wrong with the replica.
            return Poll::Ready(Ok(()));
        }
        let (before, this) = (buffer.filled().len(), &mut *self);
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let Some(pings) = &mut this.pings else {
            return read;
        };
        if read.is_ready() {
            pings.passed(&buffer.filled()[before..]);
            return read;
        }
        if buffer.remaining() < PING.len() {
            return Poll::Pending;
        }
        // pingora takes it for the upstream's.
        ready!(pings.poll(cx));
        buffer.put_slice(&PING);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flushes < FLUSHES {
            self.flushes += 1;
        }
        if self.flushes == FLUSHES
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
