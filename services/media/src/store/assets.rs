//! Rows of `media.assets` with their content: that of the current version, or what was declared for
//! an asset that has none yet. Every query names one owner.

use chrono::{DateTime, Utc};
use quartet_common::principal::Principal;
use quartet_db::{statement, typed_id};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::ids::UploadId;

typed_id!(
    /// A stored file with its metadata.
    pub(crate) AssetId,
    "ast"
);

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
    pub(crate) file_name: String,
    /// Of the current version; `None` before there is one.
    pub(crate) object_key: Option<String>,
    pub(crate) content_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) checksum_sha256: Option<Vec<u8>>,
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

/// What the object store may still hold of an asset.
#[derive(Clone, Debug)]
pub(crate) struct ObjectsRow {
    pub(crate) id: AssetId,
    pub(crate) visibility: Visibility,
    /// In the bucket of the visibility.
    pub(crate) object_keys: Vec<String>,
    pub(crate) uploads: Vec<Uuid>,
}

impl ObjectsRow {
    pub(crate) fn uploads(&self) -> impl Iterator<Item = UploadId> {
        self.uploads.iter().copied().map(UploadId::from)
    }
}

/// Selects [`AssetRow`]s of some assets, with the rest of the statement and its arguments.
macro_rules! select_asset {
    ($assets:literal, $rest:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            AssetRow,
            r#"SELECT a.id AS "id: AssetId", a.status AS "status: Status",
                  a.visibility AS "visibility: Visibility", a.file_name,
                  v.object_key AS "object_key?",
                  coalesce(v.content_type, u.content_type) AS "content_type!",
                  coalesce(v.size_bytes, u.size_bytes) AS "size_bytes!",
                  coalesce(v.checksum_sha256, u.checksum_sha256) AS checksum_sha256,
                  a.created_at, a.updated_at
           FROM "#
                + $assets
                + r#" AS a
           LEFT JOIN media.asset_versions AS v ON v.id = a.current_version
           LEFT JOIN LATERAL (
               SELECT * FROM media.uploads AS d
               WHERE d.asset_id = a.id AND a.current_version IS NULL ORDER BY d.id DESC LIMIT 1
           ) AS u ON true
           "#
                + $rest,
            $($argument),+
        )
    };
}

pub(crate) async fn by_id(
    db: &mut PgConnection,
    owner: &Principal,
    id: AssetId,
) -> Result<Option<AssetRow>, sqlx::Error> {
    statement(
        "assets.by_id",
        select_asset!(
            "media.assets",
            "WHERE a.id = $1 AND a.owner = $2 AND a.status <> 'deleting'",
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
        select_asset!(
            "(
               SELECT * FROM media.assets AS p
               WHERE p.owner = $1 AND p.status <> 'deleting'
                 AND ($2::text IS NULL OR p.status = $2)
                 AND ($3::text IS NULL OR p.visibility = $3)
                 AND ($4::uuid IS NULL OR p.id < $4)
               ORDER BY p.id DESC LIMIT $5
           )",
            "ORDER BY a.id DESC",
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

/// Hides an asset; from `sweep_after` on the sweep removes what is left of it. `None` when it does
/// not exist.
pub(crate) async fn delete(
    db: &mut PgConnection,
    owner: &Principal,
    id: AssetId,
    now: DateTime<Utc>,
    sweep_after: DateTime<Utc>,
) -> Result<Option<ObjectsRow>, sqlx::Error> {
    statement(
        "assets.delete",
        sqlx::query_as!(
            ObjectsRow,
            r#"UPDATE media.assets AS a SET status = 'deleting', updated_at = $3, sweep_after = $4
           WHERE a.id = $1 AND a.owner = $2 AND a.status <> 'deleting'
           RETURNING a.id AS "id: AssetId", a.visibility AS "visibility: Visibility",
               ARRAY(SELECT v.object_key FROM media.asset_versions AS v WHERE v.asset_id = a.id
                     UNION SELECT unnest(u.copied_keys) FROM media.uploads AS u WHERE u.asset_id = a.id
               ) AS "object_keys!",
               ARRAY(SELECT u.id FROM media.uploads AS u WHERE u.asset_id = a.id) AS "uploads!""#,
            id.uuid(),
            owner.as_str(),
            now,
            sweep_after,
        )
        .fetch_optional(db),
    )
    .await
}
