//! The gateway's own metrics, beside those that every service has.

mod acme;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod labels;
mod logins;
mod register;
mod series;
mod tls;

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use quartet_telemetry::metrics::Metrics;

use crate::{
    document::CheckCounts,
    upstream::{LookupOutcome, MirrorOutcome},
};
pub(crate) use acme::AcmeMetrics;
#[cfg(feature = "kubernetes")]
pub(crate) use kubernetes::KubernetesMetrics;
use labels::{
    CacheLabel, CacheOutcomeLabel, CapLabel, CheckLabels, ConfigLabel, LimitLabel, LoginLabel,
    LoginLabels, LookupLabels, MirrorLabels, OutcomeLabel, RefusalLabels, StateLabels, StoreLabel,
    UpstreamLabel,
};
pub(crate) use series::PatternSeries;
#[cfg(test)]
pub(crate) use tls::FAILURE_REASONS;
pub(crate) use tls::{CertificateState, TlsMetrics};

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
    logins: Family<LoginLabels, Counter>,
    login_sessions: Family<LoginLabel, Gauge>,
    lookups: Family<LookupLabels, Counter>,
    api_key_exchanges: Family<OutcomeLabel, Counter>,
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
    pub(crate) acme: AcmeMetrics,
    #[cfg(feature = "kubernetes")]
    pub(crate) kubernetes: KubernetesMetrics,
    pub(crate) tls: TlsMetrics,
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
            logins: Family::default(),
            login_sessions: Family::default(),
            lookups: Family::default(),
            api_key_exchanges: Family::default(),
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
            acme: AcmeMetrics::new(&http),
            #[cfg(feature = "kubernetes")]
            kubernetes: KubernetesMetrics::new(&http),
            tls: TlsMetrics::new(&http),
            http,
        };
        for cap in ["total", "client", "proxy_header"] {
            metrics.connections_refused(cap);
        }
        metrics.register(reloads);
        metrics.register_feed();
        metrics.register_destinations();
        metrics.register_logins();
        metrics.register_limit_store();
        metrics.validation.register(&metrics.http);
        metrics
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

    /// Counts exchanges of API keys by outcome.
    pub(crate) fn api_key_exchanges(&self) -> impl Fn(&'static str) + use<> {
        let exchanges = self.api_key_exchanges.clone();
        move |outcome| {
            exchanges.get_or_create(&OutcomeLabel { outcome }).inc();
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

/// Gauges are signed in the exposition format.
pub(crate) fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn label(upstream: &Arc<str>) -> UpstreamLabel {
    let upstream = Arc::clone(upstream);
    UpstreamLabel { upstream }
}
