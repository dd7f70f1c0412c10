//! Every route of the service.

mod assets;
mod document;
mod uploads;

use axum::{Router, middleware::from_fn_with_state};
use quartet_service::idempotency::idempotent;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::AppState;

pub(crate) use document::describe;

/// Routes that accept an `Idempotency-Key`.
fn idempotent_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(uploads::presign_upload))
}

fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(uploads::complete_upload))
        .routes(routes!(assets::list_assets))
        .routes(routes!(assets::get_asset, assets::delete_asset))
        .routes(routes!(assets::download_asset))
}

/// The routes, ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    let events = state.inbox.router();
    let idempotency = from_fn_with_state(state.idempotency(), idempotent);
    idempotent_routes()
        .route_layer(idempotency)
        .merge(routes())
        .split_for_parts()
        .0
        .with_state(state)
        .merge(events)
}
