//! The stream of NATS `JetStream` that events go through, where `events.nats_url` is set.
//!
//! ```text
//! outbox --publish, Nats-Msg-Id--> QUARTET_EVENTS --pull--> consumer `media` --> inbox, then ack
//!                                                 `-------> consumer `links` --> inbox, then ack
//! ```
//!
//! Invariants:
//! - The stream keeps an event until each consumer has acknowledged it (retention by interest), and
//!   refuses events when it is full. With another policy it would drop some, so that a stream of
//!   another kind is not used.
//! - A consumer has one message in its hands, whatever the number of replicas: with two, the second
//!   could be applied before the first.
//! - The publisher alone creates what is missing, one replica at a time: the stream would keep nothing
//!   for a consumer that does not exist yet, and nats-server 2.9 delivers nothing more to one that two
//!   clients have created at the same time.

use std::{io, time::Duration};

use async_nats::{
    ConnectOptions, Event,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        context::{ConsumerInfoErrorKind, GetStreamErrorKind},
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
    },
};
use percent_encoding::percent_decode_str;
use quartet_common::{causes, config::ConfigError};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub(crate) const STREAM: &str = "QUARTET_EVENTS";
const SUBJECTS: &str = "quartet.events.>";
/// Of what not every consumer has acknowledged.
const MAX_BYTES: i64 = 64 * 1024 * 1024;
/// An event that is published again within this time is stored once; after it, the inbox knows its id.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);
/// What a consumer has not acknowledged by then is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(10);
const MAX_ACK_PENDING: i64 = 1;
/// A server that does not respond is found within twice this time.
const PING: Duration = Duration::from_secs(10);

/// Where NATS is, and the login.
#[derive(Clone, Debug)]
pub struct Nats {
    server: Url,
    /// The client ignores a login that is in its URL.
    login: Option<(String, SecretString)>,
}

/// NATS is away, refuses the login, or refuses what is asked for.
#[derive(Debug, thiserror::Error)]
#[error("NATS: {0}")]
pub(crate) struct Failed(String);

impl Failed {
    pub(crate) fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(causes(error))
    }

    fn waiting(what: &str) -> Self {
        let what_next =
            "core creates it when it starts with events.nats_url, and its log says why not";
        Self(format!("{what} does not exist; {what_next}"))
    }
}

impl Nats {
    /// # Errors
    /// When the URL is not one of NATS. The message does not contain it.
    pub fn new(url: &SecretString) -> Result<Self, ConfigError> {
        let rule = "must be nats://user:password@host:port, or the same with tls://";
        Self::parse(url.expose_secret())
            .ok_or_else(|| ConfigError::invalid("events.nats_url", rule))
    }

    fn parse(url: &str) -> Option<Self> {
        let mut server = Url::parse(url).ok()?;
        let plain = matches!(server.scheme(), "nats" | "tls")
            && server.has_host()
            && matches!(server.path(), "" | "/")
            && server.query().is_none()
            && server.fragment().is_none();
        let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
        let login = match (server.username(), server.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return None,
            (user, Some(password)) => Some((decoded(user)?, decoded(password)?.into())),
        };
        server.set_username("").ok()?;
        server.set_password(None).ok()?;
        plain.then_some(Self { server, login })
    }

    /// Connects; `name` is shown by the server. A connection that breaks stays broken: who uses it
    /// connects again.
    pub(crate) async fn connect(&self, name: &str, timeout: Duration) -> Result<Context, Failed> {
        // Fails if there is one already. Where rustls is built with two, it does not choose.
        let _ = async_nats::rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .ping_interval(PING)
            .max_reconnects(1)
            .event_callback(report);
        if let Some((user, password)) = &self.login {
            let password = password.expose_secret().to_owned();
            options = options.user_and_password(user.clone(), password);
        }
        let connecting = options.connect(self.server.as_str());
        let client = tokio::time::timeout(timeout, connecting)
            .await
            .map_err(|_| self.unreachable(&io::Error::from(io::ErrorKind::TimedOut)))?
            .map_err(|error| self.unreachable(&error))?;
        let mut context = jetstream::new(client);
        context.set_timeout(timeout);
        Ok(context)
    }

