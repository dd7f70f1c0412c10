//! Statements on the tables of `outbox.sql`.

use chrono::{DateTime, Utc};
use quartet_db::{Transaction, statement};
use serde_json::Value;
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::event::{Event, NewEvent};

/// What waits for a consumer.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Backlog {
    /// Events after the cursor, up to 10,000.
    pub(super) fresh: i64,
    /// Events that wait for a retry, up to 10,000.
    pub(super) retries: i64,
    /// Whether one of these is due.
    pub(super) due: bool,
    pub(super) dead: i64,
    pub(super) oldest: Option<DateTime<Utc>>,
}

/// An event with its place.
#[derive(Clone, Debug)]
pub(super) struct StoredEvent {
    pub(super) position: i64,
    pub(super) event: Event,
    /// How often its delivery has failed; `None` for one after the cursor.
    pub(super) tries: Option<i32>,
    /// An earlier event of the subject waits for a retry.
    pub(super) held: bool,
    /// Since when it could have been delivered.
    pub(super) since: DateTime<Utc>,
}

/// An event that is to be tried again, or no more.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    pub(super) position: i64,
    pub(super) subject: String,
    pub(super) tries: i32,
    pub(super) retry_at: DateTime<Utc>,
    pub(super) reason: String,
    pub(super) dead_at: Option<DateTime<Utc>>,
}

/// The right to deliver to a consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) id: Uuid,
    pub(super) cursor: i64,
}

pub(super) async fn insert(
    db: &mut PgConnection,
    id: Uuid,
    event: &NewEvent,
    at: DateTime<Utc>,
    trace: Option<&str>,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO outbox (id, kind, subject, at, data, traceparent)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(event.kind)
    .bind(&event.subject)
    .bind(at)
    .bind(&event.data)
    .bind(trace);
    statement("outbox.insert", insert.execute(db)).await?;
    Ok(())
}

pub(super) async fn backlog(
    db: &mut PgConnection,
    consumer: &str,
    now: DateTime<Utc>,
) -> Result<Backlog, sqlx::Error> {
    let query = sqlx::query_as(
        "WITH cursor AS (
             SELECT coalesce((SELECT position FROM outbox_cursors WHERE consumer = $1), 0) AS at
         )
         SELECT
             (SELECT count(*) FROM (SELECT FROM outbox
                  WHERE position > (SELECT at FROM cursor) LIMIT 10000) AS bounded)
             + (SELECT count(*) FROM (SELECT FROM outbox
                  WHERE position IS NULL LIMIT 10000) AS bounded) AS fresh,
             (SELECT count(*) FROM (SELECT FROM outbox_retries
                  WHERE consumer = $1 AND dead_at IS NULL LIMIT 10000) AS bounded) AS retries,
             EXISTS (SELECT FROM outbox_retries AS r
                  WHERE r.consumer = $1 AND r.dead_at IS NULL AND r.retry_at <= $2
                      AND NOT EXISTS (SELECT FROM outbox_retries AS e
                          WHERE e.consumer = $1 AND e.subject = r.subject AND e.dead_at IS NULL
                              AND e.position < r.position)) AS due,
             (SELECT count(*) FROM (SELECT FROM outbox_retries
                  WHERE consumer = $1 AND dead_at IS NOT NULL LIMIT 10000) AS bounded) AS dead,
             least(
                 (SELECT o.at FROM outbox AS o WHERE o.position > (SELECT at FROM cursor)
                  ORDER BY o.position LIMIT 1),
                 (SELECT o.at FROM outbox AS o WHERE o.position IS NULL
                  ORDER BY o.written LIMIT 1),
                 (SELECT o.at FROM outbox AS o WHERE o.position = (
                      SELECT min(r.position) FROM outbox_retries AS r
                      WHERE r.consumer = $1 AND r.dead_at IS NULL))
             ) AS oldest",
    )
    .bind(consumer)
    .bind(now);
    statement("outbox.backlog", query.fetch_one(db)).await
}

