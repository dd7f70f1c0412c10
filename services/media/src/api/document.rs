//! `/v1/media/openapi.json`: this service, described.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header;
use quartet_openapi::{About, EVERYWHERE, copy_in_3_0, finish};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{assets, uploads},
    error::kinds,
    state::AppState,
};

const ABOUT: About = About {
    title: "Quartet media",
    description: "Uploads and assets. Presign an upload, send the file to the signed \
address, complete it: then the file has been verified to be what was promised.",
    version: env!("CARGO_PKG_VERSION"),
    everywhere: EVERYWHERE,
    kinds: kinds::ALL,
};

static DOCUMENT: LazyLock<String> = LazyLock::new(openapi);
static COPY_IN_3_0: LazyLock<String> = LazyLock::new(|| copy_in_3_0(&DOCUMENT));

#[derive(OpenApi)]
#[openapi(tags(
    (name = "uploads", description = "Bringing files in"),
    (name = "assets", description = "Files that are in"),
    (name = "documents", description = "What this service can do"),
))]
struct Base;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_openapi))
        .routes(routes!(get_openapi_3_0))
}

/// The document as pretty JSON.
pub(crate) fn openapi() -> String {
    let (_, document) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(uploads::router(None))
        .merge(assets::router())
        .merge(router())
        .split_for_parts();
    finish(document, &ABOUT)
}

/// Describe this service
///
/// The OpenAPI 3.1 document of the media service.
#[utoipa::path(
    get,
    path = "/v1/media/openapi.json",
    operation_id = "get_media_openapi",
    tag = "documents",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = serde_json::Value))
)]
async fn get_openapi() -> impl IntoResponse {
    json(&DOCUMENT)
}

/// Describe this service in OpenAPI 3.0
///
/// The same document in OpenAPI 3.0.3, for tools that do not know 3.1.
#[utoipa::path(
    get,
    path = "/v1/media/openapi-3.0.json",
    operation_id = "get_media_openapi_3_0",
    tag = "documents",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = serde_json::Value))
)]
async fn get_openapi_3_0() -> impl IntoResponse {
    json(&COPY_IN_3_0)
}

fn json(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
