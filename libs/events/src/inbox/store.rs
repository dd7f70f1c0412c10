//! Statements on the tables of `inbox.sql`.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{FromRow, PgConnection, types::Json};

use crate::event::Event;

/// An event that waits for its next try.
#[derive(Debug, FromRow)]
pub(super) struct Waiting {
    pub(super) position: i64,
    pub(super) event: Json<Event>,
    pub(super) tries: i32,
}

/// Why and until when an event is put off.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    pub(super) tries: i32,
    pub(super) retry_at: DateTime<Utc>,
    pub(super) reason: &'a str,
    pub(super) dead_at: Option<DateTime<Utc>>,
}

/// What is kept here, counted up to 10,000.
#[derive(Debug, FromRow)]
pub(super) struct Backlog {
    pub(super) waiting: i64,
    pub(super) dead: i64,
    /// When the first of those that wait has happened.
    pub(super) oldest: Option<DateTime<Utc>>,
}

/// `false` when the event has been applied before. Waits while another transaction applies it.
pub(super) async fn insert(
    db: &mut PgConnection,
    event: &Event,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO inbox (source, id, applied_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(&event.source)
    .bind(&event.id)
    .bind(now);
    let inserted = statement("inbox.insert", insert.execute(db)).await?;
    Ok(inserted.rows_affected() == 1)
}

/// Like [`insert`], and `false` as well while an event of the same subject waits for a retry.
pub(super) async fn insert_in_order(
    db: &mut PgConnection,
    event: &Event,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO inbox (source, id, applied_at)
         SELECT $1, $2, $3
         WHERE NOT EXISTS (SELECT FROM inbox_retries
             WHERE source = $1 AND subject = $4 AND dead_at IS NULL)
         ON CONFLICT DO NOTHING",
    )
    .bind(&event.source)
    .bind(&event.id)
    .bind(now)
    .bind(&event.subject);
    let inserted = statement("inbox.insert_in_order", insert.execute(db)).await?;
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn is_applied(db: &mut PgConnection, event: &Event) -> Result<bool, sqlx::Error> {
    let query =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM inbox WHERE source = $1 AND id = $2)")
            .bind(&event.source)
            .bind(&event.id);
    statement("inbox.is_applied", query.fetch_one(db)).await
}

/// Deletes up to `limit` rows of events that were applied before `before`.
pub(super) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM inbox WHERE (source, id) IN (
             SELECT source, id FROM inbox WHERE applied_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(before)
    .bind(limit);
    let deleted = statement("inbox.purge", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}

/// Keeps an event, unless it is kept already.
pub(super) async fn put_off(
    db: &mut PgConnection,
    event: &Event,
    retry: &Retry<'_>,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO inbox_retries
             (source, id, kind, subject, at, event, tries, retry_at, reason, dead_at)
         VALUES ($1, $2, $3, $4, $5, $6::json, $7, $8, $9, $10) ON CONFLICT (source, id) DO NOTHING",
    )
    .bind(&event.source)
    .bind(&event.id)
    .bind(&event.kind)
    .bind(&event.subject)
    .bind(event.time)
    .bind(event.to_json().to_string())
    .bind(retry.tries)
    .bind(retry.retry_at)
    .bind(retry.reason)
    .bind(retry.dead_at);
    statement("inbox.put_off", insert.execute(db)).await?;
    Ok(())
}

/// Takes an event that is due, until the end of the transaction. None overtakes another one of its
/// subject.
pub(super) async fn take_due(
    db: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Option<Waiting>, sqlx::Error> {
    let query = sqlx::query_as(
        "SELECT r.position, r.event, r.tries FROM inbox_retries AS r
         WHERE r.dead_at IS NULL AND r.retry_at <= $1
             AND NOT EXISTS (SELECT FROM inbox_retries AS e
                 WHERE e.source = r.source AND e.subject = r.subject AND e.dead_at IS NULL
                     AND e.position < r.position)
         ORDER BY r.retry_at, r.position LIMIT 1 FOR UPDATE OF r SKIP LOCKED",
    )
    .bind(now);
    statement("inbox.take_due", query.fetch_optional(db)).await
}

pub(super) async fn put_back(
    db: &mut PgConnection,
    position: i64,
    retry: &Retry<'_>,
) -> Result<(), sqlx::Error> {
    let update = sqlx::query(
        "UPDATE inbox_retries SET tries = $2, retry_at = $3, reason = $4, dead_at = $5
         WHERE position = $1",
    )
    .bind(position)
    .bind(retry.tries)
    .bind(retry.retry_at)
    .bind(retry.reason)
    .bind(retry.dead_at);
    statement("inbox.put_back", update.execute(db)).await?;
    Ok(())
}

pub(super) async fn forget(db: &mut PgConnection, position: i64) -> Result<(), sqlx::Error> {
    let delete = sqlx::query("DELETE FROM inbox_retries WHERE position = $1").bind(position);
    statement("inbox.forget", delete.execute(db)).await?;
    Ok(())
}

pub(super) async fn backlog(db: &mut PgConnection) -> Result<Backlog, sqlx::Error> {
    let query = sqlx::query_as(
        "SELECT
             (SELECT count(*) FROM (SELECT FROM inbox_retries
                  WHERE dead_at IS NULL LIMIT 10000) AS bounded) AS waiting,
             (SELECT count(*) FROM (SELECT FROM inbox_retries
                  WHERE dead_at IS NOT NULL LIMIT 10000) AS bounded) AS dead,
             (SELECT at FROM inbox_retries WHERE dead_at IS NULL
              ORDER BY position LIMIT 1) AS oldest",
    );
    statement("inbox.backlog", query.fetch_one(db)).await
}

/// Deletes up to `limit` dead letters of before `before`.
pub(super) async fn purge_dead(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM inbox_retries WHERE position IN (
             SELECT position FROM inbox_retries WHERE dead_at < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(before)
    .bind(limit);
    let deleted = statement("inbox.purge_dead", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}
