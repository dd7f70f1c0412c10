//! Phase 3: chooses the replica of the next attempt. Runs again for every retry.

use std::time::Instant;

use pingora::{Error, ErrorType, Result, upstreams::peer::HttpPeer};

use super::{ctx::Ctx, server::tcp_keepalive};

/// Every replica was tried, or none is known.
pub(super) const NO_REPLICA: ErrorType = ErrorType::Custom("no replica can be reached");

pub(super) fn choose(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let now = Instant::now();
    let upstream = ctx
        .attempts
        .upstream
        .clone()
        .ok_or_else(|| Error::new(NO_REPLICA))?;
    let replica = upstream
        .pick(&ctx.attempts.tried, now)
        .ok_or_else(|| Error::new_up(NO_REPLICA))?;
    let mut peer = Box::new(HttpPeer::new(replica.address, false, String::new()));
    let options = &mut peer.options;
    options.connection_timeout = Some(upstream.config.connect_timeout);
    options.total_connection_timeout = Some(upstream.config.connect_timeout);
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
    Ok(peer)
}
