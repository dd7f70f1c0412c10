//! The routes: redirects, GraphQL, and the documents that describe them.

mod document;
mod front;
mod pages;
mod redirects;
mod schema;
mod signals;

use axum::{Router, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    graphql::{self, GraphQlState},
    state::AppState,
};

pub(crate) use document::describe;
pub(crate) use front::front;

fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(redirects::follow_link, redirects::probe_link))
        .routes(routes!(schema::get_graphql_schema))
}

/// The routes, ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    let events = state.inbox.router();
    let graphql = GraphQlState::new(&state);
    let (graphql, _) = graphql::routes().with_state(graphql).split_for_parts();
    // Not in the document: the same operations, as the description of the first one says.
    let with_slash = get(redirects::follow_link).head(redirects::probe_link);
    let (rest, _) = routes()
        .route("/s/{slug}/", with_slash)
        .with_state(state)
        .split_for_parts();
    rest.merge(graphql).merge(events)
}
