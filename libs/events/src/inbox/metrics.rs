//! What `/metrics` shows of the inbox.

use std::sync::{Mutex, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use quartet_telemetry::metrics::Metrics;

use super::store::Backlog;
use crate::backlog::{BacklogMetrics, BacklogSeries};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug)]
pub(super) struct InboxMetrics {
    registry: Metrics,
    received: Family<OutcomeLabel, Counter>,
    /// Of a service that takes events from a stream.
    stream: OnceLock<StreamMetrics>,
}

#[derive(Debug)]
pub(super) struct StreamMetrics {
    pub(super) backlog: BacklogSeries,
    progress: Mutex<Progress>,
}

/// How far the consumer is, as the server says: the same to every replica.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Messages that are not acknowledged.
    waiting: i64,
    acknowledged: u64,
    /// Since when messages wait and none was acknowledged.
    stuck_since: Option<DateTime<Utc>>,
}

impl InboxMetrics {
    pub(super) fn register(to: &Metrics) -> Self {
        let received = Family::default();
        to.register(
            "events_received",
            "Events received, by what became of them",
            received.clone(),
        );
        Self {
            registry: to.clone(),
            received,
            stream: OnceLock::new(),
        }
    }

    pub(super) fn count(&self, outcome: &'static str) {
        let label = OutcomeLabel { outcome };
        self.received.get_or_create(&label).inc();
    }

    /// `None` unless events come from a stream.
    pub(super) fn stream(&self) -> Option<&StreamMetrics> {
        self.stream.get()
    }

    pub(super) fn start_stream(&self, consumer: &'static str) {
        self.stream.get_or_init(|| StreamMetrics {
            backlog: BacklogMetrics::register(&self.registry).series(consumer),
            progress: Mutex::default(),
        });
    }
}

impl StreamMetrics {
    /// Everything up to `acknowledged` is done, and `waiting` messages are not.
    pub(super) fn progressed(&self, waiting: u64, acknowledged: u64, now: DateTime<Utc>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let since = progress
            .stuck_since
            .filter(|_| progress.acknowledged == acknowledged)
            .unwrap_or(now);
        *progress = Progress {
            waiting: i64::try_from(waiting).unwrap_or(i64::MAX),
            acknowledged,
            stuck_since: (waiting > 0).then_some(since),
        };
    }

    pub(super) fn observe(&self, backlog: &Backlog, now: DateTime<Utc>) {
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = [progress.stuck_since, backlog.oldest];
        let oldest = oldest.into_iter().flatten().min();
        let waiting = backlog.waiting.saturating_add(progress.waiting);
        self.backlog.observe(waiting, backlog.dead, oldest, now);
    }
}
