//! Rows of `media.uploads`: files on their way to becoming a version of an asset. Every query names
//! one owner.

use chrono::{DateTime, Utc};
use quartet_auth::Actor;
use quartet_common::principal::Principal;
use quartet_db::statement;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::store::{
    assets::{AssetId, AssetRow, Status, Visibility},
    ids::{UploadId, VersionId},
};

/// Of different files of one upload. A further one is not accepted.
pub(crate) const MAX_COPIES: i32 = 16;

#[derive(Clone, Debug)]
pub(crate) struct UploadRow {
    pub(crate) id: UploadId,
    pub(crate) asset_id: AssetId,
    /// Of the asset.
    pub(crate) visibility: Visibility,
    /// Of the version that it becomes.
    pub(crate) version_id: VersionId,
    /// How the keys of copies begin.
    pub(crate) object_key: String,
    pub(crate) content_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) checksum_sha256: Option<Vec<u8>>,
    /// When the signed URL expires.
    pub(crate) expires_at: DateTime<Utc>,
}

impl UploadRow {
    /// Where the file with this `ETag` is copied to.
    pub(crate) fn copy_key(&self, etag: &str) -> String {
        let digest = Sha256::digest(etag);
        let file = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        format!("{}-{file:016x}", self.object_key)
    }
}

/// Stores a new asset with its upload; until `incoming_until` the file may arrive.
///
/// The statement itself sets the principals for row-level security, so that it needs no transaction: a
/// transaction of `begin_as` takes two more round trips. Its rows come from the row that sets them, so
/// they are set before the first row is checked, and end with the transaction as always.
pub(crate) async fn insert(
    db: &mut PgConnection,
    actor: &Actor,
    asset: &AssetRow,
    upload: &UploadRow,
    incoming_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let principals = actor.principals().iter();
    let principals: Vec<String> = principals.map(|it| it.as_str().to_owned()).collect();
    statement(
        "uploads.insert",
        sqlx::query!(
            "WITH acting AS MATERIALIZED (
                 SELECT set_config('quartet.principals', $15::text[]::text, true)
             ), asset AS (
                 INSERT INTO media.assets (id, owner, status, visibility, file_name, created_at, updated_at)
                 SELECT $1, $2, $3, $4, $5, $6, $6 FROM acting
             )
             INSERT INTO media.uploads (id, asset_id, owner, status, version_id, object_key,
                 content_type, size_bytes, checksum_sha256, expires_at, incoming_until, created_at)
             SELECT $7, $1, $2, 'pending', $8, $9, $10, $11, $12, $13, $14, $6 FROM acting",
            asset.id.uuid(),
            actor.owner().as_str(),
            asset.status as Status,
            asset.visibility as Visibility,
            asset.file_name,
            asset.created_at,
            upload.id.uuid(),
            upload.version_id.uuid(),
            upload.object_key,
            upload.content_type,
            upload.size_bytes,
            upload.checksum_sha256,
            upload.expires_at,
            incoming_until,
            &principals,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// The upload of a pending asset, which keeps the rows of both until `until` even if the asset is
/// deleted; `None` when the asset is no longer pending.
///
/// Nothing ends a hold but time: several replicas may hold an upload, and what one of them has finished
/// says nothing about the copies of the others.
pub(crate) async fn hold(
    db: &mut PgConnection,
    owner: &Principal,
    asset: AssetId,
    until: DateTime<Utc>,
) -> Result<Option<UploadRow>, sqlx::Error> {
    statement(
        "uploads.hold",
        sqlx::query_as!(
            UploadRow,
            r#"WITH asset AS (
                 SELECT a.id, a.visibility FROM media.assets AS a
                 WHERE a.id = $1 AND a.owner = $2 AND a.status = 'pending' FOR UPDATE
             )
             UPDATE media.uploads AS u SET completing_until = greatest(u.completing_until, $3)
             FROM asset WHERE u.asset_id = asset.id AND u.owner = $2 AND u.status = 'pending'
             RETURNING u.id AS "id: UploadId", u.asset_id AS "asset_id: AssetId",
                 asset.visibility AS "visibility: Visibility",
                 u.version_id AS "version_id: VersionId", u.object_key, u.content_type,
                 u.size_bytes, u.checksum_sha256, u.expires_at"#,
            asset.uuid(),
            owner.as_str(),
            until,
        )
        .fetch_optional(db),
    )
    .await
}

/// Notes that a verified file of a pending upload may be copied to `key` from now on; `false` when the
/// upload is no longer pending, or too many different files were.
pub(crate) async fn note_copy(
    db: &mut PgConnection,
    owner: &Principal,
    upload: &UploadRow,
    key: &str,
) -> Result<bool, sqlx::Error> {
    let noted = statement(
        "uploads.note_copy",
        sqlx::query!(
            "UPDATE media.uploads SET copied_keys = CASE
                 WHEN $3 = ANY (copied_keys) THEN copied_keys ELSE array_append(copied_keys, $3) END
             WHERE id = $1 AND owner = $2 AND status = 'pending'
               AND ($3 = ANY (copied_keys) OR cardinality(copied_keys) < $4)",
            upload.id.uuid(),
            owner.as_str(),
            key,
            MAX_COPIES,
        )
        .execute(db),
    )
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Makes the file that was copied to `key` the version of its asset, which was pending; `false` when it
/// is not any more.
pub(crate) async fn accept(
    db: &mut PgConnection,
    owner: &Principal,
    upload: &UploadRow,
    key: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = statement(
        "uploads.accept",
        sqlx::query!(
            "WITH asset AS (
                 UPDATE media.assets AS a SET status = 'ready', current_version = $3, updated_at = $5
                 WHERE a.id = $1 AND a.owner = $2 AND a.status = 'pending' RETURNING a.id
             ), upload AS (
                 UPDATE media.uploads AS u SET status = 'accepted'
                 FROM asset WHERE u.id = $4 AND u.asset_id = asset.id RETURNING u.*
             )
             INSERT INTO media.asset_versions (id, asset_id, owner, object_key, content_type,
                 size_bytes, checksum_sha256, created_at)
             SELECT u.version_id, u.asset_id, u.owner, $6, u.content_type, u.size_bytes,
                 u.checksum_sha256, $5
             FROM upload AS u",
            upload.asset_id.uuid(),
            owner.as_str(),
            upload.version_id.uuid(),
            upload.id.uuid(),
            now,
            key,
        )
        .execute(db),
    )
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks the asset failed, which was pending; `false` when it is not any more.
pub(crate) async fn reject(
    db: &mut PgConnection,
    owner: &Principal,
    upload: &UploadRow,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = statement(
        "uploads.reject",
        sqlx::query!(
            "WITH asset AS (
                 UPDATE media.assets AS a SET status = 'failed', updated_at = $4
                 WHERE a.id = $1 AND a.owner = $2 AND a.status = 'pending' RETURNING a.id
             )
             UPDATE media.uploads AS u SET status = 'rejected'
             FROM asset WHERE u.id = $3 AND u.asset_id = asset.id",
            upload.asset_id.uuid(),
            owner.as_str(),
            upload.id.uuid(),
            now,
        )
        .execute(db),
    )
    .await?;
    Ok(done.rows_affected() == 1)
}
