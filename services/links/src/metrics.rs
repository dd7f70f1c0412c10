//! Metrics of this service besides those of requests.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

/// Clones share the counters.
#[derive(Clone, Debug)]
pub(crate) struct LinksMetrics {
    pub(crate) clicks_logged: Counter,
    pub(crate) clicks_dropped: Counter,
    pub(crate) clicks_recorded: Counter,
    pub(crate) clicks_rejected: Counter,
    pub(crate) click_log_bytes: Gauge,
    pub(crate) click_log_lag_ms: Gauge,
    pub(crate) click_log_corrupt: Counter,
    pub(crate) click_log_corrupt_bytes: Counter,
    pub(crate) logs_recovered: Counter,
    pub(crate) redirect_loads: Counter,
    pub(crate) redirects_outdated: Counter,
    pub(crate) subscriptions: Gauge,
    pub(crate) graphql_queued_bytes: Gauge,
}

impl LinksMetrics {
    pub(crate) fn register(to: &Metrics) -> Self {
        Self {
            clicks_logged: to.counter(
                "links_clicks_logged",
                "Clicks persisted in the click log before their redirect was sent",
            ),
            clicks_dropped: to.counter(
                "links_clicks_lost",
                "Clicks dropped because the click log could not be written",
            ),
            clicks_recorded: to.counter("links_clicks_recorded", "Clicks stored in Postgres"),
            clicks_rejected: to.counter(
                "links_clicks_rejected",
                "Clicks discarded: rejected by Postgres, or of an unknown format",
            ),
            logs_recovered: to.counter(
                "links_logs_adopted",
                "Click logs of stopped replicas that were recovered",
            ),
            redirect_loads: to.counter(
                "links_redirect_loads",
                "Redirects looked up in Postgres instead of the cache",
            ),
            redirects_outdated: to.counter(
                "links_redirects_outdated",
                "Redirects by a cached link that could not be read again in time",
            ),
            click_log_corrupt: to.counter(
                "links_click_log_corrupt",
                "Places in click logs that could not be read, each at least one click",
            ),
            click_log_corrupt_bytes: to.counter(
                "links_click_log_corrupt_bytes",
                "Bytes of click logs that could not be read",
            ),
            click_log_lag_ms: to.gauge(
                "links_click_log_lag_milliseconds",
                "Age of the oldest click in the batch that is being stored, or was stored last",
            ),
            click_log_bytes: to.gauge(
                "links_click_log_bytes",
                "Bytes in click log files that are not deleted yet",
            ),
            subscriptions: to.gauge("links_subscriptions", "Active click subscriptions"),
            graphql_queued_bytes: to.gauge(
                "links_graphql_queued_bytes",
                "Bytes of GraphQL responses that wait for the clients of WebSockets",
            ),
        }
    }
}
