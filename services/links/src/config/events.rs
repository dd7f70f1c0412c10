//! Notifications of the database, and events of core.

use quartet_common::config::{ConfigError, empty_as_none};
use quartet_events::{Nats, Signer};
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    #[serde(deserialize_with = "empty_as_none")]
    pub listen_url: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub secret: Option<SecretString>,
    pub previous_secrets: Vec<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub nats_url: Option<SecretString>,
}

impl Events {
    /// # Errors
    /// When a secret is malformed. The message does not contain it.
    pub(crate) fn signer(&self) -> Result<Option<Signer>, ConfigError> {
        quartet_events::signer(self.secret.as_ref(), &self.previous_secrets)
    }

    /// # Errors
    /// When the URL is malformed, or there is no secret. The message does not contain it.
    pub(crate) fn nats(&self) -> Result<Option<Nats>, ConfigError> {
        quartet_events::nats(self.nats_url.as_ref(), self.secret.as_ref())
    }
}
