//! Every route of the service.

mod api_keys;
mod document;
mod keys;
mod revocations;
mod sessions;
mod signed;
mod users;

use axum::{Router, middleware::from_fn_with_state};
use quartet_service::idempotency::idempotent;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::AppState;

pub(crate) use document::describe;

/// Routes that accept an `Idempotency-Key`. Sign-up only: the responses of the token endpoints are
/// secrets and are stored nowhere.
fn idempotent_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(users::create_user))
}

fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(users::get_me, users::update_me, users::delete_me))
        .routes(routes!(sessions::create_session, sessions::list_sessions))
        .routes(routes!(sessions::refresh_session))
        .routes(routes!(sessions::delete_session))
        .routes(routes!(api_keys::create_api_key, api_keys::list_api_keys))
        .routes(routes!(api_keys::delete_api_key))
        .routes(routes!(keys::get_jwks))
        .routes(routes!(keys::get_openid_configuration))
}

/// The routes, ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    let internal = api_keys::router(&state).merge(revocations::router(&state));
    let idempotency = from_fn_with_state(state.idempotency(), idempotent);
    idempotent_routes()
        .route_layer(idempotency)
        .merge(routes())
        .split_for_parts()
        .0
        .with_state(state)
        .merge(internal)
}
