//! SQL: one file for each thing that is stored, plain functions, checked queries.

pub(crate) mod clicks;
pub(crate) mod link_filters;
pub(crate) mod link_lists;
pub(crate) mod links;
pub(crate) mod maintenance;
pub(crate) mod redirects;
pub(crate) mod salts;

use sqlx::{PgPool, PgTransaction};

/// A transaction that sees the rows of one user and nobody else's.
///
/// The queries name the owner as well: two locks, of which either would do.
pub(crate) async fn begin_as(
    pool: &PgPool,
    owner: &str,
) -> Result<PgTransaction<'static>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query_scalar!("SELECT set_config('quartet.user_id', $1, true)", owner)
        .fetch_one(&mut *tx)
        .await?;
    Ok(tx)
}
