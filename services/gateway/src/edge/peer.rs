//! Phase 3: chooses the replica of the next attempt. Runs again for every retry.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    os::fd::RawFd,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use pingora::{
    Error, ErrorType, OrErr as _, Result,
    protocols::{ALPN, Digest},
    proxy::Session,
    upstreams::peer::HttpPeer,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};

use super::{
    attempt::{self, NOT_ADMITTED, NotChosen},
    ctx::Ctx,
    departure::Departure,
    socket::tcp_keepalive,
    try_timeout::{FIRST_SLOT, TryDeadlines, TrySlots},
    tunnel::HandshakeConnector,
};
use crate::{
    config::{ClientIdentity, Tls, UpstreamConfig},
    state::State,
    upstream::Upstream,
};

/// The pool of connections for WebSocket handshakes. It stays empty.
const HANDSHAKES: u64 = 1;
/// The pool of connections with HTTP/2 and without TLS.
const HTTP2: u64 = 2;

/// An idle connection has something to be read, or is closed. Nothing was sent on it.
pub(super) const NOT_SILENT: ErrorType = ErrorType::Custom("an idle connection is not silent");

/// Asks the kernel once more before a connection of pingora's pool is lent. pingora asks the runtime,
/// which may not have heard yet of bytes that have arrived: they would be taken for the response to
/// the next request, of another client. A connection with HTTP/2 is not idle: other requests are on it,
/// and each frame names its own.
///
/// # Errors
/// `NOT_SILENT`.
pub(super) fn check_idle(
    (peer, reused): (&HttpPeer, bool),
    socket: RawFd,
    digest: Option<&Digest>,
) -> Result<()> {
    // What can be read there may be a record of TLS itself.
    let is_encrypted = digest.is_some_and(|digest| digest.ssl_digest.is_some());
    let is_http2 = peer.options.alpn.get_min_http_version() == 2;
    if !reused || is_encrypted || is_http2 {
        return Ok(());
    }
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match recv(socket, &mut [0], flags) {
        Err(Errno::EAGAIN) => Ok(()),
        _ => Err(Error::new_up(NOT_SILENT)),
    }
}

