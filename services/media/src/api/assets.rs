//! Assets: list, read, download, delete.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use quartet_common::{
    page::{self, Page},
    problem::Problem,
};
use quartet_http::extract::{IfNoneMatch, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::Owner,
    domain::{assets, names, uploads},
    error::Error,
    objects::Objects,
    state::AppState,
    store::{
        self,
        assets::{AssetId, AssetRow, Filter, Status, Visibility},
    },
};

/// Names the list that a cursor belongs to.
const CURSOR: &str = "assets";

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_assets))
        .routes(routes!(get_asset, delete_asset))
        .routes(routes!(download_asset))
}

/// A file, promised or uploaded.
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
    /// The checksum that was promised, 64 hexadecimal digits; null if none was.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    checksum_sha256: Option<String>,
    /// Address that everybody can read; null unless the asset is public and ready.
    #[schema(format = "uri", example = "https://cdn.example/8f3a/holiday.png")]
    url: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Where to fetch an asset.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Download {
    /// Public or signed address.
    #[schema(
        format = "uri",
        example = "https://store.example/quartet-private/8f3a?X-Amz-Signature=9f86d081"
    )]
    url: String,
    /// When the address ends; null for public assets, whose address does not.
    expires_at: Option<DateTime<Utc>>,
}

/// Which assets to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Items per page, 1 to 100; values outside are moved to the nearest bound.
    #[serde(default, deserialize_with = "page::any_limit")]
    #[param(value_type = Option<i32>, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
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
async fn list_assets(
    State(state): State<AppState>,
    Owner(owner): Owner,
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
    let mut tx = store::begin(&state.pool, &owner)
        .await
        .map_err(quartet_db::problem)?;
    let rows = store::assets::list(&mut tx, &owner, filter, i64::from(limit) + 1)
        .await
        .map_err(quartet_db::problem)?;
    tx.commit().await.map_err(quartet_db::problem)?;
    let page = Page::from_rows(rows, limit, CURSOR, |row| row.id);
    Ok(Json(page.map(|row| Asset::new(row, &state.objects))))
}

/// Read an asset
///
/// With a strong `ETag`; `If-None-Match` saves the body.
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
        (status = 200, description = "The asset", body = Asset, headers(("ETag" = String, description = "Changes when the asset does"))),
        (status = 304, description = "The client has this version"),
    ),
    extensions(("x-problem-codes" = json!(["not_found"]))),
)]
async fn get_asset(
    State(state): State<AppState>,
    Owner(owner): Owner,
    Path(id): Path<AssetId>,
    known: Option<IfNoneMatch>,
) -> Result<Response, Error> {
    let asset = uploads::find(&state.pool, &owner, id).await?;
    let tag = entity_tag(&asset);
    if known.is_some_and(|known| known.has(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(Asset::respond(asset, &state.objects))
}

/// Delete an asset
///
/// The asset is gone at once and for good, and its file with it. If the store does not answer
/// just then, the file is removed as soon as it does. Copies in a CDN live as long as it keeps them.
#[utoipa::path(
    delete,
    path = "/v1/media/assets/{id}",
    operation_id = "delete_asset",
    tag = "assets",
    security(("bearer" = [])),
    params(("id" = AssetId, Path, description = "The asset")),
    responses(
        (status = 204, description = "The asset is gone"),
    ),
    extensions(("x-problem-codes" = json!(["not_found"]))),
)]
async fn delete_asset(
    State(state): State<AppState>,
    Owner(owner): Owner,
    Path(id): Path<AssetId>,
) -> Result<StatusCode, Error> {
    assets::delete(&state.pool, &state.objects, &state.clock, (&owner, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get a download address
///
/// The public address of a public asset; else a signed address that ends after 5 minutes unless
/// the service is set otherwise, and that makes browsers save the file under its name.
#[utoipa::path(
    get,
    path = "/v1/media/assets/{id}/download",
    operation_id = "download_asset",
    tag = "assets",
    security(("bearer" = [])),
    params(("id" = AssetId, Path, description = "The asset")),
    responses(
        (status = 200, description = "Where to fetch the file", body = Download),
    ),
    extensions(("x-problem-codes" = json!([
        "asset_failed", "asset_not_ready", "not_found", "store_unavailable",
    ]))),
)]
async fn download_asset(
    State(state): State<AppState>,
    Owner(owner): Owner,
    Path(id): Path<AssetId>,
) -> Result<Response, Error> {
    let ttl = Duration::from_secs(state.config.downloads.ttl_seconds);
    let found =
        assets::download(&state.pool, &state.objects, &state.clock, ttl, (&owner, id)).await?;
    let body = Json(Download {
        url: found.url,
        expires_at: found.expires_at,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

impl Asset {
    pub(super) fn new(row: AssetRow, objects: &Objects) -> Self {
        let shown = row.visibility == Visibility::Public && row.status == Status::Ready;
        Self {
            id: row.id,
            status: row.status,
            visibility: row.visibility,
            url: shown.then(|| objects.public_url(&row.object_key)),
            file_name: row.file_name,
            content_type: row.content_type,
            size_bytes: row.size_bytes,
            checksum_sha256: row.checksum_sha256.as_deref().map(names::hex),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }

    /// The asset with its entity tag.
    pub(super) fn respond(row: AssetRow, objects: &Objects) -> Response {
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
