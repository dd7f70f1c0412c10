//! Receiving events: verified, applied once, each in a transaction of its own.
//!
//! The row of an event and its effect commit together, so that an event that arrives again, at any
//! replica and however late, changes nothing. Two deliveries at once wait for each other at that row.
//! An event that cannot be applied does not undo those before it and does not keep those of other
//! subjects waiting; those of its own subject are not tried. Over HTTP, the publisher keeps both; from a
//! stream, this service does ([`retries`]).

mod api;
mod metrics;
mod retries;
mod store;
mod stream;

use std::{collections::HashSet, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use quartet_auth::signature::Signer;
use quartet_common::{causes, clock::Clock};
use quartet_db::{Rounds, rounds};
use quartet_telemetry::{metrics::Metrics, panic_message};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::{dead_letters, event::Event};
use metrics::InboxMetrics;

/// Where events are received, beside the API. The gateway has no route to it.
pub(crate) const PATH: &str = "/internal/events";
/// Longer than publishers keep what they might deliver again: 60 days of waiting at most, retries, and
/// 30 days as a dead letter.
const KEPT: Duration = Duration::from_hours(100 * 24);
const PURGE_BATCH: i64 = 1000;
const HELD: &str = "waits for an earlier event of the subject";

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
    ) -> BoxFuture<'a, Result<(), ApplyError>>;
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
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
    metrics: InboxMetrics,
}

/// What became of an event.
#[derive(Debug)]
enum Taken {
    Applied,
    /// It was applied before.
    Repeated,
    /// No one here needs it.
    Ignored,
    /// An earlier one of the subject waits for a retry.
    Held,
    Rejected(String),
}

impl Taken {
    fn label(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Repeated => "repeated",
            Self::Ignored => "ignored",
            Self::Held => "held",
            Self::Rejected(_) => "rejected",
        }
    }

    /// Why it is not applied, if that is so.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Applied | Self::Repeated | Self::Ignored => None,
            Self::Held => Some(HELD),
            Self::Rejected(reason) => Some(reason),
        }
    }
}

/// The response to a batch.
#[derive(Debug, Default, Serialize)]
struct Receipt {
    failed: Vec<EventFailure>,
}

#[derive(Debug, Serialize)]
struct EventFailure {
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
        db: PgPool,
        clock: Clock,
        signer: Option<Signer>,
        metrics: &Metrics,
        consumer: impl Consumer,
    ) -> Self {
        let metrics = InboxMetrics::register(metrics);
        Self(Arc::new(Inner {
            db,
            clock,
            signer,
            consumer: Box::new(consumer),
            metrics,
        }))
    }

    /// What operators should know, for `/ready`.
    pub fn notices(&self) -> Vec<String> {
        let missing = self.0.signer.is_none();
        let missing =
            missing.then(|| "events.secret is not set: no events are received".to_owned());
        let stream = self.0.metrics.stream();
        let dead = stream.map_or(0, |stream| stream.backlog.dead.get());
        let dead = (dead > 0).then(|| format!("{dead} dead letters"));
        missing.into_iter().chain(dead).collect()
    }

    /// Forgets events that cannot arrive again and old dead letters. `stopping` ends it between two
    /// rounds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge(&self, stopping: &(dyn Fn() -> bool + Sync)) -> Result<(), sqlx::Error> {
        let now = self.0.clock.now();
        let (applied, dead) = (now - KEPT, now - dead_letters::KEPT);
        let rounds = Rounds {
            db: &self.0.db,
            limit: PURGE_BATCH,
            stopping,
        };
        rounds!(rounds, |db, limit| store::purge(db, applied, limit));
        rounds!(rounds, |db, limit| store::purge_dead(db, dead, limit));
        Ok(())
    }

    /// Applies the events in their order. What has failed is for the publisher to keep.
    ///
    /// # Errors
    /// When the database is away: nothing can be said about the rest.
    async fn receive(&self, events: &[Event]) -> Result<Receipt, sqlx::Error> {
        let mut receipt = Receipt::default();
        let mut blocked = HashSet::new();
        for event in events {
            let is_blocked = blocked.contains(event.subject.as_str());
            let taken = if is_blocked {
                Taken::Held
            } else {
                self.take(event).await?
            };
            self.0.metrics.count(taken.label());
            if let Some(reason) = taken.reason() {
                blocked.insert(event.subject.as_str());
                receipt.failed.push(EventFailure {
                    id: event.id.clone(),
                    reason: reason.to_owned(),
                    // To the publisher, one that waits for what is kept here has failed: nothing of
                    // its own would say when to send it again.
                    held: is_blocked,
                });
            }
        }
        Ok(receipt)
    }

    /// Applies an event, unless it would overtake one that waits here.
    async fn take(&self, event: &Event) -> Result<Taken, sqlx::Error> {
        if let Some(taken) = self.judge(event) {
            return Ok(taken);
        }
        let mut tx = quartet_db::begin(&self.0.db).await?;
        if !store::insert_in_order(&mut tx, event, self.0.clock.now()).await? {
            let repeated = store::is_applied(&mut tx, event).await?;
            return Ok(if repeated {
                Taken::Repeated
            } else {
                Taken::Held
            });
        }
        let taken = self.apply(&mut tx, event).await?;
        if matches!(taken, Taken::Applied) {
            tx.commit().await?;
        }
        Ok(taken)
    }

    /// What becomes of an event without its effect.
    fn judge(&self, event: &Event) -> Option<Taken> {
        if let Err(invalid) = event.check() {
            return Some(Taken::Rejected(invalid.to_string()));
        }
        let known = self.0.consumer.kinds().contains(&event.kind.as_str());
        (!known).then_some(Taken::Ignored)
    }

    /// Has the effect of an event in the transaction of `db`, which must be rolled back unless the event
    /// is applied.
    async fn apply(&self, db: &mut PgConnection, event: &Event) -> Result<Taken, sqlx::Error> {
        let applying = AssertUnwindSafe(self.0.consumer.apply(db, event)).catch_unwind();
        let reason = match applying.await {
            Ok(Ok(())) => return Ok(Taken::Applied),
            Ok(Err(ApplyError::Database(error))) if quartet_db::is_transient(&error) => {
                return Err(error);
            }
            Ok(Err(ApplyError::Invalid(reason))) => reason,
            Ok(Err(ApplyError::Database(error))) => {
                tracing::error!(
                    event_id = event.id,
                    error = causes(&error),
                    "event not applied"
                );
                "the database refuses it"
            }
            Err(panic) => {
                let message = panic_message(&*panic);
                tracing::error!(event_id = event.id, error = message, "event not applied");
                "panic"
            }
        };
        Ok(Taken::Rejected(reason.to_owned()))
    }
}
