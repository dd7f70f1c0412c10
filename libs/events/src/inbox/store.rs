//! Statements on the table of `inbox.sql`.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

use crate::event::Event;

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
