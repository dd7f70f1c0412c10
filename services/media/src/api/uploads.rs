//! Uploads: presign, complete.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use quartet_common::{
    checks::{Checks, Violation},
    problem::{Problem, kinds::NOT_FOUND},
};
use quartet_http::extract::{Path, Unchecked, whole_number};
use quartet_service::idempotency::{IdempotencyKey, WholeResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::assets::Asset,
    auth::AssetWriter,
    config::Uploads,
    domain::{
        Context, completion, content,
        uploads::{self, NewUpload, PresignedUpload},
        values,
    },
    problems::{ASSET_FAILED, NOT_UPLOADED, STORE_UNAVAILABLE, TOO_MANY_FILES, UPLOAD_MISMATCH},
    store::{
        assets::{AssetId, Visibility},
        objects::ObjectStore,
    },
};

/// The file that a client wants to upload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresignRequest {
    /// For display only; 1 to 255 bytes without slashes, backslashes or control characters.
    #[schema(
        example = "holiday.png",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^/\\\u0000-\u001f\u007f-\u009f]+$"
    )]
    file_name: String,
    /// Media type of the file; one of `uploads.content_types`. Parameters, such as `charset`, are
    /// ignored.
    #[schema(example = "image/png", min_length = 1, max_length = 255)]
    content_type: String,
    /// Exact size of the file in bytes; at most 5 GiB, or less if the service is configured with a
    /// lower limit.
    #[serde(deserialize_with = "whole_number")]
    #[schema(example = 48_213, minimum = 1, maximum = 5_368_709_120_u64)]
    size_bytes: u64,
    /// Who can read the file.
    visibility: Visibility,
    /// SHA-256 of the file as 64 hexadecimal digits. Uploading any other file fails.
    #[serde(default)]
    #[schema(
        example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        pattern = "^[0-9A-Fa-f]{64}$"
    )]
    checksum_sha256: Option<String>,
}

/// A pending asset and the request that uploads its file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Presigned {
    asset: Asset,
    upload: SignedUpload,
}

/// The request that uploads the file. Send exactly these headers and no access token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignedUpload {
    #[schema(example = "PUT")]
    method: String,
    /// Signed URL of the object store.
    #[schema(
        format = "uri",
        example = "https://store.example/quartet-private/8f3a?X-Amz-Signature=9f86d081"
    )]
    url: String,
    /// Headers that are part of the signature. Send them unchanged.
    #[schema(example = json!({"content-type": "image/png", "content-length": "48213", "if-none-match": "*"}))]
    headers: BTreeMap<String, String>,
    /// When the signed URL expires.
    expires_at: DateTime<Utc>,
}

/// Presign an upload
///
/// Returns a signed URL to which the client sends the file. Size, media type and the checksum, if
/// given, are part of the signature: the object store rejects any other file. The URL expires after
/// 15 minutes by default.
#[utoipa::path(
    post,
    path = "/v1/media/presign",
    operation_id = "presign_upload",
    tag = "uploads",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = PresignRequest,
    responses(
        (status = 201, description = "The pending asset and the signed request", body = Presigned, headers(("Location" = String, description = "Path of the asset"))),
    ),
    extensions(("x-problem-codes" = json!([STORE_UNAVAILABLE.code]))),
)]
pub(super) async fn presign_upload(
    State(ctx): State<Context>,
    AssetWriter(actor): AssetWriter,
    idempotency_key: IdempotencyKey,
    request: Unchecked<PresignRequest>,
) -> Result<Response, Problem> {
    let upload = request.check(|upload| upload.check(&ctx.config.uploads))?;
    let objects = ctx.objects.clone();
    let reply = idempotency_key.reply(move |presigned| created(presigned, &objects));
    let presigned = uploads::presign(&ctx, &actor, upload, &reply).await?;
    Ok(reply.answer(&presigned).into_response())
}

/// A replay after the URL has expired would be of no use.
fn created(presigned: &PresignedUpload, objects: &ObjectStore) -> WholeResponse {
    let PresignedUpload {
        asset,
        expires_at,
        request,
    } = presigned.clone();
    let location = format!("/v1/media/assets/{}", asset.id);
    let body = Presigned {
        asset: Asset::new(asset, objects),
        upload: SignedUpload {
            method: request.method,
            url: request.url,
            headers: request.headers,
            expires_at,
        },
    };
    WholeResponse {
        valid_until: Some(expires_at),
        ..WholeResponse::json(StatusCode::CREATED, [(header::LOCATION, location)], &body)
    }
}

/// Complete an upload
///
/// Verifies size, media type, first bytes and checksum of the uploaded file and makes the asset
/// ready. A file that does not match is removed and the asset fails. Completing a ready asset again
/// returns the same response. Verifying a large file may take longer than a request: complete again
/// after a 503.
#[utoipa::path(
    post,
    path = "/v1/media/assets/{id}/complete",
    operation_id = "complete_upload",
    tag = "uploads",
    security(("bearer" = [])),
    params(("id" = AssetId, Path, description = "The asset")),
    responses(
        (status = 200, description = "The ready asset", body = Asset, headers(("ETag" = String, description = "Changes with every change of the asset"))),
    ),
    extensions(("x-problem-codes" = json!([
        ASSET_FAILED.code, NOT_FOUND.code, NOT_UPLOADED.code, STORE_UNAVAILABLE.code, TOO_MANY_FILES.code,
        UPLOAD_MISMATCH.code,
    ]))),
)]
pub(super) async fn complete_upload(
    State(ctx): State<Context>,
    AssetWriter(actor): AssetWriter,
    Path(id): Path<AssetId>,
) -> Result<Response, Problem> {
    let asset = completion::complete(&ctx, &actor, id).await?;
    Ok(Asset::respond(asset, &ctx.objects))
}

impl PresignRequest {
    fn check(self, settings: &Uploads) -> Result<NewUpload, Vec<Violation<&'static str>>> {
        let mut checks = Checks::new();
        let file_name = checks.take("/file_name", values::file_name(&self.file_name));
        let content_type = checks.take(
            "/content_type",
            content::content_type(&self.content_type, &settings.content_types),
        );
        let size_bytes = checks.take(
            "/size_bytes",
            values::size_bytes(self.size_bytes, settings.max_size_bytes),
        );
        let checksum_sha256 = self.checksum_sha256.as_deref().map(values::checksum);
        let checksum_sha256 = checks.take_optional("/checksum_sha256", checksum_sha256);
        checks.finish(|| {
            Some(NewUpload {
                file_name: file_name?,
                content_type: content_type?,
                size_bytes: size_bytes?,
                visibility: self.visibility,
                checksum_sha256,
            })
        })
    }
}
