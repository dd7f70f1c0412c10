//! The settings, read once and checked once.

use quartet_common::{
    cli::Settings,
    config::{ConfigError, Database, Jwt, Server, Telemetry},
};
use secrecy::SecretString;
use serde::Deserialize;

/// Every setting of the service; `default.toml` says what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub jwt: Jwt,
    pub telemetry: Telemetry,
    pub keys: Keys,
    pub passwords: Passwords,
    pub sessions: Sessions,
    pub throttle: Throttle,
    pub retention: Retention,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub master_key: SecretString,
    pub rotation_seconds: u64,
    pub publish_ahead_seconds: u64,
    pub reload_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    pub min_length: usize,
    pub max_length: usize,
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
    pub max_concurrent: usize,
    pub max_waiting: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    pub access_token_ttl_seconds: u64,
    pub idle_ttl_seconds: u64,
    pub absolute_ttl_seconds: u64,
    pub refresh_grace_seconds: u64,
    pub fresh_login_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    pub account_free_failures: u32,
    pub account_max_delay_seconds: u32,
    pub address_free_failures: u32,
    pub address_max_delay_seconds: u32,
    pub forget_after_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub deleted_users_seconds: u64,
    pub ended_sessions_seconds: u64,
    pub interval_seconds: u64,
    pub batch: u32,
}

impl Config {
    /// Rules that types alone do not hold.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("keys.rotation_seconds", self.keys.rotation_seconds),
            ("keys.reload_seconds", self.keys.reload_seconds),
            (
                "sessions.access_token_ttl_seconds",
                self.sessions.access_token_ttl_seconds,
            ),
            ("sessions.idle_ttl_seconds", self.sessions.idle_ttl_seconds),
            (
                "sessions.absolute_ttl_seconds",
                self.sessions.absolute_ttl_seconds,
            ),
            (
                "retention.interval_seconds",
                self.retention.interval_seconds,
            ),
            ("retention.batch", self.retention.batch.into()),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return Err(ConfigError::invalid(key, "must be at least 1"));
            }
        }
        if self.keys.publish_ahead_seconds >= self.keys.rotation_seconds {
            let rule = "must be shorter than keys.rotation_seconds";
            return Err(ConfigError::invalid("keys.publish_ahead_seconds", rule));
        }
        if self.passwords.min_length < 8 || self.passwords.max_length < 64 {
            let rule =
                "must be at least 8, and passwords.max_length at least 64 (NIST SP 800-63B-4)";
            return Err(ConfigError::invalid("passwords.min_length", rule));
        }
        if self.jwt.issuer.is_none() {
            return Err(ConfigError::invalid(
                "jwt.issuer",
                "must be set: tokens carry it",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
impl Passwords {
    pub(crate) const fn for_tests() -> Self {
        Self {
            min_length: 15,
            max_length: 256,
            memory_kib: 19_456,
            iterations: 2,
            parallelism: 1,
            max_concurrent: 1,
            max_waiting: 64,
        }
    }
}

impl Settings for Config {
    fn server(&self) -> &Server {
        &self.server
    }

    fn database(&self) -> &Database {
        &self.database
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}
