//! Rows of `core.passwords`.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

use crate::store::users::UserId;

/// The hash of a user's password.
#[derive(Clone)]
pub(crate) struct PasswordRow {
    pub(crate) user_id: UserId,
    /// A PHC string.
    pub(crate) hash: String,
}

impl std::fmt::Debug for PasswordRow {
    /// The hash may not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordRow")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn insert(
    db: &mut PgConnection,
    password: &PasswordRow,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "passwords.insert",
        sqlx::query!(
            "INSERT INTO core.passwords (user_id, hash, changed_at) VALUES ($1, $2, $3)",
            password.user_id.uuid(),
            password.hash,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// The password that goes with a primary email, regardless of case.
pub(crate) async fn by_email(
    db: &mut PgConnection,
    email: &str,
) -> Result<Option<PasswordRow>, sqlx::Error> {
    statement(
        "passwords.by_email",
        sqlx::query_as!(
            PasswordRow,
            r#"SELECT p.user_id AS "user_id: UserId", p.hash
           FROM core.emails AS e
           JOIN core.passwords AS p ON p.user_id = e.user_id
           WHERE lower(e.address) = lower($1) AND e.is_primary AND e.released_at IS NULL"#,
            email,
        )
        .fetch_optional(db),
    )
    .await
}

/// The hash of a user's password.
pub(crate) async fn of_user(
    db: &mut PgConnection,
    user: UserId,
) -> Result<Option<String>, sqlx::Error> {
    statement(
        "passwords.of_user",
        sqlx::query_scalar!(
            "SELECT hash FROM core.passwords WHERE user_id = $1",
            user.uuid(),
        )
        .fetch_optional(db),
    )
    .await
}

/// Reads the hash of a user who is not deleted, and blocks changes to both until the transaction
/// ends. Both are locked: of a row that is not, a statement that has waited sees the old version.
pub(crate) async fn lock(
    db: &mut PgConnection,
    user: UserId,
) -> Result<Option<String>, sqlx::Error> {
    statement(
        "passwords.lock",
        sqlx::query_scalar!(
            "SELECT p.hash FROM core.users AS u
         JOIN core.passwords AS p ON p.user_id = u.id
         WHERE u.id = $1 AND u.deleted_at IS NULL FOR NO KEY UPDATE",
            user.uuid(),
        )
        .fetch_optional(db),
    )
    .await
}

/// Stores a new password of a locked user.
pub(crate) async fn replace(
    db: &mut PgConnection,
    password: &PasswordRow,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "passwords.replace",
        sqlx::query!(
            "UPDATE core.passwords SET hash = $2, changed_at = $3 WHERE user_id = $1",
            password.user_id.uuid(),
            password.hash,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Stores another hash of the same password, unless the password has been changed in the meantime.
pub(crate) async fn rehash(
    db: &mut PgConnection,
    old: &PasswordRow,
    hash: &str,
) -> Result<(), sqlx::Error> {
    statement(
        "passwords.rehash",
        sqlx::query!(
            "UPDATE core.passwords SET hash = $3 WHERE user_id = $1 AND hash = $2",
            old.user_id.uuid(),
            old.hash,
            hash,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}
