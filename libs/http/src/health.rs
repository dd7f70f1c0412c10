//! `/health` (liveness), `/ready` (readiness: the dependencies respond), `/metrics`.

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
/// Many probes may come at once: one report serves them all for this long.
const FRESH_FOR: Duration = Duration::from_millis(500);

type CheckFn =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

type NoticeFn = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

#[derive(Clone)]
struct Check {
    name: &'static str,
    run: CheckFn,
    /// Whether a failure makes the process not ready.
    decides: bool,
}

/// The dependencies that must respond before this process receives requests.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<Check>,
    notices: Vec<(&'static str, NoticeFn)>,
    draining: Arc<AtomicBool>,
    last: Arc<Mutex<Option<(Instant, Report)>>>,
}

/// Body of `/ready`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub status: &'static str,
    /// For each dependency `ok`, or what is wrong.
    pub checks: BTreeMap<&'static str, String>,
    /// What operators should know although requests are served.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notices: BTreeMap<&'static str, Vec<String>>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.checks.iter().map(|check| check.name))
            .finish()
    }
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dependency. The error of the check is shown, so it must contain no secret.
    #[must_use]
    pub fn check<F, Fut>(self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.add(name, true, Arc::new(move || Box::pin(check())))
    }

    /// Adds a dependency without which the process still does its main job. Its state is shown like
    /// that of the others, and does not decide about readiness: where replicas that are not ready
    /// receive nothing, an outage of the dependency would otherwise take down all of them.
    #[must_use]
    pub fn inform<F, Fut>(self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.add(name, false, Arc::new(move || Box::pin(check())))
    }

    fn add(mut self, name: &'static str, decides: bool, run: CheckFn) -> Self {
        self.checks.push(Check { name, run, decides });
        self
    }

    /// Adds information that does not decide about readiness, such as stale jobs. It is shown, so
    /// it must hold no secret; an empty list is not shown.
    #[must_use]
    pub fn notice<F>(mut self, name: &'static str, notice: F) -> Self
    where
        F: Fn() -> Vec<String> + Send + Sync + 'static,
    {
        self.notices.push((name, Arc::new(notice)));
        self
    }

    /// Makes `/ready` return 503, so that load balancers send no new requests.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Runs the checks concurrently, each for at most two seconds.
    pub async fn report(&self) -> Report {
        if self.is_draining() {
            return Report {
                status: "draining",
                checks: BTreeMap::new(),
                notices: BTreeMap::new(),
            };
        }
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return report.clone();
        }
        let running = self.checks.iter().map(|check| async move {
            let result = tokio::time::timeout(CHECK_TIMEOUT, (check.run)()).await;
            let late = |_| Err("does not respond in time".into());
            (check, result.unwrap_or_else(late))
        });
        let mut report = Report {
            status: "ready",
            checks: BTreeMap::new(),
            notices: BTreeMap::new(),
        };
        for (name, notice) in &self.notices {
            let notice = notice();
            if !notice.is_empty() {
                report.notices.insert(name, notice);
            }
        }
        for (check, result) in futures_util::future::join_all(running).await {
            if result.is_err() && check.decides {
                report.status = "not ready";
            }
            report
                .checks
                .insert(check.name, result.err().unwrap_or_else(|| "ok".into()));
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

/// The three routes. They are outside the layers: probes are not logged.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_only_informs_is_shown_and_does_not_decide() {
        let readiness = Readiness::new()
            .check("click_log", || async { Ok(()) })
            .inform("database", || async { Err("does not respond".to_owned()) });
        let report = readiness.report().await;
        assert!(report.is_ready());
        assert_eq!(report.checks["database"], "does not respond");
        let readiness = readiness.check("disk", || async { Err("is full".to_owned()) });
        readiness.last.lock().await.take();
        assert!(!readiness.report().await.is_ready());
    }

    #[tokio::test]
    async fn a_notice_is_shown_and_the_replica_stays_ready() {
        let stale = vec!["sweep: no success for 900 s, 3 failures in a row".to_owned()];
        let shown = stale.clone();
        let readiness = Readiness::new()
            .check("database", || async { Ok(()) })
            .notice("jobs", move || shown.clone())
            .notice("nothing", Vec::new);
        let report = readiness.report().await;
        assert!(report.is_ready());
        assert_eq!(report.notices, BTreeMap::from([("jobs", stale)]));
        let silent = Readiness::new().report().await;
        let body = serde_json::to_value(silent).unwrap();
        assert_eq!(body, serde_json::json!({"status": "ready", "checks": {}}));
    }
}
