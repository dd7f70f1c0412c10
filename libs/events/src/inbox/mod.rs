//! Receiving events: verified, applied once, each in a transaction of its own.
//!
//! The row of an event and its effect commit together, so that an event that arrives again, at any
//! replica and however late, changes nothing. Two deliveries at once wait for each other at that row.
//! An event that cannot be applied does not undo those before it and does not keep those of other
//! subjects waiting; those of its own subject are not tried.

mod api;
mod store;
mod stream;

use std::{collections::HashSet, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use quartet_common::{causes, clock::Clock};
use quartet_telemetry::{metrics::Metrics, panic_message};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::{event::Event, signature::Signer};

/// Where events are received, beside the API. The gateway has no route to it.
pub(crate) const PATH: &str = "/internal/events";
/// Longer than publishers keep what they might deliver again: 60 days of waiting at most, retries, and
/// 30 days as a dead letter.
const KEPT: Duration = Duration::from_hours(100 * 24);
const PURGE_BATCH: i64 = 1000;

/// What a service does with events.
pub trait Consumer: Send + Sync + 'static {
    /// The kinds that [`Self::apply`] knows. Others are accepted and ignored.
    fn kinds(&self) -> &'static [&'static str];

    /// Has the effect of an event, in the transaction that `db` is in, and nowhere else: the
    /// transaction may be rolled back.
    fn apply<'a>(
        &'a self,
        db: &'a mut PgConnection,
        event: &'a Event,
    ) -> BoxFuture<'a, Result<(), Rejected>>;
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The event itself is not as expected. The text is shown to the publisher.
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// The inbox of a service. Clones share everything.
#[derive(Clone)]
pub struct Inbox(Arc<Inner>);

struct Inner {
    db: PgPool,
    clock: Clock,
    /// `None`: no event is accepted.
    signer: Option<Signer>,
    consumer: Box<dyn Consumer>,
    received: Family<OutcomeLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The response to a batch.
#[derive(Debug, Default, Serialize)]
struct Receipt {
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: String,
    reason: String,
    held: bool,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// The inbox in the schema that the connections of `db` use.
    pub fn new(
        signer: Option<Signer>,
        (db, clock): (PgPool, Clock),
        metrics: &Metrics,
        consumer: impl Consumer,
    ) -> Self {
        let received = Family::default();
        metrics.register(
            "events_received",
            "Events received, by what became of them",
            received.clone(),
        );
        Self(Arc::new(Inner {
            db,
            clock,
            signer,
            consumer: Box::new(consumer),
            received,
        }))
    }

    /// What operators should know, for `/ready`.
    pub fn notices(&self) -> Vec<String> {
        let missing = self.0.signer.is_none();
        let text = "events.secret is not set: no events are received";
        missing.then(|| text.to_owned()).into_iter().collect()
    }

    /// Forgets events that cannot arrive again, in bounded rounds to the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge(&self) -> Result<(), sqlx::Error> {
        let before = self.0.clock.now() - KEPT;
        let full = u64::try_from(PURGE_BATCH).unwrap_or(u64::MAX);
        let db = &self.0.db;
        while {
            let mut db = quartet_db::write(db).await?;
            let purged = store::purge(&mut db, before, PURGE_BATCH).await?;
            db.commit().await?;
            purged >= full
        } {}
        Ok(())
    }

    /// Applies the events in their order.
    ///
    /// # Errors
    /// When the database is away: nothing can be said about the rest.
    async fn receive(&self, events: &[Event]) -> Result<Receipt, sqlx::Error> {
        let mut receipt = Receipt::default();
        let mut blocked = HashSet::new();
        for event in events {
            let outcome = if blocked.contains(event.subject.as_str()) {
                Err((true, "waits for an earlier event of the subject".to_owned()))
            } else {
                self.take(event).await?.map_err(|reason| (false, reason))
            };
            let (label, failure) = match outcome {
                Ok(label) => (label, None),
                Err((true, reason)) => ("held", Some((true, reason))),
                Err((false, reason)) => ("rejected", Some((false, reason))),
            };
            let label = OutcomeLabel { outcome: label };
            self.0.received.get_or_create(&label).inc();
            if let Some((held, reason)) = failure {
                blocked.insert(event.subject.as_str());
                receipt.failed.push(Failed {
                    id: event.id.clone(),
                    reason,
                    held,
                });
            }
        }
        Ok(receipt)
    }

    /// What became of an event, or why it was not applied.
    async fn take(&self, event: &Event) -> Result<Result<&'static str, String>, sqlx::Error> {
        if let Err(invalid) = event.check() {
            return Ok(Err(invalid.to_string()));
        }
        let consumer = &self.0.consumer;
        if !consumer.kinds().contains(&event.kind.as_str()) {
            return Ok(Ok("ignored"));
        }
        let mut tx = quartet_db::begin(&self.0.db).await?;
        if !store::insert(&mut tx, event, self.0.clock.now()).await? {
            return Ok(Ok("repeated"));
        }
        let applying = AssertUnwindSafe(consumer.apply(&mut tx, event)).catch_unwind();
        let reason = match applying.await {
            Ok(Ok(())) => {
                tx.commit().await?;
                return Ok(Ok("applied"));
            }
            Ok(Err(Rejected::Database(error))) if quartet_db::is_transient(&error) => {
                return Err(error);
            }
            Ok(Err(Rejected::Invalid(reason))) => reason,
            Ok(Err(Rejected::Database(error))) => {
                tracing::error!(event_id = event.id, error = causes(&error), "event failed");
                "the database refuses it"
            }
            Err(panic) => {
                let message = panic_message(&*panic);
                tracing::error!(event_id = event.id, error = message, "event failed");
                "panic"
            }
        };
        Ok(Err(reason.to_owned()))
    }
}
