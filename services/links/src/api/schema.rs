//! `/v1/links/schema.graphql`.

use std::sync::LazyLock;

use axum::extract::State;
use quartet_common::problem::{Problem, kinds::NOT_FOUND};

use crate::{domain::Context, graphql};

static GRAPHQL_SCHEMA: LazyLock<String> = LazyLock::new(graphql::sdl);

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
    State(ctx): State<Context>,
) -> Result<&'static str, Problem> {
    if ctx.config.graphql.introspection {
        Ok(&GRAPHQL_SCHEMA)
    } else {
        Err(Problem::not_found("document"))
    }
}
