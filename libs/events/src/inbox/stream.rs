//! Taking events from NATS, in place of requests: verified as those are, and acknowledged once their
//! transaction has ended.
//!
//! A message waits in the stream, so its signature may be old. One that was recorded is worthless all
//! the same: its id is in the inbox for longer than its signature is accepted.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message, consumer::PullConsumer};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use quartet_jobs::{Backoff, Job, Run, Runner};

use super::{Inbox, OutcomeLabel};
use crate::{
    event::Event,
    nats::{Failed, Nats, PULLED_AT_ONCE, STREAM},
    signature::NAMES,
};

/// Of requests to the server.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long one pull waits for messages. An idle consumer sends no more than that.
const PULL: Duration = Duration::from_secs(30);
/// Without a sign of life for twice this long, the server is away.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Less than ids are kept in the inbox.
const SIGNED_WITHIN_SECONDS: u64 = 90 * 86_400;
/// Before an event that could not be applied is delivered again.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(10),
    max: Duration::from_hours(1),
};

impl Inbox {
    /// Starts the job that takes events for the consumer `name` from NATS.
    pub fn start(&self, nats: &Nats, name: &'static str, runner: &mut Runner) {
        let (this, nats) = (self.clone(), nats.clone());
        let job = Job::continuous("events", PULL, move |run| {
            let (this, nats) = (this.clone(), nats.clone());
            async move { this.pull(&nats, name, &run).await }
        });
        runner.start(job);
    }

    /// Pulls until NATS or the database fails. What is not acknowledged by then is delivered again.
    async fn pull(&self, nats: &Nats, name: &str, run: &Run) -> anyhow::Result<()> {
        let context = nats.connect(&format!("quartet-{name}"), TIMEOUT).await?;
        let consumer = context.get_consumer_from_stream(name, STREAM).await;
        let consumer: PullConsumer = consumer.map_err(|error| Failed::new(&error))?;
        loop {
            run.succeeded();
            let batch = consumer
                .batch()
                .max_messages(PULLED_AT_ONCE)
                .heartbeat(HEARTBEAT)
                .expires(PULL);
            let mut batch = batch.messages().await?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(|error| Failed::new(error.as_ref()))?;
                let kind = self.handle(&message).await?;
                let acknowledged = message.double_ack_with(kind).await;
                acknowledged.map_err(|error| Failed::new(error.as_ref()))?;
            }
        }
    }

    /// What the server is told of a message.
    async fn handle(&self, message: &Message) -> Result<AckKind, sqlx::Error> {
        let event = match self.open(message) {
            Ok(event) => event,
            Err(reason) => {
                let outcome = OutcomeLabel { outcome: "refused" };
                self.0.received.get_or_create(&outcome).inc();
                tracing::error!(reason, "a message that is no event of ours is refused");
                return Ok(AckKind::Term);
            }
        };
        let receipt = self.receive(std::slice::from_ref(&event)).await?;
        let Some(failed) = receipt.failed.first() else {
            return Ok(AckKind::Ack);
        };
        let tries = message.info().map_or(1, |info| info.delivered);
        let tries = u32::try_from(tries).unwrap_or(u32::MAX);
        let (event_id, reason) = (&event.id, &failed.reason);
        tracing::warn!(event_id, reason, tries, "event failed");
        Ok(AckKind::Nak(Some(RETRY.delay(tries))))
    }

    /// The event in a message, if a publisher that we know has signed it.
    fn open(&self, message: &Message) -> Result<Event, String> {
        let signer = self.0.signer.as_ref();
        let signer = signer.ok_or("events.secret is not set")?;
        let mut headers = HeaderMap::new();
        for name in &NAMES {
            let given = message.headers.as_ref();
            let value = given.and_then(|headers| headers.get(name.as_str()));
            let value = value.and_then(|value| HeaderValue::from_str(value.as_str()).ok());
            headers.extend(value.map(|value| (name.clone(), value)));
        }
        let now = self.0.clock.now();
        let signed = signer.verify_within(&headers, now, &message.payload, SIGNED_WITHIN_SECONDS);
        let id = signed.map_err(|error| error.to_string())?;
        let event: Event =
            serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
        if event.id != id {
            return Err("the signature is of another event".to_owned());
        }
        Ok(event)
    }
}
