//! What the OpenAPI document of this service says beside its operations.

use utoipa::{OpenApi, openapi};
use utoipa_axum::router::OpenApiRouter;

use crate::api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quartet core",
        description = "Users, their sessions, and the public keys that verify their access \
tokens. Sign up, open a session, send its access token as `Authorization: Bearer`, and refresh the \
session before the token expires.",
    ),
    tags(
        (name = "users", description = "Accounts"),
        (name = "sessions", description = "Login, refresh, logout"),
        (name = "api-keys", description = "Keys with which programs act for a user"),
        (name = "keys", description = "Public keys that verify access tokens"),
    ),
)]
struct Document;

/// The operations, as `cargo xtask gen` reads them.
pub(crate) fn describe() -> openapi::OpenApi {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(api::idempotent_routes())
        .merge(api::routes())
        .split_for_parts()
        .1
}
