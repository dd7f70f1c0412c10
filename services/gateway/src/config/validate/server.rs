//! `[server]`.

use super::checker::{Checker, DAY_SECONDS};
use crate::config::model::Server;

const CONNECTIONS_MAX: u64 = 10_000_000;
const HOUR_SECONDS: u64 = 3_600;

pub(super) fn check(server: &Server, checker: &mut Checker) {
    if server.listen.is_empty() {
        checker.error("server.listen", "must have at least one listener");
    }
    checker.ranges("server", &sizes(server));
    checker.ranges("server", &times(server));
}

fn sizes(server: &Server) -> [(&'static str, u64, u64, u64); 9] {
    let connections = server.max_connections as u64;
    let per_client = server.max_connections_per_client as u64;
    let streams = u64::from(server.http2_streams_max);
    // pingora's parser has room for 256 headers and one mebibyte.
    let (bytes, count) = (
        server.header_limit_bytes as u64,
        server.header_limit_count as u64,
    );
    let lines = u64::from(server.refused_log_lines_per_second);
    [
        ("threads", server.threads as u64, 0, 1_024),
        ("max_connections", connections, 1, CONNECTIONS_MAX),
        ("max_connections_per_client", per_client, 1, CONNECTIONS_MAX),
        ("http2_streams_max", streams, 1, 10_000),
        ("header_limit_bytes", bytes, 1_024, 1_000_000),
        ("header_limit_count", count, 1, 250),
        (
            "upstream_pool_size",
            server.upstream_pool_size as u64,
            1,
            1_000_000,
        ),
        (
            "rate_limit_keys_max",
            server.rate_limit_keys_max as u64,
            64,
            1_000_000,
        ),
        ("refused_log_lines_per_second", lines, 0, 1_000_000),
    ]
}

fn times(server: &Server) -> [(&'static str, u64, u64, u64); 8] {
    let (keepalive, user) = (
        server.tcp_keepalive_seconds,
        server.tcp_user_timeout_seconds,
    );
    let (header, idle) = (
        server.header_timeout_seconds,
        server.keepalive_timeout_seconds,
    );
    let (write, page) = (server.write_timeout_seconds, server.page_timeout_seconds);
    [
        ("tcp_keepalive_seconds", keepalive, 1, DAY_SECONDS),
        ("tcp_user_timeout_seconds", user, 1, HOUR_SECONDS),
        ("header_timeout_seconds", header, 1, HOUR_SECONDS),
        ("keepalive_timeout_seconds", idle, 1, HOUR_SECONDS),
        ("write_timeout_seconds", write, 1, HOUR_SECONDS),
        ("page_timeout_seconds", page, 1, HOUR_SECONDS),
        (
            "drain_delay_seconds",
            server.drain_delay_seconds,
            0,
            HOUR_SECONDS,
        ),
        (
            "shutdown_grace_seconds",
            server.shutdown_grace_seconds,
            1,
            DAY_SECONDS,
        ),
    ]
}
