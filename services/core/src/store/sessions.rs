//! Rows of `core.sessions`. Queries skip sessions that have ended.

use chrono::{DateTime, Utc};
use quartet_db::{statement, typed_id};
use sqlx::PgConnection;

use crate::store::users::{UserId, UserRow, select_user};

typed_id!(
    /// One login, kept alive by refresh tokens.
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

/// How the user of a session was authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) at: DateTime<Utc>,
    /// By their names in RFC 8176, such as `pwd`.
    pub(crate) methods: Vec<String>,
}

/// The hashes of the first refresh token of a session.
#[derive(Clone, Debug)]
pub(crate) struct FirstToken {
    pub(crate) family_hash: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

/// What a refresh changes in a session.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    pub(crate) client_ip: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) refreshed_at: DateTime<Utc>,
    pub(crate) idle_expires_at: DateTime<Utc>,
}

/// Stores a session with its first refresh token.
pub(crate) async fn insert(
    db: &mut PgConnection,
    session: &SessionRow,
    authentication: &Authentication,
    token: &FirstToken,
) -> Result<(), sqlx::Error> {
    statement(
        "sessions.insert",
        sqlx::query!(
            "WITH session AS (
             INSERT INTO core.sessions (id, user_id, client_address, user_agent, created_at,
                 last_used_at, idle_expires_at, expires_at, authenticated_at, auth_methods)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $10, $11))
         INSERT INTO core.refresh_tokens (session_id, family_hash, unused_hash) VALUES ($1, $9, $12)",
            session.id.uuid(),
            session.user_id.uuid(),
            session.client_address,
            session.user_agent,
            session.created_at,
            session.last_used_at,
            session.idle_expires_at,
            session.expires_at,
            token.family_hash,
            authentication.at,
            &authentication.methods,
            token.hash,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// When a live session was created; `None` when it has ended or its user is deleted.
pub(crate) async fn live_since(
    db: &mut PgConnection,
    user: UserId,
    session: SessionId,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    statement(
        "sessions.live_since",
        sqlx::query_scalar!(
            "SELECT s.created_at FROM core.sessions AS s
         JOIN core.users AS u ON u.id = s.user_id AND u.deleted_at IS NULL
         WHERE s.id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL
           AND s.expires_at > $3 AND s.idle_expires_at > $3",
            session.uuid(),
            user.uuid(),
            now,
        )
        .fetch_optional(db),
    )
    .await
}

/// The user of a live session; `None` when it has ended or its user is deleted.
pub(crate) async fn live_user(
    db: &mut PgConnection,
    user: UserId,
    session: SessionId,
    now: DateTime<Utc>,
) -> Result<Option<UserRow>, sqlx::Error> {
    statement(
        "sessions.live_user",
        select_user!(
            "JOIN core.sessions AS s ON s.user_id = u.id
           WHERE s.id = $1 AND u.id = $2 AND s.revoked_at IS NULL
             AND s.expires_at > $3 AND s.idle_expires_at > $3",
            session.uuid(),
            user.uuid(),
            now,
        )
        .fetch_optional(db),
    )
    .await
}

/// Live sessions of a user, newest first, from before `before`, at most `limit`.
pub(crate) async fn list(
    db: &mut PgConnection,
    user: UserId,
    before: Option<SessionId>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<SessionRow>, sqlx::Error> {
    statement(
        "sessions.list",
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
        .fetch_all(db),
    )
    .await
}

/// Records a refresh.
pub(crate) async fn touch(
    db: &mut PgConnection,
    session: SessionId,
    refresh: &Refresh,
) -> Result<(), sqlx::Error> {
    statement(
        "sessions.touch",
        sqlx::query!(
            "UPDATE core.sessions SET last_used_at = $2, idle_expires_at = $3, client_address = $4,
             user_agent = $5
         WHERE id = $1",
            session.uuid(),
            refresh.refreshed_at,
            refresh.idle_expires_at,
            refresh.client_ip,
            refresh.user_agent.as_deref(),
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Whether an account has a session that was used from `network` since `since`. Revoked sessions do
/// not count: they may have been a thief's. The response is one row whether or not the account exists.
pub(crate) async fn is_known_network(
    db: &mut PgConnection,
    email: &str,
    network: &str,
    since: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    statement(
        "sessions.is_known_network",
        sqlx::query_scalar!(
            r#"SELECT EXISTS (
             SELECT FROM core.sessions AS s
             JOIN core.emails AS e ON e.user_id = s.user_id AND e.is_primary
             WHERE lower(e.address) = lower($1) AND e.released_at IS NULL AND s.last_used_at > $3
               AND s.client_address::inet <<= $2::text::inet
               AND (s.revoked_reason IS NULL OR s.revoked_reason IN ('logged_out', 'displaced'))
         ) AS "known!""#,
            email,
            network,
            since,
        )
        .fetch_one(db),
    )
    .await
}

/// Ends all live sessions of a user but the newest `kept`.
pub(crate) async fn revoke_oldest(
    db: &mut PgConnection,
    user: UserId,
    kept: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "sessions.revoke_oldest",
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
        .execute(db),
    )
    .await?;
    Ok(())
}

/// `false` when the user has no live session with this id.
pub(crate) async fn revoke(
    db: &mut PgConnection,
    user: UserId,
    session: SessionId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let revoked = statement(
        "sessions.revoke",
        sqlx::query!(
            "UPDATE core.sessions SET revoked_at = $4, revoked_reason = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
           AND expires_at > $4 AND idle_expires_at > $4",
            session.uuid(),
            user.uuid(),
            reason,
            now,
        )
        .execute(db),
    )
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
    statement(
        "sessions.revoke_others",
        sqlx::query!(
            "UPDATE core.sessions SET revoked_at = $4, revoked_reason = $3
         WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL",
            user.uuid(),
            kept.uuid(),
            reason,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

pub(crate) async fn revoke_all(
    db: &mut PgConnection,
    user: UserId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "sessions.revoke_all",
        sqlx::query!(
            "UPDATE core.sessions SET revoked_at = $3, revoked_reason = $2
         WHERE user_id = $1 AND revoked_at IS NULL",
            user.uuid(),
            reason,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes sessions that ended before `before`, each with its one row of tokens. Returns their number.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = statement(
        "sessions.purge",
        sqlx::query!(
            "DELETE FROM core.sessions WHERE id IN (
             SELECT s.id FROM core.sessions AS s
             WHERE least(s.expires_at, s.idle_expires_at, s.revoked_at) < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
