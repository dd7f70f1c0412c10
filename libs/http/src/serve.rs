//! Accepts connections until shutdown, and then lets requests finish.
//!
//! ```text
//! serving --shutdown--> draining --drain_seconds--> closing --last request or grace--> stopped
//!           /ready 503, responses close            no new connections
//!           their connections
//! ```
//!
//! If the drain takes longer than clients keep idle connections, no request meets a connection that
//! is being closed: each is closed after a response that announced it, or by the client itself.
//!
//! A client that stops reading would otherwise keep its place for good, and enough of them all places,
//! those of probes included. The kernel closes its connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use futures_util::{
    FutureExt,
    future::{Either, ready},
};
use http::{Extensions, HeaderValue, Request, StatusCode, header};
// Not the builder of hyper-util: it links an HTTP/2 server, too.
use hyper::{body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use quartet_common::{config::Server, problem::Problem, request_id};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    front::App,
    health::Readiness,
    layers::{Peer, render_problem},
};

/// A longer request head gets 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// The pause after an accept error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What becomes of a connection before its first request.
pub trait Transport: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The stream that requests are read from, and what each of them gets as extensions.
    fn open(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Stream, Extensions)>> + Send;

    /// Why a request on a connection with these extensions is not served. `None`: it is.
    fn refuse(&self, _path: &str, _extensions: &Extensions) -> Option<Problem> {
        None
    }
}

/// Nothing.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;

    async fn open(&self, stream: TcpStream) -> io::Result<(TcpStream, Extensions)> {
        Ok((stream, Extensions::new()))
    }
}

/// What the connections of a listener share.
#[derive(Clone)]
struct Connections<T> {
    transport: T,
    /// For the transport to open a connection.
    open_timeout: Duration,
    protocol: Builder,
    app: App,
    readiness: Arc<Readiness>,
    /// For which a client may take nothing of what is sent to it.
    unread_ms: u32,
    /// Canceled once responses close their connections.
    closing: CancellationToken,
    running: TaskTracker,
}

/// Serves `app` until `shutdown` is canceled. Then `/ready` returns 503 immediately and responses
/// close their connections; after the drain no connection is accepted, and requests in flight have
/// the grace period to finish.
///
/// # Errors
/// When requests were cut off at the end of the grace period.
pub async fn serve(
    listener: TcpListener,
    app: impl Into<App>,
    settings: &Server,
    readiness: &Readiness,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_over(Plain, listener, app, settings, readiness, shutdown).await
}

/// As [`serve`], for connections that a transport opens within the time for a request head.
///
/// # Errors
/// As [`serve`].
pub async fn serve_over(
    transport: impl Transport,
    listener: TcpListener,
    app: impl Into<App>,
    settings: &Server,
    readiness: &Readiness,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut protocol = Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(settings.header_timeout_seconds))
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    let connections = Connections {
        transport,
        open_timeout: Duration::from_secs(settings.header_timeout_seconds),
        protocol,
        app: app.into(),
        readiness: Arc::new(readiness.clone()),
        unread_ms: u32::try_from(settings.request_timeout_seconds * 1_000).unwrap_or(u32::MAX),
        closing: CancellationToken::new(),
        running: TaskTracker::new(),
    };
    let stop = async {
        shutdown.cancelled().await;
        readiness.set_draining();
        tokio::time::sleep(Duration::from_secs(settings.drain_seconds)).await;
    };
    tokio::select! {
        never = connections.accept(&listener, settings.max_connections) => match never {},
        () = stop => {}
    }
    // Connections in the backlog of the listener would be reset.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        connections.start(stream, peer, None);
    }
    drop(listener);
    connections.closing.cancel();
    connections.running.close();
    let grace = Duration::from_secs(settings.shutdown_grace_seconds);
    tokio::time::timeout(grace, connections.running.wait())
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "requests were cut off at shutdown"))
}

impl<T: Transport> Connections<T> {
    /// Accepts connections, at most `max` at the same time.
    async fn accept(&self, listener: &TcpListener, max: usize) -> Infallible {
        let slots = Arc::new(Semaphore::new(max));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await;
            let slot = slot.expect("the semaphore stays open");
            match listener.accept().await {
                Ok((stream, peer)) => self.start(stream, peer, Some(slot)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection, which has its slot for as long as it is open.
    fn start(&self, stream: TcpStream, peer: SocketAddr, slot: Option<OwnedSemaphorePermit>) {
        let connection = self.clone().serve(stream, Peer(peer.ip()));
        self.running.spawn(async move {
            connection.await;
            drop(slot);
        });
    }

    async fn serve(self, stream: TcpStream, peer: Peer) {
        // Small responses must not wait for an acknowledgment (Nagle's algorithm).
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, self.unread_ms);
        let opened = tokio::time::timeout(self.open_timeout, self.transport.open(stream)).await;
        let Ok(Ok((stream, extensions))) = opened else {
            return;
        };
        let (protocol, closing) = (self.protocol, self.closing);
        let (app, readiness, transport) = (self.app, self.readiness, self.transport);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let refusal = transport.refuse(request.uri().path(), &extensions);
            if !extensions.is_empty() {
                request.extensions_mut().extend(extensions.clone());
            }
            // A client that keeps the connection would be refused again and again.
            let is_refused = refusal.is_some();
            let answer = match refusal {
                Some(problem) => Either::Left(ready(refused(&request, problem))),
                None => Either::Right(app.call(request, peer)),
            };
            let readiness = Arc::clone(&readiness);
            async move {
                let mut response = answer.await;
                // The header of an upgraded connection is `upgrade`.
                if (readiness.is_draining() || is_refused)
                    && response.status() != StatusCode::SWITCHING_PROTOCOLS
                {
                    let headers = response.headers_mut();
                    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = protocol
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        // A broken connection is the client's concern.
        tokio::select! {
            biased;
            _ = connection.as_mut() => {}
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

/// The response to a request that the transport has refused.
fn refused<B>(request: &Request<B>, problem: Problem) -> Response {
    let id = request.headers().get(&request_id::HEADER);
    let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let mut response = problem.into_response();
    render_problem(&mut response, id, request.uri().path(), request.method());
    response
}

/// Canceled when the process receives SIGTERM or SIGINT.
///
/// # Panics
/// When signal handlers cannot be installed.
pub fn shutdown_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    token
}
