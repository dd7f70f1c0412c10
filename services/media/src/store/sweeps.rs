//! The sweep across all owners, through SQL functions that bypass row-level security.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

use crate::store::assets::{AssetId, Visibility};

/// An asset whose object is to be deleted.
#[derive(Clone, Debug)]
pub(crate) struct SweepRow {
    pub(crate) id: AssetId,
    pub(crate) object_key: String,
    pub(crate) visibility: Visibility,
}

/// Which assets a sweep takes, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) now: DateTime<Utc>,
    /// Pending uploads whose URL expired before this time are abandoned.
    pub(crate) abandoned_before: DateTime<Utc>,
    pub(crate) leased_until: DateTime<Utc>,
    pub(crate) limit: i32,
}

/// Takes deleted assets and abandoned uploads. No other sweep takes them until the lease ends.
pub(crate) async fn take(
    db: &mut PgConnection,
    claim: Claim,
) -> Result<Vec<SweepRow>, sqlx::Error> {
    statement(
        "sweeps.take",
        sqlx::query_as!(
            SweepRow,
            r#"SELECT id AS "id!: AssetId", object_key AS "object_key!",
                  visibility AS "visibility!: Visibility"
           FROM media.take_sweep($1, $2, $3, $4)"#,
            claim.now,
            claim.abandoned_before,
            claim.leased_until,
            claim.limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Deletes the row of a deleted object; `false` while its signed upload URL is still valid.
pub(crate) async fn finish(
    db: &mut PgConnection,
    id: AssetId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    statement(
        "sweeps.finish",
        sqlx::query_scalar!(
            r#"SELECT media.finish_sweep($1, $2) AS "gone!""#,
            id.uuid(),
            now
        )
        .fetch_one(db),
    )
    .await
}
