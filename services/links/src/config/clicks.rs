//! Recording and storing clicks.

use std::path::PathBuf;

use http::HeaderName;
use quartet_common::config::{ConfigError, all, at_least, empty_as_none, within};
use serde::{Deserialize, Deserializer, de::Error as _};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clicks {
    pub max_connections: u32,
    pub log_dir: PathBuf,
    pub fsync: FsyncMode,
    pub fsync_interval_ms: u64,
    pub segment_bytes: u64,
    pub log_limit_bytes: u64,
    pub when_log_is_full: WhenLogIsFull,
    pub batch_rows: usize,
    pub batch_wait_ms: u64,
    pub adopt_interval_seconds: u64,
    /// A trusted proxy sets it to the visitor's country.
    #[serde(deserialize_with = "header_name")]
    pub country_header: Option<HeaderName>,
    pub retention_days: u32,
}

/// When clicks are synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsyncMode {
    Group,
    Interval,
    Off,
}

/// What happens to a redirect whose click cannot be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenLogIsFull {
    Redirect,
    Refuse,
}

impl Clicks {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        all([
            within("clicks.max_connections", self.max_connections, 2..=100),
            within(
                "clicks.fsync_interval_ms",
                self.fsync_interval_ms,
                1..=60_000,
            ),
            within("clicks.segment_bytes", self.segment_bytes, 4096..=1 << 30),
            within(
                "clicks.log_limit_bytes",
                self.log_limit_bytes,
                4096..=1 << 40,
            ),
            at_least(
                "clicks.log_limit_bytes",
                self.log_limit_bytes,
                self.segment_bytes,
            ),
            within("clicks.batch_rows", self.batch_rows as u64, 1..=5000),
            within("clicks.batch_wait_ms", self.batch_wait_ms, 1..=10_000),
            within(
                "clicks.adopt_interval_seconds",
                self.adopt_interval_seconds,
                1..=3600,
            ),
            within("clicks.retention_days", self.retention_days, 0..=36_500),
        ])
    }
}

/// An empty string means that the setting is not set.
fn header_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HeaderName>, D::Error> {
    let name: Option<String> = empty_as_none(from)?;
    let name = name.map(|name| name.parse()).transpose();
    name.map_err(|_| D::Error::custom("must be a valid header name"))
}
