//! The keys of the visitor hashes.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgPool;

use crate::error::Error;

/// The salt of a day: `proposed`, unless another replica was faster.
pub(crate) async fn of_day(
    pool: &PgPool,
    day: NaiveDate,
    proposed: &[u8; 16],
) -> Result<[u8; 16], Error> {
    let salt = sqlx::query_scalar!(
        r#"SELECT links.salt_of($1, $2) AS "salt!""#,
        day,
        proposed.as_slice()
    )
    .fetch_one(pool)
    .await?;
    salt.try_into()
        .map_err(|_| Error::Database(sqlx::Error::Decode("a salt has 16 bytes".into())))
}

/// Deletes the salts of the days that began before this.
pub(crate) async fn drop_before(pool: &PgPool, before: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query_scalar!("SELECT links.drop_salts($1)", before)
        .fetch_one(pool)
        .await?;
    Ok(())
}
