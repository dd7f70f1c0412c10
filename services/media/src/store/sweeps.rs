//! The sweep across all owners, through SQL functions that bypass row-level security.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::{
    assets::{AssetId, ObjectsRow, Visibility},
    ids::UploadId,
};

/// An upload of a ready asset that is over.
#[derive(Clone, Debug)]
pub(crate) struct UploadSweepRow {
    pub(crate) id: UploadId,
    pub(crate) visibility: Visibility,
    /// Where files may have been copied to, without that of the version.
    pub(crate) object_keys: Vec<String>,
}

/// What a sweep takes, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) now: DateTime<Utc>,
    pub(crate) leased_until: DateTime<Utc>,
    pub(crate) limit: i32,
}

/// Takes deleted assets, and those whose only upload was abandoned or rejected. No other sweep takes
/// them until the lease ends.
pub(crate) async fn take_assets(
    db: &mut PgConnection,
    claim: Claim,
) -> Result<Vec<ObjectsRow>, sqlx::Error> {
    statement(
        "sweeps.take_assets",
        sqlx::query_as!(
            ObjectsRow,
            r#"SELECT id AS "id!: AssetId", visibility AS "visibility!: Visibility",
                  object_keys AS "object_keys!", uploads AS "uploads!"
           FROM media.take_assets($1, $2, $3)"#,
            claim.now,
            claim.leased_until,
            claim.limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Deletes the rows of deleted objects, except where an object may still arrive. Returns the number
/// of assets deleted.
pub(crate) async fn finish_assets(
    db: &mut PgConnection,
    ids: &[AssetId],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let gone = statement(
        "sweeps.finish_assets",
        sqlx::query_scalar!(
            r#"SELECT media.finish_assets($1, $2) AS "gone!""#,
            &ids,
            now
        )
        .fetch_one(db),
    )
    .await?;
    Ok(u64::try_from(gone).unwrap_or(0))
}

/// Takes uploads of ready assets that can no longer arrive.
pub(crate) async fn take_uploads(
    db: &mut PgConnection,
    claim: Claim,
) -> Result<Vec<UploadSweepRow>, sqlx::Error> {
    statement(
        "sweeps.take_uploads",
        sqlx::query_as!(
            UploadSweepRow,
            r#"SELECT id AS "id!: UploadId", visibility AS "visibility!: Visibility",
                  object_keys AS "object_keys!"
           FROM media.take_uploads($1, $2, $3)"#,
            claim.now,
            claim.leased_until,
            claim.limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Deletes the rows of uploads of which nothing is left.
pub(crate) async fn finish_uploads(
    db: &mut PgConnection,
    ids: &[UploadId],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    statement(
        "sweeps.finish_uploads",
        sqlx::query!("SELECT media.finish_uploads($1)", &ids).execute(db),
    )
    .await?;
    Ok(())
}

/// Hides up to `limit` assets of a deleted user, for the next sweep. Returns how many.
pub(crate) async fn hide_assets(
    db: &mut PgConnection,
    owner: &str,
    now: DateTime<Utc>,
    limit: i32,
) -> Result<u64, sqlx::Error> {
    let hidden = statement(
        "sweeps.hide_assets",
        sqlx::query_scalar!(
            r#"SELECT media.erase_assets($1, $2, $3) AS "hidden!""#,
            owner,
            now,
            limit
        )
        .fetch_one(db),
    )
    .await?;
    Ok(u64::try_from(hidden).unwrap_or(0))
}

/// How many assets and uploads wait for a sweep; up to 100,000 are counted.
pub(crate) async fn backlog(db: &mut PgConnection, now: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    statement(
        "sweeps.backlog",
        sqlx::query_scalar!(r#"SELECT media.sweep_backlog($1) AS "due!""#, now).fetch_one(db),
    )
    .await
}
