//! Rows of `media.assets`. Every query names one owner.

use chrono::{DateTime, Utc};
use quartet_common::principal::Principal;
use quartet_db::{statement, typed_id};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

typed_id!(
    /// A stored file with its metadata.
    pub(crate) AssetId,
    "ast"
);

impl AssetId {
    /// Where the upload goes, in the private bucket.
    pub(crate) fn incoming_key(self) -> String {
        format!("incoming/{}", self.uuid())
    }

    /// Where the verified file goes.
    pub(crate) fn object_key(self) -> String {
        format!("uploads/{}", self.uuid())
    }
}

/// Who can read an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Visibility {
    /// Its owner, through signed URLs.
    Private,
    /// Anyone who has its URL.
    Public,
}

/// State of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = AssetStatus)]
pub(crate) enum Status {
    /// Presigned, not completed yet.
    Pending,
    /// Uploaded and verified.
    Ready,
    /// The uploaded file did not match the presign request and was removed.
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

/// Restricts a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) status: Option<Status>,
    pub(crate) visibility: Option<Visibility>,
    /// Only assets created before this one.
    pub(crate) before: Option<AssetId>,
}

/// The verified file of a deleted asset.
#[derive(Clone, Debug)]
pub(crate) struct DeletedAsset {
    pub(crate) object_key: String,
    pub(crate) visibility: Visibility,
}

/// Stores an asset; until `incoming_until` its upload may arrive.
pub(crate) async fn insert(
    db: &mut PgConnection,
    owner: &Principal,
    asset: &AssetRow,
    incoming_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "assets.insert",
        sqlx::query!(
            "INSERT INTO media.assets (id, owner, status, visibility, object_key, file_name,
             content_type, size_bytes, checksum_sha256, upload_expires_at, incoming_until, created_at,
             updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            asset.id.uuid(),
            owner.as_str(),
            asset.status as Status,
            asset.visibility as Visibility,
            asset.object_key,
            asset.file_name,
            asset.content_type,
            asset.size_bytes,
            asset.checksum_sha256,
            asset.upload_expires_at,
            incoming_until,
            asset.created_at,
            asset.updated_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

pub(crate) async fn by_id(
    db: &mut PgConnection,
    owner: &Principal,
    id: AssetId,
) -> Result<Option<AssetRow>, sqlx::Error> {
    statement(
        "assets.by_id",
        sqlx::query_as!(
            AssetRow,
            r#"SELECT id AS "id: AssetId", status AS "status: Status",
                  visibility AS "visibility: Visibility", object_key, file_name, content_type,
                  size_bytes, checksum_sha256, upload_expires_at, created_at, updated_at
           FROM media.assets WHERE id = $1 AND owner = $2 AND status <> 'deleting'"#,
            id.uuid(),
            owner.as_str(),
        )
        .fetch_optional(db),
    )
    .await
}

/// Newest first, up to `limit` rows.
pub(crate) async fn list(
    db: &mut PgConnection,
    owner: &Principal,
    filter: Filter,
    limit: i64,
) -> Result<Vec<AssetRow>, sqlx::Error> {
    statement(
        "assets.list",
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
            owner.as_str(),
            filter.status as Option<Status>,
            filter.visibility as Option<Visibility>,
            filter.before.map(AssetId::uuid),
            limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Keeps the row of a pending asset until `until`, even if the asset is deleted; `false` when it is
/// no longer pending.
pub(crate) async fn hold(
    db: &mut PgConnection,
    owner: &Principal,
    id: AssetId,
    until: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let updated = statement(
        "assets.hold",
        sqlx::query!(
            "UPDATE media.assets SET completing_until = greatest(completing_until, $3)
         WHERE id = $1 AND owner = $2 AND status = 'pending'",
            id.uuid(),
            owner.as_str(),
            until,
        )
        .execute(db),
    )
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Moves a pending asset to its next state; `false` when it is no longer pending.
pub(crate) async fn settle(
    db: &mut PgConnection,
    owner: &Principal,
    id: AssetId,
    status: Status,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let updated = statement(
        "assets.settle",
        sqlx::query!(
            "UPDATE media.assets SET status = $3, updated_at = $4, completing_until = NULL
         WHERE id = $1 AND owner = $2 AND status = 'pending'",
            id.uuid(),
            owner.as_str(),
            status as Status,
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Hides an asset; from `sweep_after` on the sweep removes what is left of it. `None` when it does
/// not exist.
pub(crate) async fn delete(
    db: &mut PgConnection,
    owner: &Principal,
    id: AssetId,
    now: DateTime<Utc>,
    sweep_after: DateTime<Utc>,
) -> Result<Option<DeletedAsset>, sqlx::Error> {
    statement(
        "assets.delete",
        sqlx::query_as!(
            DeletedAsset,
            r#"UPDATE media.assets SET status = 'deleting', updated_at = $3, sweep_after = $4
           WHERE id = $1 AND owner = $2 AND status <> 'deleting'
           RETURNING object_key, visibility AS "visibility: Visibility""#,
            id.uuid(),
            owner.as_str(),
            now,
            sweep_after,
        )
        .fetch_optional(db),
    )
    .await
}
