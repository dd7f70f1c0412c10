//! Rows of `media.assets`, always those of one owner.

use chrono::{DateTime, Utc};
use quartet_db::typed_id;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

typed_id!(
    /// An uploaded file.
    pub(crate) AssetId,
    "ast"
);

/// Who may read an asset without a signed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Visibility {
    /// Only its owner, by an address that ends.
    Private,
    /// Everybody who has its address.
    Public,
}

/// Where an asset is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = AssetStatus)]
pub(crate) enum Status {
    /// Presigned; not completed yet.
    Pending,
    /// Uploaded, and verified to be what was promised.
    Ready,
    /// Something else was uploaded than promised; it has been removed.
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) struct AssetRow {
    pub(crate) id: AssetId,
    pub(crate) status: Status,
    pub(crate) visibility: Visibility,
    pub(crate) object_key: String,
    pub(crate) file_name: String,
    pub(crate) content_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) checksum_sha256: Option<Vec<u8>>,
    pub(crate) upload_expires_at: DateTime<Utc>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// Which assets a list shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) status: Option<Status>,
    pub(crate) visibility: Option<Visibility>,
    /// Only those made before this one.
    pub(crate) before: Option<AssetId>,
}

pub(crate) async fn insert(
    db: &mut PgConnection,
    owner: &str,
    asset: &AssetRow,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO media.assets (id, owner, status, visibility, object_key, file_name,
             content_type, size_bytes, checksum_sha256, upload_expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        asset.id.uuid(),
        owner,
        asset.status as Status,
        asset.visibility as Visibility,
        asset.object_key,
        asset.file_name,
        asset.content_type,
        asset.size_bytes,
        asset.checksum_sha256,
        asset.upload_expires_at,
        asset.created_at,
        asset.updated_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn by_id(
    db: &mut PgConnection,
    owner: &str,
    id: AssetId,
) -> Result<Option<AssetRow>, sqlx::Error> {
    sqlx::query_as!(
        AssetRow,
        r#"SELECT id AS "id: AssetId", status AS "status: Status",
                  visibility AS "visibility: Visibility", object_key, file_name, content_type,
                  size_bytes, checksum_sha256, upload_expires_at, created_at, updated_at
           FROM media.assets WHERE id = $1 AND owner = $2 AND status <> 'deleting'"#,
        id.uuid(),
        owner,
    )
    .fetch_optional(db)
    .await
}

/// Newest first, up to `limit` rows.
pub(crate) async fn list(
    db: &mut PgConnection,
    owner: &str,
    filter: Filter,
    limit: i64,
) -> Result<Vec<AssetRow>, sqlx::Error> {
    sqlx::query_as!(
        AssetRow,
        r#"SELECT id AS "id: AssetId", status AS "status: Status",
                  visibility AS "visibility: Visibility", object_key, file_name, content_type,
                  size_bytes, checksum_sha256, upload_expires_at, created_at, updated_at
           FROM media.assets
           WHERE owner = $1 AND status <> 'deleting'
             AND ($2::text IS NULL OR status = $2)
             AND ($3::text IS NULL OR visibility = $3)
             AND ($4::uuid IS NULL OR id < $4)
           ORDER BY id DESC LIMIT $5"#,
        owner,
        filter.status as Option<Status>,
        filter.visibility as Option<Visibility>,
        filter.before.map(AssetId::uuid),
        limit,
    )
    .fetch_all(db)
    .await
}

/// Moves a pending asset on; false when it was not pending any more.
pub(crate) async fn settle(
    db: &mut PgConnection,
    owner: &str,
    id: AssetId,
    status: Status,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let updated = sqlx::query!(
        "UPDATE media.assets SET status = $3, updated_at = $4
         WHERE id = $1 AND owner = $2 AND status = 'pending'",
        id.uuid(),
        owner,
        status as Status,
        now,
    )
    .execute(db)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Hides an asset for good; the sweep removes what is left of it from `sweep_after` on.
pub(crate) async fn delete(
    db: &mut PgConnection,
    owner: &str,
    id: AssetId,
    now: DateTime<Utc>,
    sweep_after: DateTime<Utc>,
) -> Result<Option<(String, Visibility)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"UPDATE media.assets SET status = 'deleting', updated_at = $3, sweep_after = $4
           WHERE id = $1 AND owner = $2 AND status <> 'deleting'
           RETURNING object_key, visibility AS "visibility: Visibility""#,
        id.uuid(),
        owner,
        now,
        sweep_after,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.object_key, row.visibility)))
}
