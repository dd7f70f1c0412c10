//! Answering short URLs.

use std::time::Duration;

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirects {
    pub max_connections: u32,
    pub connection_wait_ms: u64,
    pub cache_bytes: u64,
    pub cache_refresh_seconds: u64,
    pub cache_keep_seconds: u64,
    pub unknown_entries: u64,
    pub unknown_ttl_seconds: u64,
    pub permanent_max_age_seconds: u64,
}

impl Redirects {
    pub(crate) fn connection_wait(&self) -> Duration {
        Duration::from_millis(self.connection_wait_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        all([
            within("redirects.max_connections", self.max_connections, 1..=100),
            within(
                "redirects.connection_wait_ms",
                self.connection_wait_ms,
                10..=10_000,
            ),
            within("redirects.cache_bytes", self.cache_bytes, 1 << 20..=1 << 34),
            within(
                "redirects.cache_refresh_seconds",
                self.cache_refresh_seconds,
                1..=60,
            ),
            within(
                "redirects.cache_keep_seconds",
                self.cache_keep_seconds,
                120..=604_800,
            ),
            within(
                "redirects.unknown_entries",
                self.unknown_entries,
                1..=1_000_000,
            ),
            within(
                "redirects.unknown_ttl_seconds",
                self.unknown_ttl_seconds,
                1..=60,
            ),
            within(
                "redirects.permanent_max_age_seconds",
                self.permanent_max_age_seconds,
                0..=86_400,
            ),
        ])
    }
}
