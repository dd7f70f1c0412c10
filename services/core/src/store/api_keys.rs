//! Rows of `core.api_keys`. Queries skip keys that have ended.

use chrono::{DateTime, Utc};
use quartet_db::{statement, typed_id};
use sqlx::PgConnection;

use crate::store::users::{UserId, UserRow, select_user};

typed_id!(
    /// A key with which a program acts for a user.
    pub(crate) ApiKeyId,
    "key"
);

#[derive(Clone, Debug)]
pub(crate) struct ApiKeyRow {
    pub(crate) id: ApiKeyId,
    pub(crate) user_id: UserId,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) last_used_at: Option<DateTime<Utc>>,
}

pub(crate) async fn insert(
    db: &mut PgConnection,
    key: &ApiKeyRow,
    hash: &[u8],
) -> Result<(), sqlx::Error> {
    statement(
        "api_keys.insert",
        sqlx::query!(
            "INSERT INTO core.api_keys (id, user_id, name, hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
            key.id.uuid(),
            key.user_id.uuid(),
            key.name,
            hash,
            &key.scopes,
            key.created_at,
            key.expires_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// How many live keys a user has.
pub(crate) async fn count(
    db: &mut PgConnection,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    statement(
        "api_keys.count",
        sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM core.api_keys
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2"#,
            user.uuid(),
            now,
        )
        .fetch_one(db),
    )
    .await
}

/// Live keys of a user, newest first, from before `before`, at most `limit`.
pub(crate) async fn list(
    db: &mut PgConnection,
    user: UserId,
    before: Option<ApiKeyId>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ApiKeyRow>, sqlx::Error> {
    statement(
        "api_keys.list",
        sqlx::query_as!(
            ApiKeyRow,
            r#"SELECT id AS "id: ApiKeyId", user_id AS "user_id: UserId", name, scopes, created_at,
                  expires_at, last_used_at
           FROM core.api_keys
           WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3
             AND ($2::uuid IS NULL OR id < $2)
           ORDER BY id DESC LIMIT $4"#,
            user.uuid(),
            before.map(ApiKeyId::uuid),
            now,
            limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Notes that a live key is used, and reads it. `None` when there is none with this hash, or its user
/// is deleted.
pub(crate) async fn touch(
    db: &mut PgConnection,
    hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<ApiKeyRow>, sqlx::Error> {
    statement(
        "api_keys.touch",
        sqlx::query_as!(
            ApiKeyRow,
            r#"UPDATE core.api_keys AS k SET last_used_at = greatest(k.last_used_at, $2)
           FROM core.users AS u
           WHERE k.hash = $1 AND k.revoked_at IS NULL AND k.expires_at > $2
             AND u.id = k.user_id AND u.deleted_at IS NULL
           RETURNING k.id AS "id: ApiKeyId", k.user_id AS "user_id: UserId", k.name, k.scopes,
                  k.created_at, k.expires_at, k.last_used_at"#,
            hash,
            now,
        )
        .fetch_optional(db),
    )
    .await
}

/// The user of a live key; `None` when it has ended or its user is deleted.
pub(crate) async fn live_user(
    db: &mut PgConnection,
    user: UserId,
    key: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<Option<UserRow>, sqlx::Error> {
    statement(
        "api_keys.live_user",
        select_user!(
            "JOIN core.api_keys AS k ON k.user_id = u.id
           WHERE k.id = $1 AND u.id = $2 AND k.revoked_at IS NULL AND k.expires_at > $3",
            key.uuid(),
            user.uuid(),
            now,
        )
        .fetch_optional(db),
    )
    .await
}

/// `false` when the user has no live key with this id.
pub(crate) async fn revoke(
    db: &mut PgConnection,
    user: UserId,
    key: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let revoked = statement(
        "api_keys.revoke",
        sqlx::query!(
            "UPDATE core.api_keys SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3",
            key.uuid(),
            user.uuid(),
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(revoked.rows_affected() == 1)
}

pub(crate) async fn revoke_all(
    db: &mut PgConnection,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "api_keys.revoke_all",
        sqlx::query!(
            "UPDATE core.api_keys SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL",
            user.uuid(),
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes keys that ended before `before`. Returns their number.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = statement(
        "api_keys.purge",
        sqlx::query!(
            "DELETE FROM core.api_keys WHERE id IN (
             SELECT k.id FROM core.api_keys AS k
             WHERE least(k.expires_at, k.revoked_at) < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
