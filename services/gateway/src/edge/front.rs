//! One client connection: heads are read and checked here, then the proxy answers.

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
    Edge,
    head::{self, Head, Limits},
    reply,
};
use crate::state::State;

pub(super) struct Front {
    pub(super) proxy: Arc<HttpProxy<Edge>>,
    pub(super) state: Arc<State>,
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let most = self.state.snapshot().config.model.server.max_connections;
        let _open = self.state.open_connection(most)?;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return self.proxy.process_new(stream, shutdown).await;
        }
        self.http1(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl Front {
    /// Requests one after the other until the connection ends.
    async fn http1(&self, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut begun = shutdown.clone();
        let mut first = true;
        loop {
            let limits = self.limits(first);
            first = false;
            let head = match head::read(&mut stream, limits, &mut begun).await {
                Head::Complete(head) => head,
                Head::Http2(start) => return self.http2(stream, &start, shutdown).await,
                Head::Closed => return None,
                Head::Refused(refusal) => {
                    reply::refuse(&mut stream, *refusal, &self.state).await;
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
        start: &BytesMut,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut plain = stream.into_any().downcast::<L4>().ok()?;
        plain.rewind(start);
        self.proxy.process_new(plain, shutdown).await
    }

    fn limits(&self, first: bool) -> Limits {
        let snapshot = self.state.snapshot();
        let server = &snapshot.config.model.server;
        let time = snapshot.header_timeout();
        let idle = Duration::from_secs(server.keepalive_timeout_seconds);
        Limits {
            bytes: server.header_limit_bytes,
            count: server.header_limit_count,
            time,
            idle: if first { time } else { idle },
        }
    }
}

/// The other end of a connection.
pub(super) fn peer(stream: &Stream) -> Option<std::net::IpAddr> {
    let digest = stream.get_socket_digest()?;
    Some(digest.peer_addr()?.as_inet()?.ip().to_canonical())
}
