//! The metrics of this service.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

/// Clones share the values.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkMetrics {
    pub(crate) clicks_logged: Counter,
    pub(crate) clicks_dropped: Counter,
    pub(crate) clicks_recorded: Counter,
    pub(crate) clicks_rejected: Counter,
    pub(crate) click_log_bytes: Gauge,
    pub(crate) logs_recovered: Counter,
    pub(crate) redirect_loads: Counter,
    pub(crate) subscriptions: Gauge,
}

impl LinkMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        let counters = [
            (
                "links_clicks_logged",
                "Clicks persisted in the click log before their redirect was sent",
                &own.clicks_logged,
            ),
            (
                "links_clicks_lost",
                "Clicks dropped because the click log could not be written",
                &own.clicks_dropped,
            ),
            (
                "links_clicks_recorded",
                "Clicks stored in Postgres",
                &own.clicks_recorded,
            ),
            (
                "links_clicks_rejected",
                "Clicks discarded because Postgres rejected their data",
                &own.clicks_rejected,
            ),
            (
                "links_logs_adopted",
                "Click logs of stopped replicas that were recovered",
                &own.logs_recovered,
            ),
            (
                "links_redirect_loads",
                "Redirects looked up in Postgres instead of the cache",
                &own.redirect_loads,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        let gauges = [
            (
                "links_click_log_bytes",
                "Bytes in click log files that are not deleted yet",
                &own.click_log_bytes,
            ),
            (
                "links_subscriptions",
                "Active click subscriptions",
                &own.subscriptions,
            ),
        ];
        for (name, help, gauge) in gauges {
            metrics.register(name, help, gauge.clone());
        }
        own
    }
}
