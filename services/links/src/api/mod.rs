//! The routes: redirects, GraphQL, and the document that describes them.

mod document;
mod pages;
mod redirects;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use crate::{graphql, state::AppState};

pub(crate) use document::openapi;

/// Every route, with its description.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(redirects::router())
        .merge(graphql::http::router())
        .merge(document::router())
}

/// The routes ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    routes().split_for_parts().0.with_state(state)
}
