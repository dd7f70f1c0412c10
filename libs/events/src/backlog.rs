//! Metrics of events that wait for a consumer: in the outbox of their publisher or, where a stream is
//! between, in the inbox of the consumer. Gauges are of the tables, so that all replicas show the same.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use quartet_telemetry::metrics::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConsumerLabel {
    pub(crate) consumer: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BacklogMetrics {
    failed: Family<ConsumerLabel, Counter>,
    died: Family<ConsumerLabel, Counter>,
    waiting: Family<ConsumerLabel, Gauge>,
    oldest: Family<ConsumerLabel, Gauge<f64, AtomicU64>>,
    dead: Family<ConsumerLabel, Gauge>,
}

/// The backlog of one consumer.
#[derive(Clone, Debug)]
pub(crate) struct BacklogSeries {
    pub(crate) failed: Counter,
    pub(crate) died: Counter,
    pub(crate) dead: Gauge,
    waiting: Gauge,
    oldest: Gauge<f64, AtomicU64>,
}

impl BacklogMetrics {
    pub(crate) fn register(to: &Metrics) -> Self {
        let metrics = Self::default();
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

    pub(crate) fn series(&self, consumer: &'static str) -> BacklogSeries {
        let label = ConsumerLabel { consumer };
        BacklogSeries {
            failed: self.failed.get_or_create_owned(&label),
            died: self.died.get_or_create_owned(&label),
            dead: self.dead.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
            oldest: self.oldest.get_or_create_owned(&label),
        }
    }
}

impl BacklogSeries {
    /// Shows a backlog whose first event has waited since `oldest`.
    pub(crate) fn observe(
        &self,
        waiting: i64,
        dead: i64,
        oldest: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) {
        self.waiting.set(waiting);
        self.dead.set(dead);
        let age = oldest.map_or(0, |at| (now - at).num_milliseconds());
        #[expect(
            clippy::cast_precision_loss,
            reason = "an age in milliseconds is small"
        )]
        self.oldest.set(age.max(0) as f64 / 1000.0);
    }
}
