//! HTTP/2 connections, bounded as HTTP/1 connections are.
//!
//! pingora's own loop takes its bounds once, at the start of the process, and waits for a first
//! request as long as for the next one. This one reads the settings in force for each connection:
//!
//! - the first request must arrive within the time for a request head, further ones within the
//!   time for idle connections;
//! - streams, the size of a head, and what is buffered per stream for a client that does not read
//!   are bounded;
//! - malformed requests are logged, and too many of them end the connection;
//! - so do too many requests that the client [abandons](super::abandoned).
//!
//! Everything about a single request is done in the phases that HTTP/1 requests pass through too.

use std::{sync::Arc, time::Duration};

use pingora::{
    apps::HttpServerApp,
    protocols::{
        Digest, Stream,
        http::{
            ServerSession,
            v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
        },
    },
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{
    abandoned::Abandoned,
    ctx::peer_ip,
    proxy::Edge,
    reply::{self, RejectedHead},
    tls_stream,
};
use crate::{config::model::Server, error, state::State};

/// Of a response, per stream, until the connection takes it.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// More malformed requests than this end a connection.
const MAX_MALFORMED: u32 = 32;

/// Serves a connection until it ends.
pub(super) async fn serve(
    proxy: &Arc<HttpProxy<Edge>>,
    stream: Stream,
    state: &Arc<State>,
    shutdown: &ShutdownWatch,
) {
    let server = state.snapshot().config.model.server.clone();
    let tls = tls_stream::session(&stream);
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let client = peer_ip(digest.socket_digest.as_deref());
    let first_within = Duration::from_secs(server.header_timeout_seconds);
    let shaken = timeout(first_within, handshake(stream, Some(options(&server)))).await;
    let Ok(Ok(mut connection)) = shaken else {
        return;
    };
    let running = TaskTracker::new();
    running.close();
    let mut idle = first_within;
    let mut shutdown_begun = shutdown.clone();
    let (mut draining, mut malformed, mut accepted_total) = (false, 0, 0);
    let abandoned = Abandoned::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown_begun.wait_for(|&begun| begun), if !draining => {
                connection.graceful_shutdown();
                draining = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = idle_for(&running, idle) => return,
        };
        idle = Duration::from_secs(server.keepalive_timeout_seconds);
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                accepted_total += 1;
                if abandoned.are_too_many(accepted_total) {
                    let problem = error::malformed("too many HTTP/2 requests were reset");
                    reply::log_rejected(&RejectedHead::of(problem), client, state);
                    return;
                }
                let (proxy, shutdown) = (Arc::clone(proxy), shutdown.clone());
                let request = tls_stream::serve(tls.clone(), async move {
                    let session = ServerSession::new_http2(session);
                    proxy.process_new_http(session, &shutdown).await;
                });
                running.spawn(abandoned.clone().serve(request));
            }
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                let problem = error::malformed("the HTTP/2 request is malformed");
                reply::log_rejected(&RejectedHead::of(problem), client, state);
                if malformed > MAX_MALFORMED {
                    return;
                }
            }
            // A client that disconnects is not an error.
            Ok(None) | Err(_) => return,
        }
    }
}

fn options(server: &Server) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_header_list_size(u32::try_from(server.header_limit_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(server.max_http2_streams)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}

/// Waits until no request has been running for this time.
async fn idle_for(running: &TaskTracker, time: Duration) {
    running.wait().await;
    sleep(time).await;
}
