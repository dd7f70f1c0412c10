//! Phase 3: chooses the replica of the next attempt. Runs again for every retry.

use std::{sync::Arc, time::Instant};

use pingora::{Error, ErrorType, Result, upstreams::peer::HttpPeer};

use super::{ctx::Ctx, socket::tcp_keepalive, tunnel::HandshakeConnector};

/// Every replica was tried, or none is known.
pub(super) const NO_REPLICA: ErrorType = ErrorType::Custom("no replica can be reached");

/// The pool of connections for WebSocket handshakes. It stays empty.
const HANDSHAKES: u64 = 1;

pub(super) fn choose(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let now = Instant::now();
    let upstream = ctx
        .attempts
        .upstream
        .clone()
        .ok_or_else(|| Error::new(NO_REPLICA))?;
    let replica = upstream
        .acquire(&ctx.attempts.tried, now)
        .ok_or_else(|| Error::new_up(NO_REPLICA))?;
    let mut peer = Box::new(HttpPeer::new(replica.address, false, String::new()));
    if ctx.upgrade {
        // Apart from the pool of ordinary connections.
        peer.group_key = HANDSHAKES;
    }
    let options = &mut peer.options;
    options.connection_timeout = Some(upstream.config.connect_timeout);
    options.total_connection_timeout = Some(upstream.config.connect_timeout);
    if ctx.upgrade {
        options.custom_l4 = Some(Arc::new(HandshakeConnector {
            connect_timeout: upstream.config.connect_timeout,
        }));
    }
    options.tcp_keepalive = Some(tcp_keepalive(&ctx.snapshot.config.model.server));
    options.idle_timeout = Some(upstream.config.idle_timeout);
    if let Some(matched) = &ctx.matched {
        let route = &matched.route;
        let timeout = if ctx.streaming {
            route.stream_timeout
        } else {
            route.response_timeout
        };
        options.read_timeout = timeout;
        options.write_timeout = timeout;
    }
    ctx.attempts.current = Some(replica);
    ctx.attempts.started = Some(now);
    // The body is read from now on, or again; what was waited for until now was not the client.
    ctx.body_at = Some(now);
    Ok(peer)
}
