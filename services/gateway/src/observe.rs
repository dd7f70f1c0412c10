//! Metrics of the gateway's own, and the one line that is written about each request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use quartet_telemetry::metrics::Metrics;

use crate::{state::State, trace::TraceContext, upstream::Upstream};

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

/// Everything that `/metrics` shows.
#[derive(Clone, Debug)]
pub(crate) struct GatewayMetrics {
    pub(crate) http: Metrics,
    reloads: Family<OutcomeLabel, Counter>,
    connect_failures: Family<UpstreamLabel, Counter>,
    retries: Family<UpstreamLabel, Counter>,
    rate_limited: Family<LimitLabel, Counter>,
    replicas: Family<UpstreamLabel, Gauge>,
    connections: Gauge,
    rate_limit_keys: Gauge,
}

impl GatewayMetrics {
    pub(crate) fn new(http: Metrics) -> Self {
        let metrics = Self {
            http,
            reloads: Family::default(),
            connect_failures: Family::default(),
            retries: Family::default(),
            rate_limited: Family::default(),
            replicas: Family::default(),
            connections: Gauge::default(),
            rate_limit_keys: Gauge::default(),
        };
        let to = &metrics.http;
        to.register(
            "gateway_config_reloads",
            "Settings read again, by outcome",
            metrics.reloads.clone(),
        );
        to.register(
            "gateway_upstream_connect_failures",
            "Replicas that could not be reached",
            metrics.connect_failures.clone(),
        );
        to.register(
            "gateway_upstream_retries",
            "Requests that were sent to another replica",
            metrics.retries.clone(),
        );
        to.register(
            "gateway_rate_limited",
            "Requests refused by a limit",
            metrics.rate_limited.clone(),
        );
        to.register(
            "gateway_upstream_replicas",
            "Addresses that an upstream has",
            metrics.replicas.clone(),
        );
        to.register(
            "gateway_connections",
            "Open client connections",
            metrics.connections.clone(),
        );
        to.register(
            "gateway_rate_limit_keys",
            "Users and addresses that are being counted",
            metrics.rate_limit_keys.clone(),
        );
        metrics
    }

    pub(crate) fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn connect_failed(&self, upstream: &Upstream) {
        self.connect_failures.get_or_create(&label(upstream)).inc();
    }

    pub(crate) fn retried(&self, upstream: &Upstream) {
        self.retries.get_or_create(&label(upstream)).inc();
    }

    pub(crate) fn rate_limited(&self, limit: &Arc<str>) {
        self.rate_limited
            .get_or_create(&LimitLabel {
                limit: Arc::clone(limit),
            })
            .inc();
    }

    /// Takes over what is only looked at now and then.
    pub(crate) fn update(&self, state: &State) {
        self.connections.set(gauge(state.connections.count()));
        self.rate_limit_keys.set(gauge(state.counter.len()));
        let snapshot = state.snapshot();
        for upstream in &snapshot.upstreams {
            self.replicas
                .get_or_create(&label(upstream))
                .set(gauge(upstream.replicas().len()));
            // A counter that begins with its first event has no rise to see.
            drop(self.retries.get_or_create(&label(upstream)));
            drop(self.connect_failures.get_or_create(&label(upstream)));
        }
        for limit in &snapshot.config.limits {
            let limit = Arc::clone(&limit.name);
            drop(self.rate_limited.get_or_create(&LimitLabel { limit }));
        }
        for outcome in ["applied", "refused"] {
            drop(self.reloads.get_or_create(&OutcomeLabel { outcome }));
        }
    }
}

fn label(upstream: &Upstream) -> UpstreamLabel {
    UpstreamLabel {
        upstream: Arc::clone(&upstream.config.name),
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What the access log says about a request.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) request_id: &'a str,
    pub(crate) trace: TraceContext,
    pub(crate) route: &'a str,
    pub(crate) caller_id: Option<&'a str>,
    pub(crate) client: Option<std::net::IpAddr>,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) upstream_took: Option<Duration>,
    pub(crate) bytes: usize,
    pub(crate) code: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

impl Line<'_> {
    /// The names are part of the contract; see ARCHITECTURE.md.
    pub(crate) fn write(&self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "quartet",
                    method = self.method.as_str(),
                    path = self.path,
                    status = self.status,
                    duration_ms = milliseconds(self.took),
                    request_id = self.request_id,
                    trace_id = format_args!("{:032x}", self.trace.trace_id),
                    span_id = format_args!("{:016x}", self.trace.span_id),
                    route = self.route,
                    caller_id = self.caller_id,
                    client = self.client.map(tracing::field::display),
                    upstream = self.upstream.map(tracing::field::display),
                    upstream_ms = self.upstream_took.map(milliseconds),
                    bytes = self.bytes,
                    code = self.code,
                    error = self.error,
                    "request"
                )
            };
        }
        if self.status >= 500 {
            line!(error);
        } else {
            line!(info);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
