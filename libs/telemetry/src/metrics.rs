//! Prometheus metrics: the HTTP server's own, and whatever a service registers.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use http::Method;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

pub use prometheus_client;

/// Bounds in seconds that OpenTelemetry's semantic conventions give for HTTP durations.
pub const DURATION_BUCKETS_SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The names of the OpenTelemetry convention, dots written as underscores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    http_request_method: &'static str,
    http_route: Arc<str>,
    http_response_status_code: u16,
}

impl RequestLabels {
    fn new(method: &Method, route: Arc<str>, status: u16) -> Self {
        Self {
            http_request_method: method_label(method),
            http_route: route,
            http_response_status_code: status,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActiveLabels {
    http_request_method: &'static str,
}

/// The process's metrics; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
    active: Family<ActiveLabels, Gauge>,
    /// Of `active`, by [`METHODS`]; each is looked up once.
    pub(crate) active_by_method: Arc<[OnceLock<Gauge>; METHODS.len()]>,
    resident: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new(service: &'static str) -> Self {
        let labels = [("service".into(), service.into())].into_iter();
        let mut registry = Registry::with_labels(labels);
        let requests = Family::default();
        let duration: Family<RequestLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_SECONDS));
        let active = Family::default();
        let resident = Gauge::default();
        registry.register(
            "http_server_requests",
            "Requests completed",
            requests.clone(),
        );
        registry.register(
            "http_server_request_duration_seconds",
            "Time from the request head to the response head",
            duration.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Requests in flight",
            active.clone(),
        );
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory of the process",
            resident.clone(),
        );
        let started = Gauge::<f64, AtomicU64>::default();
        #[expect(
            clippy::disallowed_methods,
            reason = "the time at which the process started"
        )]
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit into 53 bits"
        )]
        started.set(chrono::Utc::now().timestamp_millis() as f64 / 1000.0);
        registry.register(
            "process_start_time_seconds",
            "Start of the process",
            started,
        );
        registry.register(
            "log_lines_dropped",
            "Log lines dropped because stdout was not read",
            crate::log::dropped(),
        );
        let registry = Arc::new(Mutex::new(registry));
        Self {
            registry,
            requests,
            duration,
            active,
            active_by_method: Arc::default(),
            resident,
        }
    }

    /// Adds a metric of the service's own. Keep a clone of it to change it.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.lock().register(name, help, metric);
    }

    /// A new counter; the exposed name gets the suffix `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// A new gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.register(name, help, gauge.clone());
        gauge
    }

    /// Counts a request in flight until the guard is dropped.
    pub fn request_started(&self, method: &Method) -> ActiveRequest {
        let label = method_label(method);
        let place = METHODS.iter().position(|known| *known == label);
        let active = self.active_by_method[place.unwrap_or(OTHER)]
            .get_or_init(|| {
                let http_request_method = label;
                self.active.get_or_create_owned(&ActiveLabels {
                    http_request_method,
                })
            })
            .clone();
        active.inc();
        ActiveRequest(active)
    }

    /// Notes a completed request; `route` is the pattern, never the path.
    pub fn request_finished(&self, method: &Method, route: Arc<str>, status: u16, took: Duration) {
        let labels = RequestLabels::new(method, route, status);
        self.requests.get_or_create(&labels).inc();
        self.duration
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Notes a request that has no duration worth a place in the histogram, such as a WebSocket.
    pub fn request_counted(&self, method: &Method, route: Arc<str>, status: u16) {
        let labels = RequestLabels::new(method, route, status);
        self.requests.get_or_create(&labels).inc();
    }

    /// The series of requests with these labels, for code that counts many of them.
    pub fn series(&self, method: &Method, route: Arc<str>, status: u16) -> RequestSeries {
        let labels = RequestLabels::new(method, route, status);
        RequestSeries {
            requests: self.requests.get_or_create_owned(&labels),
            duration: self.duration.get_or_create_owned(&labels),
        }
    }

    /// Everything in the OpenMetrics text format.
    pub fn render(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        let mut text = String::new();
        encode(&mut text, &self.lock()).expect("writing to a string cannot fail");
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The count and the durations of requests with the same labels.
#[derive(Clone, Debug)]
pub struct RequestSeries {
    requests: Counter,
    duration: Histogram,
}

impl RequestSeries {
    /// Like [`Metrics::request_finished`].
    pub fn finished(&self, took: Duration) {
        self.requests.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// One request in flight.
#[derive(Debug)]
pub struct ActiveRequest(Gauge);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Labels of methods.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "_OTHER",
];
const OTHER: usize = METHODS.len() - 1;

/// Unknown methods share a label: a client must not be able to make new ones.
fn method_label(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|known| **known == method.as_str());
    known.unwrap_or(&METHODS[OTHER])
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<i64>()
        .ok()
        .map(|kib| kib * 1024)
}
