//! Rows of `core.refresh_tokens`, one of each session: hashes only.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

use crate::store::{
    sessions::{Authentication, SessionId},
    users::UserId,
};

/// The tokens of a live session; its row and this one are locked.
#[derive(Clone, Debug)]
pub(crate) struct LockedTokens {
    pub(crate) session_id: SessionId,
    pub(crate) user_id: UserId,
    /// When the session ends at the latest.
    pub(crate) session_expires_at: DateTime<Utc>,
    pub(crate) authentication: Authentication,
    /// Of the token that is not used yet.
    pub(crate) unused_hash: Vec<u8>,
    /// The latest use; `None` before the first one.
    pub(crate) used: Option<TokenUse>,
}

/// The use of the predecessor of the unused token.
#[derive(Clone, Debug)]
pub(crate) struct TokenUse {
    pub(crate) hash: Vec<u8>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) successor_salt: Vec<u8>,
}

/// Locks the tokens of a live session, so that they are read as the last holder of the lock left
/// them. `None` when the family is unknown or its session has ended.
pub(crate) async fn lock(
    db: &mut PgConnection,
    family_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<LockedTokens>, sqlx::Error> {
    let row = statement(
        "refresh_tokens.lock",
        sqlx::query!(
            r#"SELECT s.id AS "id: SessionId", s.user_id AS "user_id: UserId", s.expires_at,
                  s.authenticated_at, s.auth_methods,
                  t.unused_hash, t.used_hash, t.used_at, t.successor_salt
           FROM core.refresh_tokens AS t
           JOIN core.sessions AS s ON s.id = t.session_id
           JOIN core.users AS u ON u.id = s.user_id AND u.deleted_at IS NULL
           WHERE t.family_hash = $1 AND s.revoked_at IS NULL
             AND s.expires_at > $2 AND s.idle_expires_at > $2
           FOR UPDATE OF s, t"#,
            family_hash,
            now,
        )
        .fetch_optional(db),
    )
    .await?;
    Ok(row.map(|row| LockedTokens {
        session_id: row.id,
        user_id: row.user_id,
        session_expires_at: row.expires_at,
        authentication: Authentication {
            at: row.authenticated_at,
            methods: row.auth_methods,
        },
        unused_hash: row.unused_hash,
        used: row.used_hash.zip(row.used_at).zip(row.successor_salt).map(
            |((hash, at), successor_salt)| TokenUse {
                hash,
                at,
                successor_salt,
            },
        ),
    }))
}

/// The unused token of a session is used, and has a successor.
pub(crate) async fn advance(
    db: &mut PgConnection,
    session: SessionId,
    used: &TokenUse,
    successor_hash: &[u8],
) -> Result<(), sqlx::Error> {
    statement(
        "refresh_tokens.advance",
        sqlx::query!(
            "UPDATE core.refresh_tokens
         SET unused_hash = $2, used_hash = $3, used_at = $4, successor_salt = $5
         WHERE session_id = $1",
            session.uuid(),
            successor_hash,
            used.hash,
            used.at,
            used.successor_salt,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}
