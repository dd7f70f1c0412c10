//! Signed URLs for downloads.

use quartet_common::config::{ConfigError, within};
use serde::Deserialize;

use super::s3::MAX_TTL_SECONDS;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downloads {
    pub ttl_seconds: u64,
}

impl Downloads {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        within(
            "downloads.ttl_seconds",
            self.ttl_seconds,
            1..=MAX_TTL_SECONDS,
        )
    }
}
