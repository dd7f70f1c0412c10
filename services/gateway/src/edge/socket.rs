//! Options of TCP connections, of clients and to upstreams.

use std::time::Duration;

use pingora::{
    listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions},
    protocols::TcpKeepalive,
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