pub(super) async fn choose(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &State,
    slots: &Arc<TrySlots>,
) -> Result<Box<HttpPeer>> {
    ctx.attempts.slot = None;
    match attempt::next_replica(ctx, state, Departure::of(session)).await {
        Ok(()) => {}
        Err(NotChosen::Refused(problem)) => {
            ctx.refusal = Some((*problem).into());
            return Err(Error::new(NOT_ADMITTED));
        }
        Err(NotChosen::ClientGone) => return Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
    let attempts = &ctx.attempts;
    let (upstream, address) = attempts
        .upstream
        .as_ref()
        .zip(attempts.address)
        .ok_or_else(|| Error::new(ErrorType::InternalError))?;
    let mut peer = if ctx.upgrade {
        // What encrypts it is the connector's business.
        Box::new(HttpPeer::new(address, false, String::new()))
    } else {
        peer(upstream, address)
    };
    let config = &upstream.config;
    let mut slot = None;
    let options = &mut peer.options;
    options.tcp_keepalive = Some(tcp_keepalive(&ctx.snapshot.config.model.server));
    options.idle_timeout = Some(config.idle_timeout);
    let (silence, left) = (ctx.silence(), time_left(ctx, Instant::now())?);
    let silence = silence.into_iter().chain(left).min();
    let connect_timeout = left.map_or(config.connect_timeout, |left| {
        config.connect_timeout.min(left)
    });
    options.connection_timeout = Some(connect_timeout);
    options.total_connection_timeout = Some(connect_timeout);
    options.read_timeout = silence;
    options.write_timeout = silence;
    if ctx.upgrade {
        let access = ctx.policy.access.as_ref();
        // Apart from the pool of ordinary connections.
        peer.group_key = HANDSHAKES;
        peer.options.custom_l4 = Some(Arc::new(HandshakeConnector {
            connect_timeout,
            access: Mutex::new(access.map(|access| access.end(&state.clock))),
            ping: ctx.ping(),
            tls: upstream
                .tls()
                .or_err(ErrorType::InternalError, "TLS settings")?,
        }));
    } else if config.try_timeout.is_some() || (ctx.deadline().is_some() && !speaks_http2(config)) {
        let deadlines = TryDeadlines {
            head: attempt::try_bound(ctx, attempt::is_repeatable(session, ctx)),
            end: ctx.deadline(),
        };
        let own = slots.take(address, peer.group_key, deadlines);
        peer.group_key = own.group();
        peer.options.custom_l4 = Some(Arc::new(own.connector(connect_timeout)));
        slot = Some(own);
    }
    ctx.attempts.slot = slot;
    ctx.attempts.interim = 0;
    // The body is read from now on, or again; what was waited for until now was not the client.
    ctx.body_at = ctx.attempts.started;
    Ok(peer)
}

/// A connection may be one for several requests at a time, so it has the deadline of none.
fn speaks_http2(config: &UpstreamConfig) -> bool {
    config.http2 || config.tls.as_ref().is_some_and(|tls| tls.http2)
}

/// Until the deadline of the whole request. A WebSocket has none once it is open.
///
/// # Errors
/// When it has passed.
fn time_left(ctx: &Ctx, now: Instant) -> Result<Option<Duration>> {
    let Some(deadline) = ctx.deadline().filter(|_| !ctx.upgrade) else {
        return Ok(None);
    };
    match deadline.checked_duration_since(now) {
        Some(left) if !left.is_zero() => Ok(Some(left)),
        _ => Err(Error::new_up(ErrorType::ReadTimedout)),
    }
}

/// A part of the response has come. pingora counts the time between parts again with each of them.
///
/// # Errors
/// When the deadline of the whole request has passed.
pub(super) fn check_deadline(ctx: &Ctx) -> Result<()> {
    time_left(ctx, Instant::now()).map(drop)
}

fn peer(upstream: &Upstream, address: SocketAddr) -> Box<HttpPeer> {
    let config = &upstream.config;
    let Some(tls) = &config.tls else {
        let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
        if config.http2 {
            peer.group_key = HTTP2;
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = config.max_http2_streams;
        }
        return peer;
    };
    let mut peer = Box::new(HttpPeer::new(address, true, tls.server_name.clone()));
    peer.group_key = pool_of(tls);
    if tls.http2 {
        peer.options.alpn = ALPN::H2H1;
        peer.options.max_h2_streams = config.max_http2_streams;
    } else {
        peer.options.alpn = ALPN::H1;
    }
    peer.options.ca = tls.authorities.as_ref().map(|authorities| {
        let certificates = authorities.iter();
        certificates
            .map(|der| WrappedX509::new(der.clone(), parse_x509))
            .collect()
    });
    peer.client_cert_key = tls.identity.as_ref().map(|identity| {
        let ClientIdentity {
            certificates, key, ..
        } = identity;
        Arc::new(CertKey::new(certificates.clone(), key.clone()))
    });
    peer
}

/// pingora's pool does not know by which authorities, and for which protocols, a connection was
/// made. Upstreams that differ in these must not share it.
fn pool_of(tls: &Tls) -> u64 {
    let mut hasher = DefaultHasher::new();
    tls.hash(&mut hasher);
    // None of the pools without TLS, nor that of a slot.
    (hasher.finish() | 4) & !FIRST_SLOT
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    use super::*;

    #[test]
    fn only_silent_connections_are_lent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut lent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        let socket = lent.as_raw_fd();
        let peer = HttpPeer::new("127.0.0.1:1", false, String::new());
        assert!(check_idle((&peer, true), socket, None).is_ok());
        upstream.write_all(b"surplus").unwrap();
        // Blocks until the bytes are there.
        lent.peek(&mut [0]).unwrap();
        assert!(check_idle((&peer, true), socket, None).is_err());
        assert!(
            check_idle((&peer, false), socket, None).is_ok(),
            "it is new"
        );
        lent.read_exact(&mut [0; 7]).unwrap();
        assert!(check_idle((&peer, true), socket, None).is_ok());
        drop(upstream);
        lent.peek(&mut [0]).unwrap();
        assert!(check_idle((&peer, true), socket, None).is_err());
    }

    #[test]
    fn upstreams_with_other_authorities_do_not_share_connections() {
        let tls = Tls {
            server_name: "a".to_owned(),
            authorities: None,
            http2: false,
            identity: None,
        };
        let other = Tls {
            authorities: Some(vec![vec![1]]),
            ..tls.clone()
        };
        let http2 = Tls {
            http2: true,
            ..tls.clone()
        };
        assert_eq!(pool_of(&tls), pool_of(&tls.clone()));
        assert_ne!(pool_of(&tls), pool_of(&other));
        assert_ne!(pool_of(&tls), pool_of(&http2));
    }
}
