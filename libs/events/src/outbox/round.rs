//! One round of delivery to one consumer.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, Utc};
use quartet_jobs::{Backoff, Run};

use super::{
    DeliveryError, Inner, Route, Target,
    send::{Failure, Outcome, send},
    store::{self, Lease, Retry, Stored},
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
enum Step {
    /// Something; there may be more.
    Went,
    Nothing,
}

/// What a round sends, and where the cursor is when all of it is settled.
#[derive(Default)]
struct Batch {
    sent: Vec<Stored>,
    /// Not to be sent before an earlier event of the subject.
    held: Vec<Stored>,
    /// Have waited for too long. A batch has no others beside them, so that they become dead letters
    /// although the consumer is away.
    expired: Vec<Stored>,
    body: Vec<u8>,
    cursor: i64,
}

impl Inner {
    /// Rounds until nothing is due.
    pub(super) async fn deliver(
        &self,
        index: usize,
        run: Option<&Run>,
    ) -> Result<(), DeliveryError> {
        let target = &self.targets[index];
        while let Step::Went = self.round(target).await? {
            if let Some(run) = run {
                run.succeeded();
                if run.is_stopping() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn round(&self, target: &Target) -> Result<Step, DeliveryError> {
        let (now, name) = (self.clock.now(), target.name);
        let mut db = quartet_db::write(&self.db).await?;
        let backlog = store::backlog(&mut db, name, now).await?;
        let waiting = backlog.fresh + backlog.retries;
        let series = &target.series.backlog;
        series.observe(waiting, backlog.dead, backlog.oldest, now);
        if backlog.fresh == 0 && !backlog.due {
            return Ok(Step::Nothing);
        }
        store::number(&mut db, NUMBERED_AT_ONCE).await?;
        let timeout = Duration::from_secs(self.delivery.request_timeout_seconds);
        let until = now + timeout + LEASE_MARGIN;
        let lease = store::take(&mut db, name, self.clock.uuid_v7(), (now, until)).await?;
        db.commit().await?;
        let Some(lease) = lease else {
            return Ok(Step::Nothing);
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
        target: &Target,
        lease: Lease,
    ) -> Result<Batch, sqlx::Error> {
        let ids = (target.name, self.source.as_str());
        let limit = target.limit.load(Ordering::Relaxed).max(1) as usize;
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut batch = Batch {
            cursor: lease.cursor,
            body: b"[".to_vec(),
            ..Batch::default()
        };
        let now = self.clock.now();
        let oldest = now - Duration::from_secs(self.delivery.max_wait_seconds);
        let due = store::due(db, ids, now, rows).await?;
        let fresh = store::after(db, ids, lease.cursor, rows).await?;
        for stored in due.into_iter().chain(fresh) {
            let position = stored.position;
            let fresh = stored.tries.is_none();
            let expired = stored.since < oldest;
            if expired && batch.sent.is_empty() && batch.held.is_empty() {
                batch.expired.push(stored);
            } else if expired || !batch.expired.is_empty() {
                break;
            } else if stored.held {
                batch.held.push(stored);
            } else {
                let event = stored.event.to_json().to_string();
                let max = self.delivery.batch_bytes as usize;
                let fits = batch.body.len() + event.len() < max || batch.sent.is_empty();
                if !fits || batch.sent.len() >= limit {
                    // What follows would overtake it.
                    break;
                }
                if !batch.sent.is_empty() {
                    batch.body.push(b',');
                }
                batch.body.extend_from_slice(event.as_bytes());
                batch.sent.push(stored);
            }
            if fresh {
                batch.cursor = position;
            }
        }
        batch.body.push(b']');
        Ok(batch)
    }

    async fn send(&self, target: &Target, batch: &Batch) -> Outcome {
        if batch.sent.is_empty() {
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
        target: &Target,
        lease: Lease,
        batch: Batch,
        outcome: Outcome,
    ) -> Result<Step, DeliveryError> {
        let name = target.name;
        let failed = match outcome {
            Outcome::Applied(failed) => failed,
            Outcome::Refused(reason) if batch.sent.len() > 1 => {
                tracing::info!(
                    consumer = name,
                    reason,
                    "batch refused; sending events one by one"
                );
                target.limit.store(1, Ordering::Relaxed);
                let mut db = quartet_db::write(&self.db).await?;
                store::give_back(&mut db, name, lease).await?;
                db.commit().await?;
                return Ok(Step::Went);
            }
            Outcome::Refused(reason) => refused(&batch, &reason),
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
        let nothing = batch.sent.is_empty() && batch.held.is_empty() && batch.expired.is_empty();
        let (retries, applied) = self.sort(batch, &failed);
        let mut tx = quartet_db::begin(&self.db).await?;
        if !store::give_back(&mut tx, name, moved).await? {
            tracing::warn!(
                consumer = name,
                "lease ended early; events are delivered again"
            );
            return Ok(Step::Nothing);
        }
        store::put_off(&mut tx, name, &retries).await?;
        store::forget(&mut tx, name, &applied).await?;
        tx.commit().await?;
        Self::count(target, &retries, applied.len());
        let limit = target.limit.load(Ordering::Relaxed).saturating_mul(2);
        let limit = limit.clamp(1, self.delivery.batch_events);
        target.limit.store(limit, Ordering::Relaxed);
        Ok(if nothing { Step::Nothing } else { Step::Went })
    }

    /// What is to be tried again, and the positions that are done.
    fn sort(&self, batch: Batch, failed: &HashMap<String, Failure>) -> (Vec<Retry>, Vec<i64>) {
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
                Some(failure) => retries.push(self.retry(&stored, failure, now)),
            }
        }
        (retries, applied)
    }

    fn retry(&self, stored: &Stored, failure: &Failure, now: DateTime<Utc>) -> Retry {
        let tries = stored.tries.unwrap_or(0).saturating_add(1);
        let count = tries.unsigned_abs();
        let dead = count >= self.delivery.max_tries;
        Retry {
            tries,
            retry_at: now + BACKOFF.delay(count),
            reason: failure.reason.chars().take(200).collect(),
            dead_at: dead.then_some(now),
            ..waiting(stored, now)
        }
    }

    fn count(target: &Target, retries: &[Retry], applied: usize) {
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

/// The failures of a batch of one event that was refused as a whole.
fn refused(batch: &Batch, reason: &str) -> HashMap<String, Failure> {
    let sent = batch.sent.iter().map(|stored| &stored.event.id);
    sent.map(|id| (id.clone(), Failure::new(id, reason)))
        .collect()
}

fn waiting(stored: &Stored, now: DateTime<Utc>) -> Retry {
    Retry {
        position: stored.position,
        subject: stored.event.subject.clone(),
        tries: stored.tries.unwrap_or(0),
        retry_at: now,
        reason: HELD.to_owned(),
        dead_at: None,
    }
}
