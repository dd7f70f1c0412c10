//! Rows of `core.users`. Queries skip deleted users.

use chrono::{DateTime, Utc};
use quartet_db::{statement, typed_id};
use sqlx::PgConnection;

typed_id!(
    /// A person with an account.
    pub(crate) UserId,
    "usr"
);

#[derive(Clone)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) display_name: Option<String>,
    pub(crate) version: i64,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl std::fmt::Debug for UserRow {
    /// Neither email nor hash may reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn insert(db: &mut PgConnection, user: &UserRow) -> Result<(), sqlx::Error> {
    statement(
        "users.insert",
        sqlx::query!(
            "INSERT INTO core.users
             (id, email, password_hash, display_name, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
            user.id.uuid(),
            user.email,
            user.password_hash,
            user.display_name,
            user.version,
            user.created_at,
            user.updated_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

pub(crate) async fn by_id(
    db: &mut PgConnection,
    id: UserId,
) -> Result<Option<UserRow>, sqlx::Error> {
    statement(
        "users.by_id",
        sqlx::query_as!(
            UserRow,
            r#"SELECT id AS "id: UserId", email, password_hash, display_name, version, created_at,
                  updated_at
           FROM core.users WHERE id = $1 AND deleted_at IS NULL"#,
            id.uuid(),
        )
        .fetch_optional(db),
    )
    .await
}

/// Case-insensitive.
pub(crate) async fn by_email(
    db: &mut PgConnection,
    email: &str,
) -> Result<Option<UserRow>, sqlx::Error> {
    statement(
        "users.by_email",
        sqlx::query_as!(
            UserRow,
            r#"SELECT id AS "id: UserId", email, password_hash, display_name, version, created_at,
                  updated_at
           FROM core.users WHERE lower(email) = lower($1) AND deleted_at IS NULL"#,
            email,
        )
        .fetch_optional(db),
    )
    .await
}

/// Reads a user and blocks changes to it until the transaction ends.
pub(crate) async fn lock(
    db: &mut PgConnection,
    id: UserId,
) -> Result<Option<UserRow>, sqlx::Error> {
    statement(
        "users.lock",
        sqlx::query_as!(
            UserRow,
            r#"SELECT id AS "id: UserId", email, password_hash, display_name, version, created_at,
                  updated_at
           FROM core.users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"#,
            id.uuid(),
        )
        .fetch_optional(db),
    )
    .await
}

/// Writes the mutable columns of a locked user.
pub(crate) async fn update(db: &mut PgConnection, user: &UserRow) -> Result<(), sqlx::Error> {
    statement(
        "users.update",
        sqlx::query!(
            "UPDATE core.users
         SET email = $2, password_hash = $3, display_name = $4, version = $5, updated_at = $6
         WHERE id = $1",
            user.id.uuid(),
            user.email,
            user.password_hash,
            user.display_name,
            user.version,
            user.updated_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Replaces a hash unless the password has been changed in the meantime.
pub(crate) async fn replace_hash(
    db: &mut PgConnection,
    id: UserId,
    old: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    statement(
        "users.replace_hash",
        sqlx::query!(
            "UPDATE core.users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
            id.uuid(),
            old,
            new,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

pub(crate) async fn delete(
    db: &mut PgConnection,
    id: UserId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "users.delete",
        sqlx::query!(
            "UPDATE core.users SET deleted_at = $2, updated_at = $2, version = version + 1
         WHERE id = $1 AND deleted_at IS NULL",
            id.uuid(),
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Purges users that were deleted before `before` and have no sessions left. Returns their number.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = statement(
        "users.purge",
        sqlx::query!(
            "DELETE FROM core.users WHERE id IN (
             SELECT u.id FROM core.users AS u
             WHERE u.deleted_at < $1
               AND NOT EXISTS (SELECT FROM core.sessions WHERE user_id = u.id)
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
