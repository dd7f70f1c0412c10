//! The events that this service publishes.

use quartet_common::config::{ConfigError, empty_as_none};
use quartet_events::{Delivery, Endpoint, nats, signer};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

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

impl Events {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.delivery()?.check()
    }

    /// # Errors
    /// When a secret is malformed. The message does not contain it.
    pub(crate) fn delivery(&self) -> Result<Delivery, ConfigError> {
        let consumers = [
            ("media", "events_media", &self.media_url),
            ("links", "events_links", &self.links_url),
        ];
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
