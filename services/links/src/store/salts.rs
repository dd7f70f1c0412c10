//! Rows of `links.salts`: the keys of the visitor hashes.

use chrono::{DateTime, NaiveDate, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

/// The salt of a day: `proposed`, unless another replica has stored one before.
pub(crate) async fn get_or_insert(
    db: &mut PgConnection,
    day: NaiveDate,
    proposed: &[u8; 16],
) -> Result<[u8; 16], sqlx::Error> {
    let salt = statement(
        "salts.get_or_insert",
        sqlx::query_scalar!(
            r#"SELECT links.salt_of($1, $2) AS "salt!""#,
            day,
            proposed.as_slice()
        )
        .fetch_one(db),
    )
    .await?;
    salt.try_into()
        .map_err(|_| sqlx::Error::Decode("a salt has 16 bytes".into()))
}

/// Deletes the salts of days that began at or before `before`.
pub(crate) async fn delete_before(
    db: &mut PgConnection,
    before: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "salts.delete_before",
        sqlx::query_scalar!("SELECT links.drop_salts($1)", before).fetch_one(db),
    )
    .await?;
    Ok(())
}
