//! Phase 3: chooses the replica of the next attempt. Runs again for every retry.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    os::fd::RawFd,
    sync::Arc,
    time::Instant,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use pingora::{
    Error, ErrorType, Result,
    protocols::{ALPN, Digest},
    upstreams::peer::HttpPeer,
    utils::tls::{WrappedX509, parse_x509},
};

use super::{ctx::Ctx, socket::tcp_keepalive, tunnel::HandshakeConnector};
use crate::{config::Tls, upstream::Upstream};

/// Every replica was tried, or none is known.
pub(super) const NO_REPLICA: ErrorType = ErrorType::Custom("no replica can be reached");

/// The pool of connections for WebSocket handshakes. It stays empty.
const HANDSHAKES: u64 = 1;

/// An idle connection has something to be read, or is closed. Nothing was sent on it.
pub(super) const NOT_SILENT: ErrorType = ErrorType::Custom("an idle connection is not silent");

/// Asks the kernel once more before a connection of pingora's pool is lent. pingora asks the runtime,
/// which may not have heard yet of bytes that have arrived: they would be taken for the response to
/// the next request, of another client.
///
/// # Errors
/// `NOT_SILENT`.
pub(super) fn check_idle(reused: bool, socket: RawFd, digest: Option<&Digest>) -> Result<()> {
    // What can be read there may be a record of TLS itself.
    let is_encrypted = digest.is_some_and(|digest| digest.ssl_digest.is_some());
    if !reused || is_encrypted {
        return Ok(());
    }
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match recv(socket, &mut [0], flags) {
        Err(Errno::EAGAIN) => Ok(()),
        _ => Err(Error::new_up(NOT_SILENT)),
    }
}

pub(super) fn choose(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let now = Instant::now();
    let upstream = ctx
        .attempts
        .upstream
        .clone()
        .ok_or_else(|| Error::new(NO_REPLICA))?;
    let replica = upstream
        .acquire(ctx.attempts.key, &ctx.attempts.tried, now)
        .ok_or_else(|| Error::new_up(NO_REPLICA))?;
    let mut peer = peer(&upstream, replica.address);
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
    options.read_timeout = ctx.silence();
    options.write_timeout = ctx.silence();
    ctx.attempts.current = Some(replica);
    ctx.attempts.started = Some(now);
    ctx.attempts.interim = 0;
    // The body is read from now on, or again; what was waited for until now was not the client.
    ctx.body_at = Some(now);
    Ok(peer)
}

fn peer(upstream: &Upstream, address: SocketAddr) -> Box<HttpPeer> {
    let Some(tls) = &upstream.config.tls else {
        return Box::new(HttpPeer::new(address, false, String::new()));
    };
    let mut peer = Box::new(HttpPeer::new(address, true, tls.server_name.clone()));
    peer.group_key = pool_of(tls);
    peer.options.alpn = if tls.http2 { ALPN::H2H1 } else { ALPN::H1 };
    peer.options.ca = tls.authorities.as_ref().map(|authorities| {
        let certificates = authorities.iter();
        certificates
            .map(|der| WrappedX509::new(der.clone(), parse_x509))
            .collect()
    });
    peer
}

/// pingora's pool does not know by which authorities, and for which protocols, a connection was
/// made. Upstreams that differ in these must not share it.
fn pool_of(tls: &Tls) -> u64 {
    let mut hasher = DefaultHasher::new();
    tls.hash(&mut hasher);
    // Neither 0, the pool without TLS, nor HANDSHAKES.
    hasher.finish() | (HANDSHAKES << 1)
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
        assert!(check_idle(true, socket, None).is_ok());
        upstream.write_all(b"surplus").unwrap();
        // Blocks until the bytes are there.
        lent.peek(&mut [0]).unwrap();
        assert!(check_idle(true, socket, None).is_err());
        assert!(check_idle(false, socket, None).is_ok(), "it is new");
        lent.read_exact(&mut [0; 7]).unwrap();
        assert!(check_idle(true, socket, None).is_ok());
        drop(upstream);
        lent.peek(&mut [0]).unwrap();
        assert!(check_idle(true, socket, None).is_err());
    }

    #[test]
    fn upstreams_with_other_authorities_do_not_share_connections() {
        let tls = Tls {
            server_name: "a".to_owned(),
            authorities: None,
            http2: false,
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
