//! Checks every rule that types cannot express, and resolves names to indices.
//!
//! All violations are reported, not just the first one.

mod routes;
mod upstreams;

use std::{collections::BTreeMap, time::Duration};

use quartet_common::net::TrustedProxies;

use super::{Config, Limit, model};
use crate::routing::RouteTable;

const DAY_SECONDS: u64 = 86_400;

/// Violations as pairs of key and message.
pub(super) type Violations = Vec<(String, String)>;

/// Collects violations while values are converted.
#[derive(Default)]
struct Checker(Violations);

impl Checker {
    fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push((key.into(), message.into()));
    }

    /// The value, unless it is invalid.
    fn ok<T>(&mut self, key: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.error(key, message)).ok()
    }

    fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if !(low..=high).contains(&value) {
            self.error(key, format!("must be from {low} to {high}"));
        }
    }

    /// Checks several settings of one table.
    fn ranges(&mut self, table: &str, settings: &[(&str, u64, u64, u64)]) {
        for &(name, value, low, high) in settings {
            self.range(&format!("{table}.{name}"), value, low, high);
        }
    }

    fn name(&mut self, key: &str, name: &str) {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_allowed) {
            let message = "names consist of lower-case letters, digits and underscores";
            self.error(key, message);
        }
    }
}

/// # Errors
/// Every violation.
pub(super) fn validate(model: model::Model) -> Result<Config, Violations> {
    let mut checker = Checker::default();
    check_settings(&model, &mut checker);
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
    if !checker.0.is_empty() {
        return Err(checker.0);
    }
    Ok(Config {
        trusted_proxies: TrustedProxies::new(model.server.trusted_proxies.clone()),
        model,
        upstreams,
        limits,
        routes: RouteTable::new(routes),
    })
}

fn check_settings(model: &model::Model, checker: &mut Checker) {
    let server = &model.server;
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
            ("drain_delay_seconds", server.drain_delay_seconds, 0, 3_600),
            (
                "shutdown_grace_seconds",
                server.shutdown_grace_seconds,
                1,
                DAY_SECONDS,
            ),
        ],
    );
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
    check_timeouts("defaults", &model.defaults, checker);
}

fn check_timeouts(table: &str, timeouts: &model::RouteDefaults, checker: &mut Checker) {
    checker.ranges(
        table,
        &[
            (
                "body_timeout_seconds",
                timeouts.body_timeout_seconds,
                1,
                DAY_SECONDS,
            ),
            (
                "response_timeout_seconds",
                timeouts.response_timeout_seconds,
                0,
                DAY_SECONDS,
            ),
            (
                "stream_timeout_seconds",
                timeouts.stream_timeout_seconds,
                0,
                DAY_SECONDS,
            ),
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

/// Names of a table with their positions.
fn indices<T>(table: &BTreeMap<String, T>) -> BTreeMap<&str, usize> {
    table
        .keys()
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect()
}
