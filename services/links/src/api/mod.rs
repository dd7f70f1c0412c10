//! The routes: redirects, GraphQL, and the documents that describe them.

mod document;
mod pages;
mod redirects;
mod signals;

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    graphql::{self, GraphQlState},
    state::AppState,
};

pub(crate) use document::describe;

/// Every route, ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    let graphql = GraphQlState::new(&state);
    let (graphql, _) = graphql::routes().with_state(graphql).split_for_parts();
    let (rest, _) = routes().with_state(state).split_for_parts();
    rest.merge(graphql)
}

fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(redirects::router())
        .merge(document::router())
}

/// Adds every route to `document`.
fn add_routes(document: OpenApi) -> OpenApi {
    let (_, document) = OpenApiRouter::with_openapi(document)
        .merge(redirects::router())
        .split_for_parts();
    let (_, document) = OpenApiRouter::with_openapi(document)
        .merge(graphql::routes())
        .split_for_parts();
    let (_, document) = OpenApiRouter::with_openapi(document)
        .merge(document::router())
        .split_for_parts();
    document
}
