//! Of TLS on the public listeners.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

use super::labels::{CertificateLabel, CertificateReloadLabels, HandshakeLabels, ReasonLabel};

/// Why handshakes fail.
pub(crate) const FAILURE_REASONS: [&str; 10] = [
    "too_many",
    "timeout",
    "plain_http",
    "closed",
    "unknown_name",
    "version",
    "no_common_parameters",
    "client_certificate",
    "by_client",
    "malformed",
];

#[derive(Clone, Debug)]
pub(crate) struct TlsMetrics {
    active: Gauge,
    handshakes: Family<HandshakeLabels, Counter>,
    failures: Family<ReasonLabel, Counter>,
    not_before: Family<CertificateLabel, Gauge>,
    not_after: Family<CertificateLabel, Gauge>,
    reloads: Family<CertificateReloadLabels, Counter>,
    refused: Family<CertificateLabel, Gauge>,
}

/// A handshake, until it is dropped.
#[derive(Debug)]
pub(crate) struct ActiveHandshake(Gauge);

impl Drop for ActiveHandshake {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Of a certificate, as of now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CertificateState {
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    /// What is in its files is not in force.
    pub(crate) is_refused: bool,
}

impl TlsMetrics {
    pub(super) fn new(to: &Metrics) -> Self {
        let metrics = Self {
            active: Gauge::default(),
            handshakes: Family::default(),
            failures: Family::default(),
            not_before: Family::default(),
            not_after: Family::default(),
            reloads: Family::default(),
            refused: Family::default(),
        };
        metrics.register(to);
        for reason in FAILURE_REASONS {
            metrics.failed(reason);
        }
        metrics
    }

    fn register(&self, to: &Metrics) {
        to.register(
            "gateway_tls_handshakes_active",
            "TLS handshakes with clients that are under way",
            self.active.clone(),
        );
        to.register(
            "gateway_tls_handshakes",
            "Completed TLS handshakes with clients, by version and kind",
            self.handshakes.clone(),
        );
        to.register(
            "gateway_tls_handshake_failures",
            "TLS handshakes with clients that failed, by reason",
            self.failures.clone(),
        );
        to.register(
            "gateway_certificate_not_before_seconds",
            "Since when the certificate in force is valid, as Unix time",
            self.not_before.clone(),
        );
        to.register(
            "gateway_certificate_not_after_seconds",
            "Until when the certificate in force is valid, as Unix time",
            self.not_after.clone(),
        );
        to.register(
            "gateway_certificate_reloads",
            "Changed certificate files, by outcome",
            self.reloads.clone(),
        );
        to.register(
            "gateway_certificate_refused",
            "Whether what is in the files of a certificate cannot be used",
            self.refused.clone(),
        );
    }

    /// `None`: as many as `max` are under way.
    pub(crate) fn begin(&self, max: usize) -> Option<ActiveHandshake> {
        let before = self.active.inc();
        let active = ActiveHandshake(self.active.clone());
        usize::try_from(before)
            .is_ok_and(|before| before < max)
            .then_some(active)
    }

    pub(crate) fn completed(&self, version: &'static str, resumed: bool) -> Counter {
        let kind = if resumed { "resumed" } else { "full" };
        self.handshakes
            .get_or_create_owned(&HandshakeLabels { version, kind })
    }

    pub(crate) fn failed(&self, reason: &'static str) -> Counter {
        self.failures.get_or_create_owned(&ReasonLabel { reason })
    }

    pub(crate) fn reloaded(&self, certificate: &Arc<str>, is_applied: bool) -> Counter {
        let labels = CertificateReloadLabels {
            certificate: Arc::clone(certificate),
            outcome: if is_applied { "applied" } else { "refused" },
        };
        self.reloads.get_or_create_owned(&labels)
    }

    pub(crate) fn set_certificate(&self, certificate: &Arc<str>, state: CertificateState) {
        for is_applied in [true, false] {
            self.reloaded(certificate, is_applied);
        }
        let label = label(certificate);
        let set = |family: &Family<CertificateLabel, Gauge>, value: i64| {
            family.get_or_create_owned(&label).set(value);
        };
        set(&self.not_before, state.not_before.timestamp());
        set(&self.not_after, state.not_after.timestamp());
        set(&self.refused, i64::from(state.is_refused));
    }

    pub(crate) fn forget_certificate(&self, certificate: &Arc<str>) {
        let label = label(certificate);
        for family in [&self.not_before, &self.not_after, &self.refused] {
            family.remove(&label);
        }
    }
}

fn label(certificate: &Arc<str>) -> CertificateLabel {
    let certificate = Arc::clone(certificate);
    CertificateLabel { certificate }
}
