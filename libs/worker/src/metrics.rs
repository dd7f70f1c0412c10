//! What `/metrics` shows of durable jobs. Gauges are of the table, so that all replicas show the same.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use quartet_telemetry::metrics::Metrics;
use sqlx::FromRow;

/// What waits, and what is given up.
#[derive(Clone, Copy, Debug, FromRow)]
pub(crate) struct Backlog {
    pub(crate) ready: i64,
    pub(crate) dead: i64,
    pub(crate) oldest_seconds: Option<f64>,
}

const DURATION_BUCKETS_SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    task: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct TaskMetrics {
    runs: Family<OutcomeLabels, Counter>,
    duration: Family<TaskLabel, Histogram, fn() -> Histogram>,
    waiting: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    dead: Gauge,
}

impl TaskMetrics {
    pub(crate) fn register(to: &Metrics) -> Self {
        let metrics = Self {
            runs: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_SECONDS)),
            waiting: to.gauge("tasks_ready", "Durable jobs that are due, up to 10,000"),
            oldest: Gauge::default(),
            dead: to.gauge(
                "tasks_dead_letters",
                "Durable jobs that failed for good, up to 10,000",
            ),
        };
        to.register(
            "tasks_runs",
            "Runs of durable jobs, by what became of them",
            metrics.runs.clone(),
        );
        to.register(
            "tasks_duration_seconds",
            "Duration of runs of durable jobs",
            metrics.duration.clone(),
        );
        to.register(
            "tasks_oldest_ready_seconds",
            "Time for which the first due job has been waiting for a worker",
            metrics.oldest.clone(),
        );
        metrics
    }

    pub(crate) fn ended(&self, task: &'static str, done: bool, last: bool, took: Duration) {
        let outcome = match (done, last) {
            (true, _) => "done",
            (false, false) => "failed",
            (false, true) => "dead",
        };
        self.runs
            .get_or_create(&OutcomeLabels { task, outcome })
            .inc();
        self.duration
            .get_or_create(&TaskLabel { task })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn observe(&self, backlog: &Backlog) {
        self.waiting.set(backlog.ready);
        self.dead.set(backlog.dead);
        self.oldest
            .set(backlog.oldest_seconds.unwrap_or(0.0).max(0.0));
    }

    pub(crate) fn dead(&self) -> i64 {
        self.dead.get()
    }
}
