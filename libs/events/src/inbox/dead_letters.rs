//! Events that this service has received and could not apply, for the operator. They are kept for 30 days.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{FromRow, PgConnection};

/// An event that is tried no more.
#[derive(Clone, Debug, FromRow)]
pub struct ReceivedEvent {
    pub position: i64,
    pub kind: String,
    pub subject: String,
    pub tries: i32,
    pub at: DateTime<Utc>,
    pub reason: String,
}

/// The first `limit` dead letters, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(db: &mut PgConnection, limit: i64) -> Result<Vec<ReceivedEvent>, sqlx::Error> {
    let query = sqlx::query_as(
        "SELECT position, kind, subject, tries, dead_at AS at, reason FROM inbox_retries
         WHERE dead_at IS NOT NULL ORDER BY position LIMIT $1",
    )
    .bind(limit);
    statement("inbox.list_dead", query.fetch_all(db)).await
}

/// Has up to `limit` dead letters tried again, with all their tries: those at `positions`, or any. They
/// are applied after later events of their subject.
///
/// # Errors
/// When the database fails.
pub async fn retry(
    db: &mut PgConnection,
    positions: Option<&[i64]>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let update = sqlx::query(
        "UPDATE inbox_retries SET dead_at = NULL, tries = 0, retry_at = $1
         WHERE position IN (
             SELECT position FROM inbox_retries
             WHERE dead_at IS NOT NULL AND ($2 OR position = ANY ($3))
             ORDER BY position LIMIT $4 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now)
    .bind(positions.is_none())
    .bind(positions.unwrap_or_default())
    .bind(limit);
    let updated = statement("inbox.retry_dead", update.execute(db)).await?;
    Ok(updated.rows_affected())
}
