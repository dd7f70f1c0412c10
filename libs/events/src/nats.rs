//! The stream of NATS `JetStream` that events go through, where `events.nats_url` is set.
//!
//! ```text
//! outbox --publish, Nats-Msg-Id--> QUARTET_EVENTS --pull--> consumer `media` --> inbox, then ack
//!                                                 `-------> consumer `links` --> inbox, then ack
//! ```
//!
//! The publisher creates the stream and a durable consumer per service before it publishes: the stream
//! keeps an event until each of them has acknowledged it. It holds a bounded number of bytes and then
//! refuses events, which wait in the outbox, so that nothing is dropped.

use std::{io, time::Duration};

use async_nats::{
    ConnectOptions,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, pull},
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use quartet_common::config::ConfigError;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub(crate) const STREAM: &str = "QUARTET_EVENTS";
const SUBJECTS: &str = "quartet.events.>";
/// Of what not every consumer has acknowledged.
const MAX_BYTES: i64 = 64 * 1024 * 1024;
/// An event that is published again within this time is stored once; after it, the inbox knows its id.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);
/// What a consumer has not acknowledged by then is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages that all replicas of a consumer may have in their hands.
const MAX_ACK_PENDING: i64 = 1000;
/// Few, so that each is acknowledged before [`ACK_WAIT`].
pub(crate) const PULLED_AT_ONCE: usize = 10;

/// Where NATS is. The URL may hold a password.
#[derive(Clone, Debug)]
pub struct Nats(SecretString);

/// NATS is away, refuses the login, or refuses what is asked for.
#[derive(Debug, thiserror::Error)]
#[error("NATS: {0}")]
pub(crate) struct Failed(String);

impl Failed {
    pub(crate) fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(quartet_common::causes(error))
    }
}

impl Nats {
    /// # Errors
    /// When the URL is not one of NATS. The message does not contain it.
    pub fn new(url: &SecretString) -> Result<Self, ConfigError> {
        let parsed = Url::parse(url.expose_secret()).ok();
        let valid = parsed.is_some_and(|url| {
            matches!(url.scheme(), "nats" | "tls")
                && url.has_host()
                && matches!(url.path(), "" | "/")
                && url.query().is_none()
        });
        let rule = "must be nats://user:password@host:port, or the same with tls://";
        if !valid {
            return Err(ConfigError::invalid("events.nats_url", rule));
        }
        Ok(Self(url.clone()))
    }

    /// Connects; `name` is shown by the server. A connection that breaks stays broken: who uses it
    /// connects again.
    pub(crate) async fn connect(&self, name: &str, timeout: Duration) -> Result<Context, Failed> {
        let options = ConnectOptions::new()
            .name(name)
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .max_reconnects(1);
        let connecting = options.connect(self.0.expose_secret());
        let client = tokio::time::timeout(timeout, connecting)
            .await
            .map_err(|_| Failed::new(&io::Error::from(io::ErrorKind::TimedOut)))?
            .map_err(|error| Failed::new(&error))?;
        let mut context = jetstream::new(client);
        context.set_timeout(timeout);
        Ok(context)
    }
}

/// The subject of events of a kind, such as `quartet.events.core.user.deleted`.
pub(crate) fn subject(source: &str, kind: &str) -> String {
    let service = source.rsplit('/').next().unwrap_or_default();
    format!("quartet.events.{service}.{kind}")
}

/// Creates the stream, unless it is there, and its consumers.
pub(crate) async fn prepare(context: &Context, consumers: &[&str]) -> Result<(), Failed> {
    let stream = context.get_or_create_stream(Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECTS.to_owned()],
        retention: RetentionPolicy::Interest,
        discard: DiscardPolicy::New,
        max_bytes: MAX_BYTES,
        storage: StorageType::File,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    });
    let stream = stream.await.map_err(|error| Failed::new(&error))?;
    for consumer in consumers {
        let config = pull::Config {
            durable_name: Some((*consumer).to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING,
            ..pull::Config::default()
        };
        let created = stream.create_consumer(config).await;
        created.map_err(|error| Failed::new(&error))?;
    }
    Ok(())
}
