//! The settings of events, for the sections `events` of the services.

use quartet_auth::signature::Signer;
use quartet_common::config::{ConfigError, all, within};
use secrecy::SecretString;
use url::Url;

use crate::nats::Nats;

const DAY: u64 = 86_400;
/// With the time for which dead letters are kept, less than that of ids in the inbox.
const MAX_WAIT_DAYS: u64 = 60;
const UNSIGNED: &str = "must be set: events are delivered signed";

/// What `events.secret` and `events.previous_secrets` sign and verify with; `None` without a secret.
///
/// # Errors
/// When one is not in the form of Standard Webhooks. The message does not contain it.
pub fn signer(
    secret: Option<&SecretString>,
    previous: &[SecretString],
) -> Result<Option<Signer>, ConfigError> {
    let rule = "must be `whsec_` and 24 to 64 bytes in base64; \
                generate it with `echo whsec_$(openssl rand -base64 32)`";
    let Some(secret) = secret else {
        if previous.is_empty() {
            return Ok(None);
        }
        let rule = "must be set, if events.previous_secrets is";
        return Err(ConfigError::invalid("events.secret", rule));
    };
    let signer = Signer::new(secret).ok_or_else(|| ConfigError::invalid("events.secret", rule));
    let mut signer = signer?;
    for previous in previous {
        signer = signer
            .and_previous(previous)
            .ok_or_else(|| ConfigError::invalid("events.previous_secrets", rule))?;
    }
    Ok(Some(signer))
}

/// NATS, where its URL is set.
///
/// # Errors
/// When the URL is malformed, or there is no secret. The message does not contain it.
pub fn nats(
    url: Option<&SecretString>,
    secret: Option<&SecretString>,
) -> Result<Option<Nats>, ConfigError> {
    let nats = url.map(Nats::new).transpose()?;
    if nats.is_some() && secret.is_none() {
        return Err(ConfigError::invalid("events.secret", UNSIGNED));
    }
    Ok(nats)
}

/// A consumer, and where it receives events.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Names its cursor and its metrics.
    pub name: &'static str,
    /// The name of the job that delivers to it.
    pub job: &'static str,
    /// The base of its URLs.
    pub url: Url,
}

/// How a service delivers its events.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Without one, nothing can be delivered.
    pub signer: Option<Signer>,
    /// In place of requests to `consumers`, which is empty then.
    pub nats: Option<Nats>,
    pub consumers: Vec<Endpoint>,
    pub poll_interval_ms: u64,
    pub request_timeout_seconds: u64,
    pub batch_events: u32,
    pub batch_bytes: u32,
    pub max_tries: u32,
    pub max_wait_seconds: u64,
    pub retention_seconds: u64,
}

impl Delivery {
    /// # Errors
    /// Every setting that breaks a rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        let signed = if self.signer.is_none() && !self.consumers.is_empty() {
            Err(ConfigError::invalid("events.secret", UNSIGNED))
        } else {
            Ok(())
        };
        let first = self.nats.as_ref().and(self.consumers.first());
        let one_way = first.map_or(Ok(()), |endpoint| {
            let key = format!("events.{}_url", endpoint.name);
            let rule = "must be empty: events go through events.nats_url";
            Err(ConfigError::invalid(&key, rule))
        });
        let timeout = self.request_timeout_seconds;
        let wait = self.max_wait_seconds;
        all([
            signed,
            one_way,
            all(self.consumers.iter().map(Endpoint::check)),
            within(
                "events.poll_interval_ms",
                self.poll_interval_ms,
                100..=60_000,
            ),
            within("events.request_timeout_seconds", timeout, 1..=60),
            within("events.batch_events", self.batch_events, 1..=1000),
            within("events.batch_bytes", self.batch_bytes, 1024..=1 << 20),
            within("events.max_tries", self.max_tries, 1..=100),
            within("events.max_wait_seconds", wait, 3600..=MAX_WAIT_DAYS * DAY),
            within(
                "events.retention_seconds",
                self.retention_seconds,
                0..=365 * DAY,
            ),
        ])
    }
}

impl Endpoint {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { name, url, .. } = self;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none();
        if plain {
            return Ok(());
        }
        let rule = "must be an http or https URL without a query";
        Err(ConfigError::invalid(&format!("events.{name}_url"), rule))
    }
}
