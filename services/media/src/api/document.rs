//! What the OpenAPI document of this service says beside its operations.

use utoipa::{OpenApi, openapi};
use utoipa_axum::router::OpenApiRouter;

use crate::api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quartet media",
        description = "Uploads and assets. Presign an upload, send the file to the signed URL, then \
complete the upload: the file is verified and becomes an asset.",
    ),
    tags(
        (name = "uploads", description = "Presigned uploads"),
        (name = "assets", description = "Stored files"),
    ),
)]
struct Document;

/// The operations, as `cargo xtask gen` reads them.
pub(crate) fn describe() -> openapi::OpenApi {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(api::idempotent_routes())
        .merge(api::routes())
        .split_for_parts()
        .1
}
