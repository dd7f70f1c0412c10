//! Rows of `core.sessions`. One that has ended is not found.

use chrono::{DateTime, Utc};
use quartet_db::typed_id;
use sqlx::PgConnection;

use crate::store::users::UserId;

typed_id!(
    /// One login and all its refreshes.
    pub(crate) SessionId,
    "ses"
);

#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) client_address: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) last_used_at: DateTime<Utc>,
    pub(crate) idle_expires_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

pub(crate) async fn insert(db: &mut PgConnection, session: &SessionRow) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO core.sessions (id, user_id, client_address, user_agent, created_at,
             last_used_at, idle_expires_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        session.id.uuid(),
        session.user_id.uuid(),
        session.client_address,
        session.user_agent,
        session.created_at,
        session.last_used_at,
        session.idle_expires_at,
        session.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// When a live session of a living user began.
pub(crate) async fn live_since(
    db: &mut PgConnection,
    user: UserId,
    session: SessionId,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT s.created_at FROM core.sessions AS s
         JOIN core.users AS u ON u.id = s.user_id AND u.deleted_at IS NULL
         WHERE s.id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL
           AND s.expires_at > $3 AND s.idle_expires_at > $3",
        session.uuid(),
        user.uuid(),
        now,
    )
    .fetch_optional(db)
    .await
}

/// Live sessions of a user, newest first, up to `limit` rows.
pub(crate) async fn list(
    db: &mut PgConnection,
    user: UserId,
    before: Option<SessionId>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<SessionRow>, sqlx::Error> {
    sqlx::query_as!(
        SessionRow,
        r#"SELECT id AS "id: SessionId", user_id AS "user_id: UserId", client_address, user_agent,
                  created_at, last_used_at, idle_expires_at, expires_at
           FROM core.sessions
           WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3 AND idle_expires_at > $3
             AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $4"#,
        user.uuid(),
        before.map(SessionId::uuid),
        now,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Notes a refresh: where it came from, and how long the session may now rest.
pub(crate) async fn touch(
    db: &mut PgConnection,
    session: SessionId,
    (client_address, user_agent): &(String, Option<String>),
    now: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE core.sessions SET last_used_at = $2, idle_expires_at = $3, client_address = $4,
             user_agent = $5
         WHERE id = $1",
        session.uuid(),
        now,
        idle_expires_at,
        client_address,
        user_agent.as_deref(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// From where an account was used since `since`, the latest first. Sessions that were ended by
/// force do not count: they may have been somebody else's.
pub(crate) async fn addresses(
    db: &mut PgConnection,
    email: &str,
    since: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT s.client_address FROM core.sessions AS s
         JOIN core.users AS u ON u.id = s.user_id AND u.deleted_at IS NULL
         WHERE lower(u.email) = lower($1) AND s.last_used_at > $2
           AND (s.revoked_reason IS NULL OR s.revoked_reason IN ('logged_out', 'displaced'))
         ORDER BY s.id DESC LIMIT 100",
        email,
        since,
    )
    .fetch_all(db)
    .await
}

/// Ends all but the newest `kept` live sessions of a user.
pub(crate) async fn revoke_oldest(
    db: &mut PgConnection,
    user: UserId,
    kept: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE core.sessions SET revoked_at = $3, revoked_reason = 'displaced'
         WHERE id IN (
             SELECT id FROM core.sessions
             WHERE user_id = $1 AND revoked_at IS NULL
               AND expires_at > $3 AND idle_expires_at > $3
             ORDER BY id DESC OFFSET $2)",
        user.uuid(),
        kept,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// False when there is no live session of this user with this id.
pub(crate) async fn revoke(
    db: &mut PgConnection,
    user: UserId,
    session: SessionId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let revoked = sqlx::query!(
        "UPDATE core.sessions SET revoked_at = $4, revoked_reason = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
           AND expires_at > $4 AND idle_expires_at > $4",
        session.uuid(),
        user.uuid(),
        reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

pub(crate) async fn revoke_others(
    db: &mut PgConnection,
    user: UserId,
    kept: SessionId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE core.sessions SET revoked_at = $4, revoked_reason = $3
         WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL",
        user.uuid(),
        kept.uuid(),
        reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn revoke_all(
    db: &mut PgConnection,
    user: UserId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE core.sessions SET revoked_at = $3, revoked_reason = $2
         WHERE user_id = $1 AND revoked_at IS NULL",
        user.uuid(),
        reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes sessions that ended before `before`, once their tokens are gone; gives how many.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = sqlx::query!(
        "DELETE FROM core.sessions WHERE id IN (
             SELECT s.id FROM core.sessions AS s
             WHERE least(s.expires_at, s.idle_expires_at, s.revoked_at) < $1
               AND NOT EXISTS (SELECT FROM core.refresh_tokens WHERE session_id = s.id)
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        limit,
    )
    .execute(db)
    .await?;
    Ok(purged.rows_affected())
}
