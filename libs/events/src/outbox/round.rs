//! One round of delivery to one consumer.

use std::{collections::HashMap, ops::ControlFlow, sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use quartet_jobs::{Backoff, Run};

use super::{
    ConsumerTarget, DeliveryError, Inner, Route,
    send::{EventFailure, Outcome, send},
    store::{self, Lease, Retry, StoredEvent},
};

/// Events that get positions at once.
const NUMBERED_AT_ONCE: i64 = 1000;
/// What a lease lasts beyond the time limit of the request.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// Between the tries of one event.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(10),
    max: Duration::from_hours(1),
};
const HELD: &str = "waits for an earlier event of the subject";
const EXPIRED: &str = "the consumer did not accept events for too long";

/// What a round has done.
enum RoundOutcome {
    /// Something; there may be more.
    Progressed,
    Nothing,
}

/// What a round sends, and where the cursor is when all of it is settled. A batch either has expired
/// events alone, so that these become dead letters although the consumer is away, or none.
#[derive(Default)]
struct Batch {
    sent: Vec<StoredEvent>,
    /// Not to be sent before an earlier event of the subject.
    held: Vec<StoredEvent>,
    /// Have waited for too long.
    expired: Vec<StoredEvent>,
    body: Vec<u8>,
    cursor: i64,
}

struct BatchBounds {
    events: usize,
    bytes: usize,
    /// Events that have waited since before are expired.
    oldest: DateTime<Utc>,
}

impl Batch {
    /// Adds an event, or ends the batch before it: events after it would overtake it.
    fn add(&mut self, stored: StoredEvent, bounds: &BatchBounds) -> ControlFlow<()> {
        if stored.since < bounds.oldest {
            if !self.sent.is_empty() || !self.held.is_empty() {
                return ControlFlow::Break(());
            }
            self.expired.push(stored);
            return ControlFlow::Continue(());
        }
        if !self.expired.is_empty() {
            return ControlFlow::Break(());
        }
        if stored.held {
            self.held.push(stored);
            return ControlFlow::Continue(());
        }
        let event = stored.event.to_json().to_string();
        // A single event is sent whatever its size.
        let fits = self.sent.is_empty() || self.body.len() + event.len() < bounds.bytes;
        if !fits || self.sent.len() >= bounds.events {
            return ControlFlow::Break(());
        }
        if !self.sent.is_empty() {
            self.body.push(b',');
        }
        self.body.extend_from_slice(event.as_bytes());
        self.sent.push(stored);
        ControlFlow::Continue(())
    }

    fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.held.is_empty() && self.expired.is_empty()
    }
}

