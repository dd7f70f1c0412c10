//! SQL: a file per table, plain functions, checked queries.

pub(crate) mod clicks;
pub(crate) mod link_filters;
pub(crate) mod link_lists;
pub(crate) mod links;
pub(crate) mod maintenance;
pub(crate) mod redirects;
pub(crate) mod salts;

use sqlx::{PgPool, PgTransaction};

/// Begins a transaction that row-level security limits to the rows of one user.
///
/// The queries name the owner as well, so that either check alone would be enough.
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
