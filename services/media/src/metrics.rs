//! Metrics of this service besides those of requests.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

/// Clones share the counters.
#[derive(Clone, Debug)]
pub(crate) struct MediaMetrics {
    pub(crate) presigned: Counter,
    pub(crate) completed: Counter,
    pub(crate) completed_bytes: Counter,
    pub(crate) rejected: Counter,
    pub(crate) swept: Counter,
    /// Assets that a sweep would take; counted up to 100,000.
    pub(crate) sweep_backlog: Gauge,
}

impl MediaMetrics {
    pub(crate) fn register(to: &Metrics) -> Self {
        Self {
            presigned: to.counter("media_uploads_presigned", "Uploads presigned"),
            completed: to.counter("media_uploads_completed", "Uploads completed"),
            completed_bytes: to.counter(
                "media_uploads_completed_bytes",
                "Bytes of completed uploads",
            ),
            rejected: to.counter(
                "media_uploads_refused",
                "Uploads rejected because the file did not match",
            ),
            swept: to.counter(
                "media_objects_swept",
                "Deleted and abandoned assets removed by the sweep",
            ),
            sweep_backlog: to.gauge(
                "media_sweep_backlog",
                "Assets that wait for the sweep, counted up to 100,000",
            ),
        }
    }
}
