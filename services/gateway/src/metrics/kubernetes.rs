//! Of the objects of a cluster.

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

use super::{
    gauge_value,
    labels::{KindLabel, OutcomeLabel},
};

#[derive(Clone, Debug)]
pub(crate) struct KubernetesMetrics {
    objects: Family<KindLabel, Gauge>,
    current: Family<KindLabel, Gauge>,
    failures: Family<KindLabel, Counter>,
    applied: Family<OutcomeLabel, Counter>,
    writes: Family<OutcomeLabel, Counter>,
}

impl KubernetesMetrics {
    pub(super) fn new(to: &Metrics) -> Self {
        let metrics = Self {
            objects: Family::default(),
            current: Family::default(),
            failures: Family::default(),
            applied: Family::default(),
            writes: Family::default(),
        };
        to.register(
            "gateway_kubernetes_objects",
            "Objects of the cluster that are known, by kind",
            metrics.objects.clone(),
        );
        to.register(
            "gateway_kubernetes_current",
            "Whether the objects of a kind have been read and are being watched",
            metrics.current.clone(),
        );
        to.register(
            "gateway_kubernetes_watch_failures",
            "Failed attempts to read the objects of a kind",
            metrics.failures.clone(),
        );
        to.register(
            "gateway_kubernetes_applied",
            "Attempts to put changed objects in force, by outcome",
            metrics.applied.clone(),
        );
        to.register(
            "gateway_kubernetes_status_writes",
            "Attempts to write the status of an object, by outcome",
            metrics.writes.clone(),
        );
        metrics
    }

    pub(crate) fn set_objects(&self, kind: &'static str, count: usize, is_current: bool) {
        let label = KindLabel { kind };
        self.objects
            .get_or_create_owned(&label)
            .set(gauge_value(count));
        self.current
            .get_or_create_owned(&label)
            .set(is_current.into());
    }

    pub(crate) fn watch_failures(&self, kind: &'static str) -> Counter {
        self.failures.get_or_create_owned(&KindLabel { kind })
    }

    pub(crate) fn applied(&self, is_applied: bool) -> Counter {
        let outcome = if is_applied { "applied" } else { "refused" };
        self.applied.get_or_create_owned(&OutcomeLabel { outcome })
    }

    pub(crate) fn status_writes(&self, outcome: &'static str) -> Counter {
        self.writes.get_or_create_owned(&OutcomeLabel { outcome })
    }
}
