//! Assets: list, read, download, delete.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use quartet_common::{
    page::{self, Page},
    problem::{Problem, kinds::NOT_FOUND},
};
use quartet_http::extract::{IfNoneMatch, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::{AssetReader, AssetWriter},
    domain::{Context, assets},
    problems::{ASSET_FAILED, ASSET_NOT_READY, STORE_UNAVAILABLE},
    store::{
        assets::{AssetId, AssetRow, Filter, Status, Visibility},
        objects::ObjectStore,
    },
};

/// Marks cursors of this list.
const CURSOR: &str = "assets";

/// A stored file with its metadata.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Asset {
    id: AssetId,
    status: Status,
    visibility: Visibility,
    #[schema(example = "holiday.png", min_length = 1, max_length = 255)]
    file_name: String,
    #[schema(example = "image/png", min_length = 1, max_length = 255)]
    content_type: String,
    /// Size of the file in bytes.
    #[schema(example = 48_213, minimum = 1, maximum = 5_368_709_120_u64)]
    size_bytes: i64,
    /// SHA-256 from the presign request as 64 hexadecimal digits; null if it had none.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    checksum_sha256: Option<String>,
    /// Public URL; null unless the asset is public and ready.
    #[schema(format = "uri", example = "https://cdn.example/8f3a/holiday.png")]
    url: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Where to download an asset.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Download {
    /// Public or signed URL.
    #[schema(
        format = "uri",
        example = "https://store.example/quartet-private/8f3a?X-Amz-Signature=9f86d081"
    )]
    url: String,
    /// When the signed URL expires; null for a public URL.
    expires_at: Option<DateTime<Utc>>,
}

/// Restricts the list of assets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Items per page, 1 to 100. Other values are clamped.
    #[serde(default, deserialize_with = "page::any_limit")]
    #[param(value_type = Option<i32>, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[param(
        min_length = 1,
        max_length = 512,
        example = "WyJhc3NldHMiLCJhc3RfMDFqZDZ4OHJ2M2ZxNHQybThuNWs3YzllMXoiXQ"
    )]
    cursor: Option<String>,
    /// Only assets with this status.
    status: Option<Status>,
    /// Only assets with this visibility.
    visibility: Option<Visibility>,
}

/// List assets
///
/// The caller's assets, newest first, in pages of up to 100.
#[utoipa::path(
    get,
    path = "/v1/media/assets",
    operation_id = "list_assets",
    tag = "assets",
    security(("bearer" = [])),
    params(ListQuery),
    responses((status = 200, description = "A page of assets", body = Page<Asset>))
)]
pub(super) async fn list_assets(
    State(ctx): State<Context>,
    AssetReader(actor): AssetReader,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Asset>>, Problem> {
    let limit = page::clamp(query.limit);
    let before = query
        .cursor
        .map(|cursor| page::decode_cursor(CURSOR, &cursor))
        .transpose()?;
    let filter = Filter {
        status: query.status,
        visibility: query.visibility,
        before,
    };
    let rows = assets::list(&ctx, &actor, filter, i64::from(limit) + 1).await?;
    let page = Page::from_rows(rows, limit, CURSOR, |row| row.id);
    Ok(Json(page.map(|row| Asset::new(row, &ctx.objects))))
}

/// Get an asset
///
/// The response has a strong `ETag`; with `If-None-Match` an unchanged asset is not sent again.
#[utoipa::path(
    get,
    path = "/v1/media/assets/{id}",
    operation_id = "get_asset",
    tag = "assets",
    security(("bearer" = [])),
    params(
        ("id" = AssetId, Path, description = "The asset"),
        ("If-None-Match" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The asset", body = Asset, headers(("ETag" = String, description = "Changes with every change of the asset"))),
        (status = 304, description = "The asset has not changed"),
    ),
    extensions(("x-problem-codes" = json!([NOT_FOUND.code]))),
)]
pub(super) async fn get_asset(
    State(ctx): State<Context>,
    AssetReader(actor): AssetReader,
    Path(id): Path<AssetId>,
    if_none_match: Option<IfNoneMatch>,
) -> Result<Response, Problem> {
    let asset = assets::get(&ctx, &actor, id).await?;
    let tag = entity_tag(&asset);
    if if_none_match.is_some_and(|tags| tags.has(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(Asset::respond(asset, &ctx.objects))
}

/// Delete an asset
///
/// Deletes the asset and its file. While the object store is unavailable the asset is hidden, and
/// its file is deleted later. A CDN may serve cached copies of a public file for longer.
#[utoipa::path(
    delete,
    path = "/v1/media/assets/{id}",
    operation_id = "delete_asset",
    tag = "assets",
    security(("bearer" = [])),
    params(("id" = AssetId, Path, description = "The asset")),
    responses(
        (status = 204, description = "The asset is deleted"),
    ),
    extensions(("x-problem-codes" = json!([NOT_FOUND.code]))),
)]
pub(super) async fn delete_asset(
    State(ctx): State<Context>,
    AssetWriter(actor): AssetWriter,
    Path(id): Path<AssetId>,
) -> Result<StatusCode, Problem> {
    assets::delete(&ctx, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get a download URL
///
/// Returns the public URL of a public asset. For a private asset, returns a signed URL that expires
/// after 5 minutes by default and makes browsers save the file under its name.
#[utoipa::path(
    get,
    path = "/v1/media/assets/{id}/download",
    operation_id = "download_asset",
    tag = "assets",
    security(("bearer" = [])),
    params(("id" = AssetId, Path, description = "The asset")),
    responses(
        (status = 200, description = "The URL", body = Download),
    ),
    extensions(("x-problem-codes" = json!([
        ASSET_FAILED.code, ASSET_NOT_READY.code, NOT_FOUND.code, STORE_UNAVAILABLE.code,
    ]))),
)]
pub(super) async fn download_asset(
    State(ctx): State<Context>,
    AssetReader(actor): AssetReader,
    Path(id): Path<AssetId>,
) -> Result<Response, Problem> {
    let download = assets::download(&ctx, &actor, id).await?;
    let body = Json(Download {
        url: download.url,
        expires_at: download.expires_at,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

impl Asset {
    pub(super) fn new(row: AssetRow, objects: &ObjectStore) -> Self {
        let is_public = row.visibility == Visibility::Public && row.status == Status::Ready;
        let public_key = row.object_key.filter(|_| is_public);
        Self {
            id: row.id,
            status: row.status,
            visibility: row.visibility,
            url: public_key.map(|key| objects.public_url(&key)),
            file_name: row.file_name,
            content_type: row.content_type,
            size_bytes: row.size_bytes,
            checksum_sha256: row.checksum_sha256.as_deref().map(hex::encode),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }

    /// The asset with its entity tag.
    pub(super) fn respond(row: AssetRow, objects: &ObjectStore) -> Response {
        (
            [(header::ETAG, entity_tag(&row))],
            Json(Self::new(row, objects)),
        )
            .into_response()
    }
}

fn entity_tag(asset: &AssetRow) -> String {
    format!("\"{:x}\"", asset.updated_at.timestamp_micros())
}
