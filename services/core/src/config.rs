//! The settings, read once and checked once.

use quartet_common::config::{ConfigError, Database, Jwt, Server, Telemetry};
use quartet_service::Settings;
use secrecy::SecretString;
use serde::Deserialize;

use crate::domain::secrets::MasterKey;

/// How long verifiers may keep the published keys.
pub(crate) const JWKS_CACHED_SECONDS: u64 = 300;
/// The `typ` of access tokens (RFC 9068).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";

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
    pub max_per_user: u32,
}

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
        let (keys, sessions, retention) = (&self.keys, &self.sessions, &self.retention);
        let at_least_one = [
            ("keys.rotation_seconds", keys.rotation_seconds),
            ("keys.reload_seconds", keys.reload_seconds),
            (
                "sessions.access_token_ttl_seconds",
                sessions.access_token_ttl_seconds,
            ),
            ("sessions.idle_ttl_seconds", sessions.idle_ttl_seconds),
            (
                "sessions.absolute_ttl_seconds",
                sessions.absolute_ttl_seconds,
            ),
            ("sessions.max_per_user", sessions.max_per_user.into()),
            ("retention.interval_seconds", retention.interval_seconds),
            ("retention.batch", retention.batch.into()),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return Err(ConfigError::invalid(key, "must be at least 1"));
            }
        }
        if self.passwords.min_length < 8 || self.passwords.max_length < 64 {
            let rule =
                "must be at least 8, and passwords.max_length at least 64 (NIST SP 800-63B-4)";
            return Err(ConfigError::invalid("passwords.min_length", rule));
        }
        // A user goes only after their sessions have gone.
        if retention.ended_sessions_seconds > retention.deleted_users_seconds {
            let rule = "must not be longer than retention.deleted_users_seconds";
            return Err(ConfigError::invalid(
                "retention.ended_sessions_seconds",
                rule,
            ));
        }
        self.validate_keys()?;
        self.validate_tokens()
    }

    fn validate_keys(&self) -> Result<(), ConfigError> {
        let ahead = self.keys.publish_ahead_seconds;
        let rule = if ahead >= self.keys.rotation_seconds {
            "must be shorter than keys.rotation_seconds".to_owned()
        } else if ahead <= self.keys.reload_seconds {
            "must be longer than keys.reload_seconds: each replica has to read a key before it signs"
                .to_owned()
        } else if ahead <= JWKS_CACHED_SECONDS {
            format!("must be longer than {JWKS_CACHED_SECONDS}: verifiers keep the keys so long")
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid("keys.publish_ahead_seconds", rule))
    }

    /// This service signs the tokens and verifies them with its own keys.
    fn validate_tokens(&self) -> Result<(), ConfigError> {
        let jwt = &self.jwt;
        let own = "must be empty here: this service verifies with its own keys";
        let carried = "must be set: tokens carry it";
        let rules = [
            ("jwt.issuer", jwt.issuer.is_none(), carried),
            ("jwt.audience", jwt.audience.is_none(), carried),
            ("jwt.jwks_url", jwt.jwks_url.is_some(), own),
            ("jwt.hs256_secret", jwt.hs256_secret.is_some(), own),
            (
                "jwt.token_type",
                jwt.token_type
                    .as_deref()
                    .is_some_and(|kind| kind != TOKEN_TYPE),
                "must be `at+jwt` here, or empty: tokens carry it",
            ),
        ];
        rules
            .into_iter()
            .find(|(_, broken, _)| *broken)
            .map_or(Ok(()), |(key, _, rule)| {
                Err(ConfigError::invalid(key, rule))
            })
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

    fn check(&self) -> Result<(), ConfigError> {
        self.validate()?;
        MasterKey::parse(&self.keys.master_key).map(drop)
    }
}