impl Inner {
    /// Rounds until nothing is due.
    pub(super) async fn deliver(
        &self,
        index: usize,
        run: Option<&Run>,
    ) -> Result<(), DeliveryError> {
        let target = &self.targets[index];
        while let RoundOutcome::Progressed = self.round(target).await? {
            if let Some(run) = run {
                run.succeeded();
                if run.is_stopping() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn round(&self, target: &ConsumerTarget) -> Result<RoundOutcome, DeliveryError> {
        let (now, name) = (self.clock.now(), target.name);
        let mut db = quartet_db::read(&self.db).await?;
        let backlog = store::backlog(&mut db, name, now).await?;
        let waiting = backlog.fresh + backlog.retries;
        let series = &target.series.backlog;
        series.observe(waiting, backlog.dead, backlog.oldest, now);
        if backlog.fresh == 0 && !backlog.due && target.is_prepared(&self.clock).await {
            return Ok(RoundOutcome::Nothing);
        }
        drop(db);
        let mut tx = quartet_db::begin(&self.db).await?;
        store::number(&mut tx, NUMBERED_AT_ONCE).await?;
        let timeout = Duration::from_secs(self.delivery.request_timeout_seconds);
        let until = now + timeout + LEASE_MARGIN;
        let lease = store::take(&mut tx, name, self.clock.uuid_v7(), now, until).await?;
        tx.commit().await?;
        let Some(lease) = lease else {
            return Ok(RoundOutcome::Nothing);
        };
        let mut db = quartet_db::read(&self.db).await?;
        let batch = self.collect(&mut db, target, lease).await?;
        drop(db);
        let outcome = self.send(target, &batch).await;
        self.settle(target, lease, batch, outcome).await
    }

    /// Due retries first, then what follows the cursor, up to the bounds of a request.
    async fn collect(
        &self,
        db: &mut sqlx::PgConnection,
        target: &ConsumerTarget,
        lease: Lease,
    ) -> Result<Batch, sqlx::Error> {
        let (consumer, source) = (target.name, self.source.as_str());
        let limit = target.limit.load(Ordering::Relaxed).max(1);
        let now = self.clock.now();
        let bounds = BatchBounds {
            events: limit as usize,
            bytes: self.delivery.batch_bytes as usize,
            oldest: now - Duration::from_secs(self.delivery.max_wait_seconds),
        };
        let mut batch = Batch {
            cursor: lease.cursor,
            body: b"[".to_vec(),
            ..Batch::default()
        };
        let rows = i64::from(limit);
        let due = store::due(db, consumer, source, now, rows).await?;
        let fresh = store::after(db, consumer, source, lease.cursor, rows).await?;
        for stored in due.into_iter().chain(fresh) {
            let fresh = stored.tries.is_none().then_some(stored.position);
            if batch.add(stored, &bounds).is_break() {
                break;
            }
            batch.cursor = fresh.unwrap_or(batch.cursor);
        }
        batch.body.push(b']');
        Ok(batch)
    }

    async fn send(&self, target: &ConsumerTarget, batch: &Batch) -> Outcome {
        if batch.sent.is_empty() && target.is_prepared(&self.clock).await {
            return Outcome::Applied(HashMap::new());
        }
        let Some(signer) = &self.delivery.signer else {
            return Outcome::Away("events.secret is not set".to_owned());
        };
        match &target.route {
            Route::Http(url) => {
                send(&self.client, url, signer, &self.clock, batch.body.clone()).await
            }
            Route::Nats(stream) => stream.send(signer, &self.clock, &batch.sent).await,
        }
    }

    /// Notes what became of the batch, in one transaction with the cursor.
    async fn settle(
        &self,
        target: &ConsumerTarget,
        lease: Lease,
        batch: Batch,
        outcome: Outcome,
    ) -> Result<RoundOutcome, DeliveryError> {
        let name = target.name;
        let failed = match outcome {
            Outcome::Applied(failed) => failed,
            Outcome::Refused(reason) | Outcome::Broken(reason) if batch.sent.len() > 1 => {
                tracing::info!(
                    consumer = name,
                    reason,
                    "batch refused; sending events one by one"
                );
                target.limit.store(1, Ordering::Relaxed);
                let mut db = quartet_db::write(&self.db).await?;
                store::give_back(&mut db, name, lease).await?;
                db.commit().await?;
                return Ok(RoundOutcome::Progressed);
            }
            Outcome::Refused(reason) => refused(&batch, &reason, false),
            Outcome::Broken(reason) => refused(&batch, &reason, true),
            Outcome::Away(reason) => {
                let mut db = quartet_db::write(&self.db).await?;
                store::give_back(&mut db, name, lease).await?;
                db.commit().await?;
                return Err(DeliveryError::Away {
                    consumer: name,
                    reason,
                });
            }
        };
        let moved = Lease {
            cursor: batch.cursor,
            ..lease
        };
        let nothing = batch.is_empty();
        let (retries, applied) = self.sort(target, batch, &failed);
        let mut tx = quartet_db::begin(&self.db).await?;
        if !store::give_back(&mut tx, name, moved).await? {
            tracing::warn!(
                consumer = name,
                "lease ended early; events are delivered again"
            );
            return Ok(RoundOutcome::Nothing);
        }
        store::schedule_retries(&mut tx, name, &retries).await?;
        store::forget(&mut tx, name, &applied).await?;
        tx.commit().await?;
        Self::count(target, &retries, applied.len());
        let limit = target.limit.load(Ordering::Relaxed).saturating_mul(2);
        let limit = limit.clamp(1, self.delivery.batch_events);
        target.limit.store(limit, Ordering::Relaxed);
        Ok(if nothing {
            RoundOutcome::Nothing
        } else {
            RoundOutcome::Progressed
        })
    }

    /// What is to be tried again, and the positions that are done.
    fn sort(
        &self,
        target: &ConsumerTarget,
        batch: Batch,
        failed: &HashMap<String, EventFailure>,
    ) -> (Vec<Retry>, Vec<i64>) {
        let now = self.clock.now();
        let (mut retries, mut applied) = (Vec::new(), Vec::new());
        for stored in batch.held {
            retries.push(waiting(&stored, now));
        }
        for stored in batch.expired {
            retries.push(Retry {
                reason: EXPIRED.to_owned(),
                dead_at: Some(now),
                ..waiting(&stored, now)
            });
        }
        for stored in batch.sent {
            match failed.get(&stored.event.id) {
                None => applied.push(stored.position),
                Some(failure) if failure.held => retries.push(waiting(&stored, now)),
                Some(failure) => {
                    let may_die = !failure.broken || self.is_at_fault(target, &stored, now);
                    retries.push(self.retry(&stored, failure, may_die));
                }
            }
        }
        if !applied.is_empty() {
            let now = now.timestamp_millis();
            target.applied_at.fetch_max(now, Ordering::Relaxed);
        }
        (retries, applied)
    }

    /// Whether a failure of the consumer is the fault of the event: others could be applied. One that is
    /// old is given up in any case.
    fn is_at_fault(
        &self,
        target: &ConsumerTarget,
        stored: &StoredEvent,
        now: DateTime<Utc>,
    ) -> bool {
        let published = stored.event.time;
        let oldest = now - Duration::from_secs(self.delivery.max_wait_seconds);
        let applied_at = target.applied_at.load(Ordering::Relaxed);
        published < oldest || applied_at >= published.timestamp_millis()
    }

    fn retry(&self, stored: &StoredEvent, failure: &EventFailure, may_die: bool) -> Retry {
        let now = self.clock.now();
        let tries = stored.tries.unwrap_or(0).saturating_add(1);
        let count = tries.unsigned_abs();
        let dead = may_die && count >= self.delivery.max_tries;
        Retry {
            tries,
            retry_at: now + BACKOFF.delay(count),
            reason: failure.reason.chars().take(200).collect(),
            dead_at: dead.then_some(now),
            ..waiting(stored, now)
        }
    }

    fn count(target: &ConsumerTarget, retries: &[Retry], applied: usize) {
        target.series.delivered.inc_by(applied as u64);
        let name = target.name;
        let expired = retries.iter().filter(|retry| retry.reason == EXPIRED);
        let expired = i64::try_from(expired.count()).unwrap_or(i64::MAX);
        if expired > 0 {
            target.series.backlog.died.inc_by(expired.unsigned_abs());
            target.series.backlog.dead.inc_by(expired);
            let events = expired;
            tracing::error!(
                consumer = name,
                events,
                "events given up: they waited for too long"
            );
        }
        for retry in retries
            .iter()
            .filter(|retry| ![HELD, EXPIRED].contains(&&*retry.reason))
        {
            target.series.backlog.failed.inc();
            let Retry {
                position,
                tries,
                reason,
                ..
            } = retry;
            if retry.dead_at.is_some() {
                target.series.backlog.died.inc();
                target.series.backlog.dead.inc();
                tracing::error!(
                    consumer = name,
                    position,
                    tries,
                    reason,
                    "event given up as a dead letter"
                );
            } else {
                tracing::warn!(
                    consumer = name,
                    position,
                    tries,
                    reason,
                    "event not applied by the consumer"
                );
            }
        }
    }
}

impl ConsumerTarget {
    /// Whether nothing has to be created before events can be delivered.
    async fn is_prepared(&self, clock: &Clock) -> bool {
        match &self.route {
            Route::Http(_) => true,
            Route::Nats(stream) => stream.is_prepared(clock).await,
        }
    }
}

/// The failures of a batch of one event that was refused as a whole.
fn refused(batch: &Batch, reason: &str, broken: bool) -> HashMap<String, EventFailure> {
    let sent = batch.sent.iter().map(|stored| &stored.event.id);
    sent.map(|id| {
        let mut failure = EventFailure::new(id, reason);
        failure.broken = broken;
        (id.clone(), failure)
    })
    .collect()
}

fn waiting(stored: &StoredEvent, now: DateTime<Utc>) -> Retry {
    Retry {
        position: stored.position,
        subject: stored.event.subject.clone(),
        tries: stored.tries.unwrap_or(0),
        retry_at: now,
        reason: HELD.to_owned(),
        dead_at: None,
    }
}
