//! Rows of `core.users`. Queries skip deleted users.

use chrono::{DateTime, Utc};
use quartet_db::{statement, typed_id};
use sqlx::PgConnection;

typed_id!(
    /// A person with an account.
    pub(crate) UserId,
    "usr"
);

/// A user and their primary email.
#[derive(Clone)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) display_name: Option<String>,
    pub(crate) version: i64,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl std::fmt::Debug for UserRow {
    /// The email may not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Selects a [`UserRow`] of `u`, a user that is not deleted, with the rest of the statement and its
/// arguments.
macro_rules! select_user {
    ($rest:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            crate::store::users::UserRow,
            r#"SELECT u.id AS "id: UserId", e.address AS email, u.display_name, u.version,
                  u.created_at, u.updated_at
           FROM core.users AS u
           JOIN core.emails AS e ON e.user_id = u.id AND e.is_primary AND u.deleted_at IS NULL "#
                + $rest,
            $($argument),+
        )
    };
}
pub(super) use select_user;

/// Stores a user. The email is stored apart.
pub(crate) async fn insert(db: &mut PgConnection, user: &UserRow) -> Result<(), sqlx::Error> {
    statement(
        "users.insert",
        sqlx::query!(
            "INSERT INTO core.users (id, display_name, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5)",
            user.id.uuid(),
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
        select_user!("WHERE u.id = $1", id.uuid()).fetch_optional(db),
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
        select_user!("WHERE u.id = $1 FOR NO KEY UPDATE", id.uuid()).fetch_optional(db),
    )
    .await
}

/// Writes the mutable columns of a locked user. The email is stored apart.
pub(crate) async fn update(db: &mut PgConnection, user: &UserRow) -> Result<(), sqlx::Error> {
    statement(
        "users.update",
        sqlx::query!(
            "UPDATE core.users SET display_name = $2, version = $3, updated_at = $4 WHERE id = $1",
            user.id.uuid(),
            user.display_name,
            user.version,
            user.updated_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Marks a user as deleted, releases their emails and identities, and revokes their grants.
pub(crate) async fn delete(
    db: &mut PgConnection,
    id: UserId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "users.delete",
        sqlx::query!(
            "WITH emails AS (
             UPDATE core.emails SET released_at = $2 WHERE user_id = $1),
         identities AS (
             UPDATE core.identities SET released_at = $2 WHERE user_id = $1),
         grants AS (
             UPDATE core.grants SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL)
         UPDATE core.users SET deleted_at = $2, updated_at = $2, version = version + 1
         WHERE id = $1 AND deleted_at IS NULL",
            id.uuid(),
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Purges users that were deleted before `before` and have no sessions and no API keys left, with their
/// emails, password, identities and grants. Returns their number.
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
               AND NOT EXISTS (SELECT FROM core.api_keys WHERE user_id = u.id)
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
