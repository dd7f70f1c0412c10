//! What every store keeps to.

use ::redis::RedisError;

/// A row that has nothing any more.
pub(crate) const NO_ROW: &str = "";
/// A chain, a key and an order are a few kilobytes.
pub(super) const MAX_ROW_BYTES: usize = 1024 * 1024;
/// At the same time: 100 certificates of 100 hosts.
pub(super) const MAX_CHALLENGES: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("no answer in time")]
    Slow,
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("{path}: {source}")]
    File {
        path: String,
        source: std::io::Error,
    },
    #[error("it has {0}")]
    Refused(String),
}

/// Who writes, and by which right.
pub(crate) type Holder<'h> = (&'h str, u64);
