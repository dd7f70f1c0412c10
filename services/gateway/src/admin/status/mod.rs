//! `/status`.

mod certificates;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use quartet_http::health::Report;
use quartet_telemetry::{RouteTraffic, metrics::DURATION_BUCKETS_SECONDS};
use tokio::sync::Mutex;

use super::{configuration, routes};
use crate::{
    cache::Outcome,
    policy::rate_limit::StoreStatus,
    snapshot::Snapshot,
    state::State,
    status::{
        CacheStatus, ConnectionStatus, LimitStatus, ReplicaStatus, Status, StoreState,
        TrafficStatus, UpstreamStatus,
    },
    upstream::Upstream,
};

/// Of each list.
const MAX_ENTRIES: usize = 1_000;
/// Any number of readers cost no more than two reports a second.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// The last report.
#[derive(Clone)]
pub(super) struct Reports {
    state: Arc<State>,
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Reports {
    pub(super) fn new(state: &Arc<State>) -> Self {
        Self {
            state: Arc::clone(state),
            last: Arc::default(),
        }
    }

    async fn latest(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((at, known)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return known.clone();
        }
        let report = report(&self.state, self.state.readiness.report().await);
        let body = Bytes::from(serde_json::to_vec(&report).unwrap_or_default());
        *last = Some((Instant::now(), body.clone()));
        body
    }
}

pub(super) async fn show(Extract(reports): Extract<Reports>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, reports.latest().await).into_response()
}

fn report(state: &State, readiness: Report) -> Status {
    let snapshot = state.snapshot();
    let config = &snapshot.config;
    let mut omitted = 0;
    let text = |name: &&'static str| (*name).to_owned();
    let checks = readiness.checks.iter();
    let notices = readiness.notices.iter();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        at: state.clock.now(),
        uptime_ms: u64::try_from(state.reloads.uptime().as_millis()).unwrap_or(u64::MAX),
        state: readiness.status.to_owned(),
        checks: checks.map(|(name, it)| (text(name), it.clone())).collect(),
        notices: notices.map(|(name, it)| (text(name), it.clone())).collect(),
        config: configuration::describe(state),
        connections: ConnectionStatus {
            open: state.metrics.connections.get(),
            max: config.model.server.max_connections,
        },
        requests_in_flight: state.metrics.http.active(),
        routes: bounded(&mut omitted, routes::summarize(config)),
        duration_bounds_seconds: DURATION_BUCKETS_SECONDS.to_vec(),
        traffic: traffic(&snapshot, state.metrics.http.traffic(), &mut omitted),
        upstreams: bounded(&mut omitted, upstreams(&snapshot, state)),
        limits: bounded(&mut omitted, limits(&snapshot, state)),
        limit_store: snapshot
            .shared_counter
            .as_ref()
            .map(|counter| store(&counter.store.describe())),
        caches: bounded(&mut omitted, caches(&snapshot, state)),
        certificates: bounded(&mut omitted, certificates::of(state)),
        omitted,
    }
}

fn bounded<T>(omitted: &mut usize, mut list: Vec<T>) -> Vec<T> {
    *omitted += list.len().saturating_sub(MAX_ENTRIES);
    list.truncate(MAX_ENTRIES);
    list
}

/// Of the patterns of all routes, and of what else was counted, by pattern. The busiest, if these are too
/// many.
fn traffic(
    snapshot: &Snapshot,
    counted: BTreeMap<String, RouteTraffic>,
    omitted: &mut usize,
) -> Vec<TrafficStatus> {
    let mut paths: BTreeMap<String, TrafficStatus> = BTreeMap::new();
    for route in snapshot.config.routes.routes() {
        for pattern in &route.paths {
            let path = paths.entry(pattern.text.to_string()).or_default();
            path.routes.push(Arc::clone(&route.name));
            path.routes.dedup();
        }
    }
    for (pattern, counts) in counted {
        let path = paths.entry(pattern).or_default();
        path.requests = counts.requests;
        path.client_errors = counts.client_errors;
        path.server_errors = counts.server_errors;
        path.durations = counts.durations.to_vec();
        path.duration_seconds = counts.duration_seconds;
    }
    let mut all: Vec<TrafficStatus> = paths
        .into_iter()
        .map(|(path, traffic)| TrafficStatus { path, ..traffic })
        .collect();
    if all.len() > MAX_ENTRIES {
        all.sort_by_key(|traffic| std::cmp::Reverse(traffic.requests));
        all = bounded(omitted, all);
        all.sort_by(|one, other| one.path.cmp(&other.path));
    }
    all
}

fn upstreams(snapshot: &Snapshot, state: &State) -> Vec<UpstreamStatus> {
    let upstreams = snapshot.upstreams.iter();
    upstreams
        .map(|upstream| describe(upstream, state))
        .collect()
}

fn describe(upstream: &Upstream, state: &State) -> UpstreamStatus {
    let (now, metrics) = (Instant::now(), &state.metrics);
    let name = &upstream.config.name;
    let replicas = upstream.replicas();
    let replicas = replicas
        .iter()
        .take(MAX_ENTRIES)
        .map(|replica| ReplicaStatus {
            address: replica.address,
            state: replica.health.state(now).name().to_owned(),
            in_flight: replica.in_flight(),
            check_error: replica.check_error().map(|error| error.to_string()),
        });
    let breaker = upstream.breaker.as_ref();
    let lookups = upstream.lookups().into_iter();
    UpstreamStatus {
        name: Arc::clone(name),
        replicas: replicas.collect(),
        lookup_errors: lookups.filter_map(|lookup| lookup.error).collect(),
        queued: upstream.gate.as_ref().map(|gate| gate.queued()),
        circuit: breaker.map(|breaker| breaker.state_name(now).to_owned()),
        connect_failures: metrics.connect_failures(name).get(),
        broken_responses: metrics.broken_responses(name).get(),
        retries: metrics.retries(name).get(),
    }
}

fn limits(snapshot: &Snapshot, state: &State) -> Vec<LimitStatus> {
    let limits = snapshot.config.limits.iter().map(|limit| LimitStatus {
        name: Arc::clone(&limit.name),
        requests: limit.requests,
        window_seconds: limit.window.as_secs(),
        refused: state.metrics.rate_limited(&limit.name).get(),
    });
    limits.collect()
}

fn store(status: &StoreStatus) -> StoreState {
    StoreState {
        kind: status.kind.to_owned(),
        is_up: status.is_up,
        error: status.error.as_ref().map(ToString::to_string),
    }
}

fn caches(snapshot: &Snapshot, state: &State) -> Vec<CacheStatus> {
    let caches = snapshot.caches.iter().map(|cache| {
        let name = &cache.settings.name;
        let (urls, bytes) = cache.size();
        let requests = Outcome::ALL.map(|outcome| {
            let count = state.metrics.cache_requests(name, outcome.name()).get();
            (outcome.name().to_owned(), count)
        });
        CacheStatus {
            name: Arc::clone(name),
            urls,
            bytes,
            max_bytes: cache.settings.max_bytes,
            requests: requests.into(),
        }
    });
    caches.collect()
}
