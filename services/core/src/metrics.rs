//! What the service counts beside its requests.

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
            ("core_sign_ups", "Users that signed up", &this.sign_ups),
            ("core_logins", "Logins that succeeded", &this.logins),
            (
                "core_failed_logins",
                "Logins with a wrong address or password",
                &this.failed_logins,
            ),
            (
                "core_reused_refresh_tokens",
                "Sessions ended because a spent refresh token was used",
                &this.reused_refresh_tokens,
            ),
            (
                "core_password_hashes",
                "Passwords hashed or verified",
                &this.password_hashes,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        this
    }
}
