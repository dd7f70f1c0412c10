//! Publishing a batch to NATS, in place of a request to each consumer.

use std::{collections::HashMap, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{
        Context,
        context::{PublishError, PublishErrorKind},
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use quartet_auth::signature::Signer;
use quartet_common::clock::Clock;
use tokio::sync::Mutex;

use super::{
    send::{EventFailure, Outcome},
    store::StoredEvent,
};
use crate::nats::{self, Failed, Nats};

/// How long a consumer that was deleted may stay away. The stream keeps nothing for it.
const PREPARED_FOR: TimeDelta = TimeDelta::minutes(1);
/// The services that receive events.
const CONSUMERS: [&str; 2] = ["media", "links"];

/// The stream, as this replica publishes to it.
pub(super) struct Stream {
    nats: Nats,
    source: String,
    timeout: Duration,
    /// `None` until it is used, and after a failure: the next use connects and prepares again.
    context: Mutex<Option<Prepared>>,
}

/// A connection, and when the stream and its consumers were last seen to be there.
struct Prepared {
    context: Context,
    at: DateTime<Utc>,
}

impl Prepared {
    fn is_recent(&self, now: DateTime<Utc>) -> bool {
        (now - self.at).abs() < PREPARED_FOR
    }
}

impl Stream {
    pub(super) fn new(nats: Nats, source: &str, timeout: Duration) -> Self {
        Self {
            nats,
            source: source.to_owned(),
            timeout,
            context: Mutex::default(),
        }
    }

    /// Whether the stream and its consumers were there less than [`PREPARED_FOR`] ago.
    pub(super) async fn is_prepared(&self, clock: &Clock) -> bool {
        let kept = self.context.lock().await;
        kept.as_ref()
            .is_some_and(|kept| kept.is_recent(clock.now()))
    }

    /// Publishes `events`, one after the other: were two on their way, the second could be stored
    /// before the first is tried again. One may be stored although that fails: the server and the
    /// inboxes know its id.
    pub(super) async fn send(
        &self,
        signer: &Signer,
        clock: &Clock,
        events: &[StoredEvent],
    ) -> Outcome {
        let mut stored = 0;
        let publishing = self.publish(signer, clock, events, &mut stored);
        let error = match tokio::time::timeout(self.timeout, publishing).await {
            Ok(Ok(())) => return Outcome::Applied(HashMap::new()),
            Ok(Err(error)) => error,
            Err(_) => Unpublished::Away("NATS has not answered in time".to_owned()),
        };
        if stored == 0 {
            return match error {
                Unpublished::Away(reason) => Outcome::Away(reason),
                Unpublished::Refused(reason) => Outcome::Refused(reason),
            };
        }
        // The rest is sent again by itself, so that a slow or full server is not sent all of it each
        // time.
        let rest = events.iter().skip(stored);
        Outcome::Applied(
            rest.map(|StoredEvent { event, .. }| (event.id.clone(), EventFailure::held(&event.id)))
                .collect(),
        )
    }

    async fn publish(
        &self,
        signer: &Signer,
        clock: &Clock,
        events: &[StoredEvent],
        stored: &mut usize,
    ) -> Result<(), Unpublished> {
        let mut kept = self.context.lock().await;
        // Put back only if all goes well.
        let prepared = self.prepare(kept.take(), clock).await?;
        for StoredEvent { event, .. } in events {
            let body = event.to_json().to_string();
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, event.id.as_str());
            for (name, value) in &signer.sign(&event.id, clock.now(), body.as_bytes()) {
                headers.insert(name.as_str(), value.to_str().unwrap_or_default());
            }
            let subject = nats::subject(&self.source, &event.kind);
            let sent = prepared
                .context
                .publish_with_headers(subject, headers, body.into());
            sent.await?.await?;
            *stored += 1;
        }
        *kept = Some(prepared);
        Ok(())
    }

    /// Creates what is missing, even where nothing is to be published: the consumers wait for it.
    async fn prepare(&self, kept: Option<Prepared>, clock: &Clock) -> Result<Prepared, Failed> {
        let context = match kept {
            Some(kept) if kept.is_recent(clock.now()) => return Ok(kept),
            Some(kept) => kept.context,
            None => {
                let name = format!("quartet{}", self.source.replace('/', "-"));
                self.nats.connect(&name, self.timeout).await?
            }
        };
        nats::prepare(&context, &CONSUMERS).await?;
        let at = clock.now();
        Ok(Prepared { context, at })
    }
}

/// Why an event is not in the stream.
enum Unpublished {
    /// Nothing can be published now.
    Away(String),
    /// This one cannot be.
    Refused(String),
}

impl From<Failed> for Unpublished {
    fn from(failed: Failed) -> Self {
        Self::Away(failed.to_string())
    }
}

impl From<PublishError> for Unpublished {
    fn from(error: PublishError) -> Self {
        let reason = Failed::new(&error).to_string();
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Self::Refused(reason),
            _ => Self::Away(reason),
        }
    }
}
