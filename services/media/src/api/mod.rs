//! The routes: uploads, assets, and the document that describes them.

mod assets;
mod document;
mod uploads;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

pub(crate) use document::openapi;

/// Every route, with its description.
fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(uploads::router(Some(state)))
        .merge(assets::router())
        .merge(document::router())
}

/// The routes ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    routes(&state).split_for_parts().0.with_state(state)
}
