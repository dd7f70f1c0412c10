//! Taking events from NATS, in place of requests: verified as those are, and acknowledged once they are
//! applied or kept here.
//!
//! A message waits in the stream, so its signature may be old. One that was recorded is worthless
//! nevertheless: its id is in the inbox for longer than its signature is accepted.

use std::{error::Error, time::Duration};

use async_nats::jetstream::{
    AckKind, Message,
    consumer::{PullConsumer, pull},
};
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use quartet_auth::signature::NAMES;
use quartet_jobs::{Job, Run, Runner};

use super::{Inbox, retries::KeepError};
use crate::{
    event::Event,
    nats::{self, Failed, Nats},
};

/// Of requests to the server.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long one pull waits for messages.
const PULL: Duration = Duration::from_secs(30);
/// Messages of one pull. They come one at a time nevertheless.
const PULLED: usize = 10;
/// Without a sign of life for twice this time, the server is away.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Polling interval for the progress of the consumer.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Before a message that could not be kept is delivered again.
const REDELIVERY_DELAY: Duration = Duration::from_secs(5);
/// Less than ids are kept in the inbox.
const SIGNED_WITHIN: TimeDelta = TimeDelta::days(90);
const TOO_OLD: &str = "was signed more than 90 days ago";

impl Inbox {
    /// Starts the jobs that take events from NATS as the consumer `name`, and that try those again
    /// which have failed.
    pub fn start(&self, nats: &Nats, name: &'static str, runner: &mut Runner) {
        self.0.metrics.start_stream(name);
        let (this, nats) = (self.clone(), nats.clone());
        let job = Job::continuous("events", PROGRESS_INTERVAL, move |run| {
            let (this, nats) = (this.clone(), nats.clone());
            async move { this.pull(&nats, name, &run).await }
        });
        // A message in the middle of its transaction would be delivered again only after a while.
        runner.start(job.finish_at_stop());
        self.start_retries(runner);
    }

    /// Pulls until NATS or the database fails. What is not acknowledged by then is delivered again.
    async fn pull(&self, nats: &Nats, name: &str, run: &Run) -> anyhow::Result<()> {
        let context = nats.connect(&format!("quartet-{name}"), TIMEOUT).await?;
        let consumer = nats::consumer(&context, name).await?;
        let mut messages = messages(&consumer).await?;
        let mut look = tokio::time::interval(PROGRESS_INTERVAL);
        loop {
            let message = tokio::select! {
                biased;
                () = run.stopping() => return Ok(()),
                _ = look.tick() => None,
                message = messages.next() => Some(message),
            };
            match message {
                None => self.look(&consumer).await?,
                Some(None) => anyhow::bail!("NATS has ended the delivery"),
                Some(Some(message)) => {
                    self.settle(&message.map_err(|error| Failed::new(&error))?)
                        .await?;
                }
            }
            run.succeeded();
        }
    }

    async fn look(&self, consumer: &PullConsumer) -> Result<(), Failed> {
        let info = consumer.get_info().await;
        let info = info.map_err(|error| Failed::new(&error))?;
        if let Some(stream) = self.0.metrics.stream() {
            let waiting = info.num_pending.saturating_add(info.num_ack_pending as u64);
            let acknowledged = info.ack_floor.stream_sequence;
            stream.progressed(waiting, acknowledged, self.0.clock.now());
        }
        Ok(())
    }

    /// Applies or keeps the event of a message, and reports the outcome to the server.
    async fn settle(&self, message: &Message) -> anyhow::Result<()> {
        let handled = self.handle(message).await;
        let kind = match &handled {
            Ok(kind) => *kind,
            Err(_) => AckKind::Nak(Some(REDELIVERY_DELAY)),
        };
        let acknowledged = message.double_ack_with(kind).await;
        handled?;
        Ok(acknowledged.map_err(|error| Failed::new(error.as_ref()))?)
    }

    async fn handle(&self, message: &Message) -> Result<AckKind, KeepError> {
        match self.open(message) {
            Ok((event, false)) => self.take_or_keep(&event).await?,
            Ok((event, true)) => self.bury(&event, TOO_OLD).await?,
            Err(reason) => {
                self.0.metrics.count("refused");
                tracing::error!(reason, "message refused: not a signed event");
                return Ok(AckKind::Term);
            }
        }
        Ok(AckKind::Ack)
    }

    /// The event in a message, if a publisher that we know has signed it, and whether that was too long
    /// ago.
    fn open(&self, message: &Message) -> Result<(Event, bool), String> {
        let signer = self.0.signer.as_ref();
        let signer = signer.ok_or("events.secret is not set")?;
        let mut headers = HeaderMap::new();
        for name in &NAMES {
            let given = message.headers.as_ref();
            let value = given.and_then(|headers| headers.get(name.as_str()));
            let value = value.and_then(|value| HeaderValue::from_str(value.as_str()).ok());
            headers.extend(value.map(|value| (name.clone(), value)));
        }
        let signed = signer.open(&headers, &message.payload);
        let (id, at) = signed.map_err(|error| error.to_string())?;
        let event: Event =
            serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
        if event.id != id {
            return Err("the signature is of another event".to_owned());
        }
        Ok((event, self.0.clock.now() - at > SIGNED_WITHIN))
    }
}

async fn messages(consumer: &PullConsumer) -> Result<pull::Stream, Failed> {
    let messages = consumer
        .stream()
        .max_messages_per_batch(PULLED)
        .heartbeat(HEARTBEAT)
        .expires(PULL)
        .messages();
    messages
        .await
        .map_err(|error| Failed::new(&error as &dyn Error))
}
