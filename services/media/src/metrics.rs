//! What the service counts beside its requests.

use prometheus_client::metrics::counter::Counter;
use quartet_telemetry::metrics::Metrics;

/// Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct MediaMetrics {
    pub(crate) presigned: Counter,
    pub(crate) completed: Counter,
    pub(crate) completed_bytes: Counter,
    pub(crate) refused: Counter,
    pub(crate) swept: Counter,
}

impl MediaMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let counters = [
            (
                "media_uploads_presigned",
                "Uploads that were asked for",
                &this.presigned,
            ),
            (
                "media_uploads_completed",
                "Uploads that were verified",
                &this.completed,
            ),
            (
                "media_uploads_completed_bytes",
                "Bytes of verified uploads",
                &this.completed_bytes,
            ),
            (
                "media_uploads_refused",
                "Uploads that were not what was promised",
                &this.refused,
            ),
            (
                "media_objects_swept",
                "Rows of deleted and abandoned uploads removed",
                &this.swept,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        this
    }
}
