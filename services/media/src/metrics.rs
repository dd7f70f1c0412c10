//! Metrics of this service besides those of requests.

use prometheus_client::metrics::counter::Counter;
use quartet_telemetry::metrics::Metrics;

/// Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct MediaMetrics {
    pub(crate) presigned: Counter,
    pub(crate) completed: Counter,
    pub(crate) completed_bytes: Counter,
    pub(crate) rejected: Counter,
    pub(crate) swept: Counter,
}

impl MediaMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let counters = [
            (
                "media_uploads_presigned",
                "Uploads presigned",
                &this.presigned,
            ),
            (
                "media_uploads_completed",
                "Uploads completed",
                &this.completed,
            ),
            (
                "media_uploads_completed_bytes",
                "Bytes of completed uploads",
                &this.completed_bytes,
            ),
            (
                "media_uploads_refused",
                "Uploads rejected because the file did not match",
                &this.rejected,
            ),
            (
                "media_objects_swept",
                "Deleted and abandoned assets removed by the sweep",
                &this.swept,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        this
    }
}
