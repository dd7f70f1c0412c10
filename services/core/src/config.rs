//! Settings, read and validated once. `default.toml` documents them.

use quartet_common::config::{ConfigError, Database, Jwt, Server, Telemetry, at_least};
use quartet_service::{Sections, Settings};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

const MASTER_KEY_BYTES: usize = 32;
/// How long verifiers may cache the published keys.
pub(crate) const JWKS_CACHED_SECONDS: u64 = 300;
/// The `typ` of access tokens (RFC 9068).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";

/// All settings of the service.
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
    pub previous_master_keys: Vec<SecretString>,
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

impl Settings for Config {
    fn sections(&self) -> Sections<'_> {
        Sections {
            server: &self.server,
            database: &self.database,
            jwt: &self.jwt,
            telemetry: &self.telemetry,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (keys, sessions, retention) = (&self.keys, &self.sessions, &self.retention);
        at_least("keys.rotation_seconds", keys.rotation_seconds, 1)?;
        at_least("keys.reload_seconds", keys.reload_seconds, 1)?;
        let ttl = sessions.access_token_ttl_seconds;
        at_least("sessions.access_token_ttl_seconds", ttl, 1)?;
        at_least("sessions.idle_ttl_seconds", sessions.idle_ttl_seconds, 1)?;
        let ttl = sessions.absolute_ttl_seconds;
        at_least("sessions.absolute_ttl_seconds", ttl, 1)?;
        at_least("sessions.max_per_user", sessions.max_per_user, 1)?;
        at_least("retention.interval_seconds", retention.interval_seconds, 1)?;
        at_least("retention.batch", retention.batch, 1)?;
        if self.passwords.min_length < 8 || self.passwords.max_length < 64 {
            let rule =
                "must be at least 8, and passwords.max_length at least 64 (NIST SP 800-63B-4)";
            return Err(ConfigError::invalid("passwords.min_length", rule));
        }
        // A user is purged after their sessions.
        if retention.ended_sessions_seconds > retention.deleted_users_seconds {
            let rule = "must not be longer than retention.deleted_users_seconds";
            return Err(ConfigError::invalid(
                "retention.ended_sessions_seconds",
                rule,
            ));
        }
        self.validate_keys()?;
        self.validate_tokens()?;
        self.keys.master_key_bytes()?;
        self.keys.previous_master_key_bytes().map(drop)
    }
}

impl Config {
    fn validate_keys(&self) -> Result<(), ConfigError> {
        let ahead = self.keys.publish_ahead_seconds;
        let rule = if ahead >= self.keys.rotation_seconds {
            "must be shorter than keys.rotation_seconds".to_owned()
        } else if ahead <= self.keys.reload_seconds {
            "must be longer than keys.reload_seconds: every replica reads a key before it signs"
                .to_owned()
        } else if ahead <= JWKS_CACHED_SECONDS {
            format!("must be longer than {JWKS_CACHED_SECONDS}: verifiers cache the keys that long")
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid("keys.publish_ahead_seconds", rule))
    }

    /// This service signs tokens and verifies them with its own keys.
    fn validate_tokens(&self) -> Result<(), ConfigError> {
        let jwt = &self.jwt;
        let own = "must be empty in this service: it verifies tokens with its own keys";
        let required = "must be set: it is a claim of every token";
        let rules = [
            ("jwt.issuer", jwt.issuer.is_none(), required),
            ("jwt.audience", jwt.audience.is_none(), required),
            ("jwt.jwks_url", jwt.jwks_url.is_some(), own),
            ("jwt.hs256_secret", jwt.hs256_secret.is_some(), own),
            (
                "jwt.token_type",
                jwt.token_type
                    .as_deref()
                    .is_some_and(|kind| kind != TOKEN_TYPE),
                "must be `at+jwt` or empty in this service: it is the type of every token",
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

impl Keys {
    /// # Errors
    /// When the setting is not 64 hexadecimal digits. The message does not contain it.
    pub(crate) fn master_key_bytes(&self) -> Result<[u8; MASTER_KEY_BYTES], ConfigError> {
        let rule = "must be 64 hexadecimal digits; generate it with `openssl rand -hex 32`";
        parse_hex(self.master_key.expose_secret().trim())
            .ok_or_else(|| ConfigError::invalid("keys.master_key", rule))
    }

    /// # Errors
    /// When one is not 64 hexadecimal digits. The message does not contain it.
    pub(crate) fn previous_master_key_bytes(
        &self,
    ) -> Result<Vec<[u8; MASTER_KEY_BYTES]>, ConfigError> {
        let rule = "must be 64 hexadecimal digits each";
        let keys = self.previous_master_keys.iter();
        keys.map(|key| parse_hex(key.expose_secret().trim()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ConfigError::invalid("keys.previous_master_keys", rule))
    }
}

fn parse_hex(text: &str) -> Option<[u8; MASTER_KEY_BYTES]> {
    let digit = |byte: u8| {
        let digit = char::from(byte).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes?.try_into().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_master_key_is_rejected_without_being_shown() {
        for text in ["", "abc", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            let keys = Keys {
                master_key: SecretString::from(text),
                previous_master_keys: Vec::new(),
                rotation_seconds: 1,
                publish_ahead_seconds: 1,
                reload_seconds: 1,
            };
            let error = keys.master_key_bytes().unwrap_err().to_string();
            assert!(error.contains("keys.master_key"), "{error}");
            assert!(!error.contains("ggg"), "{error}");
        }
    }
}
