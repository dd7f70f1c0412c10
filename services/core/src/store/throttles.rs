//! Rows of `core.throttles`.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

#[derive(Clone, Debug)]
pub(crate) struct ThrottleRow {
    pub(crate) key: String,
    pub(crate) failures: i32,
    pub(crate) last_failure_at: DateTime<Utc>,
}

pub(crate) async fn by_keys(
    db: &mut PgConnection,
    keys: &[String],
) -> Result<Vec<ThrottleRow>, sqlx::Error> {
    statement(
        "throttles.by_keys",
        sqlx::query_as!(
            ThrottleRow,
            "SELECT key, failures, last_failure_at FROM core.throttles WHERE key = ANY ($1)",
            keys,
        )
        .fetch_all(db),
    )
    .await
}

/// Counts one failure under each key. A count whose last failure was before `forgotten` restarts.
pub(crate) async fn add_failure(
    db: &mut PgConnection,
    keys: &[String],
    now: DateTime<Utc>,
    forgotten: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    // Ordered by the bytes of the key, so that concurrent attempts cannot deadlock.
    statement(
        "throttles.add_failure",
        sqlx::query!(
            r#"INSERT INTO core.throttles AS t (key, failures, last_failure_at)
         SELECT key, 1, $2 FROM unnest($1::text[]) AS key ORDER BY key COLLATE "C"
         ON CONFLICT (key) DO UPDATE SET
             failures = CASE WHEN t.last_failure_at < $3 THEN 1
                             ELSE least(t.failures, 1000000) + 1 END,
             last_failure_at = $2"#,
            keys,
            now,
            forgotten,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Locks in the order in which failures are counted, to rule out a deadlock.
pub(crate) async fn delete(db: &mut PgConnection, keys: &[String]) -> Result<(), sqlx::Error> {
    statement(
        "throttles.delete",
        sqlx::query!(
            r#"DELETE FROM core.throttles WHERE key IN (
             SELECT key FROM core.throttles WHERE key = ANY ($1)
             ORDER BY key COLLATE "C" FOR UPDATE)"#,
            keys,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes rows whose last failure was before `before`. Returns their number.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = statement(
        "throttles.purge",
        sqlx::query!(
            "DELETE FROM core.throttles WHERE key IN (
             SELECT key FROM core.throttles WHERE last_failure_at < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
