//! How long rows are kept that nothing uses.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

use super::limits::MAX_LIFETIME;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub deleted_users_seconds: u64,
    pub ended_sessions_seconds: u64,
    pub batch: u32,
}

impl Retention {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (deleted, ended) = (self.deleted_users_seconds, self.ended_sessions_seconds);
        // A user is purged after their sessions.
        let ordered = if ended > deleted {
            let rule = "must not be longer than retention.deleted_users_seconds";
            Err(ConfigError::invalid(
                "retention.ended_sessions_seconds",
                rule,
            ))
        } else {
            Ok(())
        };
        all([
            within("retention.deleted_users_seconds", deleted, 0..=MAX_LIFETIME),
            within("retention.ended_sessions_seconds", ended, 0..=MAX_LIFETIME),
            within("retention.batch", self.batch, 1..=100_000),
            ordered,
        ])
    }
}
