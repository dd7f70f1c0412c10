//! Serves the committed OpenAPI document as it is, and in 3.0 for tools that do not know 3.1.

use std::sync::OnceLock;

use axum::{Router, response::IntoResponse, routing::get};
use http::header;
use quartet_common::{cli::OpenapiVersion, openapi::in_version, problem::Problem};

use crate::service::Service;

/// `/v1/NAME/openapi.json` and `/v1/NAME/openapi-3.0.json`.
pub(crate) fn router<S: Service>() -> Router {
    Router::new()
        .route(
            &format!("/v1/{}/openapi.json", S::NAME),
            get(async || json(S::DOCUMENT)),
        )
        .route(
            &format!("/v1/{}/openapi-3.0.json", S::NAME),
            get(in_3_0::<S>),
        )
}

/// Converted by the first request. One process runs one service, so one text is enough.
async fn in_3_0<S: Service>() -> Result<impl IntoResponse, Problem> {
    static CONVERTED: OnceLock<String> = OnceLock::new();
    if let Some(text) = CONVERTED.get() {
        return Ok(json(text));
    }
    let text = in_version(S::DOCUMENT, OpenapiVersion::V3_0).map_err(Problem::internal)?;
    Ok(json(CONVERTED.get_or_init(|| text)))
}

fn json(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
