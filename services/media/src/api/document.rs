//! The OpenAPI document of this service.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header;
use quartet_openapi::{About, EVERYWHERE, copy_in_3_0, finish};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{api, problems};

const ABOUT: About = About {
    title: "Quartet media",
    description: "Uploads and assets. Presign an upload, send the file to the signed URL, then \
complete the upload: the file is verified and becomes an asset.",
    version: env!("CARGO_PKG_VERSION"),
    everywhere: EVERYWHERE,
    kinds: problems::ALL,
};

static DOCUMENT: LazyLock<String> = LazyLock::new(openapi);
static COPY_IN_3_0: LazyLock<String> = LazyLock::new(|| copy_in_3_0(&DOCUMENT));

#[derive(OpenApi)]
#[openapi(tags(
    (name = "uploads", description = "Presigned uploads"),
    (name = "assets", description = "Stored files"),
    (name = "documents", description = "OpenAPI documents"),
))]
struct Base;

/// The document as pretty JSON.
pub(crate) fn openapi() -> String {
    let (_, document) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(api::idempotent_routes())
        .merge(api::routes())
        .split_for_parts();
    finish(document, &ABOUT)
}

/// Get the OpenAPI document
///
/// OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/v1/media/openapi.json",
    operation_id = "get_media_openapi",
    tag = "documents",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = serde_json::Value))
)]
pub(super) async fn get_openapi() -> impl IntoResponse {
    json(&DOCUMENT)
}

/// Get the OpenAPI 3.0 document
///
/// The same document in OpenAPI 3.0.3, for tools without support for 3.1.
#[utoipa::path(
    get,
    path = "/v1/media/openapi-3.0.json",
    operation_id = "get_media_openapi_3_0",
    tag = "documents",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = serde_json::Value))
)]
pub(super) async fn get_openapi_3_0() -> impl IntoResponse {
    json(&COPY_IN_3_0)
}

fn json(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
