//! Rows of `core.refresh_tokens`: hashes only.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

use crate::store::{
    sessions::{Authentication, SessionId},
    users::UserId,
};

#[derive(Clone, Debug)]
pub(crate) struct RefreshTokenRow {
    pub(crate) token_hash: Vec<u8>,
    pub(crate) session_id: SessionId,
    pub(crate) created_at: DateTime<Utc>,
}

/// A token of a live session, whose row is locked.
#[derive(Clone, Debug)]
pub(crate) struct LockedToken {
    pub(crate) session_id: SessionId,
    pub(crate) user_id: UserId,
    /// When the session ends at the latest.
    pub(crate) session_expires_at: DateTime<Utc>,
    pub(crate) authentication: Authentication,
    /// `None` for an unused token.
    pub(crate) used: Option<TokenUse>,
}

/// The first use of a token, and its successor.
#[derive(Clone, Debug)]
pub(crate) struct TokenUse {
    pub(crate) used_at: DateTime<Utc>,
    pub(crate) successor_salt: Vec<u8>,
    pub(crate) successor_hash: Vec<u8>,
    pub(crate) successor_used: bool,
}

pub(crate) async fn insert(
    db: &mut PgConnection,
    token: &RefreshTokenRow,
) -> Result<(), sqlx::Error> {
    statement(
        "refresh_tokens.insert",
        sqlx::query!(
            "INSERT INTO core.refresh_tokens (token_hash, session_id, created_at) VALUES ($1, $2, $3)",
            token.token_hash,
            token.session_id.uuid(),
            token.created_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Locks the session of a token, then reads the token, so that it is read as the last holder of the
/// lock left it. `None` when the token is unknown or its session has ended.
pub(crate) async fn lock(
    db: &mut PgConnection,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<LockedToken>, sqlx::Error> {
    let session = statement(
        "refresh_tokens.lock",
        sqlx::query!(
            r#"SELECT s.id AS "id: SessionId", s.user_id AS "user_id: UserId", s.expires_at,
                  s.authenticated_at, s.auth_methods
           FROM core.refresh_tokens AS t
           JOIN core.sessions AS s ON s.id = t.session_id
           JOIN core.users AS u ON u.id = s.user_id AND u.deleted_at IS NULL
           WHERE t.token_hash = $1 AND s.revoked_at IS NULL
             AND s.expires_at > $2 AND s.idle_expires_at > $2
           FOR UPDATE OF s"#,
            token_hash,
            now,
        )
        .fetch_optional(&mut *db),
    )
    .await?;
    let Some(session) = session else {
        return Ok(None);
    };
    let token = statement(
        "refresh_tokens.lock",
        sqlx::query!(
            r#"SELECT t.used_at, t.successor_salt, t.successor_hash,
                  n.used_at IS NOT NULL AS "successor_used!"
           FROM core.refresh_tokens AS t
           LEFT JOIN core.refresh_tokens AS n ON n.token_hash = t.successor_hash
           WHERE t.token_hash = $1"#,
            token_hash,
        )
        .fetch_one(db),
    )
    .await?;
    let used = token
        .used_at
        .zip(token.successor_salt)
        .zip(token.successor_hash)
        .map(|((used_at, successor_salt), successor_hash)| TokenUse {
            used_at,
            successor_salt,
            successor_hash,
            successor_used: token.successor_used,
        });
    Ok(Some(LockedToken {
        session_id: session.id,
        user_id: session.user_id,
        session_expires_at: session.expires_at,
        authentication: Authentication {
            at: session.authenticated_at,
            methods: session.auth_methods,
        },
        used,
    }))
}

pub(crate) async fn mark_used(
    db: &mut PgConnection,
    token_hash: &[u8],
    successor_salt: &[u8],
    successor_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "refresh_tokens.mark_used",
        sqlx::query!(
            "UPDATE core.refresh_tokens
         SET used_at = $4, successor_salt = $2, successor_hash = $3 WHERE token_hash = $1",
            token_hash,
            successor_salt,
            successor_hash,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes tokens of sessions that ended before `before`. Returns their number.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = statement(
        "refresh_tokens.purge",
        sqlx::query!(
            "DELETE FROM core.refresh_tokens WHERE token_hash IN (
             SELECT t.token_hash FROM core.refresh_tokens AS t
             JOIN core.sessions AS s ON s.id = t.session_id
             WHERE least(s.expires_at, s.idle_expires_at, s.revoked_at) < $1
             LIMIT $2 FOR UPDATE OF t SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
