//! Statements on the queue. Names without a schema are those of the service: the `search_path` of its
//! role.

use quartet_db::statement;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::{metrics::Backlog, task::Task};

/// Adds a job in the transaction that `db` is in. With a `key`, a job of the same key that waits
/// already is replaced by it.
///
/// # Errors
/// When the database fails, or the payload cannot be written as JSON.
pub async fn add<T: Task>(
    db: &mut PgConnection,
    task: &T,
    key: Option<&str>,
) -> Result<(), sqlx::Error> {
    let payload = serde_json::to_value(task).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let payload = if payload.is_null() {
        json!({})
    } else {
        payload
    };
    let add = sqlx::query(
        "SELECT FROM add_job($1, payload => $2::json, max_attempts => $3, job_key => $4)",
    )
    .bind(T::NAME)
    .bind(payload)
    .bind(i32::from(T::MAX_ATTEMPTS))
    .bind(key);
    statement("tasks.add", add.execute(db)).await?;
    Ok(())
}

pub(crate) async fn backlog(db: &mut PgConnection) -> Result<Backlog, sqlx::Error> {
    let query = sqlx::query_as(
        "SELECT
             (SELECT count(*) FROM (SELECT FROM _private_jobs
                  WHERE is_available AND run_at <= now() LIMIT 10000) AS bounded) AS ready,
             (SELECT count(*) FROM (SELECT FROM _private_jobs
                  WHERE attempts >= max_attempts AND locked_at IS NULL LIMIT 10000) AS bounded)
                  AS dead,
             (SELECT extract(epoch FROM now() - min(run_at))::float8 FROM _private_jobs
                  WHERE is_available AND run_at <= now()) AS oldest_seconds",
    );
    statement("tasks.backlog", query.fetch_one(db)).await
}

/// Takes its other attempts from a job that runs: it is a dead letter once it has failed.
pub(crate) async fn give_up(db: &PgPool, id: i64) -> Result<(), sqlx::Error> {
    let update = sqlx::query("UPDATE _private_jobs SET attempts = max_attempts WHERE id = $1");
    let mut db = quartet_db::write(db).await?;
    statement("tasks.give_up", update.bind(id).execute(&mut *db)).await?;
    db.commit().await
}

/// Deletes up to `limit` dead letters that are older than 30 days.
pub(crate) async fn purge_dead(db: &mut PgConnection, limit: i64) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(
        "DELETE FROM _private_jobs WHERE id IN (
             SELECT id FROM _private_jobs
             WHERE attempts >= max_attempts AND locked_at IS NULL
               AND updated_at < now() - interval '30 days'
             LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(limit);
    let deleted = statement("tasks.purge_dead", delete.execute(db)).await?;
    Ok(deleted.rows_affected())
}
