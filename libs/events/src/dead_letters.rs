//! Events that have failed for good, for the operator.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{FromRow, PgConnection};

pub(crate) const KEPT: Duration = Duration::from_hours(30 * 24);

/// A table with dead letters.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetters {
    list: [&'static str; 2],
    retry: [&'static str; 2],
}

/// Those that a consumer of this service did not get.
pub const PUBLISHED: DeadLetters = DeadLetters {
    list: [
        "outbox.list_dead",
        "SELECT r.consumer, r.position, o.kind, r.subject, r.tries, r.dead_at AS at, r.reason
         FROM outbox_retries AS r JOIN outbox AS o ON o.position = r.position
         WHERE r.dead_at IS NOT NULL ORDER BY r.position, r.consumer LIMIT $1",
    ],
    retry: [
        "outbox.retry_dead",
        "UPDATE outbox_retries SET dead_at = NULL, tries = 0, retry_at = $1
         WHERE (consumer, position) IN (
             SELECT r.consumer, r.position FROM outbox_retries AS r
             WHERE r.dead_at IS NOT NULL
               AND ($2 OR (r.consumer, r.position) IN (
                   SELECT * FROM unnest($3::text[], $4::bigint[])))
             ORDER BY r.position LIMIT $5 FOR UPDATE SKIP LOCKED)",
    ],
};

/// Those that this service took from a stream and could not apply.
pub const RECEIVED: DeadLetters = DeadLetters {
    list: [
        "inbox.list_dead",
        "SELECT NULL AS consumer, position, kind, subject, tries, dead_at AS at, reason
         FROM inbox_retries WHERE dead_at IS NOT NULL ORDER BY position LIMIT $1",
    ],
    retry: [
        "inbox.retry_dead",
        "UPDATE inbox_retries SET dead_at = NULL, tries = 0, retry_at = $1
         WHERE position IN (
             SELECT r.position FROM inbox_retries AS r
             WHERE r.dead_at IS NOT NULL
               AND ($2 OR r.position IN (
                   SELECT p.position FROM unnest($3::text[], $4::bigint[]) AS p (consumer, position)
                   WHERE p.consumer IS NULL))
             ORDER BY r.position LIMIT $5 FOR UPDATE SKIP LOCKED)",
    ],
};

/// Where a dead letter is.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Place {
    /// `None`: this service.
    pub consumer: Option<String>,
    pub position: i64,
}

/// An event that is tried no more.
#[derive(Clone, Debug, FromRow)]
pub struct DeadEvent {
    #[sqlx(flatten)]
    pub place: Place,
    pub kind: String,
    pub subject: String,
    pub tries: i32,
    pub at: DateTime<Utc>,
    pub reason: String,
}

impl DeadLetters {
    /// The first `limit` dead letters, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(
        &self,
        db: &mut PgConnection,
        limit: i64,
    ) -> Result<Vec<DeadEvent>, sqlx::Error> {
        let [name, sql] = self.list;
        let query = sqlx::query_as(sql).bind(limit);
        statement(name, query.fetch_all(db)).await
    }

    /// Has up to `limit` dead letters tried again, with all their tries: those of `places`, or any. It
    /// is after later events of their subject.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry(
        &self,
        db: &mut PgConnection,
        places: Option<&[Place]>,
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<u64, sqlx::Error> {
        let all = places.is_none();
        let places = places.unwrap_or_default().iter();
        let (consumers, positions): (Vec<Option<&str>>, Vec<i64>) = places
            .map(|place| (place.consumer.as_deref(), place.position))
            .unzip();
        let [name, sql] = self.retry;
        let update = sqlx::query(sql).bind(now).bind(all);
        let update = update.bind(consumers).bind(positions).bind(limit);
        let updated = statement(name, update.execute(db)).await?;
        Ok(updated.rows_affected())
    }
}
