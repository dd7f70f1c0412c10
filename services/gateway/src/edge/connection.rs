//! One client connection: reads and checks request heads, then hands them to the proxy.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    protocols::{ALPN, Stream, http::ServerSession, l4::stream::Stream as L4},
    proxy::HttpProxy,
    server::ShutdownWatch,
};

use super::{
    proxy::Edge,
    reply,
    request_head::{self, Head, Limits},
};
use crate::state::State;

/// Handles every connection of the public listener.
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
        let max = self.state.snapshot().config.model.server.max_connections;
        let _open = self.state.connections.open(max)?;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return self.proxy.process_new(stream, shutdown).await;
        }
        self.http1(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl ConnectionHandler {
    /// Serves one request after the other until the connection ends.
    async fn http1(&self, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut shutdown_begun = shutdown.clone();
        let mut first = true;
        loop {
            let limits = self.limits(first);
            first = false;
            let head = match request_head::read(&mut stream, limits, &mut shutdown_begun).await {
                Head::Complete(head) => head,
                Head::Http2(preface) => return self.http2(stream, &preface, shutdown).await,
                Head::Closed => return None,
                Head::Rejected(rejected) => {
                    reply::reject(&mut stream, *rejected, &self.state).await;
                    return None;
                }
            };
            let mut session = ServerSession::new_http1(stream);
            session.set_pipelined_prefix(head);
            let reused = self.proxy.process_new_http(session, shutdown).await?;
            (stream, _) = reused.consume();
        }
    }

    async fn http2(
        &self,
        stream: Stream,
        preface: &BytesMut,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut plain = stream.into_any().downcast::<L4>().ok()?;
        plain.rewind(preface);
        self.proxy.process_new(plain, shutdown).await
    }

    fn limits(&self, first: bool) -> Limits {
        let snapshot = self.state.snapshot();
        let server = &snapshot.config.model.server;
        let timeout = snapshot.header_timeout();
        let idle = Duration::from_secs(server.keepalive_timeout_seconds);
        Limits {
            bytes: server.header_limit_bytes,
            count: server.header_limit_count,
            timeout,
            idle_timeout: if first { timeout } else { idle },
        }
    }
}
