//! The gateway's own metrics, beside those that every service has.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use quartet_telemetry::metrics::{Metrics, RequestSeries};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CapLabel {
    cap: &'static str,
}

/// Handles of all metrics; clones share them.
///
/// A counter is created together with what it counts, so that it starts at zero: Prometheus sees
/// no increase in a series whose first sample is 1.
#[derive(Clone, Debug)]
pub(crate) struct GatewayMetrics {
    pub(crate) http: Metrics,
    pub(crate) reloads_applied: Counter,
    pub(crate) reloads_refused: Counter,
    pub(crate) connections: Gauge,
    pub(crate) rate_limit_keys: Gauge,
    pub(crate) direct_requests: Counter,
    /// Of the direct path.
    pub(crate) idle_connections: Gauge,
    pub(crate) log_lines_skipped: Counter,
    connections_refused: Family<CapLabel, Counter>,
    connect_failures: Family<UpstreamLabel, Counter>,
    broken_responses: Family<UpstreamLabel, Counter>,
    retries: Family<UpstreamLabel, Counter>,
    replicas: Family<UpstreamLabel, Gauge>,
    rate_limited: Family<LimitLabel, Counter>,
}

impl GatewayMetrics {
    pub(crate) fn new(http: Metrics) -> Self {
        let reloads = Family::<OutcomeLabel, Counter>::default();
        let outcome = |outcome| reloads.get_or_create_owned(&OutcomeLabel { outcome });
        let metrics = Self {
            reloads_applied: outcome("applied"),
            reloads_refused: outcome("refused"),
            connections: Gauge::default(),
            rate_limit_keys: Gauge::default(),
            direct_requests: Counter::default(),
            idle_connections: Gauge::default(),
            log_lines_skipped: Counter::default(),
            connections_refused: Family::default(),
            connect_failures: Family::default(),
            broken_responses: Family::default(),
            retries: Family::default(),
            replicas: Family::default(),
            rate_limited: Family::default(),
            http,
        };
        for cap in ["total", "client"] {
            metrics.connections_refused(cap);
        }
        metrics.register(reloads);
        metrics
    }

    fn register(&self, reloads: Family<OutcomeLabel, Counter>) {
        let to = &self.http;
        to.register(
            "gateway_config_reloads",
            "Configuration reloads by outcome",
            reloads,
        );
        to.register(
            "gateway_upstream_connect_failures",
            "Failed attempts to reach a replica",
            self.connect_failures.clone(),
        );
        to.register(
            "gateway_upstream_broken_responses",
            "Responses that ended early, or that are not HTTP",
            self.broken_responses.clone(),
        );
        to.register(
            "gateway_upstream_retries",
            "Attempts after the first one, on another replica or a new connection",
            self.retries.clone(),
        );
        to.register(
            "gateway_rate_limited",
            "Requests refused by a rate limit",
            self.rate_limited.clone(),
        );
        to.register(
            "gateway_upstream_replicas",
            "Known replicas of an upstream",
            self.replicas.clone(),
        );
        to.register(
            "gateway_connections",
            "Open client connections",
            self.connections.clone(),
        );
        to.register(
            "gateway_connections_refused",
            "Client connections over a cap, in all or per client",
            self.connections_refused.clone(),
        );
        to.register(
            "gateway_log_lines_skipped",
            "Refused requests and connections without a line in the log",
            self.log_lines_skipped.clone(),
        );
        to.register(
            "gateway_rate_limit_keys",
            "Users and client IPs with a rate limit window",
            self.rate_limit_keys.clone(),
        );
        to.register(
            "gateway_direct_requests",
            "Requests that took the direct path",
            self.direct_requests.clone(),
        );
        to.register(
            "gateway_upstream_idle_connections",
            "Idle connections to replicas, of the direct path",
            self.idle_connections.clone(),
        );
    }

    pub(crate) fn connections_refused(&self, cap: &'static str) -> Counter {
        self.connections_refused
            .get_or_create_owned(&CapLabel { cap })
    }

    pub(crate) fn connect_failures(&self, upstream: &Arc<str>) -> Counter {
        self.connect_failures.get_or_create_owned(&label(upstream))
    }

    pub(crate) fn broken_responses(&self, upstream: &Arc<str>) -> Counter {
        self.broken_responses.get_or_create_owned(&label(upstream))
    }

    pub(crate) fn retries(&self, upstream: &Arc<str>) -> Counter {
        self.retries.get_or_create_owned(&label(upstream))
    }

    pub(crate) fn replicas(&self, upstream: &Arc<str>) -> Gauge {
        self.replicas.get_or_create_owned(&label(upstream))
    }

    pub(crate) fn forget_replicas(&self, upstream: &Arc<str>) {
        self.replicas.remove(&label(upstream));
    }

    pub(crate) fn rate_limited(&self, limit: &Arc<str>) -> Counter {
        let limit = Arc::clone(limit);
        self.rate_limited.get_or_create_owned(&LimitLabel { limit })
    }
}

/// Statuses and methods whose series are resolved once.
const STATUSES: [u16; 16] = [
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 429, 502, 503,
];
const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
];

/// The series of requests to one path pattern. Each is looked up when it is first used, and then
/// found without a lock.
#[derive(Debug)]
pub(crate) struct PatternSeries {
    metrics: Metrics,
    pattern: Arc<str>,
    by_method: [OnceLock<Box<StatusSeries>>; METHODS.len()],
}

type StatusSeries = [OnceLock<RequestSeries>; STATUSES.len()];

impl PatternSeries {
    pub(crate) fn new(metrics: &Metrics, pattern: &Arc<str>) -> Self {
        Self {
            metrics: metrics.clone(),
            pattern: Arc::clone(pattern),
            by_method: Default::default(),
        }
    }

    /// As [`Metrics::request_finished`].
    pub(crate) fn finished(&self, method: &Method, status: u16, took: Duration) {
        let pattern = || Arc::clone(&self.pattern);
        let known = METHODS.iter().position(|known| known == method);
        let usual = STATUSES.iter().position(|usual| *usual == status);
        let (Some(known), Some(usual)) = (known, usual) else {
            return self
                .metrics
                .request_finished(method, pattern(), status, took);
        };
        let by_status = self.by_method[known].get_or_init(Box::default);
        by_status[usual]
            .get_or_init(|| self.metrics.series(method, pattern(), status))
            .finished(took);
    }
}

/// Gauges are signed in the exposition format.
pub(crate) fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn label(upstream: &Arc<str>) -> UpstreamLabel {
    let upstream = Arc::clone(upstream);
    UpstreamLabel { upstream }
}
