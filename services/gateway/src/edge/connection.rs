//! One client connection: reads and checks request heads, then hands them to the proxy.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    protocols::{
        ALPN, GetSocketDigest as _, Stream, http::ServerSession, l4::stream::Stream as L4,
    },
    proxy::HttpProxy,
    server::ShutdownWatch,
};

use super::{
    client_stream::ClientStream,
    ctx::peer_ip,
    direct::{DirectConnection, Served, Tunnel},
    handshake, http2, kept,
    proxy::Edge,
    proxy_header,
    reply::{self, RejectedHead},
    request_head::{HeadLimits, ReadHead},
    socket::local,
};
use crate::{
    config::model::AcceptedWith,
    error,
    listener::{Caps, Full, OpenConnection},
    snapshot::Snapshot,
    state::State,
};

/// Time for the first request of a connection once the shutdown has begun: it is under way, as no
/// client connects for nothing. One that has been idle since a request may be closed at any time.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Handles every connection of the public listeners.
pub(super) struct ConnectionHandler {
    pub(super) proxy: Arc<HttpProxy<Edge>>,
    pub(super) state: Arc<State>,
}

#[async_trait]
impl ServerApp for ConnectionHandler {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.state.pulse.start();
        let with = self
            .state
            .accepted_with(|| local(stream.get_socket_digest()));
        // Whose connection it is, such a proxy says first.
        let client = peer_ip(stream.get_socket_digest().as_deref());
        let open = self.admit(client.filter(|_| !with.proxy_header));
        let (handler, shutdown) = (Arc::clone(self), shutdown.clone());
        // That of pingora would keep the state of a TLS handshake for as long as the connection is
        // open.
        tokio::spawn(async move {
            let known = if with == AcceptedWith::default() {
                Some((stream, open))
            } else {
                Box::pin(handler.begin(stream, open, with)).await
            };
            if let Some((stream, open)) = known {
                handler.serve(stream, open, &shutdown).await;
            }
        });
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl ConnectionHandler {
    /// One connection. What is not the same for all of its life is boxed, and so gone once it is over:
    /// a WebSocket keeps nothing of the requests before it.
    async fn serve(
        &self,
        mut stream: Stream,
        open: Result<OpenConnection, Box<RejectedHead>>,
        shutdown: &ShutdownWatch,
    ) {
        let _open = match open {
            Ok(open) => open,
            Err(rejected) => {
                return Box::pin(reply::refuse_connection(
                    &mut stream,
                    *rejected,
                    &self.state,
                ))
                .await;
            }
        };
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return Box::pin(http2::serve(&self.proxy, stream, &self.state, shutdown)).await;
        }
        let requests = self.http1(ClientStream::new(stream), shutdown);
        if let Some(mut tunnel) = Box::pin(requests).await {
            tunnel.run().await;
        }
    }

    /// The connection after its PROXY header and its TLS handshake. `None`: it is closed.
    async fn begin(
        &self,
        stream: Stream,
        open: Result<OpenConnection, Box<RejectedHead>>,
        with: AcceptedWith,
    ) -> Option<(Stream, Result<OpenConnection, Box<RejectedHead>>)> {
        let (stream, open) = match open {
            Ok(admitted) if with.proxy_header => self.receive_client(stream, admitted).await?,
            open => (stream, open),
        };
        if !with.tls {
            return Some((stream, open));
        }
        // A response would need a handshake first, for which there is no room either.
        let open = open.ok()?;
        let plain = stream.into_any().downcast::<L4>().ok()?;
        let stream = handshake::accept(*plain, &self.state).await?;
        Some((stream, Ok(open)))
    }

    /// The connection of the client that the PROXY header names. `None`: it is closed.
    async fn receive_client(
        &self,
        stream: Stream,
        mut open: OpenConnection,
    ) -> Option<(Stream, Result<OpenConnection, Box<RejectedHead>>)> {
        let snapshot = self.state.snapshot();
        let proxy = peer_ip(stream.get_socket_digest().as_deref())?;
        let mut stream = stream.into_any().downcast::<L4>().ok()?;
        let received = if snapshot.config.trusted_proxies.contains(proxy) {
            proxy_header::receive(&mut stream, snapshot.header_timeout()).await
        } else {
            Err(Some("the peer is not in server.trusted_proxies".to_owned()))
        };
        if let Err(error) = received {
            if let Some(error) = error {
                self.refuse_proxy(proxy, &error, &snapshot);
            }
            return None;
        }
        let client = peer_ip(stream.get_socket_digest().as_deref());
        let client = client.filter(|&client| !snapshot.config.trusted_proxies.contains(client));
        let per_client = snapshot.config.model.server.max_connections_per_client;
        let counted = match client {
            Some(client) => open.count_for(client, per_client),
            None => Ok(()),
        };
        let open = counted.map(|()| open).map_err(|full| self.full(full));
        Some((stream, open))
    }

