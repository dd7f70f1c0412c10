//! Of certificates by ACME.

use std::sync::Arc;

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

use super::labels::{AcmeLabel, AcmeOrderLabels, OutcomeLabel, StoreLabel};

#[derive(Clone, Debug)]
pub(crate) struct AcmeMetrics {
    orders: Family<AcmeOrderLabels, Counter>,
    failures: Family<AcmeLabel, Gauge>,
    store_up: Family<StoreLabel, Gauge>,
    challenges: Family<OutcomeLabel, Counter>,
}

impl AcmeMetrics {
    pub(super) fn new(to: &Metrics) -> Self {
        let metrics = Self {
            orders: Family::default(),
            failures: Family::default(),
            store_up: Family::default(),
            challenges: Family::default(),
        };
        to.register(
            "gateway_acme_orders",
            "Orders of this gateway for a certificate by ACME, by outcome",
            metrics.orders.clone(),
        );
        to.register(
            "gateway_acme_failures",
            "Failed attempts in a row to get a certificate by ACME, of all gateways",
            metrics.failures.clone(),
        );
        to.register(
            "gateway_acme_store_up",
            "Whether the store of the certificates answers",
            metrics.store_up.clone(),
        );
        to.register(
            "gateway_acme_challenges",
            "Requests for ACME challenges by outcome",
            metrics.challenges.clone(),
        );
        metrics
    }

    pub(crate) fn ordered(&self, certificate: &Arc<str>, outcome: &'static str) -> Counter {
        self.orders.get_or_create_owned(&AcmeOrderLabels {
            certificate: Arc::clone(certificate),
            outcome,
        })
    }

    pub(crate) fn set_failures(&self, certificate: &Arc<str>, failures: u32) {
        let certificate = Arc::clone(certificate);
        let failures = failures.into();
        self.failures
            .get_or_create_owned(&AcmeLabel { certificate })
            .set(failures);
    }

    /// There is none of this name any more.
    pub(crate) fn forget(&self, certificate: &Arc<str>) {
        let certificate = Arc::clone(certificate);
        self.failures.remove(&AcmeLabel { certificate });
    }

    /// `store` is its kind.
    pub(crate) fn set_store_up(&self, store: &'static str, is_up: bool) {
        self.store_up
            .get_or_create_owned(&StoreLabel { store })
            .set(is_up.into());
    }

    pub(crate) fn forget_store(&self, store: &'static str) {
        self.store_up.remove(&StoreLabel { store });
    }

    pub(crate) fn challenges(&self, outcome: &'static str) -> Counter {
        self.challenges
            .get_or_create_owned(&OutcomeLabel { outcome })
    }
}