    /// The address is without the login.
    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Failed {
        let (server, cause) = (&self.server, causes(error));
        Failed(format!(
            "no connection to {server} (events.nats_url): {cause}"
        ))
    }
}

/// What the server says beside its responses, such as that a login lacks a permission: what is
/// asked for without it has no response at all.
async fn report(event: Event) {
    if let Event::ServerError(error) = event {
        tracing::warn!(error = causes(&error), "NATS reported an error");
    }
}

/// The subject of events of a kind, such as `quartet.events.core.user.deleted`.
pub(crate) fn subject(source: &str, kind: &str) -> String {
    let service = source.rsplit('/').next().unwrap_or_default();
    format!("quartet.events.{service}.{kind}")
}

/// Creates the stream and these consumers, as far as they are missing.
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
    if let Some(what) = loses(&stream.cached_info().config) {
        let text = format!("the stream {STREAM} would lose events: {what}");
        return Err(Failed(text));
    }
    for consumer in consumers {
        ensure(&stream, consumer).await?;
    }
    Ok(())
}

/// Creates the consumer, or has it deliver as this module says.
async fn ensure(stream: &Stream, name: &str) -> Result<(), Failed> {
    match stream.consumer_info(name).await {
        Ok(info) if delivers(&info.config) => return Ok(()),
        Ok(_) => {}
        Err(error) if is_missing(&error.kind()) => {}
        Err(error) => return Err(Failed::new(&error)),
    }
    let created = stream.create_consumer(pull::Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    });
    created.await.map_err(|error| Failed::new(&error))?;
    Ok(())
}

fn is_missing(kind: &ConsumerInfoErrorKind) -> bool {
    match kind {
        ConsumerInfoErrorKind::NotFound => true,
        ConsumerInfoErrorKind::JetStream(error) => error.code() == 404,
        _ => false,
    }
}

/// The consumer `name` that the publisher has created.
pub(crate) async fn consumer(context: &Context, name: &str) -> Result<PullConsumer, Failed> {
    let stream = context.get_stream(STREAM).await.map_err(|error| {
        let missing =
            matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.code() == 404);
        if missing {
            Failed::waiting(&format!("the stream {STREAM}"))
        } else {
            Failed::new(&error)
        }
    })?;
    match stream.consumer_info(name).await {
        Ok(info) if delivers(&info.config) => {}
        Ok(_) => return Err(Failed(format!("the consumer {name} has other settings"))),
        Err(error) if is_missing(&error.kind()) => {
            return Err(Failed::waiting(&format!(
                "the consumer `{name}` of {STREAM}"
            )));
        }
        Err(error) => return Err(Failed::new(&error)),
    }
    let consumer = stream.get_consumer(name).await;
    consumer.map_err(|error| Failed(error.to_string()))
}

/// What is wrong with a stream that an operator has created. Size, copies and place are theirs.
fn loses(config: &Config) -> Option<&'static str> {
    let rules = [
        (
            config.subjects.iter().any(|subject| subject == SUBJECTS),
            "its subjects must be quartet.events.>",
        ),
        (
            config.retention == RetentionPolicy::Interest,
            "its retention must be `interest`",
        ),
        (
            config.discard == DiscardPolicy::New,
            "its discard policy must be `new`",
        ),
        (config.max_age.is_zero(), "it must have no maximum age"),
        (
            config.max_messages_per_subject <= 0,
            "it must have no maximum per subject",
        ),
        (!config.no_ack, "it must acknowledge messages"),
        (
            config.storage == StorageType::File,
            "its storage must be `file`",
        ),
    ];
    rules
        .into_iter()
        .find_map(|(holds, rule)| (!holds).then_some(rule))
}

/// Whether a consumer delivers everything, in order, and until it is acknowledged.
fn delivers(config: &jetstream::consumer::Config) -> bool {
    config.deliver_subject.is_none()
        && config.deliver_policy == DeliverPolicy::All
        && config.ack_policy == AckPolicy::Explicit
        && config.max_ack_pending == MAX_ACK_PENDING
        && config.max_deliver <= 0
        && config.filter_subject.is_empty()
        && config.backoff.is_empty()
}