    fn refuse_proxy(&self, peer: IpAddr, error: &str, snapshot: &Snapshot) {
        self.state.metrics.connections_refused("proxy_header").inc();
        let lines = snapshot.config.model.server.refused_log_lines_per_second;
        if self.state.refusals.may_log(lines) {
            tracing::warn!(target: "quartet", %peer, error, "a connection was closed");
        }
    }

    /// # Errors
    /// When there are too many connections, in all or of this client.
    fn admit(&self, peer: Option<IpAddr>) -> Result<OpenConnection, Box<RejectedHead>> {
        let snapshot = self.state.snapshot();
        let server = &snapshot.config.model.server;
        let caps = Caps {
            total: server.max_connections,
            per_client: server.max_connections_per_client,
        };
        // A proxy's connections carry the requests of many clients.
        let client = peer.filter(|&peer| !snapshot.config.trusted_proxies.contains(peer));
        let open = self.state.connections.open(client, caps);
        open.map_err(|full| self.full(full))
    }

    fn full(&self, full: Full) -> Box<RejectedHead> {
        self.state.metrics.connections_refused(full.name()).inc();
        Box::new(RejectedHead::of(error::too_many_connections()))
    }

    /// Serves one request after the other until the connection ends, or is one of another protocol.
    /// What is rare is boxed: its state would otherwise be part of every idle connection.
    async fn http1(&self, mut stream: ClientStream, shutdown: &ShutdownWatch) -> Option<Tunnel> {
        let mut watch = shutdown.clone();
        // One for all requests: each registration takes a lock that all connections share.
        let shutdown_begun = async move {
            let _ = watch.wait_for(|&begun| begun).await;
        };
        let mut shutdown_begun = pin!(shutdown_begun.fuse());
        let mut first = true;
        let mut direct = DirectConnection::new(&stream, &self.state);
        loop {
            let limits = limits(direct.snapshot(), first);
            first = false;
            let reader = direct.reader(&mut stream, shutdown_begun.as_mut());
            let head = match reader.read(limits).await {
                ReadHead::Complete(head) => head,
                ReadHead::Http2 => {
                    Box::pin(self.http2(stream, shutdown)).await;
                    return None;
                }
                ReadHead::Closed => return None,
                ReadHead::Rejected(rejected) => {
                    Box::pin(reply::reject(&mut stream, *rejected, &self.state)).await;
                    return None;
                }
            };
            match direct.serve(&mut stream, &head).await {
                Served::Declined => {}
                Served::Next if stream.has_ended() => continue,
                Served::Next | Served::Last => return None,
                Served::Switched(opened) => return Some(direct.into_tunnel(stream, opened)),
            }
            stream.gather_writes(true);
            let mut session = ServerSession::new_http1(Box::new(stream));
            session.set_pipelined_prefix(head);
            let served = kept::serve(self.proxy.process_new_http(session, shutdown)).await;
            let reused = match served {
                (Some(reused), _) => reused.consume().0,
                (None, kept) => kept?,
            };
            match reused.into_any().downcast::<ClientStream>() {
                // Otherwise the next head would be looked for within the body of this request.
                Ok(reused) if reused.has_ended() => stream = *reused,
                _ => return None,
            }
            stream.gather_writes(false);
        }
    }

    async fn http2(&self, mut stream: ClientStream, shutdown: &ShutdownWatch) {
        let rule = if stream.tls().is_some() {
            Some("HTTP/2 must be agreed on in the TLS handshake")
        } else if !self.speaks_http2(&stream) {
            Some("HTTP/2 without TLS is not enabled")
        } else {
            None
        };
        if let Some(rule) = rule {
            let rejected = RejectedHead::of(error::malformed(rule));
            return reply::reject(&mut stream, rejected, &self.state).await;
        }
        let (stream, preface) = stream.into_inner();
        let Ok(mut plain) = stream.into_any().downcast::<L4>() else {
            return;
        };
        plain.rewind(&preface);
        http2::serve(&self.proxy, plain, &self.state, shutdown).await;
    }

    fn speaks_http2(&self, stream: &ClientStream) -> bool {
        local(stream.get_socket_digest()).is_some_and(|local| self.state.speaks_http2(local))
    }
}

fn limits(snapshot: &Snapshot, first: bool) -> HeadLimits {
    let server = &snapshot.config.model.server;
    let timeout = snapshot.header_timeout();
    let idle = Duration::from_secs(server.keepalive_timeout_seconds);
    HeadLimits {
        bytes: server.header_limit_bytes,
        count: server.header_limit_count,
        timeout,
        idle_timeout: if first { timeout } else { idle },
        closing_timeout: if first { FIRST_REQUEST } else { Duration::ZERO },
    }
}
