//! The routes: users, sessions, keys, and the document that describes them.

mod document;
mod keys;
mod sessions;
mod users;

use axum::Router;

use crate::state::AppState;

pub(crate) use document::openapi;

/// The routes ready to be served.
pub(crate) fn router(state: AppState) -> Router {
    users::router(Some(&state))
        .merge(sessions::router())
        .merge(keys::router())
        .merge(document::router())
        .split_for_parts()
        .0
        .with_state(state)
}
