//! Checks every rule that types cannot express, and resolves names to indices.
//!
//! All violations are reported, not just the first one.

mod checker;
mod edits;
mod routes;
mod server;
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
    server::check(&model.server, &mut checker);
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
    let errors = results.into_iter().filter_map(Result::err);
    for error in errors.flat_map(ConfigError::each) {
        match error {
            ConfigError::Invalid { key, message, .. } => checker.error(key, message),
            other => checker.error("", other.to_string()),
        }
    }
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
