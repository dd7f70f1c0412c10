//! Options of TCP connections, of clients and to upstreams.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::{
    listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions},
    protocols::{SocketDigest, TcpKeepalive},
};

use crate::config::model::{Listen, Server};

const KEEPALIVE_PROBES: u32 = 4;

pub(super) fn listener_config(listen: &Listen, server: &Server) -> ListenerConfig {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(tcp_keepalive(server));
    ListenerConfig::tcp(listen.address().to_string())
        .tcp_socket_options(options)
        // Readers and writers have buffers of their own; these would only cost memory.
        .l4_buffer(L4BufferSettings::unbuffered())
}

/// The address of the listener that accepted a connection.
pub(super) fn local(socket: Option<Arc<SocketDigest>>) -> Option<SocketAddr> {
    socket?.local_addr()?.as_inet().copied()
}

/// For connections of clients and to upstreams: a peer that has vanished must not keep its place.
pub(super) fn tcp_keepalive(server: &Server) -> TcpKeepalive {
    let seconds = server.tcp_keepalive_seconds;
    TcpKeepalive {
        idle: Duration::from_secs(seconds),
        interval: Duration::from_secs(seconds.div_ceil(u64::from(KEEPALIVE_PROBES))),
        count: KEEPALIVE_PROBES as usize,
        user_timeout: Duration::from_secs(server.tcp_user_timeout_seconds),
    }
}
