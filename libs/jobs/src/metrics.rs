//! What `/metrics` shows of jobs, by the label `job_name`. Prometheus keeps `job` for the name of
//! the scraped service and would rename ours.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use quartet_telemetry::metrics::Metrics;

/// From a single statement to a purge of millions of rows.
const DURATION_BUCKETS_SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabel {
    job_name: &'static str,
}

/// The metrics of all jobs.
#[derive(Clone, Debug)]
pub(crate) struct JobMetrics {
    runs: Family<JobLabel, Counter>,
    failures: Family<JobLabel, Counter>,
    last_success: Family<JobLabel, Gauge<f64, AtomicU64>>,
    stale_after: Family<JobLabel, Gauge<f64, AtomicU64>>,
    duration: Family<JobLabel, Histogram, fn() -> Histogram>,
}

/// The metrics of one job.
#[derive(Debug)]
pub(crate) struct JobSeries {
    pub(crate) runs: Counter,
    pub(crate) failures: Counter,
    pub(crate) last_success: Gauge<f64, AtomicU64>,
    pub(crate) stale_after: Gauge<f64, AtomicU64>,
    pub(crate) duration: Histogram,
}

impl JobMetrics {
    pub(crate) fn new(to: &Metrics) -> Self {
        let metrics = Self {
            runs: Family::default(),
            failures: Family::default(),
            last_success: Family::default(),
            stale_after: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_SECONDS)),
        };
        to.register("job_runs", "Runs that have ended", metrics.runs.clone());
        to.register(
            "job_failures",
            "Runs that ended with an error or a panic",
            metrics.failures.clone(),
        );
        to.register(
            "job_last_success_timestamp_seconds",
            "Unix time of the last success; before the first one, of the start of the job",
            metrics.last_success.clone(),
        );
        to.register(
            "job_stale_after_seconds",
            "Time without a success after which the job is stale",
            metrics.stale_after.clone(),
        );
        to.register(
            "job_duration_seconds",
            "Duration of runs",
            metrics.duration.clone(),
        );
        metrics
    }

    pub(crate) fn series(&self, job_name: &'static str) -> JobSeries {
        let label = JobLabel { job_name };
        JobSeries {
            runs: self.runs.get_or_create(&label).clone(),
            failures: self.failures.get_or_create(&label).clone(),
            last_success: self.last_success.get_or_create(&label).clone(),
            stale_after: self.stale_after.get_or_create(&label).clone(),
            duration: self.duration.get_or_create(&label).clone(),
        }
    }
}