/// Gives positions to up to `limit` committed events, in the order of their inserts.
pub(super) async fn number(tx: &mut Transaction, limit: i64) -> Result<(), sqlx::Error> {
    // In a statement of its own: the next one sees what the previous holder of the lock has done.
    let lock = sqlx::query_scalar("SELECT position FROM outbox_head FOR UPDATE");
    let last: i64 = statement("outbox.lock_head", lock.fetch_one(&mut **tx)).await?;
    let number = sqlx::query(
        "WITH fresh AS (
             SELECT written FROM outbox WHERE position IS NULL ORDER BY written LIMIT $2
         ), numbered AS (
             UPDATE outbox AS o SET position = $1 + n.number
             FROM (SELECT written, row_number() OVER (ORDER BY written) AS number FROM fresh) AS n
             WHERE o.written = n.written
             RETURNING o.position
         )
         UPDATE outbox_head SET position = greatest(
             position, (SELECT coalesce(max(position), 0) FROM numbered))",
    )
    .bind(last)
    .bind(limit);
    statement("outbox.number", number.execute(&mut **tx)).await?;
    Ok(())
}

/// Takes the lease of a consumer; `None` while another replica has it.
pub(super) async fn take(
    db: &mut PgConnection,
    consumer: &str,
    id: Uuid,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Lease>, sqlx::Error> {
    let take = sqlx::query_scalar(
        "INSERT INTO outbox_cursors AS c (consumer, lease, leased_until) VALUES ($1, $2, $4)
         ON CONFLICT (consumer) DO UPDATE
             SET lease = excluded.lease, leased_until = excluded.leased_until
             WHERE c.leased_until IS NULL OR c.leased_until <= $3
         RETURNING position",
    )
    .bind(consumer)
    .bind(id)
    .bind(now)
    .bind(until);
    let cursor = statement("outbox.take", take.fetch_optional(db)).await?;
    Ok(cursor.map(|cursor| Lease { id, cursor }))
}

/// Gives the lease back, and moves the cursor; `false` when another replica has taken the lease.
pub(super) async fn give_back(
    db: &mut PgConnection,
    consumer: &str,
    lease: Lease,
) -> Result<bool, sqlx::Error> {
    let update = sqlx::query(
        "UPDATE outbox_cursors SET position = $3, lease = NULL, leased_until = NULL
         WHERE consumer = $1 AND lease = $2",
    )
    .bind(consumer)
    .bind(lease.id)
    .bind(lease.cursor);
    let updated = statement("outbox.give_back", update.execute(db)).await?;
    Ok(updated.rows_affected() == 1)
}

/// Events whose retry is due: of each subject the first one only.
pub(super) async fn due(
    db: &mut PgConnection,
    consumer: &str,
    source: &str,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT o.position, o.id, o.kind, o.subject, o.at, o.data, o.traceparent, r.tries,
                false AS held, r.retry_at AS since
         FROM outbox_retries AS r JOIN outbox AS o ON o.position = r.position
         WHERE r.consumer = $1 AND r.dead_at IS NULL AND r.retry_at <= $2
           AND NOT EXISTS (SELECT FROM outbox_retries AS e
               WHERE e.consumer = $1 AND e.subject = r.subject AND e.dead_at IS NULL
                 AND e.position < r.position)
         ORDER BY r.position LIMIT $3",
    )
    .bind(consumer)
    .bind(now)
    .bind(limit);
    let rows = statement("outbox.due", query.fetch_all(db)).await?;
    rows.iter().map(|row| stored(row, source)).collect()
}

/// The next events after the cursor.
pub(super) async fn after(
    db: &mut PgConnection,
    consumer: &str,
    source: &str,
    cursor: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT o.position, o.id, o.kind, o.subject, o.at, o.data, o.traceparent,
                NULL::integer AS tries, o.at AS since,
                EXISTS (SELECT FROM outbox_retries AS r
                    WHERE r.consumer = $1 AND r.subject = o.subject AND r.dead_at IS NULL) AS held
         FROM outbox AS o WHERE o.position > $2 ORDER BY o.position LIMIT $3",
    )
    .bind(consumer)
    .bind(cursor)
    .bind(limit);
    let rows = statement("outbox.after", query.fetch_all(db)).await?;
    rows.iter().map(|row| stored(row, source)).collect()
}

