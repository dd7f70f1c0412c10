//! Jobs that have failed in their last attempt, for the operator. They are kept for 30 days.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{FromRow, PgConnection};

/// A job that is tried no more.
#[derive(Clone, Debug, FromRow)]
pub struct DeadJob {
    pub id: i64,
    pub task: String,
    pub attempts: i16,
    /// Of the last attempt.
    pub at: DateTime<Utc>,
    /// The error of the last attempt, up to 500 characters.
    pub reason: String,
}

/// The first `limit` dead letters, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(db: &mut PgConnection, limit: i64) -> Result<Vec<DeadJob>, sqlx::Error> {
    let query = sqlx::query_as(
        "SELECT j.id, t.identifier AS task, j.attempts, j.updated_at AS at,
                left(coalesce(j.last_error, ''), 500) AS reason
         FROM _private_jobs AS j JOIN _private_tasks AS t ON t.id = j.task_id
         WHERE j.attempts >= j.max_attempts AND j.locked_at IS NULL
         ORDER BY j.id LIMIT $1",
    )
    .bind(limit);
    statement("tasks.list_dead", query.fetch_all(db)).await
}

/// Lets up to `limit` dead letters run again, with all their attempts: those of `ids`, or any.
///
/// # Errors
/// When the database fails.
pub async fn retry(
    db: &mut PgConnection,
    ids: Option<&[i64]>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let update = sqlx::query(
        "UPDATE _private_jobs SET attempts = 0, run_at = now(), updated_at = now()
         WHERE id IN (
             SELECT id FROM _private_jobs
             WHERE attempts >= max_attempts AND locked_at IS NULL
               AND ($1::bigint[] IS NULL OR id = ANY ($1))
             ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(ids)
    .bind(limit);
    let updated = statement("tasks.retry_dead", update.execute(db)).await?;
    Ok(updated.rows_affected())
}
