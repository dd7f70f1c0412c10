//! Settings, read and validated once. `default.toml` documents them.

use std::{fmt, str::FromStr};

use quartet_common::config::{
    ConfigError, Database, Jwt, Server, Telemetry, Worker, all, empty_as_none, http, within,
};
use quartet_events::{Delivery, Endpoint, nats, signer};
use quartet_service::Settings;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

const MASTER_KEY_BYTES: usize = 32;
const DAY: u64 = 86_400;
/// Of lifetimes: ten years.
const MAX_LIFETIME: u64 = 3650 * DAY;
/// Of what one hash of a password takes.
const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;
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
    pub worker: Worker,
    pub telemetry: Telemetry,
    pub keys: Keys,
    pub passwords: Passwords,
    pub sessions: Sessions,
    pub events: Events,
    pub throttle: Throttle,
    pub retention: Retention,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub master_key: SecretString,
    pub previous_master_keys: Vec<SecretString>,
    pub algorithms: Vec<SigningAlgorithm>,
    pub access_token_algorithm: SigningAlgorithm,
    pub rotation_seconds: u64,
    pub publish_ahead_seconds: u64,
    pub reload_seconds: u64,
}

/// An algorithm of signatures, by its name in JOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SigningAlgorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
}

impl SigningAlgorithm {
    pub(crate) const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SigningAlgorithm {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name).ok_or("must be EdDSA, ES256 or RS256")
    }
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
pub struct Events {
    #[serde(deserialize_with = "empty_as_none")]
    pub secret: Option<SecretString>,
    pub previous_secrets: Vec<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub nats_url: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub media_url: Option<Url>,
    #[serde(deserialize_with = "empty_as_none")]
    pub links_url: Option<Url>,
    pub poll_interval_ms: u64,
    pub request_timeout_seconds: u64,
    pub batch_events: u32,
    pub batch_bytes: u32,
    pub max_tries: u32,
    pub max_wait_seconds: u64,
    pub retention_seconds: u64,
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
    pub batch: u32,
}

impl Settings for Config {
    quartet_service::shared_sections!();

    fn check(&self) -> Result<(), ConfigError> {
        all([
            self.check_seconds(),
            self.check_counts(),
            self.passwords.check(),
            self.events.delivery().and_then(|events| events.check()),
            self.check_retention(),
            self.check_keys(),
            self.keys.check_algorithms(),
            self.check_tokens(),
            self.keys.master_key_bytes().map(drop),
            self.keys.previous_master_key_bytes().map(drop),
        ])
    }
}

impl Config {
    /// A user is purged after their sessions.
    fn check_retention(&self) -> Result<(), ConfigError> {
        let retention = &self.retention;
        if retention.ended_sessions_seconds <= retention.deleted_users_seconds {
            return Ok(());
        }
        let rule = "must not be longer than retention.deleted_users_seconds";
        Err(ConfigError::invalid(
            "retention.ended_sessions_seconds",
            rule,
        ))
    }

