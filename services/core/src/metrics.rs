//! Metrics of this service besides those of requests.

use prometheus_client::metrics::counter::Counter;
use quartet_telemetry::metrics::Metrics;

/// Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct CoreMetrics {
    pub(crate) sign_ups: Counter,
    pub(crate) logins: Counter,
    pub(crate) failed_logins: Counter,
    pub(crate) reused_refresh_tokens: Counter,
    pub(crate) password_hashes: Counter,
}

impl CoreMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let counters = [
            ("core_sign_ups", "Accounts created", &this.sign_ups),
            ("core_logins", "Successful logins", &this.logins),
            (
                "core_failed_logins",
                "Logins with a wrong email or password",
                &this.failed_logins,
            ),
            (
                "core_reused_refresh_tokens",
                "Sessions revoked because a refresh token was reused",
                &this.reused_refresh_tokens,
            ),
            (
                "core_password_hashes",
                "Argon2 runs: passwords hashed or verified",
                &this.password_hashes,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        this
    }
}
