//! The sweep across all owners, through SQL functions that bypass row-level security.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::assets::{AssetId, Visibility};

/// An asset whose objects are to be deleted.
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

/// Deletes the rows of deleted objects, except where an object may still arrive. Returns how many.
pub(crate) async fn finish(
    db: &mut PgConnection,
    ids: &[AssetId],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let gone = statement(
        "sweeps.finish",
        sqlx::query_scalar!(r#"SELECT media.finish_sweep($1, $2) AS "gone!""#, &ids, now)
            .fetch_one(db),
    )
    .await?;
    Ok(u64::try_from(gone).unwrap_or(0))
}

/// Takes ready assets whose upload can no longer arrive.
pub(crate) async fn take_incoming(
    db: &mut PgConnection,
    claim: Claim,
) -> Result<Vec<AssetId>, sqlx::Error> {
    statement(
        "sweeps.take_incoming",
        sqlx::query_scalar!(
            r#"SELECT id AS "id!: AssetId" FROM media.take_incoming($1, $2, $3)"#,
            claim.now,
            claim.leased_until,
            claim.limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Records that nothing is left of these uploads.
pub(crate) async fn finish_incoming(
    db: &mut PgConnection,
    ids: &[AssetId],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    statement(
        "sweeps.finish_incoming",
        sqlx::query!("SELECT media.finish_incoming($1)", &ids).execute(db),
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

/// How many assets wait for a sweep; up to 100,000 are counted.
pub(crate) async fn backlog(db: &mut PgConnection, claim: Claim) -> Result<i64, sqlx::Error> {
    statement(
        "sweeps.backlog",
        sqlx::query_scalar!(
            r#"SELECT media.sweep_backlog($1, $2) AS "due!""#,
            claim.now,
            claim.abandoned_before,
        )
        .fetch_one(db),
    )
    .await
}
