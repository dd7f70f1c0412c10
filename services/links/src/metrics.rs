//! What can be seen of links from outside.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

/// Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkMetrics {
    /// Clicks that were safe before their redirect was answered.
    pub(crate) clicks_logged: Counter,
    /// Redirects that were answered although their click could not be kept.
    pub(crate) clicks_lost: Counter,
    /// Clicks written to Postgres for the first time.
    pub(crate) clicks_recorded: Counter,
    /// Clicks that Postgres refuses for what is in them.
    pub(crate) clicks_rejected: Counter,
    /// Bytes in the click log that are not in Postgres yet, or not deleted yet.
    pub(crate) log_bytes: Gauge,
    /// Log directories taken over from replicas that are gone.
    pub(crate) logs_adopted: Counter,
}

impl LinkMetrics {
    pub(crate) fn register(&self, metrics: &Metrics) {
        let counters = [
            (
                "links_clicks_logged",
                "Clicks kept before the answer",
                &self.clicks_logged,
            ),
            (
                "links_clicks_lost",
                "Answered clicks that could not be kept",
                &self.clicks_lost,
            ),
            (
                "links_clicks_recorded",
                "Clicks written to Postgres",
                &self.clicks_recorded,
            ),
            (
                "links_clicks_rejected",
                "Clicks refused by Postgres",
                &self.clicks_rejected,
            ),
            (
                "links_logs_adopted",
                "Logs of gone replicas taken over",
                &self.logs_adopted,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        metrics.register(
            "links_click_log_bytes",
            "Size of the click log",
            self.log_bytes.clone(),
        );
    }
}
