//! Publishing a batch to NATS, in place of a request to each consumer.

use std::{collections::HashMap, time::Duration};

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::Context};
use quartet_common::clock::Clock;
use tokio::sync::Mutex;

use super::{send::Outcome, store::Stored};
use crate::{
    nats::{self, Failed, Nats},
    signature::Signer,
};

/// The services that receive events.
const CONSUMERS: [&str; 2] = ["media", "links"];

/// The stream, as this replica publishes to it.
pub(super) struct Stream {
    nats: Nats,
    source: String,
    timeout: Duration,
    /// `None` until it is used, and after a failure: the next use connects and prepares anew.
    context: Mutex<Option<Context>>,
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

    /// Publishes `events`. Some may be stored although it fails: the server and the inboxes know their
    /// ids.
    pub(super) async fn send(&self, signer: &Signer, clock: &Clock, events: &[Stored]) -> Outcome {
        let publishing = self.publish(signer, clock, events);
        match tokio::time::timeout(self.timeout, publishing).await {
            Ok(Ok(())) => Outcome::Applied(HashMap::new()),
            Ok(Err(error)) => Outcome::Away(error.to_string()),
            Err(_) => Outcome::Away("NATS has not answered in time".to_owned()),
        }
    }

    async fn publish(
        &self,
        signer: &Signer,
        clock: &Clock,
        events: &[Stored],
    ) -> Result<(), Failed> {
        let mut kept = self.context.lock().await;
        // Put back only if all goes well.
        let context = match kept.take() {
            Some(context) => context,
            None => self.prepare().await?,
        };
        let mut sent = Vec::with_capacity(events.len());
        for Stored { event, .. } in events {
            let body = event.to_json().to_string();
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, event.id.as_str());
            for (name, value) in &signer.sign(&event.id, clock.now(), body.as_bytes()) {
                headers.insert(name.as_str(), value.to_str().unwrap_or_default());
            }
            let subject = nats::subject(&self.source, &event.kind);
            let publishing = context.publish_with_headers(subject, headers, body.into());
            sent.push(publishing.await.map_err(|error| Failed::new(&error))?);
        }
        for stored in sent {
            stored.await.map_err(|error| Failed::new(&error))?;
        }
        *kept = Some(context);
        Ok(())
    }

    async fn prepare(&self) -> Result<Context, Failed> {
        let name = format!("quartet{}", self.source.replace('/', "-"));
        let context = self.nats.connect(&name, self.timeout).await?;
        nats::prepare(&context, &CONSUMERS).await?;
        Ok(context)
    }
}
