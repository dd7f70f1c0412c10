//! The sweep's way past row-level security: two SQL functions.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::store::assets::{AssetId, Visibility};

/// An object that is to be removed.
#[derive(Clone, Debug)]
pub(crate) struct SweepRow {
    pub(crate) id: AssetId,
    pub(crate) object_key: String,
    pub(crate) visibility: Visibility,
}

/// Takes deleted assets, and uploads whose address ended before `abandoned`, until `lease`.
pub(crate) async fn take(
    pool: &PgPool,
    now: DateTime<Utc>,
    abandoned: DateTime<Utc>,
    lease: DateTime<Utc>,
    limit: i32,
) -> Result<Vec<SweepRow>, sqlx::Error> {
    sqlx::query_as!(
        SweepRow,
        r#"SELECT id AS "id!: AssetId", object_key AS "object_key!",
                  visibility AS "visibility!: Visibility"
           FROM media.take_sweep($1, $2, $3, $4)"#,
        now,
        abandoned,
        lease,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Removes the row of a removed object; false while its upload address is still valid.
pub(crate) async fn finish(
    pool: &PgPool,
    id: AssetId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT media.finish_sweep($1, $2) AS "gone!""#,
        id.uuid(),
        now
    )
    .fetch_one(pool)
    .await
}
