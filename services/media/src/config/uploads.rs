//! What may be uploaded, and until when.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

use super::s3::MAX_TTL_SECONDS;

/// Of S3 and R2, for a single PUT.
const MAX_PUT_BYTES: u64 = 5 << 30;
const MAX_VERIFICATION_SECONDS: u64 = 3600;
const MAX_SWEEP_BATCH: u32 = 10_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploads {
    pub max_size_bytes: u64,
    pub ttl_seconds: u64,
    pub content_types: Vec<String>,
    pub verification_timeout_seconds: u64,
    pub abandoned_after_seconds: u64,
    pub sweep_batch: u32,
}

impl Uploads {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (size, late) = (self.max_size_bytes, self.abandoned_after_seconds);
        let limit = self.verification_timeout_seconds;
        all([
            within("uploads.ttl_seconds", self.ttl_seconds, 1..=MAX_TTL_SECONDS),
            within("uploads.max_size_bytes", size, 1..=MAX_PUT_BYTES),
            within(
                "uploads.verification_timeout_seconds",
                limit,
                1..=MAX_VERIFICATION_SECONDS,
            ),
            within("uploads.abandoned_after_seconds", late, 0..=MAX_TTL_SECONDS),
            within("uploads.sweep_batch", self.sweep_batch, 1..=MAX_SWEEP_BATCH),
        ])
    }
}
