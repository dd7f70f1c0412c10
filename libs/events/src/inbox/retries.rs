//! Events from a stream that could not be applied: kept in the database of the consumer, and tried again.
//!
//! ```text
//! message --rejected, or one of its subject is here--> waiting --due, first of its subject--> applied
//!                                                        ^  `--rejected, tries < 12--.
//!                                                        `---------------------------+--> dead letter
//! ```
//!
//! A stream delivers a message again and again, or not at all. Left in it, an event that fails would
//! keep those of every other subject waiting; delivered again after later ones, it would be out of order.
//! So it leaves the stream once it is kept here. While one waits, later ones of its subject are kept as
//! well, and applied after it.

use std::time::Duration;

use quartet_jobs::{Backoff, Job, Runner};

use super::{HELD, Inbox, Taken, store};
use crate::event::Event;

/// Polling interval for events that are due.
const PERIOD: Duration = Duration::from_secs(5);
/// Between the tries of one event. With [`MAX_TRIES`], as publishers do by default: about four hours.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(10),
    max: Duration::from_hours(1),
};
const MAX_TRIES: u32 = 12;
/// With more, events stay in the stream, and when that is full in the outbox of their publisher.
const MAX_WAITING: i64 = 10_000;

/// Why an event cannot be kept, so that it must stay in the stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("{MAX_WAITING} events wait for a retry")]
    Full,
}

impl Inbox {
    /// Applies an event, or keeps it for later. Then the stream need not.
    pub(super) async fn take_or_keep(&self, event: &Event) -> Result<(), KeepError> {
        let taken = self.take(event).await?;
        if let Some(reason) = taken.reason() {
            let tries = u32::from(matches!(taken, Taken::Rejected(_)));
            self.keep(event, tries, reason).await?;
        }
        self.0.metrics.count(taken.label());
        Ok(())
    }

    async fn keep(&self, event: &Event, tries: u32, reason: &str) -> Result<(), KeepError> {
        let mut db = quartet_db::write(&self.0.db).await?;
        let backlog = store::backlog(&mut db).await?;
        if backlog.waiting >= MAX_WAITING {
            return Err(KeepError::Full);
        }
        let retry = self.failed(event, tries, tries >= MAX_TRIES, reason);
        store::put_off(&mut db, event, &retry).await?;
        Ok(db.commit().await?)
    }

    /// Keeps an event as a dead letter, untried.
    pub(super) async fn bury(&self, event: &Event, reason: &str) -> Result<(), sqlx::Error> {
        let retry = self.failed(event, 0, true, reason);
        let mut db = quartet_db::write(&self.0.db).await?;
        store::put_off(&mut db, event, &retry).await?;
        db.commit().await
    }

    /// When an event that has failed that number of times is tried again, if it is.
    fn failed<'a>(
        &self,
        event: &Event,
        tries: u32,
        is_dead: bool,
        reason: &'a str,
    ) -> store::Retry<'a> {
        let now = self.0.clock.now();
        let event_id = &event.id;
        if is_dead {
            tracing::error!(event_id, tries, reason, "event given up as a dead letter");
        } else if reason != HELD {
            tracing::warn!(event_id, tries, reason, "event not applied");
        }
        if let Some(stream) = self.0.metrics.stream() {
            stream.backlog.failed.inc_by(u64::from(reason != HELD));
            stream.backlog.died.inc_by(u64::from(is_dead));
        }
        let wait = (tries > 0).then(|| BACKOFF.delay(tries));
        store::Retry {
            tries: i32::try_from(tries).unwrap_or(i32::MAX),
            retry_at: now + wait.unwrap_or_default(),
            reason,
            dead_at: is_dead.then_some(now),
        }
    }

    pub(super) fn start_retries(&self, runner: &mut Runner) {
        let this = self.clone();
        let job = Job::periodic("events_retries", PERIOD, move |run| {
            let this = this.clone();
            async move { this.retry_due(|| run.is_stopping()).await }
        });
        runner.start(job.immediately());
    }

    /// Tries every event that is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry_due(&self, stopping: impl Fn() -> bool) -> Result<(), sqlx::Error> {
        while !stopping() && self.retry_one().await? {}
        let mut db = quartet_db::read(&self.0.db).await?;
        let backlog = store::backlog(&mut db).await?;
        if let Some(stream) = self.0.metrics.stream() {
            stream.observe(&backlog, self.0.clock.now());
        }
        Ok(())
    }

    /// Tries one event that is due, in one transaction with what becomes of it. `false`: none is.
    async fn retry_one(&self) -> Result<bool, sqlx::Error> {
        let now = self.0.clock.now();
        let mut tx = quartet_db::begin(&self.0.db).await?;
        let Some(waiting) = store::take_due(&mut tx, now).await? else {
            return Ok(false);
        };
        let event = &waiting.event.0;
        let mut effect = tx.savepoint().await?;
        let taken = match self.judge(event) {
            Some(taken) => taken,
            None if store::insert(&mut effect, event, now).await? => {
                self.apply(&mut effect, event).await?
            }
            None => Taken::Repeated,
        };
        if let Some(reason) = taken.reason() {
            tx = effect.undo().await?;
            let tries = waiting.tries.unsigned_abs().saturating_add(1);
            let retry = self.failed(event, tries, tries >= MAX_TRIES, reason);
            store::put_back(&mut tx, waiting.position, &retry).await?;
        } else {
            tx = effect.keep().await?;
            store::forget(&mut tx, waiting.position).await?;
        }
        tx.commit().await?;
        self.0.metrics.count(taken.label());
        Ok(true)
    }
}
