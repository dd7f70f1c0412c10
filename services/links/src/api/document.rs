//! What the OpenAPI document of this service says beside its operations.

use utoipa::{OpenApi, openapi};
use utoipa_axum::router::OpenApiRouter;

use crate::{api, graphql};

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
