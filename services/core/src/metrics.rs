//! Metrics of this service besides those of requests.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use quartet_telemetry::metrics::Metrics;

/// Clones share the counters.
#[derive(Clone, Debug)]
pub(crate) struct CoreMetrics {
    pub(crate) sign_ups: Counter,
    pub(crate) logins: Counter,
    pub(crate) failed_logins: Counter,
    pub(crate) reused_refresh_tokens: Counter,
    pub(crate) password_hashes: Counter,
    /// Of the blocks that argon2 works on, in use or kept for the next hash.
    pub(crate) hashing_bytes: Gauge,
    pub(crate) unusable_keys: Gauge,
}

impl CoreMetrics {
    pub(crate) fn register(to: &Metrics) -> Self {
        Self {
            sign_ups: to.counter("core_sign_ups", "Accounts created"),
            logins: to.counter("core_logins", "Successful logins"),
            failed_logins: to.counter(
                "core_failed_logins",
                "Logins with a wrong email or password",
            ),
            reused_refresh_tokens: to.counter(
                "core_reused_refresh_tokens",
                "Sessions revoked because a refresh token was reused",
            ),
            password_hashes: to.counter(
                "core_password_hashes",
                "Argon2 runs: passwords hashed or verified",
            ),
            hashing_bytes: to.gauge(
                "core_password_hashing_bytes",
                "Memory that hashing passwords takes: in use, or kept for the next hash",
            ),
            unusable_keys: to.gauge(
                "core_unusable_signing_keys",
                "Stored signing keys that this replica cannot open",
            ),
        }
    }
}