    fn check_seconds(&self) -> Result<(), ConfigError> {
        let (keys, sessions) = (&self.keys, &self.sessions);
        let (throttle, retention) = (&self.throttle, &self.retention);
        let account_delay = throttle.account_max_delay_seconds.into();
        let address_delay = throttle.address_max_delay_seconds.into();
        let access_token_ttl = sessions.access_token_ttl_seconds;
        let rules = [
            ("keys.rotation", keys.rotation_seconds, 1..=MAX_LIFETIME),
            (
                "keys.publish_ahead",
                keys.publish_ahead_seconds,
                1..=MAX_LIFETIME,
            ),
            ("keys.reload", keys.reload_seconds, 1..=DAY),
            ("sessions.access_token_ttl", access_token_ttl, 1..=30 * DAY),
            (
                "sessions.idle_ttl",
                sessions.idle_ttl_seconds,
                1..=MAX_LIFETIME,
            ),
            (
                "sessions.absolute_ttl",
                sessions.absolute_ttl_seconds,
                1..=MAX_LIFETIME,
            ),
            (
                "sessions.refresh_grace",
                sessions.refresh_grace_seconds,
                0..=DAY,
            ),
            (
                "sessions.fresh_login",
                sessions.fresh_login_seconds,
                0..=MAX_LIFETIME,
            ),
            ("throttle.account_max_delay", account_delay, 0..=DAY),
            ("throttle.address_max_delay", address_delay, 0..=DAY),
            (
                "throttle.forget_after",
                throttle.forget_after_seconds,
                0..=MAX_LIFETIME,
            ),
            (
                "throttle.known_address",
                throttle.known_address_seconds,
                0..=MAX_LIFETIME,
            ),
            (
                "retention.deleted_users",
                retention.deleted_users_seconds,
                0..=MAX_LIFETIME,
            ),
            (
                "retention.ended_sessions",
                retention.ended_sessions_seconds,
                0..=MAX_LIFETIME,
            ),
        ];
        all(rules.map(|(key, seconds, bounds)| within(&format!("{key}_seconds"), seconds, bounds)))
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let throttle = &self.throttle;
        let rules = [
            (
                "sessions.max_per_user",
                self.sessions.max_per_user,
                1..=10_000,
            ),
            (
                "throttle.account_free_failures",
                throttle.account_free_failures,
                0..=1_000_000,
            ),
            (
                "throttle.address_free_failures",
                throttle.address_free_failures,
                0..=1_000_000,
            ),
            ("retention.batch", self.retention.batch, 1..=100_000),
        ];
        all(rules.map(|(key, count, bounds)| within(key, count, bounds)))
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
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
    fn check_tokens(&self) -> Result<(), ConfigError> {
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
        let broken = rules.into_iter().filter(|(_, broken, _)| *broken);
        all(broken.map(|(key, _, rule)| Err(ConfigError::invalid(key, rule))))
    }
}

impl Passwords {
    fn check(&self) -> Result<(), ConfigError> {
        // Argon2 needs eight blocks per lane; what a wrong number of them needs is not known.
        let lanes = self.parallelism.clamp(1, 64);
        let memory = 8 * lanes..=MAX_MEMORY_KIB;
        all([
            // NIST SP 800-63B-4: at least 8 characters are required, at least 64 accepted.
            within("passwords.max_length", self.max_length, 64..=4096),
            within(
                "passwords.min_length",
                self.min_length,
                8..=self.max_length.clamp(64, 4096),
            ),
            within("passwords.parallelism", self.parallelism, 1..=64),
            within("passwords.memory_kib", self.memory_kib, memory),
            within("passwords.iterations", self.iterations, 1..=1000),
            within("passwords.max_concurrent", self.max_concurrent, 0..=1024),
            within("passwords.max_waiting", self.max_waiting, 0..=100_000),
        ])
    }
}

impl Events {
    /// # Errors
    /// When a secret is malformed. The message does not contain it.
    pub(crate) fn delivery(&self) -> Result<Delivery, ConfigError> {
        let consumers = [
            ("media", "events_media", &self.media_url),
            ("links", "events_links", &self.links_url),
        ];
        for (key, url) in [
            ("events.media_url", &self.media_url),
            ("events.links_url", &self.links_url),
        ] {
            url.as_ref().map_or(Ok(()), |url| http(key, url))?;
        }
        let endpoint = |(name, job, url): (_, _, &Option<Url>)| {
            let url = url.clone()?;
            Some(Endpoint { name, job, url })
        };
        Ok(Delivery {
            signer: signer(self.secret.as_ref(), &self.previous_secrets)?,
            nats: nats(self.nats_url.as_ref(), self.secret.as_ref())?,
            consumers: consumers.into_iter().filter_map(endpoint).collect(),
            poll_interval_ms: self.poll_interval_ms,
            request_timeout_seconds: self.request_timeout_seconds,
            batch_events: self.batch_events,
            batch_bytes: self.batch_bytes,
            max_tries: self.max_tries,
            max_wait_seconds: self.max_wait_seconds,
            retention_seconds: self.retention_seconds,
        })
    }
}

impl Keys {
    fn check_algorithms(&self) -> Result<(), ConfigError> {
        let kept = &self.algorithms;
        let count = |one| kept.iter().filter(|other| **other == one).count();
        if SigningAlgorithm::ALL.into_iter().any(|one| count(one) > 1) {
            let rule = "must name each algorithm once";
            return Err(ConfigError::invalid("keys.algorithms", rule));
        }
        if !kept.contains(&self.access_token_algorithm) {
            let rule = "must be one of keys.algorithms";
            return Err(ConfigError::invalid("keys.access_token_algorithm", rule));
        }
        Ok(())
    }

    /// # Errors
    /// When the setting is not 64 hexadecimal digits. The message does not contain it.
    pub(crate) fn master_key_bytes(&self) -> Result<[u8; MASTER_KEY_BYTES], ConfigError> {
        let rule = "must be 64 hexadecimal digits; generate it with `openssl rand -hex 32`";
        let digits = self.master_key.expose_secret().trim();
        if digits.is_empty() {
            let rule = "must be set; generate it with `openssl rand -hex 32`";
            return Err(ConfigError::invalid("keys.master_key", rule));
        }
        key_bytes(digits).ok_or_else(|| ConfigError::invalid("keys.master_key", rule))
    }

    /// # Errors
    /// When one is not 64 hexadecimal digits. The message does not contain it.
    pub(crate) fn previous_master_key_bytes(
        &self,
    ) -> Result<Vec<[u8; MASTER_KEY_BYTES]>, ConfigError> {
        let rule = "must be 64 hexadecimal digits each";
        let keys = self.previous_master_keys.iter();
        keys.map(|key| key_bytes(key.expose_secret().trim()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ConfigError::invalid("keys.previous_master_keys", rule))
    }
}

fn key_bytes(digits: &str) -> Option<[u8; MASTER_KEY_BYTES]> {
    let mut bytes = [0; MASTER_KEY_BYTES];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
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
impl Keys {
    pub(crate) fn for_tests() -> Self {
        Self {
            master_key: SecretString::default(),
            previous_master_keys: Vec::new(),
            algorithms: vec![SigningAlgorithm::EdDsa],
            access_token_algorithm: SigningAlgorithm::EdDsa,
            rotation_seconds: 2_592_000,
            publish_ahead_seconds: 3600,
            reload_seconds: 10,
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
                ..Keys::for_tests()
            };
            let error = keys.master_key_bytes().unwrap_err().to_string();
            assert!(error.contains("keys.master_key"), "{error}");
            assert!(!error.contains("ggg"), "{error}");
        }
    }
}
