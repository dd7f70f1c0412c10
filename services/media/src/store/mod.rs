//! Checked SQL in plain functions.

pub(crate) mod assets;
pub(crate) mod sweeps;

use sqlx::{PgPool, Postgres, Transaction};

/// A transaction that sees the rows of `owner` and no others.
pub(crate) async fn begin(
    pool: &PgPool,
    owner: &str,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query_scalar!("SELECT set_config('quartet.user_id', $1, true)", owner)
        .fetch_one(&mut *tx)
        .await?;
    Ok(tx)
}
