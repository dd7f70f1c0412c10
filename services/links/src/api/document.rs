//! `/v1/links/openapi.json`: the REST side of this service, described.

use std::sync::LazyLock;

use axum::{extract::State, response::IntoResponse};
use http::header;
use quartet_common::problem::Problem;
use quartet_openapi::{About, EVERYWHERE, copy_in_3_0, finish};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{error::kinds, graphql, state::AppState};

const ABOUT: About = About {
    title: "Quartet links",
    description: "Short links with durable click counts. Links are made, changed, listed and \
watched by GraphQL at `/v1/links/graphql` (POST, GET, server-sent events, and WebSocket with the \
sub-protocol graphql-transport-ws); `/v1/links/schema.graphql` describes it. `/s/{slug}` redirects.",
    version: env!("CARGO_PKG_VERSION"),
    everywhere: EVERYWHERE,
    kinds: kinds::ALL,
};

static DOCUMENT: LazyLock<String> = LazyLock::new(openapi);
static COPY_IN_3_0: LazyLock<String> = LazyLock::new(|| copy_in_3_0(&DOCUMENT));
static GRAPHQL_SCHEMA: LazyLock<String> = LazyLock::new(graphql::sdl);

#[derive(OpenApi)]
#[openapi(tags(
    (name = "redirects", description = "Following short links"),
    (name = "graphql", description = "Making and watching links"),
    (name = "documents", description = "What this service can do"),
))]
struct Base;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_openapi))
        .routes(routes!(get_openapi_3_0))
        .routes(routes!(get_graphql_schema))
}

/// The document as pretty JSON.
pub(crate) fn openapi() -> String {
    let (_, document) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(super::routes())
        .split_for_parts();
    finish(document, &ABOUT)
}

/// Describe this service
///
/// The OpenAPI 3.1 document of the links service.
#[utoipa::path(
    get,
    path = "/v1/links/openapi.json",
    operation_id = "get_links_openapi",
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
    path = "/v1/links/openapi-3.0.json",
    operation_id = "get_links_openapi_3_0",
    tag = "documents",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = serde_json::Value))
)]
async fn get_openapi_3_0() -> impl IntoResponse {
    json(&COPY_IN_3_0)
}

/// Describe the GraphQL side of this service
///
/// Every type, query, mutation and subscription, in the schema definition language. Not there where
/// the service is set to keep its schema to itself.
#[utoipa::path(
    get,
    path = "/v1/links/schema.graphql",
    operation_id = "get_links_graphql_schema",
    tag = "documents",
    responses((status = 200, description = "The schema", content_type = "text/plain", body = String, example = "type DeletedLink {\n\tid: ID!\n}\n")),
    extensions(("x-problem-codes" = json!(["not_found"]))),
)]
async fn get_graphql_schema(State(state): State<AppState>) -> Result<&'static str, Problem> {
    if state.config.graphql.introspection {
        Ok(&GRAPHQL_SCHEMA)
    } else {
        Err(Problem::not_found("document"))
    }
}

fn json(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