/// Notes what is to be tried again.
pub(super) async fn schedule_retries(
    db: &mut PgConnection,
    consumer: &str,
    retries: &[Retry],
) -> Result<(), sqlx::Error> {
    for retry in retries {
        let upsert = sqlx::query(
            "INSERT INTO outbox_retries
                 (consumer, position, subject, tries, retry_at, reason, dead_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (consumer, position) DO UPDATE SET tries = excluded.tries,
                 retry_at = excluded.retry_at, reason = excluded.reason,
                 dead_at = excluded.dead_at",
        )
        .bind(consumer)
        .bind(retry.position)
        .bind(&retry.subject)
        .bind(retry.tries)
        .bind(retry.retry_at)
        .bind(&retry.reason)
        .bind(retry.dead_at);
        statement("outbox.schedule_retries", upsert.execute(&mut *db)).await?;
    }
    Ok(())
}

/// Forgets retries that have succeeded.
pub(super) async fn forget(
    db: &mut PgConnection,
    consumer: &str,
    positions: &[i64],
) -> Result<(), sqlx::Error> {
    let delete =
        sqlx::query("DELETE FROM outbox_retries WHERE consumer = $1 AND position = ANY ($2)")
            .bind(consumer)
            .bind(positions);
    statement("outbox.forget", delete.execute(db)).await?;
    Ok(())
}

/// Deletes up to `limit` events that all of `consumers` have got and that are older than `before`.
pub(super) async fn purge(
    db: &mut PgConnection,
    consumers: &[&str],
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM outbox WHERE written IN (
             SELECT o.written FROM outbox AS o
             WHERE o.position <= (
                     SELECT min(coalesce(c.position, 0)) FROM unnest($1::text[]) AS n (consumer)
                     LEFT JOIN outbox_cursors AS c ON c.consumer = n.consumer)
               AND o.at < $2
               AND NOT EXISTS (SELECT FROM outbox_retries AS r WHERE r.position = o.position)
             ORDER BY o.position LIMIT $3 FOR UPDATE OF o SKIP LOCKED)",
    )
    .bind(consumers)
    .bind(before)
    .bind(limit);
    let deleted = statement("outbox.purge", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}

/// Deletes up to `limit` events of the time before `before` that no consumer will ever get.
pub(super) async fn purge_unwanted(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM outbox WHERE written IN (
             SELECT o.written FROM outbox AS o
             WHERE o.at < $1
               AND NOT EXISTS (SELECT FROM outbox_retries AS r WHERE r.position = o.position)
             ORDER BY o.written LIMIT $2 FOR UPDATE OF o SKIP LOCKED)",
    )
    .bind(before)
    .bind(limit);
    let deleted = statement("outbox.purge_unwanted", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}

/// Deletes up to `limit` dead letters of the time before `before`.
pub(super) async fn purge_dead(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM outbox_retries WHERE (consumer, position) IN (
             SELECT consumer, position FROM outbox_retries
             WHERE dead_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(before)
    .bind(limit);
    let deleted = statement("outbox.purge_dead", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}

fn stored(row: &PgRow, source: &str) -> Result<StoredEvent, sqlx::Error> {
    let (id, kind): (Uuid, &str) = (row.try_get("id")?, row.try_get("kind")?);
    let (subject, at): (&str, DateTime<Utc>) = (row.try_get("subject")?, row.try_get("at")?);
    let data: Value = row.try_get("data")?;
    let mut event = Event::new(id, source, kind, subject, at).with_data(data);
    event.traceparent = row.try_get("traceparent")?;
    Ok(StoredEvent {
        position: row.try_get("position")?,
        event,
        tries: row.try_get("tries")?,
        held: row.try_get("held")?,
        since: row.try_get("since")?,
    })
}
