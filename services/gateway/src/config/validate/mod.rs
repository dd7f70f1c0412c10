//! Checks every rule that types cannot express, and resolves names to indices.
//!
//! All violations are reported, not just the first one.

mod checker;
mod routes;
mod upstreams;

use std::time::Duration;

use quartet_common::{
    config::{ConfigError, Settings},
    net::TrustedProxies,
};
use quartet_telemetry::check_filter;

use super::{Config, Limit, model};
use crate::routing::RouteTable;
use checker::{Checker, DAY_SECONDS, Violations};

/// # Errors
/// Every violation.
pub(super) fn validate(model: model::Model, settings: Settings) -> Result<Config, Violations> {
    let mut checker = Checker::default();
    check_shared(&model, &mut checker);
    check_server(&model.server, &mut checker);
    check_background(&model, &mut checker);
    routes::check_timeouts("defaults", &model.defaults, &mut checker);
    let upstreams = model
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| upstreams::check(name, upstream, &mut checker))
        .collect();
    let limits = model
        .limits
        .iter()
        .map(|(name, limit)| check_limit(name, limit, &mut checker))
        .collect();
    let routes = routes::check(&model, &mut checker);
    checker.finish()?;
    Ok(Config {
        trusted_proxies: TrustedProxies::new(model.server.trusted_proxies.clone()),
        model,
        settings,
        upstreams,
        limits,
        routes: RouteTable::new(routes),
    })
}

/// The sections that all binaries have.
fn check_shared(model: &model::Model, checker: &mut Checker) {
    let results = [
        model.jwt.check(),
        model.telemetry.check(),
        check_filter(&model.telemetry.log),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        match error {
            ConfigError::Invalid { key, message, .. } => checker.error(key, message),
            other => checker.error("", other.to_string()),
        }
    }
}

fn check_server(server: &model::Server, checker: &mut Checker) {
    if server.listen.is_empty() {
        checker.error("server.listen", "must have at least one listener");
    }
    checker.ranges(
        "server",
        &[
            ("threads", server.threads as u64, 0, 1_024),
            (
                "max_connections",
                server.max_connections as u64,
                1,
                10_000_000,
            ),
            (
                "max_connections_per_client",
                server.max_connections_per_client as u64,
                1,
                10_000_000,
            ),
            (
                "http2_streams_max",
                server.http2_streams_max.into(),
                1,
                10_000,
            ),
            (
                "tcp_keepalive_seconds",
                server.tcp_keepalive_seconds,
                1,
                DAY_SECONDS,
            ),
            (
                "tcp_user_timeout_seconds",
                server.tcp_user_timeout_seconds,
                1,
                3_600,
            ),
            // pingora's parser has room for 256 headers and one mebibyte.
            (
                "header_limit_bytes",
                server.header_limit_bytes as u64,
                1_024,
                1_000_000,
            ),
            (
                "header_limit_count",
                server.header_limit_count as u64,
                1,
                250,
            ),
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
                100_000_000,
            ),
            (
                "header_timeout_seconds",
                server.header_timeout_seconds,
                1,
                3_600,
            ),
            (
                "keepalive_timeout_seconds",
                server.keepalive_timeout_seconds,
                1,
                3_600,
            ),
            (
                "write_timeout_seconds",
                server.write_timeout_seconds,
                1,
                3_600,
            ),
            (
                "page_timeout_seconds",
                server.page_timeout_seconds,
                1,
                3_600,
            ),
            (
                "refused_log_lines_per_second",
                server.refused_log_lines_per_second.into(),
                0,
                1_000_000,
            ),
            ("drain_delay_seconds", server.drain_delay_seconds, 0, 3_600),
            (
                "shutdown_grace_seconds",
                server.shutdown_grace_seconds,
                1,
                DAY_SECONDS,
            ),
        ],
    );
}

fn check_background(model: &model::Model, checker: &mut Checker) {
    let (discovery, documents) = (&model.discovery, &model.documents);
    checker.ranges(
        "discovery",
        &[
            (
                "interval_ms",
                discovery.interval_ms,
                50,
                DAY_SECONDS * 1_000,
            ),
            ("timeout_ms", discovery.timeout_ms, 10, 60_000),
        ],
    );
    checker.ranges(
        "documents",
        &[
            ("refresh_seconds", documents.refresh_seconds, 0, DAY_SECONDS),
            ("timeout_ms", documents.timeout_ms, 10, 60_000),
        ],
    );
}

fn check_limit(name: &str, limit: &model::Limit, checker: &mut Checker) -> Limit {
    let key = format!("limits.{name}");
    checker.name(&key, name);
    checker.ranges(
        &key,
        &[
            ("requests", limit.requests.into(), 1, 10_000_000),
            ("window_seconds", limit.window_seconds, 1, DAY_SECONDS),
        ],
    );
    Limit {
        name: name.into(),
        requests: limit.requests,
        window: Duration::from_secs(limit.window_seconds),
    }
}
