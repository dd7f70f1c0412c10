//! What `/metrics` shows of the outbox. Gauges are of the tables, so that all replicas show the same.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use quartet_telemetry::metrics::Metrics;

use super::store::Backlog;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConsumerLabel {
    consumer: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OutboxMetrics {
    pub(super) published: Counter,
    delivered: Family<ConsumerLabel, Counter>,
    failed: Family<ConsumerLabel, Counter>,
    died: Family<ConsumerLabel, Counter>,
    waiting: Family<ConsumerLabel, Gauge>,
    oldest: Family<ConsumerLabel, Gauge<f64, AtomicU64>>,
    dead: Family<ConsumerLabel, Gauge>,
}

/// The metrics of one consumer.
#[derive(Clone, Debug)]
pub(super) struct ConsumerMetrics {
    pub(super) delivered: Counter,
    pub(super) failed: Counter,
    pub(super) died: Counter,
    pub(super) dead: Gauge,
    waiting: Gauge,
    oldest: Gauge<f64, AtomicU64>,
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
            ..Self::default()
        };
        to.register(
            "events_delivered",
            "Events that a consumer has applied",
            metrics.delivered.clone(),
        );
        to.register(
            "events_failed",
            "Tries after which a consumer could not apply an event",
            metrics.failed.clone(),
        );
        to.register(
            "events_dead",
            "Events that became dead letters",
            metrics.died.clone(),
        );
        to.register(
            "events_waiting",
            "Events that are not delivered yet, counted up to 10,000",
            metrics.waiting.clone(),
        );
        to.register(
            "events_oldest_waiting_seconds",
            "Age of the oldest event that is not delivered yet",
            metrics.oldest.clone(),
        );
        to.register(
            "events_dead_letters",
            "Dead letters that are kept, counted up to 10,000",
            metrics.dead.clone(),
        );
        metrics
    }

    pub(super) fn series(&self, consumer: &'static str) -> ConsumerMetrics {
        let label = ConsumerLabel { consumer };
        ConsumerMetrics {
            delivered: self.delivered.get_or_create_owned(&label),
            failed: self.failed.get_or_create_owned(&label),
            died: self.died.get_or_create_owned(&label),
            dead: self.dead.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
            oldest: self.oldest.get_or_create_owned(&label),
        }
    }
}

impl ConsumerMetrics {
    pub(super) fn observe(&self, backlog: &Backlog, now: DateTime<Utc>) {
        self.waiting.set(backlog.fresh + backlog.retries);
        self.dead.set(backlog.dead);
        let age = backlog.oldest.map_or(0, |at| (now - at).num_milliseconds());
        #[expect(
            clippy::cast_precision_loss,
            reason = "an age in milliseconds is small"
        )]
        self.oldest.set(age.max(0) as f64 / 1000.0);
    }
}
