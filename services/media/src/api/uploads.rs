//! Presign and complete.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use quartet_common::problem::{Checks, Problem};
use quartet_http::extract::{Json, Path, whole_number};
use quartet_service::idempotency::idempotent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::assets::Asset,
    auth::Owner,
    config::Uploads,
    domain::{
        content, names,
        uploads::{self, Desk, NewUpload},
    },
    error::Error,
    state::AppState,
    store::assets::{AssetId, Visibility},
};

/// Without a state only the description is wanted.
pub(super) fn router(state: Option<&AppState>) -> OpenApiRouter<AppState> {
    let presign = OpenApiRouter::new().routes(routes!(presign_upload));
    let presign = match state {
        Some(state) => presign.route_layer(from_fn_with_state(state.idempotency(), idempotent)),
        None => presign,
    };
    presign.merge(OpenApiRouter::new().routes(routes!(complete_upload)))
}

/// What a client promises to upload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresignRequest {
    /// Name for people, 1 to 255 bytes, without slashes, backslashes and control characters.
    #[schema(
        example = "holiday.png",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^/\\\u0000-\u001f\u007f-\u009f]+$"
    )]
    file_name: String,
    /// Media type of the file, one of those that the service allows.
    #[schema(example = "image/png", min_length = 1, max_length = 255)]
    content_type: String,
    /// Exact size of the file in bytes, 1 to 5 GiB unless the service allows less.
    #[serde(deserialize_with = "whole_number")]
    #[schema(example = 48_213, minimum = 1, maximum = 5_368_709_120_u64)]
    size_bytes: u64,
    /// Who may read the file.
    visibility: Visibility,
    /// SHA-256 of the file, 64 hexadecimal digits. The upload fails if it is another file's.
    #[serde(default)]
    #[schema(
        pattern = "^[0-9a-fA-F]{64}$",
        example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        pattern = "^[0-9A-Fa-f]{64}$"
    )]
    checksum_sha256: Option<String>,
}

/// A pending asset and where to send its file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Presigned {
    asset: Asset,
    upload: SignedUpload,
}

/// The request that uploads the file: no access token, and exactly these headers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignedUpload {
    #[schema(example = "PUT")]
    method: String,
    /// Signed address of the object store.
    #[schema(
        format = "uri",
        example = "https://store.example/quartet-private/8f3a?X-Amz-Signature=9f86d081"
    )]
    url: String,
    /// Headers that are part of the signature; they must be sent as they are.
    #[schema(example = json!({"content-type": "image/png", "content-length": "48213", "if-none-match": "*"}))]
    headers: BTreeMap<String, String>,
    /// When the address ends.
    expires_at: DateTime<Utc>,
}

/// Presign an upload
///
/// Gives a signed address to which the client sends the file itself. Size, media type and, if it
/// is given, the checksum are part of the signature: another file is refused by the store. The
/// address ends after 15 minutes unless the service is set otherwise.
#[utoipa::path(
    post,
    path = "/v1/media/presign",
    operation_id = "presign_upload",
    tag = "uploads",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = PresignRequest,
    responses(
        (status = 201, description = "The upload may begin", body = Presigned, headers(("Location" = String, description = "Path of the asset"))),
    ),
    extensions(("x-problem-codes" = json!(["store_unavailable"]))),
)]
async fn presign_upload(
    State(state): State<AppState>,
    Owner(owner): Owner,
    Json(request): Json<PresignRequest>,
) -> Result<Response, Problem> {
    let upload = request.check(&state.config.uploads)?;
    let (asset, signed) = uploads::presign(desk(&state), &owner, upload).await?;
    let location = format!("/v1/media/assets/{}", asset.id);
    let expires_at = asset.upload_expires_at;
    let asset = Asset::new(asset, &state.objects);
    let upload = SignedUpload {
        method: signed.method,
        url: signed.url,
        headers: signed.headers,
        expires_at,
    };
    let body = Json(Presigned { asset, upload });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// Complete an upload
///
/// Verifies that the uploaded file has the promised size, media type, first bytes and checksum,
/// and makes the asset ready. If it is something else, the file is removed and the asset is
/// failed. Completing a ready asset again gives the same answer.
#[utoipa::path(
    post,
    path = "/v1/media/assets/{id}/complete",
    operation_id = "complete_upload",
    tag = "uploads",
    security(("bearer" = [])),
    params(("id" = AssetId, Path, description = "The asset")),
    responses(
        (status = 200, description = "The asset is ready", body = Asset, headers(("ETag" = String, description = "Changes when the asset does"))),
    ),
    extensions(("x-problem-codes" = json!([
        "asset_failed", "not_found", "not_uploaded", "store_unavailable", "upload_mismatch",
    ]))),
)]
async fn complete_upload(
    State(state): State<AppState>,
    Owner(owner): Owner,
    Path(id): Path<AssetId>,
) -> Result<Response, Error> {
    let asset = uploads::complete(desk(&state), &owner, id).await?;
    Ok(Asset::respond(asset, &state.objects))
}

fn desk(state: &AppState) -> Desk<'_> {
    Desk {
        pool: &state.pool,
        objects: &state.objects,
        clock: &state.clock,
        settings: &state.config.uploads,
        metrics: &state.metrics,
    }
}

impl PresignRequest {
    fn check(self, settings: &Uploads) -> Result<NewUpload, Problem> {
        let mut checks = Checks::new();
        let file_name = checks.take("/file_name", names::file_name(&self.file_name));
        let content_type = checks.take(
            "/content_type",
            content::content_type(&self.content_type, &settings.content_types),
        );
        let size_bytes = checks.take(
            "/size_bytes",
            names::size_bytes(self.size_bytes, settings.max_size_bytes),
        );
        let checksum_sha256 = self
            .checksum_sha256
            .map(|text| checks.take("/checksum_sha256", names::checksum(&text)));
        checks.finish()?;
        Ok(NewUpload {
            file_name: file_name.unwrap_or_default(),
            content_type: content_type.unwrap_or_default(),
            size_bytes: size_bytes.unwrap_or_default(),
            visibility: self.visibility,
            checksum_sha256: checksum_sha256.flatten(),
        })
    }
}
