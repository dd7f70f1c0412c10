//! What the OpenAPI document of this service says beside its operations, and
//! `/v1/links/schema.graphql`.

use std::sync::LazyLock;

use axum::extract::State;
use quartet_common::problem::{Problem, kinds::NOT_FOUND};
use utoipa::{OpenApi, openapi};
use utoipa_axum::router::OpenApiRouter;

use crate::{api, graphql, state::AppState};

static GRAPHQL_SCHEMA: LazyLock<String> = LazyLock::new(graphql::sdl);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quartet links",
        description = "Short links with durable click counts. Links are managed and watched with GraphQL at \
`/v1/links/graphql`, over POST, GET, server-sent events, or a WebSocket with the subprotocol \
graphql-transport-ws. `/v1/links/schema.graphql` returns the schema. `/s/{slug}` redirects.",
    ),
    tags(
        (name = "redirects", description = "Following short links"),
        (name = "graphql", description = "Managing and watching links"),
    ),
)]
struct Document;

/// The operations, as `cargo xtask gen` reads them.
pub(crate) fn describe() -> openapi::OpenApi {
    let document = OpenApiRouter::with_openapi(Document::openapi()).merge(api::routes());
    OpenApiRouter::with_openapi(document.into_openapi())
        .merge(graphql::routes())
        .into_openapi()
}

/// Get the GraphQL schema
///
/// Every type, query, mutation and subscription, in the GraphQL schema definition language. Not found
/// where `graphql.introspection` is disabled.
#[utoipa::path(
    get,
    path = "/v1/links/schema.graphql",
    operation_id = "get_links_graphql_schema",
    tag = "documents",
    responses((status = 200, description = "The schema", content_type = "text/plain", body = String, example = "type DeletedLink {\n\tid: ID!\n}\n")),
    extensions(("x-problem-codes" = json!([NOT_FOUND.code]))),
)]
pub(super) async fn get_graphql_schema(
    State(state): State<AppState>,
) -> Result<&'static str, Problem> {
    if state.ctx.config.graphql.introspection {
        Ok(&GRAPHQL_SCHEMA)
    } else {
        Err(Problem::not_found("document"))
    }
}
