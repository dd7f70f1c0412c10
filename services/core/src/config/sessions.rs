//! How long sessions and their tokens live.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

use super::limits::{DAY, MAX_LIFETIME};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    pub access_token_ttl_seconds: u64,
    pub idle_ttl_seconds: u64,
    pub absolute_ttl_seconds: u64,
    pub refresh_grace_seconds: u64,
    pub fresh_login_seconds: u64,
    pub max_per_user: u32,
}

impl Sessions {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (
                "access_token_ttl",
                self.access_token_ttl_seconds,
                1..=30 * DAY,
            ),
            ("idle_ttl", self.idle_ttl_seconds, 1..=MAX_LIFETIME),
            ("absolute_ttl", self.absolute_ttl_seconds, 1..=MAX_LIFETIME),
            ("refresh_grace", self.refresh_grace_seconds, 0..=DAY),
            ("fresh_login", self.fresh_login_seconds, 0..=MAX_LIFETIME),
        ];
        let seconds = rules.map(|(key, seconds, bounds)| {
            within(&format!("sessions.{key}_seconds"), seconds, bounds)
        });
        all([
            all(seconds),
            within("sessions.max_per_user", self.max_per_user, 1..=10_000),
        ])
    }
}
