//! The delays of logins after failures.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

use super::limits::{DAY, MAX_LIFETIME};

const MAX_FAILURES: u32 = 1_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    pub account_free_failures: u32,
    pub account_max_delay_seconds: u32,
    pub address_free_failures: u32,
    pub address_max_delay_seconds: u32,
    pub forget_after_seconds: u64,
    pub known_address_seconds: u64,
}

impl Throttle {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (account, address) = (
            self.account_max_delay_seconds,
            self.address_max_delay_seconds,
        );
        let rules = [
            ("account_max_delay", account.into(), 0..=DAY),
            ("address_max_delay", address.into(), 0..=DAY),
            ("forget_after", self.forget_after_seconds, 0..=MAX_LIFETIME),
            (
                "known_address",
                self.known_address_seconds,
                0..=MAX_LIFETIME,
            ),
        ];
        let seconds = rules.map(|(key, seconds, bounds)| {
            within(&format!("throttle.{key}_seconds"), seconds, bounds)
        });
        let rules = [
            ("account", self.account_free_failures),
            ("address", self.address_free_failures),
        ];
        let failures = rules.map(|(key, count)| {
            within(
                &format!("throttle.{key}_free_failures"),
                count,
                0..=MAX_FAILURES,
            )
        });
        all([all(seconds), all(failures)])
    }
}
