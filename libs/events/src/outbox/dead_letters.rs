//! Events that a consumer did not get, for the operator. They are kept for 30 days.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{FromRow, PgConnection};

/// An event that is delivered to a consumer no more.
#[derive(Clone, Debug, FromRow)]
pub struct DeadEvent {
    pub consumer: String,
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
pub async fn list(db: &mut PgConnection, limit: i64) -> Result<Vec<DeadEvent>, sqlx::Error> {
    let query = sqlx::query_as(
        "SELECT r.consumer, r.position, o.kind, r.subject, r.tries, r.dead_at AS at, r.reason
         FROM outbox_retries AS r JOIN outbox AS o ON o.position = r.position
         WHERE r.dead_at IS NOT NULL ORDER BY r.position, r.consumer LIMIT $1",
    )
    .bind(limit);
    statement("outbox.list_dead", query.fetch_all(db)).await
}

/// Has up to `limit` dead letters delivered again, with all their tries: those of `places`, by
/// consumer and position, or any. They are delivered after later events of their subject.
///
/// # Errors
/// When the database fails.
pub async fn retry(
    db: &mut PgConnection,
    places: Option<&[(String, i64)]>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let (consumers, positions): (Vec<&str>, Vec<i64>) = places
        .unwrap_or_default()
        .iter()
        .map(|(consumer, position)| (consumer.as_str(), *position))
        .unzip();
    let update = sqlx::query(
        "UPDATE outbox_retries SET dead_at = NULL, tries = 0, retry_at = $1
         WHERE (consumer, position) IN (
             SELECT r.consumer, r.position FROM outbox_retries AS r
             WHERE r.dead_at IS NOT NULL
               AND ($2 OR (r.consumer, r.position) IN (
                   SELECT * FROM unnest($3::text[], $4::bigint[])))
             ORDER BY r.position LIMIT $5 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now)
    .bind(places.is_none())
    .bind(consumers)
    .bind(positions)
    .bind(limit);
    let updated = statement("outbox.retry_dead", update.execute(db)).await?;
    Ok(updated.rows_affected())
}
