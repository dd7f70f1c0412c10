//! What `/metrics` shows of the outbox.

use prometheus_client::metrics::{counter::Counter, family::Family};
use quartet_telemetry::metrics::Metrics;

use crate::backlog::{BacklogMetrics, BacklogSeries, ConsumerLabel};

#[derive(Clone, Debug)]
pub(super) struct OutboxMetrics {
    pub(super) published: Counter,
    delivered: Family<ConsumerLabel, Counter>,
    backlog: BacklogMetrics,
}

/// The metrics of one consumer.
#[derive(Clone, Debug)]
pub(super) struct ConsumerMetrics {
    pub(super) delivered: Counter,
    pub(super) backlog: BacklogSeries,
}

impl OutboxMetrics {
    pub(super) fn register(to: &Metrics, max_wait_seconds: u64) -> Self {
        let max_wait = to.gauge(
            "events_max_wait_seconds",
            "Age at which an event that is not delivered becomes a dead letter",
        );
        max_wait.set(i64::try_from(max_wait_seconds).unwrap_or(i64::MAX));
        let metrics = Self {
            published: to.counter("events_published", "Events written to the outbox"),
            delivered: Family::default(),
            backlog: BacklogMetrics::register(to),
        };
        to.register(
            "events_delivered",
            "Events that a consumer has applied, or that the stream has stored",
            metrics.delivered.clone(),
        );
        metrics
    }

    pub(super) fn series(&self, consumer: &'static str) -> ConsumerMetrics {
        ConsumerMetrics {
            delivered: self
                .delivered
                .get_or_create_owned(&ConsumerLabel { consumer }),
            backlog: self.backlog.series(consumer),
        }
    }
}
