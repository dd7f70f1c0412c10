//! The keys that sign access tokens.

use std::{fmt, str::FromStr};

use quartet_common::config::{ConfigError, all, within};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::limits::{DAY, MAX_LIFETIME};

const MASTER_KEY_BYTES: usize = 32;
/// How long verifiers may cache the published keys.
pub(crate) const JWKS_CACHED_SECONDS: u64 = 300;

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

impl Keys {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let ahead = self.publish_ahead_seconds;
        all([
            within(
                "keys.rotation_seconds",
                self.rotation_seconds,
                1..=MAX_LIFETIME,
            ),
            within("keys.publish_ahead_seconds", ahead, 1..=MAX_LIFETIME),
            within("keys.reload_seconds", self.reload_seconds, 1..=DAY),
            self.check_publish_ahead(),
            self.check_algorithms(),
            self.master_key_bytes().map(drop),
            self.previous_master_key_bytes().map(drop),
        ])
    }

    fn check_publish_ahead(&self) -> Result<(), ConfigError> {
        let ahead = self.publish_ahead_seconds;
        let rule = if ahead >= self.rotation_seconds {
            "must be shorter than keys.rotation_seconds".to_owned()
        } else if ahead <= self.reload_seconds {
            "must be longer than keys.reload_seconds: every replica reads a key before it signs"
                .to_owned()
        } else if ahead <= JWKS_CACHED_SECONDS {
            format!("must be longer than {JWKS_CACHED_SECONDS}: verifiers cache the keys that long")
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid("keys.publish_ahead_seconds", rule))
    }

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
