//! Rows of `core.emails`.

use chrono::{DateTime, Utc};
use quartet_db::{statement, typed_id};
use sqlx::PgConnection;

use crate::store::users::UserId;

typed_id!(
    /// An email of a user.
    pub(crate) EmailId,
    "eml"
);

/// Stores the primary email of a new user.
pub(crate) async fn insert_primary(
    db: &mut PgConnection,
    id: EmailId,
    user: UserId,
    address: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "emails.insert_primary",
        sqlx::query!(
            "INSERT INTO core.emails (id, user_id, address, is_primary, created_at)
         VALUES ($1, $2, $3, true, $4)",
            id.uuid(),
            user.uuid(),
            address,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Changes the primary email of a locked user. Another spelling of the same email stays verified.
pub(crate) async fn replace_primary(
    db: &mut PgConnection,
    user: UserId,
    address: &str,
) -> Result<(), sqlx::Error> {
    statement(
        "emails.replace_primary",
        sqlx::query!(
            "UPDATE core.emails SET address = $2,
             verified_at = CASE WHEN lower(address) = lower($2) THEN verified_at END
         WHERE user_id = $1 AND is_primary",
            user.uuid(),
            address,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}
