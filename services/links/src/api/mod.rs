//! The routes: redirects, GraphQL, and the documents that describe them.

mod document;
mod pages;
mod redirects;
mod signals;

use axum::Router;
use utoipa::{OpenApi as _, openapi};
use utoipa_axum::router::OpenApiRouter;

use self::document::Document;
use crate::{
    graphql::{self, GraphQlState},
    state::AppState,
};

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

/// The operations, as `cargo xtask gen` reads them.
pub(crate) fn describe() -> openapi::OpenApi {
    let document = OpenApiRouter::with_openapi(Document::openapi()).merge(routes());
    OpenApiRouter::with_openapi(document.into_openapi())
        .merge(graphql::routes())
        .into_openapi()
}
