//! The gateway's own metrics, beside those that every service has.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use quartet_telemetry::metrics::{Metrics, RequestSeries};

use crate::{
    document::CheckCounts,
    upstream::{LookupOutcome, MirrorOutcome},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    upstream: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    upstream: Arc<str>,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    upstream: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabel {
    cache: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheOutcomeLabel {
    cache: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    lookup: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MirrorLabels {
    upstream: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabel {
    store: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigLabel {
    hash: Arc<str>,
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
    /// Whether it was not refused.
    pub(crate) last_reload_applied: Gauge,
    config_info: Family<ConfigLabel, Gauge>,
    pub(crate) connections: Gauge,
    pub(crate) rate_limit_keys: Gauge,
    pub(crate) direct_requests: Counter,
    /// Of the direct path.
    pub(crate) idle_connections: Gauge,
    pub(crate) log_lines_skipped: Counter,
    pub(crate) revoked_sessions: Gauge,
    pub(crate) revocation_feed_failures: Counter,
    connections_refused: Family<CapLabel, Counter>,
    connect_failures: Family<UpstreamLabel, Counter>,
    broken_responses: Family<UpstreamLabel, Counter>,
    retries: Family<UpstreamLabel, Counter>,
    replicas: Family<UpstreamLabel, Gauge>,
    replica_states: Family<StateLabels, Gauge>,
    queued: Family<UpstreamLabel, Gauge>,
    circuit_open: Family<UpstreamLabel, Gauge>,
    refused: Family<RefusalLabels, Counter>,
    checks: Family<CheckLabels, Counter>,
    rate_limited: Family<LimitLabel, Counter>,
    lookups: Family<LookupLabels, Counter>,
    mirrored: Family<MirrorLabels, Counter>,
    rate_limit_fallbacks: Family<LimitLabel, Counter>,
    rate_limit_denied: Family<LimitLabel, Counter>,
    pub(crate) rate_limit_denied_keys: Gauge,
    store_up: Family<StoreLabel, Gauge>,
    store_calls: Family<OutcomeLabel, Counter>,
    store_duration: Histogram,
    cache_requests: Family<CacheOutcomeLabel, Counter>,
    cache_bytes: Family<CacheLabel, Gauge>,
    cache_urls: Family<CacheLabel, Gauge>,
    pub(crate) validation: CheckCounts,
}

/// Of the store of the rate limits.
#[derive(Clone, Debug)]
pub(crate) struct StoreMetrics {
    pub(crate) up: Gauge,
    calls: Family<OutcomeLabel, Counter>,
    duration: Histogram,
}

/// Of calls to a server in the same network.
const STORE_BUCKETS_SECONDS: [f64; 10] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
];

impl GatewayMetrics {
    pub(crate) fn new(http: Metrics) -> Self {
        let reloads = Family::<OutcomeLabel, Counter>::default();
        let outcome = |outcome| reloads.get_or_create_owned(&OutcomeLabel { outcome });
        let metrics = Self {
            reloads_applied: outcome("applied"),
            reloads_refused: outcome("refused"),
            last_reload_applied: Gauge::default(),
            config_info: Family::default(),
            connections: Gauge::default(),
            rate_limit_keys: Gauge::default(),
            direct_requests: Counter::default(),
            idle_connections: Gauge::default(),
            log_lines_skipped: Counter::default(),
            revoked_sessions: Gauge::default(),
            revocation_feed_failures: Counter::default(),
            connections_refused: Family::default(),
            connect_failures: Family::default(),
            broken_responses: Family::default(),
            retries: Family::default(),
            replicas: Family::default(),
            replica_states: Family::default(),
            queued: Family::default(),
            circuit_open: Family::default(),
            refused: Family::default(),
            checks: Family::default(),
            rate_limited: Family::default(),
            lookups: Family::default(),
            mirrored: Family::default(),
            rate_limit_fallbacks: Family::default(),
            rate_limit_denied: Family::default(),
            rate_limit_denied_keys: Gauge::default(),
            store_up: Family::default(),
            store_calls: Family::default(),
            store_duration: Histogram::new(STORE_BUCKETS_SECONDS),
            cache_requests: Family::default(),
            cache_bytes: Family::default(),
            cache_urls: Family::default(),
            validation: CheckCounts::new(),
            http,
        };
        for cap in ["total", "client", "proxy_header"] {
            metrics.connections_refused(cap);
        }
        metrics.register(reloads);
        metrics.register_feed();
        metrics.register_destinations();
        metrics.register_limit_store();
        metrics.validation.register(&metrics.http);
        metrics
    }

    fn register_limit_store(&self) {
        let to = &self.http;
        to.register(
            "gateway_rate_limit_store_up",
            "Whether the store of the rate limits is asked",
            self.store_up.clone(),
        );
        to.register(
            "gateway_rate_limit_store_calls",
            "Calls to the store of the rate limits by outcome",
            self.store_calls.clone(),
        );
        to.register(
            "gateway_rate_limit_store_duration_seconds",
            "Duration of calls to the store of the rate limits",
            self.store_duration.clone(),
        );
        to.register(
            "gateway_rate_limit_fallbacks",
            "Requests for which the store of a limit did not count",
            self.rate_limit_fallbacks.clone(),
        );
        to.register(
            "gateway_rate_limit_denied",
            "Requests refused without asking the store, because it had refused one before",
            self.rate_limit_denied.clone(),
        );
        to.register(
            "gateway_rate_limit_denied_keys",
            "Users and client IPs that the store has refused, until their quota is back",
            self.rate_limit_denied_keys.clone(),
        );
    }

    fn register_feed(&self) {
        self.http.register(
            "gateway_revoked_sessions",
            "Sessions whose access tokens are refused",
            self.revoked_sessions.clone(),
        );
        self.http.register(
            "gateway_revocation_feed_failures",
            "Failed attempts to read the feed of revoked sessions",
            self.revocation_feed_failures.clone(),
        );
    }

    fn register(&self, reloads: Family<OutcomeLabel, Counter>) {
        let to = &self.http;
        self.register_config(reloads);
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
        self.register_caches();
        to.register(
            "gateway_upstream_replicas",
            "Known replicas of an upstream",
            self.replicas.clone(),
        );
        self.register_upstreams();
        to.register(
            "gateway_connections",
            "Open client connections",
            self.connections.clone(),
        );
        to.register(
            "gateway_connections_refused",
            "Client connections over a cap, in all or per client, or without their PROXY header",
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

    fn register_config(&self, reloads: Family<OutcomeLabel, Counter>) {
        let to = &self.http;
        to.register(
            "gateway_config_reloads",
            "Configuration reloads by outcome",
            reloads,
        );
        self.last_reload_applied.set(1);
        to.register(
            "gateway_config_last_reload_applied",
            "Whether the last reload was applied, 1, or refused, 0",
            self.last_reload_applied.clone(),
        );
        to.register(
            "gateway_config_info",
            "Always 1; the label is the hash of the configuration in force",
            self.config_info.clone(),
        );
    }

    fn register_caches(&self) {
        let to = &self.http;
        to.register(
            "gateway_cache_requests",
            "Requests to routes with a response cache, by outcome",
            self.cache_requests.clone(),
        );
        to.register(
            "gateway_cache_bytes",
            "Memory of the responses in a cache",
            self.cache_bytes.clone(),
        );
        to.register(
            "gateway_cache_urls",
            "URLs with responses in a cache",
            self.cache_urls.clone(),
        );
    }

    fn register_destinations(&self) {
        let to = &self.http;
        to.register(
            "gateway_lookups",
            "Lookups of destinations by outcome; without those that were known",
            self.lookups.clone(),
        );
        to.register(
            "gateway_mirrored_requests",
            "Copies of requests for mirrors by outcome",
            self.mirrored.clone(),
        );
    }

    fn register_upstreams(&self) {
        let to = &self.http;
        to.register(
            "gateway_upstream_replica_states",
            "Known replicas of an upstream by state",
            self.replica_states.clone(),
        );
        to.register(
            "gateway_upstream_queued",
            "Requests that wait for others to end",
            self.queued.clone(),
        );
        to.register(
            "gateway_upstream_circuit_open",
            "Whether the circuit breaker of an upstream refuses requests",
            self.circuit_open.clone(),
        );
        to.register(
            "gateway_upstream_refused",
            "Requests that were not sent to an upstream because of its limits or its circuit breaker",
            self.refused.clone(),
        );
        to.register(
            "gateway_upstream_health_checks",
            "Health checks of replicas by outcome",
            self.checks.clone(),
        );
    }

    pub(crate) fn refused(&self, upstream: &Arc<str>, reason: &'static str) -> Counter {
        let upstream = Arc::clone(upstream);
        let labels = RefusalLabels { upstream, reason };
        self.refused.get_or_create_owned(&labels)
    }

    pub(crate) fn replica_states(&self, upstream: &Arc<str>, state: &'static str) -> Gauge {
        let upstream = Arc::clone(upstream);
        let labels = StateLabels { upstream, state };
        self.replica_states.get_or_create_owned(&labels)
    }

    pub(crate) fn queued(&self, upstream: &Arc<str>) -> Gauge {
        self.queued.get_or_create_owned(&label(upstream))
    }

    pub(crate) fn circuit_open(&self, upstream: &Arc<str>) -> Gauge {
        self.circuit_open.get_or_create_owned(&label(upstream))
    }

    pub(crate) fn health_checked(&self, upstream: &Arc<str>, succeeded: bool) -> Counter {
        let labels = CheckLabels {
            upstream: Arc::clone(upstream),
            outcome: if succeeded { "succeeded" } else { "failed" },
        };
        self.checks.get_or_create_owned(&labels)
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

    pub(crate) fn forget_replicas(&self, upstream: &Arc<str>, states: [&'static str; 6]) {
        self.replicas.remove(&label(upstream));
        self.queued.remove(&label(upstream));
        self.circuit_open.remove(&label(upstream));
        for state in states {
            let upstream = Arc::clone(upstream);
            self.replica_states.remove(&StateLabels { upstream, state });
        }
    }

    /// Counts the lookups of one name.
    pub(crate) fn lookups(&self, lookup: &Arc<str>) -> impl Fn(LookupOutcome) + use<> {
        let counter = |outcome| {
            let lookup = Arc::clone(lookup);
            let labels = LookupLabels { lookup, outcome };
            self.lookups.get_or_create_owned(&labels)
        };
        let [found, unknown, refused, failed, stale] =
            ["found", "unknown", "refused", "failed", "stale"].map(counter);
        move |outcome| {
            let counter = match outcome {
                LookupOutcome::Found => &found,
                LookupOutcome::Unknown => &unknown,
                LookupOutcome::Refused => &refused,
                LookupOutcome::Failed => &failed,
                LookupOutcome::Stale => &stale,
            };
            counter.inc();
        }
    }

    /// Counts the copies of requests for one upstream.
    pub(crate) fn mirrored(&self, upstream: &Arc<str>) -> impl Fn(MirrorOutcome) + use<> {
        let counter = |outcome| {
            let upstream = Arc::clone(upstream);
            let labels = MirrorLabels { upstream, outcome };
            self.mirrored.get_or_create_owned(&labels)
        };
        let [sent, failed, skipped] = ["sent", "failed", "skipped"].map(counter);
        move |outcome| {
            let counter = match outcome {
                MirrorOutcome::Sent => &sent,
                MirrorOutcome::Failed => &failed,
                MirrorOutcome::Skipped => &skipped,
            };
            counter.inc();
        }
    }

    pub(crate) fn rate_limit_fallbacks(&self, limit: &Arc<str>) -> Counter {
        let limit = Arc::clone(limit);
        self.rate_limit_fallbacks
            .get_or_create_owned(&LimitLabel { limit })
    }

    pub(crate) fn rate_limit_denied(&self, limit: &Arc<str>) -> Counter {
        let limit = Arc::clone(limit);
        self.rate_limit_denied
            .get_or_create_owned(&LimitLabel { limit })
    }

    /// `store` is its kind.
    pub(crate) fn limit_store(&self, store: &'static str) -> StoreMetrics {
        for outcome in ["ok", "timeout", "error"] {
            self.store_calls
                .get_or_create_owned(&OutcomeLabel { outcome });
        }
        StoreMetrics {
            up: self.store_up.get_or_create_owned(&StoreLabel { store }),
            calls: self.store_calls.clone(),
            duration: self.store_duration.clone(),
        }
    }

    /// There is none, or another one: an old gauge would stay what it was.
    pub(crate) fn forget_limit_store(&self, store: &'static str) {
        self.store_up.remove(&StoreLabel { store });
    }

    pub(crate) fn cache_requests(&self, cache: &Arc<str>, outcome: &'static str) -> Counter {
        let cache = Arc::clone(cache);
        self.cache_requests
            .get_or_create_owned(&CacheOutcomeLabel { cache, outcome })
    }

    /// `urls` and `bytes` of the cache.
    pub(crate) fn set_cache_size(&self, cache: &Arc<str>, (urls, bytes): (u64, u64)) {
        let label = CacheLabel {
            cache: Arc::clone(cache),
        };
        let value = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.cache_urls.get_or_create_owned(&label).set(value(urls));
        self.cache_bytes
            .get_or_create_owned(&label)
            .set(value(bytes));
    }

    pub(crate) fn forget_cache(&self, cache: &Arc<str>) {
        let label = CacheLabel {
            cache: Arc::clone(cache),
        };
        self.cache_urls.remove(&label);
        self.cache_bytes.remove(&label);
    }

    /// The hash in force, and that before.
    pub(crate) fn set_config_hash(&self, before: Option<&str>, now: &str) {
        let label = |hash: &str| ConfigLabel { hash: hash.into() };
        if let Some(before) = before.filter(|before| *before != now) {
            self.config_info.remove(&label(before));
        }
        self.config_info.get_or_create_owned(&label(now)).set(1);
    }

    pub(crate) fn rate_limited(&self, limit: &Arc<str>) -> Counter {
        let limit = Arc::clone(limit);
        self.rate_limited.get_or_create_owned(&LimitLabel { limit })
    }
}

impl StoreMetrics {
    pub(crate) fn called(&self, outcome: &'static str, took: Duration) {
        self.calls
            .get_or_create_owned(&OutcomeLabel { outcome })
            .inc();
        self.duration.observe(took.as_secs_f64());
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
