//! Statements on the table of `erasures.sql`.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{FromRow, PgConnection};

#[derive(Clone, Debug, FromRow)]
pub(super) struct Erasure {
    pub(super) owner: String,
    pub(super) requested_at: DateTime<Utc>,
}

pub(super) async fn request(
    db: &mut PgConnection,
    owner: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO erasures (owner, requested_at, due_at) VALUES ($1, $2, $2)
         ON CONFLICT (owner) DO UPDATE SET requested_at = excluded.requested_at,
             due_at = excluded.due_at",
    )
    .bind(owner)
    .bind(now);
    statement("erasures.request", insert.execute(&mut *db)).await?;
    // The queue is that of quartet-worker. One that waits already does this, too.
    let add = sqlx::query("SELECT FROM add_job('erase', payload => '{}', job_key => 'erase')");
    statement("erasures.add_job", add.execute(db)).await?;
    Ok(())
}

/// Takes one that is due; no other replica does until `until`.
pub(super) async fn take(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Erasure>, sqlx::Error> {
    let take = sqlx::query_as(
        "UPDATE erasures SET due_at = $2 WHERE owner = (
             SELECT owner FROM erasures WHERE due_at <= $1
             ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING owner, requested_at",
    )
    .bind(now)
    .bind(until);
    statement("erasures.take", take.fetch_optional(db)).await
}

/// Sets when to look again; `None`: never.
pub(super) async fn settle(
    db: &mut PgConnection,
    owner: &str,
    again: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    let settle = match again {
        Some(at) => sqlx::query("UPDATE erasures SET due_at = $2 WHERE owner = $1")
            .bind(owner)
            .bind(at),
        None => sqlx::query("DELETE FROM erasures WHERE owner = $1").bind(owner),
    };
    statement("erasures.settle", settle.execute(db)).await?;
    Ok(())
}
