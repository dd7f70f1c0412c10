//! `/health` (the process lives), `/ready` (what it depends on answers), `/metrics`.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use quartet_telemetry::metrics::Metrics;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::extract::Json;

const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Probes may come from many places at once: one answer serves them all for this long.
const FRESH_FOR: Duration = Duration::from_millis(500);

type CheckFn =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What must answer before this process takes requests.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<(&'static str, CheckFn)>,
    draining: Arc<AtomicBool>,
    last: Arc<Mutex<Option<(Instant, Report)>>>,
}

/// Body of `/ready`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub status: &'static str,
    /// Each dependency: `ok`, or why it is not.
    pub checks: BTreeMap<&'static str, String>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.checks.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dependency. The reason that the check gives is shown, so it must hold no secret.
    #[must_use]
    pub fn check<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks
            .push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    /// From now on `/ready` answers 503, so that balancers send no new requests.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Runs the checks side by side, each within two seconds.
    pub async fn report(&self) -> Report {
        if self.is_draining() {
            return Report {
                status: "draining",
                checks: BTreeMap::new(),
            };
        }
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return report.clone();
        }
        let running = self.checks.iter().map(|(name, check)| async move {
            let result = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
            (
                *name,
                result.unwrap_or_else(|_| Err("does not answer in time".into())),
            )
        });
        let mut report = Report {
            status: "ready",
            checks: BTreeMap::new(),
        };
        for (name, result) in futures_util::future::join_all(running).await {
            if result.is_err() {
                report.status = "not ready";
            }
            report
                .checks
                .insert(name, result.err().unwrap_or_else(|| "ok".into()));
        }
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

impl Report {
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

/// The three routes. They stand outside the layer stack: probes are not logged.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route(
            "/health",
            get(|| async { Json(serde_json::json!({"status": "ok"})) }),
        )
        .route("/ready", get(ready).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let report = readiness.report().await;
    let status = if report.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report))
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render())
}
